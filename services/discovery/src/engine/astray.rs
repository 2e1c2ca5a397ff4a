//! Noticing that the system's routes lead away from neighbours, as when a VPN comes up.

use zeroshare_membership::Place;

use super::Engine;

/// Machines looked at in one turn; of more each in turn.
const MOST_PLACES: usize = 256;

/// Where the next turn begins.
#[derive(Debug, Default)]
pub(super) struct Rounds(usize);

impl Rounds {
    /// Those whose turn it is.
    fn turn<'a>(&mut self, all: &'a [Place]) -> impl Iterator<Item = Place> + use<'a> {
        let first = self.0.checked_rem(all.len()).unwrap_or(0);
        self.0 = first.saturating_add(MOST_PLACES);
        let turn = all.iter().cycle().skip(first);
        turn.take(MOST_PLACES.min(all.len())).copied()
    }
}

impl Engine {
    /// Whoever offers a neighbour's store has others connect to it, and connections go where the routes lead.
    pub(super) fn look_for_astray(&mut self) {
        let places: Vec<Place> = self.parts.machine.places().into_iter().collect();
        for place in self.rounds.turn(&places) {
            // Any port has the same way.
            if self.parts.sockets.check_way(place.port(1)).is_err() {
                self.parts.machine.handle_astray(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everybody_gets_a_turn() {
        let all = |count: u16| -> Vec<Place> {
            let address = |number: u16| {
                let [high, low] = number.to_be_bytes();
                Place::of(([10, 0, high, low], 1).into())
            };
            (0..count).map(address).collect()
        };
        for count in [0, 1, 256, 257, 1_000] {
            let (all, mut rounds) = (all(count), Rounds::default());
            let mut seen = BTreeSet::new();
            for _ in 0..4 {
                let turn: Vec<Place> = rounds.turn(&all).collect();
                assert_eq!(turn.len(), MOST_PLACES.min(all.len()));
                seen.extend(turn);
            }
            assert_eq!(seen.len(), all.len());
        }
    }
}
