use crate::chain::{BLOCK_BYTES, STATE_BYTES, State, absorb_in_turn};

/// Messages that are hashed at the same time.
const LANES: usize = 2;

/// A message that is being hashed.
#[derive(Clone, Copy)]
struct Lane<'a> {
    at: usize,
    state: State,
    message: &'a [u8],
    /// How many of its bytes were taken in: whole blocks.
    done: usize,
}

/// The SHA-256 of each of several messages, in their order.
///
/// As fast as one by one for a single message, and faster for many, since two are hashed at the same time.
pub fn sha256_of_each(messages: &[&[u8]]) -> Vec<[u8; STATE_BYTES]> {
    let mut digests = vec![[0; STATE_BYTES]; messages.len()];
    let mut waiting = messages.iter().enumerate().map(Lane::begin);
    let mut finish = |lane: &Lane<'_>| {
        if let Some(digest) = digests.get_mut(lane.at) {
            *digest = lane.finish();
        }
    };
    let Some(first) = waiting.next() else {
        return digests;
    };
    let Some(second) = waiting.next() else {
        finish(&first);
        return digests;
    };
    let mut lanes: [Lane<'_>; LANES] = [first, second];
    loop {
        let mut states = lanes.map(|lane| lane.state);
        let rests = lanes.map(|lane| lane.rest());
        let blocks = rests.map(|rest| rest.len() / BLOCK_BYTES);
        let shortest = blocks.into_iter().min().unwrap_or(0) * BLOCK_BYTES;
        absorb_in_turn(
            &mut states,
            rests.map(|rest| rest.get(..shortest).unwrap_or_default()),
        );
        for (lane, state) in lanes.iter_mut().zip(states) {
            lane.state = state;
            lane.done += shortest;
        }
        let Some(over) = lanes
            .iter_mut()
            .find(|lane| lane.rest().len() < BLOCK_BYTES)
        else {
            continue;
        };
        finish(over);
        let Some(next) = waiting.next() else {
            let over = over.at;
            lanes.iter().filter(|lane| lane.at != over).for_each(finish);
            return digests;
        };
        *over = next;
    }
}

impl<'a> Lane<'a> {
    fn begin((at, message): (usize, &&'a [u8])) -> Self {
        Self {
            at,
            state: State::START,
            message,
            done: 0,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.message.get(self.done..).unwrap_or_default()
    }

    fn finish(&self) -> [u8; STATE_BYTES] {
        self.state.finish(self.rest(), self.message.len() as u64)
    }
}
