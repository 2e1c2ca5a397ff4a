use proptest::collection::vec;
use proptest::prelude::*;
use sha2::block_api::compress256;

use super::*;

/// Blocks that differ from each other, and from those of other messages.
fn blocks(message: usize, len: usize) -> Vec<Block> {
    let byte = |block: usize, at: usize| {
        let [byte, ..] = (message * 7919 + block * 613 + at * 31).to_le_bytes();
        byte
    };
    (0..len)
        .map(|block| std::array::from_fn(|at| byte(block, at)))
        .collect()
}

fn check(lens: &[usize], absorb: impl FnOnce(&mut [Message<'_>])) {
    let all: Vec<Vec<Block>> = (lens.iter().enumerate())
        .map(|(message, len)| blocks(message, *len))
        .collect();
    let state = |at: u32| [at, 1, 2, 3, 4, 5, 6, !at];
    let mut messages: Vec<Message<'_>> = (0..)
        .zip(&all)
        .map(|(at, blocks)| Message {
            state: state(at),
            blocks,
        })
        .collect();
    absorb(&mut messages);
    for ((at, blocks), message) in (0..).zip(&all).zip(&messages) {
        let mut expected = state(at);
        compress256(&mut expected, blocks);
        assert_eq!(message.state, expected, "message {at} of {lens:?}");
        assert!(message.blocks.is_empty());
    }
}

proptest! {
    #[test]
    fn each_hashes_to_what_it_does_alone(lens in vec(0_usize..40, 0..50)) {
        check(&lens, |messages| absorb(messages));
    }

    #[test]
    fn without_extensions_likewise(lens in vec(0_usize..20, 0..6)) {
        check(&lens, |messages| {
            let mut waiting = messages.iter_mut().collect();
            run(turns::ENGINE, &mut waiting);
            assert!(waiting.is_empty());
        });
    }
}

#[test]
fn full_and_half_full_lanes_and_more_messages_than_lanes() {
    for count in [1, 2, 9, 10, 15, 16, 17, 33] {
        check(&vec![5; count], |messages| absorb(messages));
    }
}
