//! The layout of pieces, which is protocol: pinned by `layouts.json`, and by its laws.
//!
//! The vectors were made by another program, written from the specification. In each case line i of
//! the manifest is called i, a content is the SHA-256 of its label, and `count` repeats a line with
//! 0, 1, 2… behind the label. The layout as text is one line for each item (`item CLASS LINE SIZE
//! HASH`) and piece (`run FIRST..END BYTES`, `slice ITEM OFFSET BYTES`); where that is long its
//! SHA-256 stands for it.

#![expect(
    clippy::expect_used,
    reason = "a test may panic, and so may what helps it"
)]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroshare_conformance::any_tree;
use zeroshare_content::{
    Algorithm, BlobId, Entry, Family, GRAIN, HashKind, ItemKind, Layout, LayoutError,
    MAX_CONTENT_BYTES, MAX_PIECE, Manifest, Name, Piece, RUN_ENTRIES,
};

#[test]
fn a_blob_is_cut_as_the_tree_that_consists_of_it_alone() {
    let name = Name::new(*b"any name").expect("it is a name");
    for (kind, size) in HashKind::ALL
        .into_iter()
        .flat_map(|kind| [1, GRAIN, GRAIN + 1, 5 * GRAIN, 400_000_000].map(|size| (kind, size)))
    {
        let blob = BlobId::of(kind, b"something");
        let tree = Manifest::of_one_file(&name, blob, size, 7).expect("it is a manifest");
        assert_eq!(Layout::of_manifest(&tree), Layout::of_blob(blob, size));
    }
    let nothing = BlobId::of(HashKind::Sha256, b"");
    let tree = Manifest::of_one_file(&name, nothing, 0, 0).expect("it is a manifest");
    assert_eq!(Layout::of_manifest(&tree), Layout::of_blob(nothing, 0));
}

#[test]
fn layouts_are_those_of_the_vectors() -> anyhow::Result<()> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("layouts.json"))?;
    assert!(cases.len() > 20);
    for case in &cases {
        let name = case["name"].as_str().context("no name")?;
        let layout = Layout::of_manifest(&manifest(&recipe(&case["lines"])?))?;
        assert_eq!(
            Some(layout.piece_size()),
            case["piece_size"].as_u64(),
            "{name}"
        );
        assert_eq!(
            Some(layout.content_size()),
            case["content_size"].as_u64(),
            "{name}"
        );
        assert_eq!(
            Some(layout.piece_count().into()),
            case["piece_count"].as_u64(),
            "{name}"
        );
        let lines = as_text(&layout);
        match case["layout_sha256"].as_str() {
            Some(digest) => {
                let found = HEXLOWER.encode(&Sha256::digest(lines.join("\n")));
                assert_eq!(found, digest, "{name}");
            }
            None => assert_eq!(Value::from(lines), case["layout"], "{name}"),
        }
        check_laws(&layout);
    }
    Ok(())
}

#[test]
fn a_blob_is_cut_like_a_tree_of_one_file() {
    for size in [
        1,
        GRAIN,
        GRAIN + 1,
        3 * GRAIN,
        1 << 28,
        (1 << 28) + 1,
        1 << 34,
        1 << 40,
    ] {
        let tree = Layout::of_manifest(&manifest(&[line('F', "a", size)])).expect("a layout");
        let blob = Layout::of_blob(content("a"), size).expect("a layout");
        assert_eq!(blob, tree, "{size}");
    }
    let nothing = BlobId::of(HashKind::Sha256, b"");
    assert_eq!(
        Layout::of_blob(nothing, 0).expect("a layout").piece_count(),
        0
    );
}

#[test]
fn what_contradicts_itself_has_no_layout() {
    let blob = content("a");
    let two = |lines: &[RecipeLine]| Layout::of_manifest(&manifest(lines));
    let refused = Err(LayoutError::TwoSizes {
        blob,
        first: 1,
        second: 2,
    });
    assert_eq!(two(&[line('F', "a", 1), line('F', "a", 2)]), refused);
    assert_eq!(two(&[line('X', "a", 2), line('S', "a", 1)]), refused);
    assert_eq!(two(&[line('S', "a", 1), line('S', "a", 2)]), refused);

    let nothing = BlobId::of(HashKind::Sha256, b"");
    assert_eq!(
        Layout::of_blob(blob, 0),
        Err(LayoutError::SizeOfNoBytes { blob })
    );
    assert_eq!(
        Layout::of_blob(nothing, 1),
        Err(LayoutError::SizeOfNoBytes { blob: nothing })
    );
    assert_eq!(
        Layout::of_blob(blob, MAX_CONTENT_BYTES + 1),
        Err(LayoutError::TooLarge)
    );
    assert_eq!(Layout::of_blob(blob, u64::MAX), Err(LayoutError::TooLarge));
}

