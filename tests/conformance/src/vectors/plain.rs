//! Nothing special, permission bits, times and sizes.

use super::Vector;
use super::terms::{
    T, directory, directory_at, file, file_at, file_with_mode, link, noise, program, vector,
};
use crate::{Made, Mtime, Planned};

pub(super) fn vectors() -> Vec<Vector> {
    [simple(), permissions(), times(), sizes()].concat()
}

fn simple() -> Vec<Vector> {
    vec![
        vector(
            "01-empty",
            "no entries at all: the manifest is empty",
            vec![],
        ),
        vector(
            "02-one-file",
            "one regular file",
            vec![file("README", "hello world")],
        ),
        vector(
            "03-docs-example",
            "a file, a directory, a file in it",
            vec![
                file("README", "hello world"),
                directory("src"),
                file_at("src/main.c", "int main(void) {}", T + 19),
            ],
        ),
        vector(
            "04-empty-file",
            "a file of no bytes",
            vec![file("empty", "")],
        ),
        vector(
            "05-empty-dir",
            "empty directories have a line too",
            vec![
                directory("empty"),
                directory("nested"),
                directory("nested/empty"),
            ],
        ),
        vector(
            "06-nested",
            "files before, between and after directories",
            vec![
                file("a.txt", "1"),
                directory("b"),
                file("b/x", "2"),
                directory("b/c"),
                file("b/c/y", "3"),
                directory("b/c/d"),
                file("b/c/d/z", "4"),
                file("b/zz", "5"),
                file("c.txt", "6"),
            ],
        ),
    ]
}

fn permissions() -> Vec<Vector> {
    vec![
        vector(
            "10-exec-bits",
            "any of the three x bits makes it X, whatever the others are",
            vec![
                file_with_mode("m0000", "a", 0o600),
                file_with_mode("m0444", "a", 0o444),
                file_with_mode("m0666", "a", 0o666),
                file_with_mode("m0700", "a", 0o700),
                file_with_mode("m0610", "a", 0o610),
                file_with_mode("m0601", "a", 0o601),
                file_with_mode("m0711", "a", 0o711),
                file_with_mode("m0777", "a", 0o777),
            ],
        ),
        vector(
            "11-setuid",
            "special bits do not count",
            vec![
                file_with_mode("setuid", "s", 0o4755),
                file_with_mode("setgid", "s", 0o2755),
                file_with_mode("sticky", "s", 0o1644),
                file_with_mode("suid-noexec", "s", 0o4644),
            ],
        ),
    ]
}

fn times() -> Vec<Vector> {
    vec![
        vector(
            "20-mtime-zero",
            "the epoch",
            vec![
                file_at("f", "z", 0),
                directory_at("d", 0),
                file_at("d/g", "z", 0),
            ],
        ),
        vector(
            "21-mtime-one",
            "just after the epoch",
            vec![file_at("f", "z", 1)],
        ),
        vector(
            "22-mtime-future",
            "past 2^31, past 2^32, the year 2446",
            vec![
                file_at("y2038", "z", 2_147_483_648),
                file_at("y2100", "z", 4_102_444_800),
                file_at("over-u32", "z", 4_294_967_297),
                file_at("y2446", "z", 15_032_385_535),
                directory_at("dir", 4_294_967_297),
            ],
        ),
        vector(
            "23-mtime-negative",
            "before the epoch",
            vec![
                file_at("f", "z", -1),
                file_at("g", "z", -86_400),
                directory_at("dir", -1),
            ],
        ),
        vector(
            "25-mtime-negative-fraction",
            "0.5 and 1.5 seconds before the epoch are cut off towards zero",
            vec![
                at_half(file("minus-half", "z"), -1),
                at_half(file("minus-one-and-half", "z"), -2),
                at_half(directory("dir"), -2),
            ],
        ),
    ]
}

/// Moves an entry half a second behind these seconds.
fn at_half(mut planned: Planned, seconds: i64) -> Planned {
    let half = Mtime {
        seconds,
        nanoseconds: 500_000_000,
    };
    if let Made::File { mtime, .. } | Made::Directory { mtime, .. } = &mut planned.made {
        *mtime = half;
    }
    planned
}

fn sizes() -> Vec<Vector> {
    let files = (0..1200).map(|i| file_at(format!("f{i}"), i.to_string(), T + i));
    let directories = (0..60).flat_map(|i| {
        [
            directory_at(format!("d{i}"), T + i),
            file(format!("d{i}/f"), i.to_string()),
        ]
    });
    vec![
        vector(
            "70-big-file",
            "8 MiB and 1 byte",
            vec![file("big.bin", noise("big", (8 << 20) + 1))],
        ),
        vector(
            "73-many",
            "1260 files and 60 directories",
            files.chain(directories).collect(),
        ),
        vector(
            "74-typical",
            "a small program as it might be published",
            vec![
                directory("bin"),
                program(
                    "bin/hello",
                    "#!/bin/sh\nexec cat \"$(dirname \"$0\")/../share/hello.txt\"\n",
                ),
                directory("share"),
                file("share/hello.txt", "Hello, LAN!\n"),
                directory("lib"),
                link("lib/libhello.so", "libhello.so.1"),
                program("lib/libhello.so.1", noise("lib", 20_000)),
                directory("doc"),
                file("doc/COPYING", "public domain\n"),
                directory("var"),
            ],
        ),
    ]
}
