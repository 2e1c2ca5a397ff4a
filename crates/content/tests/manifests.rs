//! What a manifest may say, and what is refused with its line.

use proptest::prelude::*;
use zeroshare_conformance::any_tree;
use zeroshare_content::{
    Algorithm, BlobId, Entry, Family, FileDigests, HashKind, LineFault, ListedFile, ListingError,
    MAX_CONTENT_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_MANIFEST_BYTES, Manifest, ManifestError,
    NameError, PathError, TreeId, TreeListing, TreePath, manifest_mtime,
};

/// SHA-1 of `1`.
const H: &str = "356a192b7913b04c54574d18c28d46e6395428ab";
/// SHA-1 of nothing.
const NONE: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

#[test]
fn each_kind_of_line_is_read() {
    let text = format!("F {H} -5 1 a b\nS {H} 1 l\nX {NONE} 0 0 x\nD /d\nF {H} 7 1 f\nD /d/e\n");
    let manifest = parse(&text).expect("a manifest");
    let blob = BlobId::of(HashKind::Sha1, b"1");
    let none = BlobId::of(HashKind::Sha1, b"");
    let lines: Vec<_> = manifest
        .lines()
        .iter()
        .map(|line| (line.path.to_string(), line.entry))
        .collect();
    assert_eq!(
        lines,
        [
            (
                "a b".into(),
                Entry::File {
                    executable: false,
                    blob,
                    mtime: -5,
                    size: 1
                }
            ),
            (
                "l".into(),
                Entry::Symlink {
                    blob,
                    target_len: 1
                }
            ),
            (
                "x".into(),
                Entry::File {
                    executable: true,
                    blob: none,
                    mtime: 0,
                    size: 0
                }
            ),
            ("d".into(), Entry::Directory),
            (
                "d/f".into(),
                Entry::File {
                    executable: false,
                    blob,
                    mtime: 7,
                    size: 1
                }
            ),
            ("d/e".into(), Entry::Directory),
        ]
    );
    assert_eq!(manifest.total_size(), 2);
    assert_eq!(manifest.text(), text.as_bytes());
    assert_eq!(
        manifest.id(),
        TreeId::of_manifest(Family::Sha1New, text.as_bytes())
    );
}

#[test]
fn the_empty_text_is_the_empty_tree() {
    let manifest = parse("").expect("the empty tree");
    assert!(manifest.lines().is_empty());
}

#[test]
fn malformed_lines_are_refused() {
    let hash = LineFault::Hash { digits: 40 };
    let cases = [
        (format!("F {} 0 1 a\n", &H[..39]), hash),
        (format!("F {H}00 0 1 a\n"), hash),
        (format!("F {} 0 1 a\n", H.to_uppercase()), hash),
        (format!("F {H} 0 1 a"), LineFault::Unterminated),
        (format!("F {H} 0 1 a\n\n"), LineFault::UnknownKind),
        (format!("F {H} 0 1 a\r\n\0\n"), LineFault::UnknownKind),
        ("\n".to_owned(), LineFault::UnknownKind),
        (format!("\u{feff}F {H} 0 1 a\n"), LineFault::UnknownKind),
        (format!("f {H} 0 1 a\n"), LineFault::UnknownKind),
        ("D d\n".to_owned(), LineFault::UnknownKind),
        ("D 7 /d\n".to_owned(), LineFault::UnknownKind),
        (format!("F {H} 0 1\n"), LineFault::TooFewFields),
        (format!("S {H} 1\n"), LineFault::TooFewFields),
        (format!("F  {H} 0 1 a\n"), hash),
        (format!("F {H}  0 1 a\n"), LineFault::Time),
        (format!("F {H} 0 1 \n"), LineFault::Name(NameError::Empty)),
    ];
    for (text, why) in cases {
        refused_in_last_line(&text, why);
    }
}

#[test]
fn numbers_have_one_spelling() {
    for time in [
        "",
        "+1",
        "01",
        "-0",
        "-",
        "--1",
        "1.5",
        "0x1",
        "1e3",
        "9223372036854775808",
        "٣",
    ] {
        refused_in_last_line(&format!("F {H} {time} 1 a\n"), LineFault::Time);
    }
    for size in ["", "+1", "01", "00", "-1", "1.0", "18446744073709551616"] {
        refused_in_last_line(&format!("F {H} 0 {size} a\n"), LineFault::Size);
        refused_in_last_line(&format!("S {H} {size} a\n"), LineFault::Size);
    }
    for time in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
        assert!(parse(&format!("F {H} {time} 1 a\n")).is_ok(), "{time}");
    }
}

