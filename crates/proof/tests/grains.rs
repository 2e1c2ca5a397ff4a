//! Midstates against the plain SHA-256 of the same bytes.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use zeroshare_content::{BlobId, GRAIN};
use zeroshare_proof::{
    GrainHasher, GrainJudge, GrainVerdict, Judged, Midstates, MidstatesError, check_grain,
    check_last_grain, grain_count, grain_len, judge_grains, sha256_of_each,
};

const S: usize = 128 * 1024;
const _: () = assert!(S as u64 == GRAIN);

/// Where padding needs a second block (from 56 bytes behind a block's border), and around borders
/// of blocks and grains.
const SIZES: [usize; 17] = [
    0,
    1,
    55,
    56,
    63,
    64,
    65,
    S - 1,
    S,
    S + 1,
    S + 55,
    S + 56,
    2 * S,
    2 * S + 63,
    3 * S,
    3 * S + 1,
    20 * S + 1,
];

#[test]
fn the_hash_is_plain_sha256_however_the_bytes_come() {
    for size in SIZES {
        let bytes = content(size);
        for step in [1, 63, 64, 65, 1000, S - 1, S, S + 1, 10 * S] {
            if step == 1 && size > S + 56 {
                continue;
            }
            let mut hasher = GrainHasher::new();
            for part in bytes.chunks(step) {
                hasher.update(part);
            }
            let (blob, midstates) = hasher.finish();
            assert_eq!(
                blob,
                BlobId::Sha256(Sha256::digest(&bytes).into()),
                "{size} by {step}"
            );
            assert_eq!(midstates, hashed(&bytes).1, "{size} by {step}");
        }
    }
}

#[test]
fn every_grain_of_a_true_list_is_linked_in_any_order() {
    for size in SIZES {
        let bytes = content(size);
        let (digest, midstates) = hashed(&bytes);
        let grains = grain_count(size as u64);
        assert_eq!(midstates.grains(), grains);
        assert_eq!(midstates.as_bytes().len(), (grains as usize - 1) * 32);
        for index in (0..grains).rev() {
            let verdict = check_grain(
                &midstates,
                size as u64,
                &digest,
                index,
                grain(&bytes, index),
            );
            assert_eq!(
                verdict,
                GrainVerdict::Linked,
                "grain {index} of {size} bytes"
            );
        }
    }
}

#[test]
fn a_changed_bit_breaks_its_grain_and_no_other() {
    for size in SIZES {
        let bytes = content(size);
        let (digest, midstates) = hashed(&bytes);
        for at in [0, size / 2, size.saturating_sub(1)] {
            let mut forged = bytes.clone();
            let Some(byte) = forged.get_mut(at) else {
                continue;
            };
            *byte ^= 1;
            for index in 0..grain_count(size as u64) {
                let verdict = check_grain(
                    &midstates,
                    size as u64,
                    &digest,
                    index,
                    grain(&forged, index),
                );
                let expected = if at / S == index as usize {
                    GrainVerdict::Broken
                } else {
                    GrainVerdict::Linked
                };
                assert_eq!(verdict, expected, "byte {at} of {size}, grain {index}");
            }
        }
    }
}

#[test]
fn a_changed_midstate_breaks_the_grains_on_both_of_its_sides() {
    let bytes = content(3 * S);
    let (digest, midstates) = hashed(&bytes);
    let mut forged = midstates.as_bytes().to_vec();
    forged[32] ^= 1;
    let forged = Midstates::from_bytes(3 * GRAIN, forged).expect("as long as the true one");
    assert_ne!(forged.list_digest(), midstates.list_digest());
    let verdicts: Vec<_> = (0..3)
        .map(|index| check_grain(&forged, 3 * GRAIN, &digest, index, grain(&bytes, index)))
        .collect();
    assert_eq!(
        verdicts,
        [
            GrainVerdict::Linked,
            GrainVerdict::Broken,
            GrainVerdict::Broken
        ]
    );
}

#[test]
fn a_wrong_size_is_found_by_the_last_grain() {
    // Both have one grain with the same bytes at hand, but the padding says how many there are.
    let bytes = content(S);
    let (digest, midstates) = hashed(&bytes);
    assert_eq!(
        check_grain(&midstates, GRAIN, &digest, 0, &bytes),
        GrainVerdict::Linked
    );
    assert_eq!(
        check_grain(&midstates, GRAIN - 1, &digest, 0, &bytes[..S - 1]),
        GrainVerdict::Broken
    );
}

