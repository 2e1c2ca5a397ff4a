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

    /// How long ago nobody had any of it, if that was a moment ago.
    pub(crate) fn since(&self, now: Instant, tags: &Tags) -> Option<Duration> {
        let remaining = tags.all().map(|name| {
            let until = self.until.get(&name)?;
            until
                .checked_duration_since(now)
                .filter(|left| !left.is_zero())
        });
        let shortest = remaining.reduce(|one, other| Some(one?.min(other?)))??;
        Some(MEMORY.saturating_sub(shortest))
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
