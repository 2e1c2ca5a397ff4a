//! Those who were heard, and not listened to, because they are not of this node's group.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use crate::place::Place;

/// As many as a person looks at.
const MOST: usize = 16;

/// Somebody of another group, or of none while this node has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutsiderView {
    /// Where it last sent from, as the datagram said.
    pub address: SocketAddr,
    /// How many datagrams came from its machine.
    pub datagrams: u64,
    /// When the last one came.
    pub last_heard: Instant,
    /// Whether it spoke as a member of some group.
    pub in_group: bool,
}

/// The last few of them: for people who wonder why nobody is found, and for nothing else.
#[derive(Debug, Default)]
pub(crate) struct Outsiders(BTreeMap<Place, OutsiderView>);

impl Outsiders {
    /// Notes that somebody was heard. Whoever was silent longest makes room.
    pub(crate) fn note(&mut self, now: Instant, address: SocketAddr, in_group: bool) {
        let place = Place::of(address);
        if !self.0.contains_key(&place) && self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, one)| one.last_heard);
            if let Some(oldest) = oldest.map(|(place, _)| *place) {
                self.0.remove(&oldest);
            }
        }
        let before = self.0.get(&place).map_or(0, |one| one.datagrams);
        let view = OutsiderView {
            address,
            datagrams: before.saturating_add(1),
            last_heard: now,
            in_group,
        };
        self.0.insert(place, view);
    }

    /// Those heard last come first.
    pub(crate) fn all(&self) -> Vec<OutsiderView> {
        let mut all: Vec<_> = self.0.values().copied().collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.last_heard));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_crowd_of_outsiders_takes_little_room_and_the_last_are_kept() {
        let start = crate::testing::start();
        let mut outsiders = Outsiders::default();
        for number in 0..1_000_u16 {
            let [high, low] = number.to_be_bytes();
            let now = start + Duration::from_secs(number.into());
            let address = SocketAddr::from(([10, 0, high, low], number));
            outsiders.note(now, address, false);
            outsiders.note(now, SocketAddr::from(([10, 9, 9, 9], number)), true);
        }
        let all = outsiders.all();
        assert_eq!(all.len(), MOST);
        let often = all.iter().find(|one| one.datagrams > 1).unwrap();
        assert_eq!((often.datagrams, often.in_group), (1_000, true));
        assert!(all.is_sorted_by(|one, next| one.last_heard >= next.last_heard));
    }
}