#[test]
fn what_does_not_fit_is_unfit() {
    let bytes = content(2 * S + 5);
    let size = bytes.len() as u64;
    let (digest, midstates) = hashed(&bytes);
    let unfit = [
        check_grain(&midstates, size, &digest, 3, b""),
        check_grain(&midstates, size, &digest, u32::MAX, b""),
        check_grain(&midstates, size, &digest, 0, &bytes[..S - 1]),
        check_grain(&midstates, size, &digest, 2, &bytes[..S]),
        check_grain(&midstates, size - 5, &digest, 0, &bytes[..S]),
        check_grain(&midstates, size + GRAIN, &digest, 0, &bytes[..S]),
        check_grain(&midstates, u64::MAX, &digest, 0, &bytes[..S]),
    ];
    assert_eq!(unfit, [GrainVerdict::Unfit; 7]);
}

#[test]
fn a_list_must_be_as_long_as_the_size_asks_for() {
    for size in SIZES {
        let expected = (grain_count(size as u64) as usize - 1) * 32;
        for given in [0, 1, 31, 32, 33, 64, 96] {
            let list = Midstates::from_bytes(size as u64, vec![7; given]);
            if given == expected {
                assert!(list.is_ok(), "{given} bytes for a file of {size}");
            } else {
                let expected = expected as u64;
                assert_eq!(list, Err(MidstatesError::WrongLength { given, expected }));
            }
        }
    }
    assert_eq!(
        Midstates::from_bytes(u64::MAX, vec![]),
        Err(MidstatesError::TooLarge { size: u64::MAX })
    );
}

#[test]
fn grains_cover_the_file_once() {
    for size in SIZES.map(|size| size as u64) {
        let lengths: Vec<_> = (0..).map_while(|index| grain_len(size, index)).collect();
        assert_eq!(lengths.len(), grain_count(size) as usize);
        assert_eq!(lengths.iter().sum::<u64>(), size);
    }
    assert_eq!(grain_len(u64::MAX, u32::MAX), None);
}

#[test]
fn the_list_of_a_small_file_is_named_by_the_hash_of_nothing() {
    let (_, midstates) = hashed(b"small");
    let of_nothing: [u8; 32] = Sha256::digest(b"").into();
    assert_eq!(midstates.list_digest(), of_nothing);
}

#[test]
fn a_midstate_is_eight_big_endian_words() {
    // Computed by another program, straight from FIPS 180-4.
    let (_, midstates) = hashed(&vec![0; S + 1]);
    let hex = data_encoding::HEXLOWER.encode(midstates.as_bytes());
    assert_eq!(hex, PINNED_MIDSTATE_OF_ZEROS);
}

const PINNED_MIDSTATE_OF_ZEROS: &str =
    "fd4a8581c9c9ad613ef77d00958f36f0373fef498770714244f794f87b5fa38e";

