use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{Made, Mtime, Planned, TreePlan};

/// Makes up small trees that 0install can both digest and store, with awkward names and times.
pub fn any_tree() -> impl Strategy<Value = TreePlan> {
    prop::collection::btree_map(any_name(), any_node(), 0..6).prop_map(|children| {
        let mut plan = TreePlan::default();
        grow(&mut plan, b"", children);
        plan
    })
}

#[derive(Debug, Clone)]
enum Node {
    Leaf(Made),
    Directory(Mtime, BTreeMap<Vec<u8>, Self>),
}

fn grow(plan: &mut TreePlan, directory: &[u8], children: BTreeMap<Vec<u8>, Node>) {
    for (name, node) in children {
        let path = if directory.is_empty() {
            name
        } else {
            [directory, b"/", &name].concat()
        };
        match node {
            Node::Leaf(made) => plan.entries.push(Planned { path, made }),
            Node::Directory(mtime, children) => {
                let made = Made::Directory { mtime, mode: 0o755 };
                plan.entries.push(Planned {
                    path: path.clone(),
                    made,
                });
                grow(plan, &path, children);
            }
        }
    }
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![3 => any_file(), 1 => any_symlink()].prop_map(Node::Leaf);
    leaf.prop_recursive(4, 24, 6, |inner| {
        let children = prop::collection::btree_map(any_name(), inner, 0..6);
        (any_mtime(), children).prop_map(|(mtime, children)| Node::Directory(mtime, children))
    })
}

/// Few names that are near each other in order, so that directories and files meet, and some of any
/// bytes.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let near: [&[u8]; 12] = [
        b"a",
        b"a.b",
        b"a-b",
        b"a b",
        b"a0",
        b"A",
        b"aa",
        b"z",
        b"\xc3\xa9",
        b"e\xcc\x81",
        b"\xff",
        b" ",
    ];
    let any = prop::collection::vec(any::<u8>(), 1..8).prop_filter("no name", |name| {
        let is_bad = |byte: &u8| matches!(byte, 0 | b'\n' | b'/');
        !name.iter().any(is_bad) && name != b"." && name != b".."
    });
    prop_oneof![
        4 => prop::sample::select(near.map(<[u8]>::to_vec).to_vec()),
        2 => any,
        1 => Just(vec![b'n'; 255]),
    ]
}

fn any_file() -> impl Strategy<Value = Made> {
    let content = prop_oneof![
        // Few contents, so that some occur more than once.
        prop::sample::select(vec![b"".to_vec(), b"same".to_vec(), b"target".to_vec()]),
        prop::collection::vec(any::<u8>(), 0..200),
    ];
    let mode = prop::sample::select(vec![0o644, 0o600, 0o755, 0o555, 0o654, 0o645]);
    (content, any_mtime(), mode).prop_map(|(content, mtime, mode)| Made::File {
        content,
        mtime,
        mode,
    })
}

fn any_symlink() -> impl Strategy<Value = Made> {
    let target = prop_oneof![
        Just(b"target".to_vec()),
        prop::collection::vec(any::<u8>().prop_filter("NUL", |byte| *byte != 0), 1..40),
    ];
    target.prop_map(|target| Made::Symlink { target })
}

/// Whole seconds before the epoch, as 0install cannot store others; nanoseconds behind it.
fn any_mtime() -> impl Strategy<Value = Mtime> {
    let after = (
        0_i64..5_000_000_000,
        prop_oneof![Just(0_u32), 0_u32..1_000_000_000],
    )
        .prop_map(|(seconds, nanoseconds)| Mtime {
            seconds,
            nanoseconds,
        });
    prop_oneof![5 => after, 1 => (-2_000_000_000_i64..0).prop_map(Mtime::at)]
}
