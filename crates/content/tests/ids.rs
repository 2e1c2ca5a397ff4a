//! How ids are spelled, read and refused.

#![expect(
    clippy::expect_used,
    reason = "a test may panic, and so may what helps it"
)]

use std::str::FromStr as _;

use proptest::prelude::*;
use zeroshare_content::{Algorithm, BlobId, ContentId, Family, HashKind, IdError, TreeId};

const EMPTY_B32: &str = "sha256new_4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ";
const EMPTY_HEX: &str = "sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn both_spellings_of_a_sha256_digest_are_one_id() {
    let id = TreeId::of_manifest(Family::Sha256, b"");
    let loose = EMPTY_B32.replace('_', "=");
    for spelled in [EMPTY_B32, EMPTY_HEX, &loose] {
        assert_eq!(spelled.parse(), Ok(id), "{spelled}");
    }
    assert_eq!(id.to_string(), EMPTY_B32);
    assert_eq!(id.directory_names(), [EMPTY_B32, EMPTY_HEX]);
}

#[test]
fn a_digest_behind_a_colon_is_refused_with_both_things_that_it_may_mean() {
    let hex = BlobId::of(HashKind::Sha256, b"").hex();
    let error = ContentId::from_str(&format!("sha256:{hex}")).expect_err("it is ambiguous");
    let shown = error.to_string();
    for spelled in [format!("sha256={hex}"), format!("blob:sha256:{hex}")] {
        assert!(shown.contains(&spelled), "{shown}");
        assert!(ContentId::from_str(&spelled).is_ok());
    }
}

#[test]
fn only_the_strict_spellings_name_a_directory() {
    let id = TreeId::of_manifest(Family::Sha256, b"");
    for name in id.directory_names() {
        assert_eq!(TreeId::from_directory_name(name.as_bytes()), Some(id));
    }
    let loose = EMPTY_B32.replace('_', "=");
    let blob = BlobId::of(HashKind::Sha256, b"").to_string();
    for name in [
        loose.as_bytes(),
        blob.as_bytes(),
        b"tmp-1",
        b"",
        b"\xff",
        b".",
        b"sha1=",
    ] {
        assert_eq!(
            TreeId::from_directory_name(name),
            None,
            "{}",
            name.escape_ascii()
        );
    }
}

#[test]
fn sha1_and_sha1new_of_the_same_bytes_are_two_ids() {
    let [old, new] = [Family::Sha1, Family::Sha1New].map(|f| TreeId::of_manifest(f, b""));
    assert_eq!(old.digest(), new.digest());
    assert_ne!(old, new);
    assert_eq!(
        old.to_string(),
        "sha1=da39a3ee5e6b4b0d3255bfef95601890afd80709"
    );
    assert_eq!(
        new.to_string(),
        "sha1new=da39a3ee5e6b4b0d3255bfef95601890afd80709"
    );
}

#[test]
fn malformed_ids_are_refused_and_the_right_form_is_shown() {
    let sha256new = "sha256new_ and 52 characters of A-Z2-7, the last one A or Q";
    let sha256 = "sha256= and 64 characters of 0-9a-f";
    let hex40 = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let last_b = format!("{}B", &EMPTY_B32[..EMPTY_B32.len() - 1]);
    let cases = [
        ("sha256new_".to_owned(), sha256new),
        (EMPTY_B32.to_lowercase(), sha256new),
        (EMPTY_B32[..61].to_owned(), sha256new),
        (format!("{EMPTY_B32}A"), sha256new),
        (format!("{EMPTY_B32}===="), sha256new),
        (format!("{EMPTY_B32} "), sha256new),
        (format!("{EMPTY_B32}\n"), sha256new),
        (last_b, sha256new),
        ("sha256new_../../../etc".to_owned(), sha256new),
        (EMPTY_HEX.to_uppercase().replace("SHA", "sha"), sha256),
        (EMPTY_HEX[..70].to_owned(), sha256),
        (format!("{EMPTY_HEX}0"), sha256),
        (
            format!("sha1new={}", hex40.to_uppercase()),
            "sha1new= and 40 characters of 0-9a-f",
        ),
        (
            format!("sha1={hex40}00"),
            "sha1= and 40 characters of 0-9a-f",
        ),
        (
            format!("blob:sha256:{hex40}"),
            "blob:sha256: and 64 characters of 0-9a-f",
        ),
        (
            "blob:sha1:".to_owned(),
            "blob:sha1: and 40 characters of 0-9a-f",
        ),
    ];
    for (given, right) in cases {
        match ContentId::from_str(&given) {
            Err(IdError::MalformedDigest { form, .. }) => assert_eq!(form, right, "{given}"),
            other => panic!("{given}: {other:?}"),
        }
    }
}

