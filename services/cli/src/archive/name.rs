//! Checks the names of entries and the targets of links.

use super::ArchiveError;

/// The kernel's longest path.
const MAX_PATH_BYTES: usize = 4096;

/// The kernel's longest name.
const MAX_NAME_BYTES: usize = 255;

/// Turns an archive's name into a path below the root: no `.`, no double slash, no slash at either end.
///
/// Empty for the root itself (`./`).
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let refuse = |why| ArchiveError::Name {
        name: String::from_utf8_lossy(name).into_owned(),
        why,
    };
    if name.is_empty() {
        return Err(refuse("it is empty"));
    }
    if name.len() > MAX_PATH_BYTES {
        return Err(refuse("it is too long"));
    }
    if name.starts_with(b"/") {
        return Err(refuse("it is absolute"));
    }
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(refuse("it leads out of the archive")),
            _ => {}
        }
        if part.len() > MAX_NAME_BYTES {
            return Err(refuse("a part of it is longer than 255 bytes"));
        }
        if part.contains(&b'\n') {
            return Err(refuse("a name with a line break cannot be in a manifest"));
        }
        if part.contains(&0) {
            return Err(refuse("a name cannot have a NUL byte"));
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok(path)
}

/// Whether the symbolic link at `path` with this target stays below the root, as far as names tell.
pub(super) fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    // The link's own directory is where its target starts.
    let mut depth = path.split(|byte| *byte == b'/').count().saturating_sub(1);
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        assert_eq!(clean(b"./a//b/").unwrap(), b"a/b");
        assert_eq!(clean(b"./").unwrap(), b"");
        assert_eq!(clean(b"caf\xe9").unwrap(), b"caf\xe9");
        let long = [b'x'; 256];
        let deep = b"a/".repeat(3000);
        for bad in [
            &b""[..],
            b"/etc/passwd",
            b"a/../b",
            b"..",
            b"a\nb",
            b"a\0b",
            &long,
            &deep,
        ] {
            assert!(clean(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_link_may_climb_to_the_root_and_no_higher() {
        assert!(stays_inside(b"lib/x.so", b"x.so.1"));
        assert!(stays_inside(b"lib/x.so", b"../bin/x"));
        assert!(stays_inside(b"a/b/c", b"../../d"));
        assert!(!stays_inside(b"lib/x.so", b"../../x"));
        assert!(!stays_inside(b"x", b".."));
        assert!(!stays_inside(b"x", b"/etc/passwd"));
        assert!(!stays_inside(b"x", b"a/../../b"));
    }
}
