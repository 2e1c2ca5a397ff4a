//! Names and their order.

use super::Vector;
use super::terms::{directory, file, link, vector};

pub(super) fn vectors() -> Vec<Vector> {
    [order(), spelling(), bytes()].concat()
}

fn order() -> Vec<Vector> {
    let near = [
        "a", "a.b", "a-b", "a b", "a+b", "a0", "aa", "A", "_", "~", "!",
    ];
    let near_directories = ["a", "a.b", "a-b", "a b", "a0", "aa", "A"];
    vec![
        vector(
            "40-order-punctuation",
            "files are in the order of their bytes",
            near.map(|name| file(name, name)).to_vec(),
        ),
        vector(
            "41-order-dirs",
            "directories are in the order of their names, not of paths as strings",
            near_directories
                .iter()
                .flat_map(|name| [directory(*name), file(format!("{name}/f"), *name)])
                .collect(),
        ),
        vector(
            "43-order-files-dirs",
            "new formats put files before directories, the oldest does not",
            vec![
                directory("aaa"),
                file("aaa/inner", "1"),
                file("zzz", "2"),
                directory("mmm"),
                file("nnn", "3"),
                file("000", "4"),
            ],
        ),
        vector(
            "44-case",
            "case counts, and upper case comes first",
            vec![
                file("readme", "1"),
                file("README", "2"),
                file("Readme", "3"),
                directory("DIR"),
                directory("dir"),
            ],
        ),
    ]
}

fn spelling() -> Vec<Vector> {
    vec![
        vector(
            "45-spaces",
            "the name is the rest of the line, with all its spaces",
            vec![
                file(" lead", "1"),
                file("trail ", "2"),
                file("two  spaces", "3"),
                file(" ", "4"),
                file("tab\there", "5"),
                file("cr\rhere", "6"),
                directory(" dir "),
                file(" dir / f ", "7"),
                link("sym link ", " target "),
            ],
        ),
        vector(
            "46-leading-dots",
            "names of dots and dashes that lead nowhere",
            vec![
                file(".hidden", "1"),
                file("...", "2"),
                file("..a", "3"),
                directory(".dir"),
                file(".dir/.x", "4"),
                file("-dash", "5"),
                file("--", "6"),
            ],
        ),
        vector(
            "47-unicode",
            "composed and decomposed letters are two names",
            vec![
                file("\u{e9}", "nfc"),
                file("e\u{301}", "nfd"),
                file("\u{65e5}\u{672c}\u{8a9e}", "cjk"),
                file("\u{1f600}", "emoji"),
                file("\u{5e9}\u{5dc}\u{5d5}\u{5dd}", "rtl"),
                file("a\u{200b}b", "zwsp"),
                directory("\u{fc}ber"),
                file("\u{fc}ber/\u{df}", "sz"),
            ],
        ),
    ]
}

fn bytes() -> Vec<Vector> {
    let control = (1..=31_u8)
        .chain([127])
        .filter(|byte| *byte != b'\n')
        .map(|byte| {
            let mut name = format!("c{byte:02x}-").into_bytes();
            name.push(byte);
            file(name, byte.to_string())
        });
    vec![
        vector(
            "49-not-utf8",
            "names that are not UTF-8 are taken byte for byte",
            vec![
                file(b"caf\xe9", "1"),
                file(b"\x80", "2"),
                file(b"\xc0\xaf", "3"),
                file(b"\xed\xa0\x80", "4"),
                directory(b"dir\xff"),
                file(b"dir\xff/\xfe", "5"),
            ],
        ),
        vector(
            "50-control-chars",
            "all of them but NUL and newline",
            control.collect(),
        ),
        vector(
            "51-backslash",
            "what another system could not store",
            vec![
                file("a\\b", "1"),
                file("c:d", "2"),
                file("q\"q", "3"),
                file("q'q", "4"),
                file("*?<>|", "5"),
                file("nul", "6"),
            ],
        ),
    ]
}
