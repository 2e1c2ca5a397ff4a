//! The words in which vectors are described.

use sha2::{Digest as _, Sha256};

use crate::{Made, Mtime, Planned, TreePlan, Vector};

/// A plain, unremarkable time.
pub(super) const T: i64 = 1_132_502_750;

pub(super) fn vector(name: &'static str, why: &'static str, entries: Vec<Planned>) -> Vector {
    Vector {
        name,
        why,
        plan: TreePlan { entries },
    }
}

pub(super) fn file(path: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Planned {
    file_at(path, content, T)
}

pub(super) fn file_at(
    path: impl Into<Vec<u8>>,
    content: impl Into<Vec<u8>>,
    seconds: i64,
) -> Planned {
    let made = Made::File {
        content: content.into(),
        mtime: Mtime::at(seconds),
        mode: 0o644,
    };
    Planned {
        path: path.into(),
        made,
    }
}

pub(super) fn program(path: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Planned {
    file_with_mode(path, content, 0o755)
}

pub(super) fn file_with_mode(
    path: impl Into<Vec<u8>>,
    content: impl Into<Vec<u8>>,
    mode: u32,
) -> Planned {
    let made = Made::File {
        content: content.into(),
        mtime: Mtime::at(T),
        mode,
    };
    Planned {
        path: path.into(),
        made,
    }
}

pub(super) fn directory(path: impl Into<Vec<u8>>) -> Planned {
    directory_at(path, T + 19)
}

pub(super) fn directory_at(path: impl Into<Vec<u8>>, seconds: i64) -> Planned {
    let made = Made::Directory {
        mtime: Mtime::at(seconds),
        mode: 0o755,
    };
    Planned {
        path: path.into(),
        made,
    }
}

pub(super) fn link(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Planned {
    Planned {
        path: path.into(),
        made: Made::Symlink {
            target: target.into(),
        },
    }
}

pub(super) fn hard_link(path: impl Into<Vec<u8>>, existing: impl Into<Vec<u8>>) -> Planned {
    Planned {
        path: path.into(),
        made: Made::HardLink {
            existing: existing.into(),
        },
    }
}

/// Bytes that look random and depend on the seed only: SHA-256 of `SEED:0`, `SEED:1` and so on.
pub(super) fn noise(seed: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 32);
    for counter in 0.. {
        if bytes.len() >= size {
            break;
        }
        bytes.extend_from_slice(&Sha256::digest(format!("{seed}:{counter}")));
    }
    bytes.truncate(size);
    bytes
}
