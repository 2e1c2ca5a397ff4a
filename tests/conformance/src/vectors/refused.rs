//! What we refuse, and what 0install refuses.

use zeroshare_content::{BlobId, HashKind};

use super::Vector;
use super::terms::{T, directory, file, link, vector};
use crate::{Made, Planned};

pub(super) fn vectors() -> Vec<Vector> {
    let special = |path: &str, made| Planned {
        path: path.into(),
        made,
    };
    let second = BlobId::of(HashKind::Sha1, b"second").hex();
    vec![
        vector(
            "80-newline-dir",
            "a newline in the name of a directory",
            vec![directory("bad\nname"), file("bad\nname/f", "1")],
        ),
        vector(
            "81-newline-file",
            "0install takes this one",
            vec![file("bad\nname", "1")],
        ),
        vector(
            "82-newline-symlink",
            "and this one",
            vec![link("bad\nname", "t")],
        ),
        vector(
            "84-fifo",
            "a named pipe",
            vec![file("a", "1"), special("pipe", Made::Fifo)],
        ),
        vector(
            "85-socket",
            "a socket",
            vec![file("a", "1"), special("sock", Made::Socket)],
        ),
        vector(
            "86-device",
            "a device",
            vec![file("a", "1"), special("null", Made::Device)],
        ),
        vector(
            "90-collision-honest",
            "two files",
            vec![file("a", "first"), file("b", "second")],
        ),
        vector(
            "91-collision-forged-sha1",
            "one file with the name of one and the line of the other: the same SHA-1 manifest as the two files",
            vec![file(format!("a\nF {second} {T} 6 b"), "first")],
        ),
    ]
}