#[test]
fn the_largest_content_can_be_numbered() {
    let layout = Layout::of_blob(content("a"), MAX_CONTENT_BYTES).expect("a layout");
    assert_eq!(layout.piece_size(), MAX_PIECE);
    assert_eq!(
        u64::from(layout.piece_count()),
        MAX_CONTENT_BYTES / MAX_PIECE
    );
    let last = layout.piece_count() - 1;
    let offset = MAX_CONTENT_BYTES - MAX_PIECE;
    assert_eq!(
        layout.piece(last),
        Some(Piece::Slice {
            item: 0,
            offset,
            len: MAX_PIECE
        })
    );
}

#[test]
fn there_is_no_piece_and_no_item_beyond_the_last() {
    let layout = Layout::of_manifest(&manifest(&[line('F', "a", 1), line('F', "b", 200_000)]));
    let layout = layout.expect("a layout");
    assert_eq!(layout.piece_count(), 3);
    for number in [3, 4, u32::MAX] {
        assert_eq!(layout.piece(number), None);
        assert_eq!(layout.piece_len(number), None);
        assert_eq!(layout.pieces_of_item(number), None);
    }
}

proptest! {
    #[test]
    fn every_distinct_content_is_covered_once(lines in any_lines()) {
        let manifest = manifest(&lines);
        let layout = Layout::of_manifest(&manifest).expect("a layout");
        check_laws(&layout);
        check_items(&manifest, &layout);
    }

    #[test]
    fn trees_of_real_bytes_can_be_cut(plan in any_tree()) {
        let listing = plan.listing().expect("a listing");
        let text = listing.manifest_text(Algorithm::Sha1New).expect("a manifest");
        let manifest = Manifest::parse(Family::Sha1New, text).expect("it can be read");
        let layout = Layout::of_manifest(&manifest).expect("a layout");
        check_laws(&layout);
        check_items(&manifest, &layout);
    }
}

/// What holds for every layout: the pieces, in order, are the bytes of the items, in order.
fn check_laws(layout: &Layout) {
    let mut place = (0_u32, 0_u64);
    let mut bytes = 0;
    for number in 0..layout.piece_count() {
        let piece = layout.piece(number).expect("it is below the count");
        let len = layout.piece_len(number).expect("it is below the count");
        assert!(len > 0 && len <= layout.piece_size());
        bytes += len;
        match piece {
            Piece::Run { items } => {
                assert_eq!(place, (items.start, 0));
                assert!(!items.is_empty() && items.len() <= RUN_ENTRIES);
                let classes: BTreeSet<_> = items.clone().map(|item| class(layout, item)).collect();
                assert_eq!(classes.len(), 1, "a run holds one class");
                for item in items.clone() {
                    assert_eq!(layout.pieces_of_item(item), Some(number..number + 1));
                }
                place = (items.end, 0);
            }
            Piece::Slice {
                item,
                offset,
                len: slice,
            } => {
                assert_eq!(place, (item, offset));
                assert_eq!(slice, len);
                let pieces = layout.pieces_of_item(item).expect("it has a slice");
                assert!(pieces.contains(&number));
                let size = layout.items()[item as usize].size;
                assert!(size > layout.piece_size(), "only large files are sliced");
                let end = offset + len;
                place = if end == size {
                    (item + 1, 0)
                } else {
                    (item, end)
                };
            }
        }
    }
    assert_eq!(
        place,
        (u32::try_from(layout.items().len()).expect("few"), 0)
    );
    assert_eq!(bytes, layout.content_size());
    let needed = layout.content_size().div_ceil(2048);
    let grains = layout.piece_size() / GRAIN;
    assert!(grains.is_power_of_two() && layout.piece_size() <= MAX_PIECE);
    assert!(layout.piece_size() >= needed || layout.piece_size() == MAX_PIECE);
    assert!(
        grains == 1 || layout.piece_size() / 2 < needed,
        "no larger than needed"
    );
}

