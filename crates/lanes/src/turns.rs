//! Messages that take turns.

use sha2::block_api::compress256;

use crate::{Engine, Message};

/// Blocks of one message before it is the next one's turn: with one the calls cost more, with many nothing overlaps.
const TURN_BLOCKS: usize = 2;

/// Runs on every processor.
pub(crate) const ENGINE: Engine = Engine {
    lanes: 2,
    least: 1,
    absorb,
};

fn absorb(lanes: &mut [&mut Message<'_>], count: usize) {
    let mut at = 0;
    while at < count {
        // A message that is alone has no reason to stop.
        let next = if lanes.len() > 1 {
            (at + TURN_BLOCKS).min(count)
        } else {
            count
        };
        for lane in &mut *lanes {
            compress256(
                &mut lane.state,
                lane.blocks.get(at..next).unwrap_or_default(),
            );
        }
        at = next;
    }
}
