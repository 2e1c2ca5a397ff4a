use zeroshare_lanes::{Message, absorb};

use crate::chain::{STATE_BYTES, State};

/// The SHA-256 of each of several messages, in their order.
///
/// As fast as one by one for a single message, and faster for many, since several are hashed at the same time.
pub fn sha256_of_each(messages: &[&[u8]]) -> Vec<[u8; STATE_BYTES]> {
    let mut hashed: Vec<(Message<'_>, &[u8])> = messages
        .iter()
        .map(|message| State::START.with_blocks(message))
        .collect();
    absorb(hashed.iter_mut().map(|(message, _)| message));
    let ends = hashed.iter().zip(messages);
    ends.map(|((message, rest), bytes)| State::of(message).finish(rest, bytes.len() as u64))
        .collect()
}