/// The items are what the manifest holds: each hash once, in its class, at its first line there.
fn check_items(manifest: &Manifest, layout: &Layout) {
    let mut expected: BTreeMap<BlobId, (ItemKind, u64, usize)> = BTreeMap::new();
    for (number, line) in manifest.lines().iter().enumerate() {
        let (blob, found) = match line.entry {
            Entry::Directory | Entry::File { size: 0, .. } => continue,
            Entry::File { blob, size, .. } => (blob, (ItemKind::File, size, number)),
            Entry::Symlink { blob, target_len } => (blob, (ItemKind::Link, target_len, number)),
        };
        let best = expected.entry(blob).or_insert(found);
        if (found.0, found.2) < (best.0, best.2) {
            *best = found;
        }
    }
    let found: BTreeMap<_, _> = layout
        .items()
        .iter()
        .map(|item| (item.blob, (item.kind, item.size, item.line as usize)))
        .collect();
    assert_eq!(found.len(), layout.items().len(), "no hash is there twice");
    assert_eq!(found, expected);
    let order = |item: u32| (class(layout, item), layout.items()[item as usize].line);
    let count = u32::try_from(layout.items().len()).expect("few");
    assert!(
        (1..count).all(|item| order(item - 1) < order(item)),
        "classes, then lines"
    );
}

/// 0 for links, 1 for small files, 2 for large ones.
fn class(layout: &Layout, item: u32) -> u8 {
    let item = layout.items()[item as usize];
    match item.kind {
        ItemKind::Link => 0,
        ItemKind::File if item.size <= layout.piece_size() => 1,
        ItemKind::File => 2,
    }
}

#[derive(Debug, Clone)]
struct RecipeLine {
    kind: char,
    label: String,
    size: u64,
}

fn line(kind: char, label: &str, size: u64) -> RecipeLine {
    RecipeLine {
        kind,
        label: label.to_owned(),
        size,
    }
}

/// Contents with awkward sizes, each always of one size.
fn any_lines() -> impl Strategy<Value = Vec<RecipeLine>> {
    let sizes = [
        0,
        1,
        4095,
        60_000,
        GRAIN - 1,
        GRAIN,
        GRAIN + 1,
        2 * GRAIN,
        1 << 27,
        1 << 28,
    ];
    let line = (0..3_u8, 0..60_usize).prop_map(move |(kind, label)| {
        let size = sizes[label % sizes.len()];
        let kind = match kind {
            0 if (1..=4095).contains(&size) => 'S',
            1 => 'X',
            _ => 'F',
        };
        RecipeLine {
            kind,
            label: label.to_string(),
            size,
        }
    });
    prop::collection::vec(line, 0..80)
}

fn content(label: &str) -> BlobId {
    BlobId::of(HashKind::Sha256, label.as_bytes())
}

fn manifest(lines: &[RecipeLine]) -> Manifest {
    let lines = lines
        .iter()
        .enumerate()
        .map(|(number, RecipeLine { kind, label, size })| {
            let hash = content(if *size == 0 { "" } else { label }).hex();
            let time = if *kind == 'S' { "" } else { "0 " };
            format!("{kind} {hash} {time}{size} {number:06}\n")
        });
    let text: String = lines.collect();
    Manifest::parse(Family::Sha256, text).expect("a manifest")
}

fn recipe(lines: &Value) -> anyhow::Result<Vec<RecipeLine>> {
    let mut recipe = Vec::new();
    for given in lines.as_array().context("no lines")? {
        let kind = given["kind"]
            .as_str()
            .and_then(|kind| kind.chars().next())
            .context("no kind")?;
        let label = given["content"].as_str().context("no content")?;
        let size = given["size"].as_u64().context("no size")?;
        match given["count"].as_u64() {
            None => recipe.push(line(kind, label, size)),
            Some(count) => {
                recipe.extend((0..count).map(|i| line(kind, &format!("{label}{i}"), size)));
            }
        }
    }
    Ok(recipe)
}

fn as_text(layout: &Layout) -> Vec<String> {
    let items = layout.items().iter().map(|item| {
        let kind = match item.kind {
            ItemKind::Link => "link",
            ItemKind::File => "file",
        };
        format!(
            "item {kind} {} {} {}",
            item.line,
            item.size,
            item.blob.hex()
        )
    });
    let pieces = (0..layout.piece_count()).filter_map(|number| {
        Some(match layout.piece(number)? {
            Piece::Run { items } => {
                format!(
                    "run {}..{} {}",
                    items.start,
                    items.end,
                    layout.piece_len(number)?
                )
            }
            Piece::Slice { item, offset, len } => format!("slice {item} {offset} {len}"),
        })
    });
    items.chain(pieces).collect()
}
