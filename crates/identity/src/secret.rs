//! The secret of a group, and the keys made from it.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::hkdf;
use data_encoding::HEXLOWER;
use zeroshare_wire::datagram::GroupKey;

/// Fewer bytes could be guessed.
const MIN_BYTES: usize = 16;

/// More is not a secret but the wrong file.
const MAX_BYTES: usize = 4096;

/// Whoever has any of these permissions need not be of the group.
const OTHERS: u32 = 0o007;

/// Keeps our keys apart from what others may derive from the same bytes.
const SALT: &[u8] = b"zeroshare group secret 1";

/// What all machines of a group know, and nobody else.
///
/// Each use has a key of its own: HKDF-SHA-256 with the salt `zeroshare group secret 1` and the labels `datagram mac`,
/// `tags`, `certificate authority` and `name`, 32 bytes each. So nobody who learns one of them learns another.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupSecret {
    mac: [u8; 32],
    tags: [u8; 32],
    authority: [u8; 32],
    name: [u8; 32],
}

/// Why a file holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error(
        "there is no group secret {}: copy it from another machine of the group, or make the first one: \
         `(umask 077; head -c 32 /dev/urandom | base64 > {})`",
        path.display(),
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It is not for this user.
    #[error(
        "this user may not read the group secret {}: run this as the node's user or with `sudo`, or let a group of users \
         read it: `chgrp GROUP {}`, `chmod 640 {}`",
        path.display(),
        path.display(),
        path.display()
    )]
    Forbidden {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot read the group secret {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("the group secret {} is not an ordinary file", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Others could know it.
    #[error(
        "every user of this machine can open the group secret {} (mode {mode:04o}): `chmod o= {}` makes it one again",
        path.display(),
        path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It could be guessed.
    #[error(
        "the group secret {} has {bytes} bytes, and {MIN_BYTES} are the least: `head -c 32 /dev/urandom | base64` makes \
         one",
        path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// How many it has, without a line's end.
        bytes: usize,
    },
    /// It is something else.
    #[error("the group secret {} has more than {MAX_BYTES} bytes: is it the right file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

impl SecretError {
    fn of_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { path }
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Forbidden { path }
        } else {
            Self::Unreadable { path, source }
        }
    }
}

impl GroupSecret {
    /// Reads the secret of a file: 16 to 4,096 bytes of any kind; a line's end behind them does not count.
    ///
    /// Blocks for as long as the disk does.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::of_io(path, source);
        // Opening a pipe waits for whoever writes it.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(SecretError::NotAFile {
                path: path.to_owned(),
            });
        }
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(SecretError::OpenToOthers {
                path: path.to_owned(),
                mode,
            });
        }
        let mut bytes = Vec::new();
        // Two more for the line's end, one to see that there are too many.
        file.take(MAX_BYTES as u64 + 3)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        match trimmed(&bytes) {
            secret if secret.len() > MAX_BYTES => Err(SecretError::TooLong {
                path: path.to_owned(),
            }),
            secret if secret.len() < MIN_BYTES => Err(SecretError::TooShort {
                path: path.to_owned(),
                bytes: secret.len(),
            }),
            secret => Ok(Self::of(secret)),
        }
    }

    /// Reads the secret of a file, if one is named.
    pub fn read_if_named(path: Option<&Path>) -> Result<Option<Self>, SecretError> {
        path.map(Self::read).transpose()
    }

    /// The group of those who know these bytes.
    pub fn of(secret: &[u8]) -> Self {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        Self {
            mac: expand(&extracted, b"datagram mac"),
            tags: expand(&extracted, b"tags"),
            authority: expand(&extracted, b"certificate authority"),
            name: expand(&extracted, b"name"),
        }
    }

    /// What datagrams are signed and ids are hidden with.
    pub fn datagrams(&self) -> GroupKey {
        GroupKey::from_keys(self.mac, self.tags)
    }

    /// The seed of the Ed25519 key that signs the members' certificates.
    pub(crate) fn authority_seed(&self) -> &[u8; 32] {
        &self.authority
    }

    /// The name that members call each other by in TLS, spelled as a host's: to others it says nothing.
    pub fn name(&self) -> String {
        format!("{}.zeroshare", HEXLOWER.encode(&self.name[..16]))
    }
}

