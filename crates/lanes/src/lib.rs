//! SHA-256 of several messages at the same time.
//!
//! A block of a message waits for the one before it, so a processor that hashes one message is idle most of the time. With
//! AVX-512 sixteen messages are hashed at once, each in its lane of the registers (the method is Intel's: Gueron and Krasnov,
//! "Simultaneous hashing of multiple messages", 2012); without it two messages take turns, and the processor works on both as far
//! as it looks ahead.
//!
//! Only whole blocks of 64 bytes come in; beginning, padding and the meaning of a state are the caller's.

mod turns;
#[cfg(target_arch = "x86_64")]
mod wide;

/// What SHA-256 has in hand between two blocks: FIPS 180-4, section 6.2.
pub type State = [u32; 8];

/// What SHA-256 takes in at a time.
pub type Block = [u8; 64];

/// A message that is being hashed.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What came of it so far.
    pub state: State,
    /// What comes next.
    pub blocks: &'a [Block],
}

/// A way to take in blocks of several messages.
#[derive(Debug, Clone, Copy)]
struct Engine {
    /// The most messages at a time.
    lanes: usize,
    /// With fewer it is slower than [`turns`].
    least: usize,
    /// Takes in so many blocks of each of at most `lanes` messages.
    absorb: fn(&mut [&mut Message<'_>], usize),
}

/// How many messages of about the same length are best given to [`absorb`] at once, here: a multiple of it is as good.
pub fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Some(engine) = wide::engine() {
        return engine.lanes;
    }
    turns::ENGINE.lanes
}

/// Takes in all blocks of all messages, as if each had been hashed by itself.
pub fn absorb<'a, 'b: 'a>(messages: impl IntoIterator<Item = &'a mut Message<'b>>) {
    let mut waiting: Vec<&mut Message<'_>> = messages.into_iter().collect();
    // The longest is begun first, so that few lanes are empty at the end. Taken from the back.
    waiting.sort_by_key(|message| message.blocks.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(engine) = wide::engine() {
        run(engine, &mut waiting);
    }
    run(turns::ENGINE, &mut waiting);
}

/// Takes in what waits, and leaves what is too few for this way.
fn run<'a, 'b>(engine: Engine, waiting: &mut Vec<&'a mut Message<'b>>) {
    let mut lanes: Vec<&'a mut Message<'b>> = Vec::with_capacity(engine.lanes);
    loop {
        while lanes.len() < engine.lanes
            && let Some(message) = waiting.pop()
        {
            lanes.push(message);
        }
        if lanes.len() < engine.least {
            break;
        }
        let shortest = lanes.iter().map(|lane| lane.blocks.len()).min();
        (engine.absorb)(&mut lanes, shortest.unwrap_or(0));
        for lane in &mut lanes {
            lane.blocks = shortest
                .and_then(|len| lane.blocks.get(len..))
                .unwrap_or_default();
        }
        lanes.retain(|lane| !lane.blocks.is_empty());
    }
    waiting.extend(lanes.into_iter().rev());
}

#[cfg(test)]
mod tests;
