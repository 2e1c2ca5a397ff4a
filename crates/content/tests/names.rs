//! Which names and paths are taken.

use proptest::prelude::*;
use zeroshare_content::{
    MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, Name, NameError, PathError, TreePath,
};

#[test]
fn names_that_lead_elsewhere_or_break_a_line_are_refused() {
    let cases: [(&[u8], NameError); 11] = [
        (b"", NameError::Empty),
        (b".", NameError::Dots),
        (b"..", NameError::Dots),
        (b"/", NameError::Slash),
        (b"a/b", NameError::Slash),
        (b"../a", NameError::Slash),
        (b"a\0", NameError::Nul),
        (b"a\nb", NameError::Newline),
        (b"\n", NameError::Newline),
        (&[b'a'; 256], NameError::TooLong { bytes: 256 }),
        (&[b'a'; 4096], NameError::TooLong { bytes: 4096 }),
    ];
    for (bytes, why) in cases {
        assert_eq!(Name::try_from(bytes), Err(why), "{}", bytes.escape_ascii());
        if why != NameError::Slash && why != (NameError::TooLong { bytes: 4096 }) {
            assert_eq!(
                TreePath::new(bytes),
                Err(PathError::Name(why)),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}

#[test]
fn all_other_bytes_are_names() {
    for byte in (1..=255_u8).filter(|byte| !b"/\n.".contains(byte)) {
        assert_eq!(
            Name::try_from(&[byte][..]).expect("a name").as_bytes(),
            [byte]
        );
    }
    for name in [
        &b"..."[..],
        b"..a",
        b" ",
        b".manifest",
        b"caf\xe9",
        &[b'a'; MAX_NAME_BYTES],
    ] {
        assert!(Name::new(name).is_ok(), "{}", name.escape_ascii());
    }
}

#[test]
fn paths_are_names_joined_by_slashes() {
    for bad in [
        &b"/a"[..],
        b"a/",
        b"a//b",
        b"a/./b",
        b"a/../b",
        b"../a",
        b"a/b\nc",
    ] {
        assert!(TreePath::new(bad).is_err(), "{}", bad.escape_ascii());
    }
    let path = TreePath::new(*b"a/b/c").expect("a path");
    assert_eq!(path.components().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    assert_eq!((path.name(), path.depth()), (&b"c"[..], 3));
    let parent = path.parent().expect("it is not at the root");
    assert_eq!(parent.as_bytes(), b"a/b");
    assert_eq!(parent.join(&Name::new(*b"c").expect("a name")), Ok(path));
    assert_eq!(parent.parent().expect("neither").parent(), None);
}

#[test]
fn paths_have_bounds() {
    let deep = |depth| vec!["d"; depth].join("/").into_bytes();
    assert!(TreePath::new(deep(MAX_DEPTH)).is_ok());
    assert_eq!(
        TreePath::new(deep(MAX_DEPTH + 1)),
        Err(PathError::TooDeep {
            depth: MAX_DEPTH + 1
        })
    );
    let name = [b'n'; MAX_NAME_BYTES];
    let long = [name; 16].join(&b'/');
    assert_eq!(long.len(), MAX_PATH_BYTES);
    let path = TreePath::new(long).expect("just short enough");
    let one_more = path.join(&Name::new(*b"x").expect("a name"));
    assert_eq!(
        one_more,
        Err(PathError::TooLong {
            bytes: MAX_PATH_BYTES + 2
        })
    );
}

#[test]
fn a_shown_name_does_not_steer_the_terminal() {
    let name = Name::new(*b"\x1b[2J\r\\ caf\xe9 \xc3\xa9").expect("a name");
    assert_eq!(name.to_string(), r"\u{1b}[2J\r\\ caf\xe9 é");
}

proptest! {
    #[test]
    fn a_path_never_leads_out_of_its_tree(bytes in prop::collection::vec(prop_oneof![
        Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>(),
    ], 0..12)) {
        if let Ok(path) = TreePath::new(bytes.clone()) {
            prop_assert_eq!(path.as_bytes(), &bytes);
            for component in path.as_path().components() {
                prop_assert!(matches!(component, std::path::Component::Normal(_)));
            }
            prop_assert_eq!(path.as_path().components().count(), path.depth());
        }
    }
}