impl fmt::Debug for GroupSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupSecret")
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[expect(
    clippy::expect_used,
    reason = "32 bytes are asked for and taken, far below HKDF's limit of 8,160"
)]
fn expand(extracted: &hkdf::Prk, label: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    extracted
        .expand(&[label], hkdf::HKDF_SHA256)
        .and_then(|expanded| expanded.fill(&mut key))
        .expect("32 bytes are within HKDF's limit");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    const VECTORS: [&str; 4] = [
        "37d155d0eb6e4a790534f5a74578fade6fafe26f14f6dd72fbc4cb4e76a62613",
        "5afe3db050cfd604697295b0b94c06b818ee38688015c500a61801547ba8c217",
        "5c690f399c6aae582f3246ea478e0f2b3d945495afcb91c3b7b8cc3fe4f6a71f",
        "0a9cbd42ce4936b3421622226c9c147e.zeroshare",
    ];

    /// Made with Python's `hmac` from RFC 5869 alone.
    #[test]
    fn keys_are_those_of_the_rfc() {
        let secret = GroupSecret::of(b"0123456789abcdef");
        let hex = |key: &[u8]| HEXLOWER.encode(key);
        assert_eq!(hex(&secret.mac), VECTORS[0]);
        assert_eq!(hex(&secret.tags), VECTORS[1]);
        assert_eq!(hex(&secret.authority), VECTORS[2]);
        assert_eq!(secret.name(), VECTORS[3]);
    }

    #[test]
    fn a_lines_end_does_not_count() {
        let plain = GroupSecret::of(b"sixteen bytes or more");
        for text in [
            "sixteen bytes or more",
            "sixteen bytes or more\n",
            "sixteen bytes or more\r\n",
        ] {
            for mode in [0o600, 0o400, 0o640] {
                let (_dir, path) = written(text.as_bytes(), mode);
                assert_eq!(GroupSecret::read(&path).unwrap(), plain);
            }
        }
        let (_dir, path) = written(b"sixteen bytes or more \n", 0o600);
        assert_ne!(GroupSecret::read(&path).unwrap(), plain);
    }

    #[test]
    fn what_can_be_guessed_or_is_another_file_is_refused() {
        let refused = |bytes: &[u8]| {
            let (_dir, path) = written(bytes, 0o600);
            GroupSecret::read(&path).unwrap_err()
        };
        assert!(matches!(
            refused(b"fifteen bytes..\r\n"),
            SecretError::TooShort { bytes: 15, .. }
        ));
        assert!(matches!(refused(b""), SecretError::TooShort { .. }));
        assert!(matches!(
            refused(&[b'a'; MAX_BYTES + 1]),
            SecretError::TooLong { .. }
        ));
        let (_dir, path) = written(&[&[b'a'; MAX_BYTES][..], b"\r\n"].concat(), 0o600);
        GroupSecret::read(&path).unwrap();
    }

    #[test]
    fn what_others_can_open_is_refused_and_the_way_out_is_told() {
        for mode in [0o644, 0o604, 0o602, 0o601] {
            let (_dir, path) = written(&[b'a'; 32], mode);
            let error = GroupSecret::read(&path).unwrap_err().to_string();
            assert!(
                error.contains(&format!("chmod o= {}", path.display())),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = GroupSecret::read(dir.path()).unwrap_err();
        assert!(matches!(error, SecretError::NotAFile { .. }), "{error}");
        let error = GroupSecret::read(&dir.path().join("none")).unwrap_err();
        assert!(matches!(error, SecretError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("head -c 32"), "{error}");
    }

    #[test]
    fn who_may_not_read_it_is_told_what_to_do() {
        let of = |kind| SecretError::of_io(Path::new("/x/secret"), io::Error::from(kind));
        let text = of(io::ErrorKind::PermissionDenied).to_string();
        assert!(
            text.contains("sudo") && text.contains("chmod 640 /x/secret"),
            "{text}"
        );
        let text = of(io::ErrorKind::IsADirectory).to_string();
        assert_eq!(text, "cannot read the group secret /x/secret");
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(
            format!("{:?}", GroupSecret::of(&[7; 32])),
            "GroupSecret",
            "logs show configurations"
        );
    }
}
