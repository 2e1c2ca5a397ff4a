//! Which files the programs of this machine use: what they have open or mapped, where they are, and what they run.
//!
//! A program of another user can be looked into by root alone. Which programs could not be looked into is part of the answer.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A program in these states uses nothing any more.
const DEAD: [&str; 3] = ["Z", "X", "x"];

/// Set of a thread of the kernel's own; see `PF_KTHREAD` in the kernel's `sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What tells files of one file system apart.
pub(super) type Inode = u64;

/// What programs use on one file system.
#[derive(Debug, Default)]
pub(super) struct Uses {
    inodes: BTreeSet<Inode>,
    /// Of what is mapped, whose numbers some file systems do not tell.
    paths: BTreeSet<PathBuf>,
    /// Programs that could not be looked into.
    pub(super) unseen: usize,
}

impl Uses {
    /// Looks at all programs, and keeps what is of this device or below this directory.
    pub(super) fn look(device: u64, store: &Path) -> io::Result<Self> {
        let mut uses = Self::default();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let name = entry.file_name();
            let is_program = name
                .to_str()
                .is_some_and(|name| name.parse::<u32>().is_ok());
            if is_program
                && !uses.look_into(&entry.path(), device, store)
                && is_alive(&entry.path())
            {
                uses.unseen += 1;
            }
        }
        Ok(uses)
    }

    /// Whether a program uses one of these, or something below one of these paths.
    pub(super) fn has(&self, inodes: &BTreeSet<Inode>, paths: [&Path; 2]) -> bool {
        let is_used = |inode| self.inodes.contains(inode);
        inodes.iter().any(is_used)
            || paths.iter().any(|path| {
                let mut from = self.paths.range(path.to_path_buf()..);
                from.next().is_some_and(|used| used.starts_with(path))
            })
    }

    /// Looks into one program; says whether all of it could be seen.
    fn look_into(&mut self, program: &Path, device: u64, store: &Path) -> bool {
        for link in ["cwd", "root", "exe"] {
            if !self.take_in(&program.join(link), device) {
                return false;
            }
        }
        let Ok(open) = fs::read_dir(program.join("fd")) else {
            return false;
        };
        for entry in open {
            let is_seen = entry.is_ok_and(|entry| self.take_in(&entry.path(), device));
            if !is_seen {
                return false;
            }
        }
        let Ok(maps) = fs::read(program.join("maps")) else {
            return false;
        };
        for line in maps.split(|byte| *byte == b'\n') {
            if let Some((inode, path)) = mapped(line) {
                self.inodes.extend(inode);
                if path.starts_with(store) {
                    self.paths.insert(path);
                }
            }
        }
        true
    }

    /// Follows what the kernel shows as a link; says whether it may be looked at.
    fn take_in(&mut self, link: &Path, device: u64) -> bool {
        match fs::metadata(link) {
            Ok(found) => {
                if found.dev() == device {
                    self.inodes.insert(found.ino());
                }
                true
            }
            // Closed, or ended, meanwhile; or a thing of the kernel's that is nowhere.
            Err(error) => error.kind() != io::ErrorKind::PermissionDenied,
        }
    }
}

/// The inode and path of a line of `maps`; see `proc_pid_maps(5)`. The path ends with ` (deleted)` where it was removed.
fn mapped(line: &[u8]) -> Option<(Option<Inode>, PathBuf)> {
    use std::os::unix::ffi::OsStrExt as _;
    let start = line.iter().position(|byte| *byte == b'/')?;
    let fields = str::from_utf8(&line[..start]).ok()?;
    let inode = fields.split_whitespace().nth(4)?.parse().ok();
    let path = std::ffi::OsStr::from_bytes(&line[start..]);
    Some((inode, path.into()))
}

/// Whether it is a program that could still use files.
fn is_alive(program: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(program.join("stat")) else {
        return false;
    };
    // The name, in parentheses, may have anything in it.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return true;
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let state = fields.first().copied().unwrap_or_default();
    let flags: u64 = fields
        .get(6)
        .and_then(|flags| flags.parse().ok())
        .unwrap_or(0);
    !DEAD.contains(&state) && flags & KERNEL_THREAD == 0
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// The file's number, and what is used where it lies.
    fn look(path: &Path) -> (BTreeSet<Inode>, Uses) {
        let found = fs::metadata(path).unwrap();
        let uses = Uses::look(found.dev(), path.parent().unwrap()).unwrap();
        (BTreeSet::from([found.ino()]), uses)
    }

    fn is_used(path: &Path) -> bool {
        let (inode, uses) = look(path);
        uses.has(&inode, [path, path])
    }

    /// Waits for it: what another test starts has our files open too, until it runs its program.
    fn becomes_unused(path: &Path) {
        let end = Instant::now() + Duration::from_secs(10);
        while is_used(path) {
            assert!(Instant::now() < end, "{} is in use", path.display());
        }
    }

    #[test]
    fn an_open_file_is_in_use_until_it_is_closed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(!is_used(&path));
        let open = File::open(&path).unwrap();
        assert!(is_used(&path));
        drop(open);
        becomes_unused(&path);
    }

    #[test]
    fn a_programs_directory_and_the_program_itself_are_in_use() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("cat");
        let directory = scratch.path().join("directory");
        fs::copy("/bin/cat", &program).unwrap();
        fs::create_dir(&directory).unwrap();
        let mut child = Command::new(&program)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(is_used(&program) && is_used(&directory));
        child.kill().unwrap();
        // Until it is waited for it is a zombie, which uses nothing.
        child.wait().unwrap();
        becomes_unused(&program);
        becomes_unused(&directory);
    }

    #[test]
    fn what_is_mapped_is_told_by_number_and_by_path() {
        let line = b"7f0-7f1 r-xp 00001000 fd:01 4711                       /s/sha256=x/lib a.so";
        let (inode, path) = mapped(line).unwrap();
        assert_eq!(
            (inode, path.as_path()),
            (Some(4711), Path::new("/s/sha256=x/lib a.so"))
        );
        assert_eq!(mapped(b"7f0-7f1 rw-p 00000000 00:00 0   [heap]"), None);
        let uses = Uses {
            paths: BTreeSet::from([path]),
            ..Uses::default()
        };
        let none = BTreeSet::new();
        let has = |path| uses.has(&none, [Path::new(path), Path::new(path)]);
        assert!(has("/s/sha256=x"));
        assert!(!has("/s/sha256=xy") && !has("/s/sha256=a"));
    }

    #[test]
    fn the_kernels_threads_and_the_dead_use_nothing() {
        assert!(is_alive(Path::new("/proc/self")));
        assert!(!is_alive(Path::new("/proc/none")));
    }
}
