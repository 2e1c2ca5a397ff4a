//! What nobody had a moment ago.
//!
//! Whoever asks for the same again is answered after a short look, and the first answer or beacon that says otherwise
//! voids it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use zeroshare_wire::datagram::{Bloom, Day, Tag};

use super::Tags;

/// How long "nobody" is remembered.
const MEMORY: Duration = Duration::from_secs(3);

/// Looks for as many as one installation needs; every filter that is heard is compared with them.
const MOST: usize = 64;

/// What nobody had, under its names.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    until: BTreeMap<(Day, Tag), Instant>,
}

impl Absences {
    /// Notes that nobody had it.
    pub(crate) fn note(&mut self, now: Instant, tags: &Tags) {
        self.until.retain(|_, until| *until > now);
        let names: Vec<(Day, Tag)> = tags.all().collect();
        if self.until.len() + names.len() > MOST {
            return;
        }
        let until = now + MEMORY;
        self.until
            .extend(names.into_iter().map(|name| (name, until)));
    }

    /// Whether nobody had any of it a moment ago.
    pub(crate) fn cover(&self, now: Instant, tags: &Tags) -> bool {
        let is_absent = |name| self.until.get(&name).is_some_and(|until| *until > now);
        tags.all().all(is_absent)
    }

    /// Takes in that somebody says to have it.
    pub(crate) fn void(&mut self, day: Day, tag: Tag) {
        self.until.remove(&(day, tag));
    }

    /// Takes in what somebody sums up.
    pub(crate) fn void_all_in(&mut self, day: Day, filter: &Bloom) {
        self.until
            .retain(|(of, tag), _| *of != day || !filter.contains(*tag));
    }

    /// Takes in that the network is not what it was.
    pub(crate) fn clear(&mut self) {
        self.until.clear();
    }
}
