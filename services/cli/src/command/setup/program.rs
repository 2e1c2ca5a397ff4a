//! Which program units run, and whether they can.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::words::{are_plain, check};
use crate::exit::Exit;
use crate::failure::Failure;

/// The program that runs now, or the one that was named, as its path is below `root`.
pub(super) fn program(named: Option<&Path>, root: &Path) -> Result<String, Failure> {
    let path = match named {
        Some(named) => named.to_owned(),
        None => std::env::current_exe()
            .map_err(|error| Failure::because("cannot tell where this program is", &error))?,
    };
    let Some(text) = path.to_str() else {
        return Err(Failure::usage("the path of this program is not UTF-8"));
    };
    check(text)?;
    if !are_plain(text) {
        let why = "the name of it, or of a directory above it, has blanks or special characters";
        return Err(unfit(&path, why));
    }
    let inside = root.join(text.trim_start_matches('/'));
    let is_program =
        fs::metadata(&inside).is_ok_and(|found| found.is_file() && found.mode() & 0o100 != 0);
    if is_program {
        Ok(text.to_owned())
    } else {
        Err(unfit(&inside, "it is no program"))
    }
}

/// Refuses a program that not all users can run, or that others than root could replace: root runs it.
pub(super) fn check_for_system(program: &str) -> Result<(), Failure> {
    let real = fs::canonicalize(program)
        .map_err(|error| Failure::because(&format!("cannot use {program}"), &error))?;
    let mut below_is_roots = true;
    for part in real.ancestors() {
        let found = fs::metadata(part)
            .map_err(|error| Failure::because(&format!("cannot use {}", part.display()), &error))?;
        if let Some(why) = fault(found.mode(), found.uid(), below_is_roots) {
            return Err(unfit(part, why));
        }
        below_is_roots = found.uid() == 0;
    }
    Ok(())
}

/// What is wrong with a file or directory on the way to a program that root runs for all.
fn fault(mode: u32, uid: u32, below_is_roots: bool) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    // In a directory like /tmp nobody can replace what is root's.
    let is_kept = mode & STICKY != 0 && below_is_roots;
    if uid != 0 {
        Some("it belongs to a user, who could put another program in its place")
    } else if mode & 0o002 != 0 && !is_kept {
        Some("everybody could put another program in its place")
    } else if mode & 0o001 == 0 {
        Some("not all users may run what is there")
    } else {
        None
    }
}

fn unfit(path: &Path, why: &str) -> Failure {
    let message = format!("{} is not fit to be set up: {why}", path.display());
    let program: PathBuf = std::env::current_exe().unwrap_or_else(|_| "zeroshare".into());
    Failure::new(Exit::Failed, "PROGRAM_UNFIT", message).advise(format!(
        "Put it where programs for all users are, and set up from there:\n\
         install -m 755 {} /usr/local/bin/zeroshare && /usr/local/bin/zeroshare setup …",
        program.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_all_is_roots_alone_to_change() {
        assert_eq!(fault(0o755, 0, true), None);
        assert!(fault(0o755, 1000, true).unwrap().contains("a user"));
        assert!(fault(0o777, 0, true).unwrap().contains("everybody"));
        assert!(fault(0o700, 0, true).unwrap().contains("not all"));
        assert_eq!(fault(0o1777, 0, true), None);
        assert!(fault(0o1777, 0, false).is_some());
    }

    #[test]
    fn a_program_is_there_and_has_a_plain_name() {
        let shell = program(Some(Path::new("/bin/sh")), Path::new("/"));
        assert_eq!(shell.unwrap(), "/bin/sh");
        for odd in ["/etc/passwd", "/nothing/here", "bin/sh", "/my bin/x"] {
            assert!(
                program(Some(Path::new(odd)), Path::new("/")).is_err(),
                "{odd}"
            );
        }
        assert!(program(None, Path::new("/")).is_ok());
    }
}