#[test]
fn no_bytes_have_the_hash_of_no_bytes() {
    refused_in_last_line(&format!("F {H} 0 0 a\n"), LineFault::SizeOfNoBytes);
    refused_in_last_line(&format!("X {NONE} 0 1 a\n"), LineFault::SizeOfNoBytes);
    refused_in_last_line(&format!("S {NONE} 1 a\n"), LineFault::SizeOfNoBytes);
}

#[test]
fn targets_of_symlinks_are_those_that_linux_can_store() {
    assert!(parse(&format!("S {H} 4095 a\n")).is_ok());
    refused_in_last_line(
        &format!("S {H} 4096 a\n"),
        LineFault::LinkTarget { bytes: 4096 },
    );
    refused_in_last_line(
        &format!("S {NONE} 0 a\n"),
        LineFault::LinkTarget { bytes: 0 },
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for (name, why) in [
        (".", NameError::Dots),
        ("..", NameError::Dots),
        ("a/b", NameError::Slash),
        ("\0", NameError::Nul),
    ] {
        refused_in_last_line(&format!("F {H} 0 1 {name}\n"), LineFault::Name(why));
        refused_in_last_line(&format!("S {H} 1 {name}\n"), LineFault::Name(why));
    }
    for (path, why) in [
        ("", NameError::Empty),
        ("..", NameError::Dots),
        ("a/../..", NameError::Dots),
        ("/a", NameError::Empty),
        ("a/", NameError::Empty),
        ("a\0", NameError::Nul),
    ] {
        let why = LineFault::Path(PathError::Name(why));
        refused_in_last_line(&format!("D /a\nD /{path}\n"), why);
    }
    let long = "n".repeat(256);
    let why = NameError::TooLong { bytes: 256 };
    refused_in_last_line(&format!("F {H} 0 1 {long}\n"), LineFault::Name(why));
}

#[test]
fn a_directory_stands_before_what_lies_in_it() {
    for text in [
        "D /a/b\n",
        "D /a\nD /b/c\n",
        "D /a\nD /b\nD /a/c\n",
        "D /a\nD /a/b/c\n",
        "D /ab\nD /a/b\n",
    ] {
        refused_in_last_line(text, LineFault::NoParent);
    }
}

#[test]
fn no_name_occurs_twice_in_a_directory() {
    let cases = [
        format!("F {H} 0 1 a\nX {H} 0 1 a\n"),
        format!("F {H} 0 1 a\nS {H} 1 a\n"),
        format!("F {H} 0 1 a\nF {H} 0 1 b\nD /a\n"),
        format!("S {H} 1 a\nD /a\n"),
        "D /a\nD /a\n".to_owned(),
        "D /a\nD /a/b\nD /a\n".to_owned(),
        format!("D /d\nF {H} 0 1 a\nF {H} 0 1 b\nD /d/0\nF {H} 0 1 b\nD /d/b\n"),
    ];
    for text in cases {
        refused_in_last_line(&text, LineFault::Duplicate);
    }
    // The same name in two directories is two entries.
    assert!(parse(&format!("F {H} 0 1 a\nD /d\nF {H} 0 1 a\nD /d/d\n")).is_ok());
}

#[test]
fn there_is_one_order() {
    let cases = [
        format!("F {H} 0 1 b\nF {H} 0 1 a\n"),
        format!("F {H} 0 1 b\nS {H} 1 a\n"),
        "D /b\nD /a\n".to_owned(),
        "D /a-b\nD /a\n".to_owned(),
        "D /a\nD /a/b\nD /a/a\n".to_owned(),
        "D /a\nD /c\nD /c/x\nD /b\n".to_owned(),
    ];
    for text in cases {
        refused_in_last_line(&text, LineFault::Order);
    }
    // `-` sorts before `/`, but names are compared, not paths.
    assert!(parse("D /a\nD /a/b\nD /a-b\n").is_ok());
}

#[test]
fn the_name_of_the_manifest_is_free_at_the_root() {
    let why = LineFault::ManifestName;
    refused_in_last_line(&format!("F {H} 0 1 .manifest\n"), why);
    refused_in_last_line(&format!("X {H} 0 1 .manifest\n"), why);
    refused_in_last_line(&format!("S {H} 1 .manifest\n"), why);
    refused_in_last_line("D /.manifest\n", why);
    assert!(parse(&format!("D /d\nF {H} 0 1 .manifest\n")).is_ok());
}

#[test]
fn extents_have_bounds() {
    let text = directories("d", MAX_DEPTH);
    assert!(parse(&text).is_ok());
    let depth = MAX_DEPTH + 1;
    let too_deep = LineFault::Path(PathError::TooDeep { depth });
    refused_in_last_line(&format!("{text}F {H} 0 1 f\n"), too_deep);
    refused_in_last_line(
        &format!("{text}D /{}\n", vec!["d"; depth].join("/")),
        too_deep,
    );

    let text = directories(&"n".repeat(255), 16);
    let too_long = LineFault::Path(PathError::TooLong { bytes: 4097 });
    refused_in_last_line(&format!("{text}F {H} 0 1 f\n"), too_long);

    let half = MAX_CONTENT_BYTES / 2;
    let text = format!("F {H} 0 {half} a\nF {H} 0 {half} b\n");
    assert_eq!(
        parse(&text).expect("exactly as much").total_size(),
        MAX_CONTENT_BYTES
    );
    refused_in_last_line(&format!("{text}F {H} 0 1 c\n"), LineFault::TooMuchContent);
    let text = format!("F {H} 0 {} a\n", u64::MAX);
    refused_in_last_line(&text, LineFault::TooMuchContent);
}

#[test]
fn few_bytes_of_text_cannot_stand_for_gigabytes_of_paths() {
    let mut text = directories(&"n".repeat(255), 15);
    text.extend((0..100_000).map(|i| format!("S {H} 1 {i:06}\n")));
    match parse(&text) {
        Err(ManifestError::Line {
            line,
            why: LineFault::PathsTooLong,
        }) => {
            assert!(line < 80_000, "{line}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_number_of_lines_and_bytes_has_bounds() {
    let mut text = String::new();
    text.extend((0..=MAX_ENTRIES).map(|i| format!("D /{i:07}\n")));
    assert_eq!(
        parse(&text).expect_err("one too many"),
        ManifestError::TooManyEntries
    );
    text.truncate(text.len() - "D /0000000\n".len());
    assert_eq!(
        parse(&text).expect("as many as may be").lines().len(),
        MAX_ENTRIES
    );

    let bytes = MAX_MANIFEST_BYTES + 1;
    let too_long = Manifest::parse(Family::Sha256, vec![0; bytes]);
    assert_eq!(too_long, Err(ManifestError::TooLong { bytes }));
}

#[test]
fn nothing_is_read_before_the_digest_matches() {
    let expected = TreeId::of_manifest(Family::Sha256, b"");
    let found = TreeId::of_manifest(Family::Sha256, b"garbage");
    assert_eq!(
        Manifest::verified(&expected, *b"garbage"),
        Err(ManifestError::WrongDigest { expected, found })
    );
    assert!(matches!(
        Manifest::verified(&found, *b"garbage"),
        Err(ManifestError::Line { line: 1, .. })
    ));
}

#[test]
fn the_oldest_format_is_verified_but_not_read() {
    let text = b"D 5 /d\n";
    let id = TreeId::of_manifest(Family::Sha1, text);
    assert_eq!(
        Manifest::verified(&id, *text),
        Err(ManifestError::Ambiguous)
    );
    let why = ManifestError::Ambiguous.to_string();
    assert!(
        why.contains("whether a file after a directory lies inside or beside it"),
        "{why}"
    );
}

#[test]
fn listings_refuse_what_is_no_tree() {
    let path = |text: &str| TreePath::new(text.as_bytes()).expect("a path");
    let file = |digests| ListedFile {
        executable: false,
        mtime: 0,
        size: 1,
        digests,
    };
    let both = FileDigests::of(&HashKind::ALL, b"1");

    let mut listing = TreeListing::new();
    listing.file(path("a"), file(both)).expect("the first");
    let again = listing.directory(path("a"), 0);
    assert_eq!(again, Err(ListingError::Duplicate { path: path("a") }));

    listing
        .file(path("a/b"), file(both))
        .expect("its parent is looked at later");
    let below_a_file = listing.manifest_text(Algorithm::Sha256);
    assert_eq!(
        below_a_file,
        Err(ListingError::NoParent { path: path("a/b") })
    );

    let mut listing = TreeListing::new();
    listing
        .file(path("a"), file(FileDigests::of(&[HashKind::Sha256], b"1")))
        .expect("a file");
    assert!(listing.manifest_text(Algorithm::Sha256New).is_ok());
    let without = ListingError::NoDigest {
        path: path("a"),
        kind: HashKind::Sha1,
    };
    assert_eq!(
        listing.manifest_text(Algorithm::Sha1New),
        Err(without.clone())
    );
    assert_eq!(listing.tree_id(Algorithm::Sha1), Err(without));

    for target in [&b""[..], &[b't'; 4096]] {
        let refused = listing.symlink(path("l"), target);
        assert_eq!(
            refused,
            Err(ListingError::LinkTarget {
                path: path("l"),
                bytes: target.len()
            })
        );
    }
}

#[test]
fn times_are_cut_off_towards_zero() {
    let cases = [
        (0, 0, 0),
        (0, 999_999_999, 0),
        (-1, 500_000_000, 0),
        (-2, 500_000_000, -1),
        (-1, 0, -1),
    ];
    for (seconds, nanoseconds, expected) in cases {
        assert_eq!(manifest_mtime(seconds, nanoseconds), expected);
    }
    assert_eq!(manifest_mtime(i64::MIN, 1), i64::MIN + 1);
    assert_eq!(manifest_mtime(i64::MAX, 999_999_999), i64::MAX);
}

proptest! {
    #[test]
    fn a_written_manifest_is_read_back(plan in any_tree()) {
        let listing = plan.listing().expect("a plan that can be listed");
        for algorithm in [Algorithm::Sha1New, Algorithm::Sha256, Algorithm::Sha256New] {
            let text = listing.manifest_text(algorithm).expect("a manifest");
            let manifest = Manifest::parse(algorithm.family(), text.clone());
            let manifest = manifest.expect("what was written can be read");
            prop_assert_eq!(manifest.text(), &text);
            prop_assert_eq!(manifest.lines().len(), listing.len());
            prop_assert_eq!(written_again(&manifest), text);
        }
    }

    #[test]
    fn the_order_of_a_scan_does_not_matter(plan in any_tree(), seed: u64) {
        let mut shuffled = plan.clone();
        let key = |path: &[u8]| BlobId::of(HashKind::Sha1, &[path, &seed.to_le_bytes()].concat());
        shuffled.entries.sort_by_key(|planned| key(&planned.path));
        for algorithm in Algorithm::ALL {
            let text = |plan: &zeroshare_conformance::TreePlan| {
                plan.listing().expect("a listing").manifest_text(algorithm)
            };
            prop_assert_eq!(text(&plan), text(&shuffled));
        }
    }

    #[test]
    fn what_is_read_is_what_is_written(lines in prop::collection::vec(near_line(), 0..8)) {
        let text: String = lines.concat();
        if let Ok(manifest) = parse(&text) {
            prop_assert_eq!(written_again(&manifest), text.as_bytes());
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        for family in Family::ALL {
            let _parsed = Manifest::parse(family, bytes.clone());
        }
    }

    #[test]
    fn a_damaged_manifest_never_is_another_spelling_of_a_tree(
        plan in any_tree(), at: prop::sample::Index, byte: u8,
    ) {
        let listing = plan.listing().expect("a listing");
        let mut text = listing.manifest_text(Algorithm::Sha256).expect("a manifest");
        prop_assume!(!text.is_empty());
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(manifest) = Manifest::parse(Family::Sha256, text.clone()) {
            prop_assert_eq!(written_again(&manifest), text);
        }
    }
}

/// Lines that are nearly right, over few names, so that some of their sequences are manifests.
fn near_line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "a-b", "a b", "..", ".manifest", ""]);
    let path = prop::sample::select(vec!["/a", "/b", "/a/b", "/a/b/c", "/a-b", "/.", "/a/", "a"]);
    let number = prop::sample::select(vec!["0", "1", "-1", "00", "-0", ""]);
    let hash = prop::sample::select(vec![H, NONE]);
    let letter = prop::sample::select(vec!["F", "X"]);
    prop_oneof![
        path.prop_map(|path| format!("D {path}\n")),
        (
            letter,
            hash.clone(),
            number.clone(),
            number.clone(),
            name.clone()
        )
            .prop_map(|(letter, hash, time, size, name)| format!(
                "{letter} {hash} {time} {size} {name}\n"
            )),
        (hash, number, name).prop_map(|(hash, size, name)| format!("S {hash} {size} {name}\n")),
    ]
}

/// Directories of one name, each in the one before.
fn directories(name: &str, depth: usize) -> String {
    let mut text = String::new();
    text.extend((1..=depth).map(|depth| format!("D /{}\n", vec![name; depth].join("/"))));
    text
}

/// Writes the lines of a manifest in their order, by a slow and obvious way of its own.
fn written_again(manifest: &Manifest) -> Vec<u8> {
    let mut text = Vec::new();
    for line in manifest.lines() {
        let (start, end) = match line.entry {
            Entry::Directory => ("D /".to_owned(), line.path.as_bytes()),
            Entry::File {
                executable: false,
                blob,
                mtime,
                size,
            } => (
                format!("F {} {mtime} {size} ", blob.hex()),
                line.path.name(),
            ),
            Entry::File {
                executable: true,
                blob,
                mtime,
                size,
            } => (
                format!("X {} {mtime} {size} ", blob.hex()),
                line.path.name(),
            ),
            Entry::Symlink { blob, target_len } => {
                (format!("S {} {target_len} ", blob.hex()), line.path.name())
            }
        };
        text.extend_from_slice(start.as_bytes());
        text.extend_from_slice(end);
        text.push(b'\n');
    }
    text
}

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(Family::Sha1New, text)
}

#[track_caller]
fn refused_in_last_line(text: &str, why: LineFault) {
    let line = text.split_inclusive('\n').count();
    assert_eq!(
        parse(text),
        Err(ManifestError::Line { line, why }),
        "{text:?}"
    );
}