#[test]
fn messages_that_are_hashed_together_have_their_own_hashes() {
    let messages: Vec<Vec<u8>> = SIZES.into_iter().map(content).collect();
    let check = |messages: &[&[u8]]| {
        let each = messages.iter().map(|bytes| Sha256::digest(bytes).into());
        assert_eq!(sha256_of_each(messages), each.collect::<Vec<[u8; 32]>>());
    };
    check(&[]);
    for one in &messages {
        check(&[one]);
        for other in &messages {
            check(&[one, other]);
            check(&[other, one, other]);
        }
    }
    check(&messages.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn random_files_hold_by_their_own_list(
        size in 0..5 * S,
        seed: u64,
        steps in proptest::collection::vec(1..2 * S, 1..4),
    ) {
        let bytes = content_of(seed, size);
        let mut hasher = GrainHasher::new();
        let mut rest = &bytes[..];
        for step in steps.into_iter().cycle() {
            let (now, later) = rest.split_at(step.min(rest.len()));
            hasher.update(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let (blob, midstates) = hasher.finish();
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        prop_assert_eq!(blob, BlobId::Sha256(digest));
        for index in 0..grain_count(size as u64) {
            let verdict = check_grain(&midstates, size as u64, &digest, index, grain(&bytes, index));
            prop_assert_eq!(verdict, GrainVerdict::Linked);
        }
    }
}

fn hashed(bytes: &[u8]) -> ([u8; 32], Midstates) {
    let mut hasher = GrainHasher::default();
    hasher.update(bytes);
    let (_, midstates) = hasher.finish();
    (Sha256::digest(bytes).into(), midstates)
}

fn grain(bytes: &[u8], index: u32) -> &[u8] {
    let start = index as usize * S;
    &bytes[start..bytes.len().min(start + S)]
}

fn content(size: usize) -> Vec<u8> {
    content_of(1, size)
}

/// Bytes without a period that could hide a mistake of place.
fn content_of(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8))
        .flat_map(|_| next())
        .take(size)
        .collect()
}

#[test]
fn grains_in_a_row_are_judged_as_one_by_one_however_they_come() {
    for size in SIZES.into_iter().filter(|size| *size > 0) {
        let bytes = content(size);
        let (digest, midstates) = hashed(&bytes);
        let grains = grain_count(size as u64);
        for wrong in [None, Some(0), Some(size / 2), Some(size - 1)] {
            let mut sent = bytes.clone();
            if let Some(at) = wrong {
                sent[at] ^= 1;
            }
            for first in [0, grains / 2, grains - 1] {
                let from = first as usize * S;
                let broken = wrong.filter(|at| *at >= from).map(|at| at / S);
                let linked = broken.map_or(grains, |at| u32::try_from(at).unwrap()) - first;
                let verdict = broken.map_or(GrainVerdict::Linked, |_| GrainVerdict::Broken);
                let expected = Judged { linked, verdict };
                for step in [63, S - 1, 5 * S] {
                    let mut judge = GrainJudge::new(&midstates, size as u64, &digest, first);
                    sent[from..]
                        .chunks(step)
                        .for_each(|part| judge.update(part));
                    assert_eq!(judge.finish(), expected, "{size} by {step} from {first}");
                }
                let at_once =
                    judge_grains(&midstates, size as u64, &digest, first, &[&sent[from..]]);
                assert_eq!(at_once, expected, "{size} at once from {first}");
                for step in [S - 1, 2 * S, 3 * S + 1] {
                    let parts: Vec<&[u8]> = sent[from..].chunks(step).collect();
                    let in_parts = judge_grains(&midstates, size as u64, &digest, first, &parts);
                    assert_eq!(in_parts, expected, "{size} in parts of {step} from {first}");
                }
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_and_lists_of_another_length_are_unfit() {
    let bytes = content(2 * S);
    let (digest, midstates) = hashed(&bytes);
    let longer = [&bytes[..], b"!"].concat();
    let judged = judge_grains(&midstates, bytes.len() as u64, &digest, 0, &[longer]);
    assert_eq!((judged.linked, judged.verdict), (2, GrainVerdict::Unfit));
    let judged = judge_grains(&midstates, 5 * GRAIN, &digest, 0, &[bytes]);
    assert_eq!((judged.linked, judged.verdict), (0, GrainVerdict::Unfit));
}

#[test]
fn the_last_grain_proves_the_size_by_one_state() {
    for size in SIZES.into_iter().filter(|size| *size > 0) {
        let bytes = content(size);
        let (digest, midstates) = hashed(&bytes);
        let last = grain_count(size as u64) - 1;
        let before: [u8; 32] = midstates
            .as_bytes()
            .last_chunk()
            .copied()
            .unwrap_or_default();
        let verdict = |size: u64, bytes: &[u8]| check_last_grain(&before, size, &digest, bytes);
        assert_eq!(
            verdict(size as u64, grain(&bytes, last)),
            GrainVerdict::Linked,
            "{size}"
        );
        // The same grain under another size, which its padding would have to hold.
        let claimed = size as u64 + 7 * GRAIN;
        assert_eq!(
            verdict(claimed, grain(&bytes, last)),
            GrainVerdict::Broken,
            "{size}"
        );
        assert_ne!(verdict(u64::MAX, grain(&bytes, last)), GrainVerdict::Linked);
    }
}
