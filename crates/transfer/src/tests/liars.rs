//! With one honest provider that has everything, any schedule of lies about slices and lists ends well, and no honest one is convicted.

mod simulation;

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::simulation::Simulation;
use super::world::{Behaviour, LargeFile, Version, file, somebody};

/// Steps after which a transfer counts as endless.
const MOST_STEPS: usize = 20_000;

/// How often the honest provider may fail, below what makes a transfer give it up.
const HONEST_LOSSES: u32 = 2;

const ITEM: u32 = 0;

#[derive(Debug, Clone)]
struct World {
    file: LargeFile,
    /// Wrong or right slices that lay there before.
    before: BTreeMap<u32, Version>,
    others: Vec<Behaviour>,
    /// Where among the others the honest one stands, and how late it comes.
    place: usize,
    arrival: u32,
    honest_losses: u32,
    seed: u64,
}

fn world() -> impl Strategy<Value = World> {
    (
        file(),
        proptest::collection::btree_map(0..6_u32, 0..3_u8, 0..3),
        proptest::collection::vec(somebody(), 0..6),
        0..7_usize,
        prop_oneof![Just(0), 0..200_u32],
        0..=HONEST_LOSSES,
        any::<u64>(),
    )
        .prop_map(
            |(file, before, others, place, arrival, honest_losses, seed)| World {
                file,
                before,
                place: place.min(others.len()),
                others,
                arrival,
                honest_losses,
                seed,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2048)))]

    #[test]
    fn one_honest_provider_that_has_everything_is_enough(world in world()) {
        Simulation::new(&world).run();
    }
}
