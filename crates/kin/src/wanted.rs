//! What is asked for by HTTP.

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroshare_content::{ContentId, TreeId};

use crate::Format;

/// The longest path that is looked at: several ids, each of its characters spelled as three.
const MAX_PATH_BYTES: usize = 1024;

/// A feed gives an implementation at most one digest of each kind.
const MAX_IDS: usize = 8;

/// As what Zero Install for .NET announces itself by mDNS, and looks for others: it wants SRV and addresses beside the PTR record.
pub const DOTNET_SERVICE: &str = "_0install-store._tcp.local.";

/// Whose way of asking it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kin {
    /// `/implementation/ID`, always as tar.gz.
    ZeroShare,
    /// `/DIGESTS.EXTENSION`, where the digests are those that a feed gives for one implementation, with commas between
    /// them (`ImplementationServer.cs`, `ImplementationDiscovery.cs` in 0install-dotnet).
    DotNet,
}

/// A tree as an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose way of asking it is.
    pub kin: Kin,
    /// Names of the tree: any of them will do. Never empty.
    pub trees: Vec<TreeId>,
    /// As what.
    pub format: Format,
}

/// Why a path names no archive of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing like that is here.
    #[error("there is no such thing here")]
    Unknown,
    /// It names something in the right place, but not a tree.
    #[error("this names no tree")]
    Malformed,
}

impl Wanted {
    /// Reads the path of a request, without what is behind a question mark.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError::Unknown);
        }
        let path = decoded(path).ok_or(PathError::Malformed)?;
        let path = path.strip_prefix('/').ok_or(PathError::Unknown)?;
        if let Some(id) = path.strip_prefix("implementation/") {
            return Ok(Self {
                kin: Kin::ZeroShare,
                trees: vec![tree(id).ok_or(PathError::Malformed)?],
                format: Format::TarGz,
            });
        }
        let (digests, extension) = path.split_once('.').ok_or(PathError::Unknown)?;
        let format = Format::of_extension(extension).ok_or(PathError::Unknown)?;
        // Digests of kinds that we do not know stand beside those that we do.
        let trees: Vec<TreeId> = digests.split(',').filter_map(tree).take(MAX_IDS).collect();
        if trees.is_empty() {
            return Err(PathError::Malformed);
        }
        Ok(Self {
            kin: Kin::DotNet,
            trees,
            format,
        })
    }

    /// The paths by which a tree is asked for: old programs know it by one of its names only.
    pub fn paths_of(kin: Kin, tree: &TreeId, format: Format) -> Vec<String> {
        let names = tree.directory_names();
        match kin {
            Kin::ZeroShare => {
                let path = |name| format!("/implementation/{name}");
                names.into_iter().map(path).collect()
            }
            Kin::DotNet => vec![format!("/{}.{}", names.join(","), format.extension())],
        }
    }
}

/// Only trees that travel: the oldest format cannot be told from its manifest.
fn tree(id: &str) -> Option<TreeId> {
    let tree: TreeId = id.parse().ok()?;
    ContentId::from(tree).travels().then_some(tree)
}

/// Takes back what a client spelled as `%` and two digits.
fn decoded(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        bytes.extend(HEXLOWER_PERMISSIVE.decode(digits).ok()?);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: &str = "sha256=156ed6a81a6915f6385bffb3024a915b5ee5528ed7ade87c1d3241896ca157f9";
    const HELLO_NEW: &str = "sha256new_CVXNNKA2NEK7MOC376ZQESURLNPOKUUO26W6Q7A5GJAYS3FBK74Q";
    const OTHER: &str = "sha1new=0123456789abcdef0123456789abcdef01234567";
    const OLDEST: &str = "sha1=0123456789abcdef0123456789abcdef01234567";

    fn check(path: &str, kin: Kin, format: Format, trees: &[&str]) {
        let trees = trees.iter().map(|id| id.parse().unwrap()).collect();
        let expected = Wanted { kin, trees, format };
        assert_eq!(Wanted::parse(path), Ok(expected), "{path}");
    }

    #[test]
    fn both_ways_to_ask_are_understood() {
        let path = format!("/implementation/{OTHER}");
        check(&path, Kin::ZeroShare, Format::TarGz, &[OTHER]);
        let path = path.replace('=', "%3D");
        check(&path, Kin::ZeroShare, Format::TarGz, &[OTHER]);
        let digests = format!("{OLDEST},{OTHER},sha999=12,{HELLO},{HELLO_NEW}");
        let all = [OTHER, HELLO, HELLO_NEW];
        check(&format!("/{digests}.zip"), Kin::DotNet, Format::Zip, &all);
        let spelled = digests.replace(',', "%2c").replace('=', "%3d");
        check(
            &format!("/{spelled}.tar.gz"),
            Kin::DotNet,
            Format::TarGz,
            &all,
        );
        check(&format!("/{HELLO}.tar"), Kin::DotNet, Format::Tar, &[HELLO]);
    }

    #[test]
    fn what_is_asked_for_is_understood_again() {
        let hello: TreeId = HELLO.parse().unwrap();
        let both = [HELLO, HELLO];
        let paths = Wanted::paths_of(Kin::DotNet, &hello, Format::Zip);
        assert_eq!(paths.len(), 1);
        check(&paths[0], Kin::DotNet, Format::Zip, &both);
        let paths = Wanted::paths_of(Kin::ZeroShare, &hello, Format::TarGz);
        assert_eq!(paths.len(), 2);
        for path in paths {
            check(&path, Kin::ZeroShare, Format::TarGz, &[HELLO]);
        }
    }

    #[test]
    fn other_paths_are_refused() {
        let malformed = [
            format!("/implementation/{OLDEST}"),
            "/implementation/".to_owned(),
            "/implementation/../../etc/passwd".to_owned(),
            "/implementation/%".to_owned(),
            "/implementation/%ff".to_owned(),
            format!("/{OLDEST}.zip"),
            "/.zip".to_owned(),
        ];
        for path in malformed {
            assert_eq!(Wanted::parse(&path), Err(PathError::Malformed), "{path}");
        }
        let unknown = [
            String::new(),
            "*".to_owned(),
            "/".to_owned(),
            "/favicon.ico".to_owned(),
            format!("/../{HELLO}.zip"),
            format!("/{HELLO}"),
            format!("/{HELLO}.tar.bz2"),
            format!("/{HELLO}.tar.gz/x"),
            format!("/{HELLO}.{}", "x".repeat(MAX_PATH_BYTES)),
        ];
        for path in unknown {
            assert_eq!(Wanted::parse(&path), Err(PathError::Unknown), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read(path in "/(implementation/)?[%0-9a-f=,._é]{0,40}(.zip)?") {
            if let Ok(wanted) = Wanted::parse(&path) {
                prop_assert!(!wanted.trees.is_empty());
            }
        }
    }
}
