//! Symlinks, hard links, and files with a meaning of their own.

use super::Vector;
use super::terms::{directory, file, hard_link, link, vector};

pub(super) fn vectors() -> Vec<Vector> {
    vec![
        vector(
            "30-symlinks",
            "relative, dangling, absolute, to a directory, to itself, to the parent",
            vec![
                file("target", "t"),
                directory("dir"),
                link("rel", "target"),
                link("dangling", "no/such/thing"),
                link("absolute", "/etc/passwd"),
                link("todir", "dir"),
                link("self", "self"),
                link("up", "../.."),
                link("dir/up", "../target"),
            ],
        ),
        vector(
            "60-dotmanifest-root",
            "a regular file `.manifest` at the root does not count",
            vec![file(".manifest", "junk\n"), file("a", "1")],
        ),
        vector(
            "62-dotmanifest-dir",
            "a directory of that name does",
            vec![directory(".manifest"), file(".manifest/a", "1")],
        ),
        vector(
            "63-dotmanifest-symlink",
            "a symlink of that name does",
            vec![link(".manifest", "a"), file("a", "1")],
        ),
        vector(
            "64-windows-markers",
            "what has a meaning on Windows is an ordinary file here",
            vec![
                file(".xbit", "/a\n"),
                file(".symlink", "/b\n"),
                file("a", "1"),
            ],
        ),
        vector(
            "72-hard-links",
            "two names of one file are two files",
            vec![
                file("one", "same"),
                hard_link("two", "one"),
                directory("sub"),
                hard_link("sub/three", "one"),
            ],
        ),
    ]
}