#[test]
fn what_starts_like_no_id_is_shown_all_forms() {
    let long = "x".repeat(10_000);
    for given in [
        "",
        "hello",
        "sha512=00",
        " sha1=00",
        "blob:",
        "blob:md5:00",
        "SHA1=00",
        &long,
    ] {
        let error = ContentId::from_str(given).expect_err(given);
        assert!(
            matches!(error, IdError::UnknownForm { .. }),
            "{given}: {error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("sha256new_ and 52 characters of A-Z2-7"),
            "{text}"
        );
        assert!(text.len() < 500, "the message repeats all of a long text");
    }
}

#[test]
fn an_error_does_not_steer_the_terminal() {
    let error = ContentId::from_str("\u{1b}[2J\nno id").expect_err("not an id");
    assert!(
        !error
            .to_string()
            .contains(|character: char| character.is_control()),
        "{error}"
    );
}

#[test]
fn a_tree_is_not_a_blob() {
    let blob = BlobId::of(HashKind::Sha256, b"");
    let tree = TreeId::of_manifest(Family::Sha256, b"");
    assert_eq!(
        blob.to_string().parse::<TreeId>(),
        Err(IdError::BlobNotTree { blob })
    );
    assert_eq!(
        tree.to_string().parse::<BlobId>(),
        Err(IdError::TreeNotBlob { tree })
    );
    assert_eq!(blob.to_string().parse(), Ok(blob));
}

#[test]
fn a_digest_has_the_length_of_its_hash() {
    for family in Family::ALL {
        let right = family.hash_kind().digest_bytes();
        for length in [0, 19, 20, 21, 31, 32, 33] {
            assert_eq!(
                TreeId::new(family, &vec![1; length]).is_ok(),
                length == right
            );
        }
    }
}

#[test]
fn the_input_of_tags_is_pinned() {
    let tree = |family| ContentId::from(TreeId::of_manifest(family, b""));
    let blob = |kind| ContentId::from(BlobId::of(kind, b""));
    let first_bytes = [
        tree(Family::Sha1),
        tree(Family::Sha1New),
        tree(Family::Sha256),
        blob(HashKind::Sha1),
        blob(HashKind::Sha256),
    ]
    .map(|id| (id.tag_input()[0], id.tag_input()[1], id.tag_input().len()));
    assert_eq!(
        first_bytes,
        [
            (1, 0xda, 21),
            (2, 0xda, 21),
            (3, 0xe3, 33),
            (17, 0xda, 21),
            (18, 0xe3, 33)
        ]
    );
}

#[test]
fn algorithms_are_named_as_0install_names_them() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        let id = TreeId::of_manifest(algorithm.family(), b"");
        let name = id.directory_name(algorithm).expect("its own family");
        assert!(name.starts_with(algorithm.as_str()), "{name}");
        assert_eq!(name.parse(), Ok(id));
    }
    assert!("sha256new_".parse::<Algorithm>().is_err());
}

proptest! {
    #[test]
    fn ids_come_back_from_their_text(id in any_id()) {
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        if let ContentId::Tree(tree) = id {
            for name in tree.directory_names() {
                prop_assert_eq!(name.parse(), Ok(tree));
                prop_assert_eq!(TreeId::from_directory_name(name.as_bytes()), Some(tree));
            }
        }
    }

    #[test]
    fn one_changed_character_is_refused_or_another_id(
        id in any_id(), at: prop::sample::Index, character: char,
    ) {
        let text = id.to_string();
        let mut changed: Vec<char> = text.chars().collect();
        let at = at.index(changed.len());
        prop_assume!(changed[at] != character);
        changed[at] = character;
        let changed: String = changed.into_iter().collect();
        if let Ok(other) = changed.parse::<ContentId>() {
            // `sha256new=` is the one other spelling that is one character away.
            prop_assert!(other != id || changed == text.replace('_', "="));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        let _parsed = ContentId::from_str(&text);
        let _id = TreeId::from_directory_name(text.as_bytes());
    }
}

fn any_id() -> impl Strategy<Value = ContentId> {
    let short = any::<[u8; 20]>();
    let long = any::<[u8; 32]>();
    let tree = |family, digest: &[u8]| TreeId::new(family, digest).expect("the right length");
    prop_oneof![
        short.prop_map(move |digest| tree(Family::Sha1, &digest).into()),
        short.prop_map(move |digest| tree(Family::Sha1New, &digest).into()),
        long.prop_map(move |digest| tree(Family::Sha256, &digest).into()),
        short.prop_map(|digest| BlobId::Sha1(digest).into()),
        long.prop_map(|digest| BlobId::Sha256(digest).into()),
    ]
}
