//! Whatever the order, and however often it is interrupted: what is committed is the tree.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use zeroshare_staging::{Durability, SourceId, StageOptions, Staged};

use crate::support::{SOURCE, Store, Tree, TreeBuilder, noise, sliced_items};

#[derive(Debug, Clone)]
enum Sapling {
    File {
        seed: u64,
        len: usize,
        executable: bool,
        mtime: i64,
    },
    Link(Vec<u8>),
    Directory(BTreeMap<Vec<u8>, Self>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let any_byte = any::<u8>().prop_filter("no name has it", |byte| !b"\n/\0".contains(byte));
    prop_oneof![
        3 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => vec(any_byte, 1..20),
    ]
    .prop_filter("special", |name| {
        name != b"." && name != b".." && name != b".manifest"
    })
}

fn leaf() -> impl Strategy<Value = Sapling> {
    let len = prop_oneof![
        2 => Just(0_usize),
        6 => 1..100_usize,
        2 => 131_000..131_200_usize,
        1 => 262_000..400_000_usize,
    ];
    let mtime = prop_oneof![Just(0_i64), -2_000_000_000..5_000_000_000_i64];
    prop_oneof![
        6 => (0..4_u64, len, any::<bool>(), mtime)
            .prop_map(|(seed, len, executable, mtime)| Sapling::File { seed, len, executable, mtime }),
        1 => name().prop_map(Sapling::Link),
    ]
}

fn saplings() -> impl Strategy<Value = BTreeMap<Vec<u8>, Sapling>> {
    let tree = leaf().prop_recursive(3, 12, 5, |inner| {
        btree_map(name(), inner, 0..5).prop_map(Sapling::Directory)
    });
    btree_map(name(), tree, 0..6)
}

fn grow(mut builder: TreeBuilder, at: &[u8], saplings: &BTreeMap<Vec<u8>, Sapling>) -> TreeBuilder {
    for (name, sapling) in saplings {
        let path = if at.is_empty() {
            name.clone()
        } else {
            [at, b"/", name].concat()
        };
        builder = match sapling {
            Sapling::File {
                seed,
                len,
                executable,
                mtime,
            } => builder.entry(&path, noise(*seed, *len), *executable, *mtime),
            Sapling::Link(target) => builder.link(&path, target),
            Sapling::Directory(inner) => grow(builder.dir(&path), &path, inner),
        };
    }
    builder
}

/// What happens to a tree while it is staged; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Act {
    Item(u32),
    WrongItem(u32),
    Piece(u32),
    Slice {
        item: u32,
        start: u64,
        len: u64,
        source: u32,
    },
    WrongSlice {
        item: u32,
        start: u64,
        len: u64,
    },
    Drop {
        item: u32,
        start: u64,
        len: u64,
    },
    Finish(u32),
    Checkpoint,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let part = || (any::<u32>(), 0..400_000_u64, 1..300_000_u64);
    prop_oneof![
        4 => any::<u32>().prop_map(Act::Item),
        1 => any::<u32>().prop_map(Act::WrongItem),
        4 => any::<u32>().prop_map(Act::Piece),
        6 => (part(), 0..3_u32)
            .prop_map(|((item, start, len), source)| Act::Slice { item, start, len, source }),
        1 => part().prop_map(|(item, start, len)| Act::WrongSlice { item, start, len }),
        1 => part().prop_map(|(item, start, len)| Act::Drop { item, start, len }),
        3 => any::<u32>().prop_map(Act::Finish),
        1 => Just(Act::Checkpoint),
        2 => Just(Act::Restart),
    ]
}

fn part(size: u64, start: u64, len: u64) -> std::ops::Range<u64> {
    let start = start % size.max(1);
    start..(start + len).min(size)
}

fn perform(staged: &Staged, tree: &Tree, act: &Act) {
    let items = tree.item_count(staged);
    if items == 0 {
        return;
    }
    let bytes = |item: u32| tree.bytes_of(staged, item).to_vec();
    let size = |item: u32| staged.layout().items()[item as usize].size;
    let sliced = sliced_items(staged);
    let pick_sliced = |item: u32| sliced.get(item as usize % sliced.len().max(1)).copied();
    match *act {
        Act::Item(item) => staged.put_item(item % items, &bytes(item % items)).unwrap(),
        Act::WrongItem(item) => {
            let item = item % items;
            let mut wrong = bytes(item);
            wrong[0] ^= 0xff;
            let proven = staged.is_proven(item);
            assert_eq!(staged.put_item(item, &wrong).is_ok(), proven);
        }
        Act::Piece(piece) => {
            tree.put_piece(staged, piece % staged.layout().piece_count());
        }
        Act::Slice {
            item,
            start,
            len,
            source,
        } => {
            if let Some(item) = pick_sliced(item) {
                let range = part(size(item), start, len);
                let (from, to) = (
                    usize::try_from(range.start).unwrap(),
                    usize::try_from(range.end).unwrap(),
                );
                let part = &bytes(item)[from..to];
                staged
                    .put_slice(item, range.start, part, SourceId(source))
                    .unwrap();
            }
        }
        Act::WrongSlice { item, start, len } => {
            if let Some(item) = pick_sliced(item) {
                let range = part(size(item), start, len);
                let len = usize::try_from(range.end - range.start).unwrap();
                staged
                    .put_slice(item, range.start, &noise(99, len), SOURCE)
                    .unwrap();
            }
        }
        Act::Drop { item, start, len } => {
            let item = item % items;
            staged
                .drop_slices(item, part(size(item), start, len))
                .unwrap();
        }
        // It may lack something, or be wrong: then it is not proven.
        Act::Finish(item) => {
            let item = item % items;
            assert_eq!(staged.finish_item(item).is_ok(), staged.is_proven(item));
        }
        Act::Checkpoint => staged.checkpoint().unwrap(),
        Act::Restart => {}
    }
}

/// Brings a tree to its end whatever is missing or wrong in it.
fn complete(staged: &Staged, tree: &Tree) {
    for item in 0..tree.item_count(staged) {
        if !staged.is_proven(item) && !staged.slices(item).is_empty() {
            staged
                .put_slice(item, 0, tree.bytes_of(staged, item), SOURCE)
                .unwrap();
            staged.finish_item(item).unwrap();
        }
    }
    tree.put_missing(staged);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_any_restarts_ends_with_the_tree(
        saplings in saplings(),
        acts in vec(act(), 0..40),
        link_files in any::<bool>(),
        copy in any::<bool>(),
    ) {
        let tree = grow(TreeBuilder::default(), b"", &saplings).build();
        let store = Store::new();
        let options = StageOptions { link_files, ..StageOptions::default() };
        let begin = || if copy {
            Staged::begin_copy(&store.path().join("copy"), &tree.manifest, &options).unwrap()
        } else {
            Staged::begin(store.path(), &tree.manifest, &options).unwrap()
        };
        let mut staged = begin();
        for act in &acts {
            perform(&staged, &tree, act);
            if matches!(act, Act::Restart) {
                let (held, missing) = (staged.held_pieces(), staged.missing_bytes());
                drop(staged);
                staged = begin();
                tree.assert_proven(&staged);
                prop_assert_eq!(staged.held_pieces(), held);
                prop_assert_eq!(staged.missing_bytes(), missing);
            }
        }
        complete(&staged, &tree);
        let path = staged.commit(Durability::Unsynced).unwrap().path;
        if copy {
            tree.assert_same(&path);
        } else {
            tree.assert_stored(&path);
        }
    }
}
