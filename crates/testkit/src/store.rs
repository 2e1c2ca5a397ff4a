//! Trees on disk, written without any of the code that is tested.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use zeroshare_content::Algorithm;

use crate::{TestEntry, TestTree, tree::DIRECTORY_MTIME};

/// Puts a tree into a store as 0install does: read-only, with its `.manifest`. Gives its directory.
pub fn put_in_store(tree: &TestTree, store: &Path, algorithm: Algorithm) -> PathBuf {
    let id = tree.tree_id(algorithm);
    let name = id
        .directory_name(algorithm)
        .expect("an id has a name under its own algorithm");
    let target = store.join(name);
    tree.write_to(&target);
    fs::write(target.join(".manifest"), tree.manifest_text(algorithm))
        .expect("a manifest can be written");
    protect(&target);
    target
}

/// Changes one byte of a file behind everybody's back: its size and its times stay.
pub fn flip_byte(path: &Path, offset: u64) {
    let before = fs::metadata(path).expect("the file is there");
    set_mode(path, 0o644);
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("the file can be changed");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))
        .expect("a file can be sought");
    file.read_exact(&mut byte).expect("the byte is there");
    file.seek(SeekFrom::Start(offset))
        .expect("a file can be sought");
    file.write_all(&[byte[0] ^ 0x55])
        .expect("the byte can be written");
    file.set_modified(before.modified().expect("Linux knows times"))
        .expect("times can be set");
    set_mode(path, before.mode() & 0o7777);
}

impl TestTree {
    /// Writes it to a new directory, as its owner would: files 0644 or 0755.
    pub fn write_to(&self, directory: &Path) {
        fs::create_dir_all(directory).expect("a directory can be made");
        set_mode(directory, 0o755);
        for (path, entry) in self.entries() {
            let path = directory.join(OsStr::from_bytes(path));
            match entry {
                TestEntry::Directory => {
                    fs::create_dir(&path).expect("a directory can be made");
                    set_mode(&path, 0o755);
                }
                TestEntry::Symlink { target } => {
                    symlink(OsStr::from_bytes(target), &path).expect("a symlink can be made");
                }
                TestEntry::File {
                    bytes,
                    executable,
                    mtime,
                } => {
                    fs::write(&path, bytes).expect("a file can be written");
                    set_mode(&path, if *executable { 0o755 } else { 0o644 });
                    set_mtime(&path, *mtime);
                }
            }
        }
        let directories = self
            .entries()
            .filter(|(_, entry)| matches!(entry, TestEntry::Directory));
        for (path, _) in directories {
            set_mtime(&directory.join(OsStr::from_bytes(path)), DIRECTORY_MTIME);
        }
        set_mtime(directory, DIRECTORY_MTIME);
    }

    /// Reads what lies in a directory, without the `.manifest` at its top.
    pub fn read_from(directory: &Path) -> Self {
        let mut tree = Self::new();
        read_into(&mut tree, directory, directory);
        tree.without(".manifest")
    }
}

fn read_into(tree: &mut TestTree, top: &Path, directory: &Path) {
    for found in fs::read_dir(directory).expect("a directory can be read") {
        let path = found.expect("a directory can be read").path();
        let meta = fs::symlink_metadata(&path).expect("what was listed is there");
        let relative = path.strip_prefix(top).expect("what was listed lies below");
        let entry = if meta.is_dir() {
            TestEntry::Directory
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).expect("a symlink can be read");
            TestEntry::Symlink {
                target: target.as_os_str().as_bytes().to_vec(),
            }
        } else {
            TestEntry::File {
                bytes: fs::read(&path).expect("a file can be read").into(),
                executable: meta.mode() & 0o111 != 0,
                mtime: meta.mtime(),
            }
        };
        tree.insert(relative.as_os_str().as_bytes().to_vec(), entry);
        if meta.is_dir() {
            read_into(tree, top, &path);
        }
    }
}

/// Takes all rights to write away: files become 0444, executables and directories 0555.
fn protect(path: &Path) {
    let meta = fs::symlink_metadata(path).expect("what was written is there");
    if meta.is_symlink() {
        return;
    }
    if meta.is_dir() {
        for found in fs::read_dir(path).expect("a directory can be read") {
            protect(&found.expect("a directory can be read").path());
        }
    }
    set_mode(
        path,
        if meta.mode() & 0o111 == 0 {
            0o444
        } else {
            0o555
        },
    );
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode can be set");
}

fn set_mtime(path: &Path, seconds: i64) {
    let seconds = u64::try_from(seconds).expect("tests happen after 1970");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::open(path)
        .and_then(|file| file.set_modified(time))
        .expect("times can be set");
}
