//! Telling our own file systems from stores: what they show is asked of us, so nothing of ours may ask them.

use std::fs;
use std::path::Path;

/// What our file systems are called in the list of mounts: source, and kind behind `fuse.`.
pub const MOUNT_NAME: &str = "zeroshare";

/// Says whether a directory is in a file system that `zeroshare mount` shows.
///
/// It asks for the directory's device only, which such a file system answers at once.
pub fn is_own_mount(directory: &Path) -> bool {
    let (Ok(stat), Ok(mounts)) = (
        rustix::fs::stat(directory),
        fs::read_to_string("/proc/self/mountinfo"),
    ) else {
        return false;
    };
    let device = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    mounts.lines().any(|line| own_device(line) == Some(device))
}

/// The device of a line of `mountinfo`, if it is one of our file systems; see `proc_pid_mountinfo(5)`.
fn own_device(line: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(' ');
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    let mut fields = fields.skip_while(|field| *field != "-").skip(1);
    // Without the help of fusermount the kernel knows no more than that it is `fuse`.
    let is_own = match (fields.next()?, fields.next()?) {
        ("fuse", source) => source == MOUNT_NAME,
        (kind, _) => kind.strip_prefix("fuse.") == Some(MOUNT_NAME),
    };
    is_own.then_some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_file_systems_are_told_from_others() {
        let line =
            "45 28 0:41 / /a\\040b ro,nosuid shared:2 - fuse.zeroshare zeroshare ro,user_id=0";
        assert_eq!(own_device(line), Some((0, 41)));
        let bare = "45 28 0:41 / /a ro - fuse.zeroshare zeroshare ro";
        assert_eq!(own_device(bare), Some((0, 41)));
        let by_root = "45 28 0:7 / /a ro - fuse zeroshare ro";
        assert_eq!(own_device(by_root), Some((0, 7)));
        assert_eq!(own_device("45 28 0:7 / /a ro - fuse other ro"), None);
        let other = "45 28 0:41 / /a ro - fuse.sshfs zeroshare ro";
        assert_eq!(own_device(other), None);
        assert_eq!(own_device("fuse.zeroshare"), None);
        assert_eq!(own_device(""), None);
    }

    #[test]
    fn an_ordinary_directory_is_none_of_ours() {
        assert!(!is_own_mount(Path::new("/")));
        assert!(!is_own_mount(Path::new("/nothing/here")));
    }
}
