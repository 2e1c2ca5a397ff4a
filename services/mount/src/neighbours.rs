//! What neighbours share publicly, as they told lately.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zeroshare_content::TreeId;

/// For so long nobody is asked again.
const FRESH: Duration = Duration::from_secs(5);

/// So long is remembered what one told who does not answer any more: it may only be busy.
const LASTS: Duration = Duration::from_mins(1);

/// Trees that are listed; the longest unheard of go first.
pub(crate) const MAX_TREES: usize = 20_000;

/// Resolves to true once neighbours were asked.
pub(crate) type Heard = watch::Receiver<bool>;

/// Trees that neighbours told of.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// When each was told of last.
    told: BTreeMap<TreeId, Instant>,
    heard: Option<Instant>,
    asking: Option<Heard>,
}

/// What somebody has to do who wants to list.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nothing: it was asked lately.
    Fresh,
    /// Wait for who asks already.
    Wait(Heard),
    /// Ask, and tell that it was done.
    Ask(watch::Sender<bool>, Heard),
}

impl Neighbours {
    /// Says what to do before listing.
    pub(crate) fn begin(&mut self, now: Instant) -> Turn {
        if self.is_fresh(now) {
            return Turn::Fresh;
        }
        if let Some(heard) = &self.asking {
            return Turn::Wait(heard.clone());
        }
        let (tell, heard) = watch::channel(false);
        self.asking = Some(heard.clone());
        Turn::Ask(tell, heard)
    }

    /// Whether it was asked lately.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        self.heard.is_some_and(is_fresh)
    }

    /// Takes in what those told who were asked.
    pub(crate) fn end(&mut self, now: Instant, told: &BTreeSet<TreeId>) {
        self.asking = None;
        self.heard = Some(now);
        self.told.extend(told.iter().map(|tree| (*tree, now)));
        let is_remembered = |at: &Instant| now.saturating_duration_since(*at) < LASTS;
        self.told.retain(|_, at| is_remembered(at));
        let surplus = self.told.len().saturating_sub(MAX_TREES);
        let mut oldest: Vec<(Instant, TreeId)> =
            self.told.iter().map(|(tree, at)| (*at, *tree)).collect();
        oldest.sort_unstable();
        for (_, tree) in oldest.into_iter().take(surplus) {
            self.told.remove(&tree);
        }
    }

    /// Forgets what nobody has after all.
    pub(crate) fn forget(&mut self, tree: &TreeId) {
        self.told.remove(tree);
    }

    /// Whether somebody told of it.
    pub(crate) fn has(&self, tree: &TreeId) -> bool {
        self.told.contains_key(tree)
    }

    /// All that they told of.
    pub(crate) fn trees(&self) -> Vec<TreeId> {
        self.told.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::Family;

    use super::*;

    #[test]
    fn one_asks_others_wait_and_then_nobody_asks_for_a_while() {
        let (mut neighbours, start) = (Neighbours::default(), Instant::now());
        assert!(matches!(neighbours.begin(start), Turn::Ask(..)));
        assert!(matches!(neighbours.begin(start), Turn::Wait(_)));
        neighbours.end(start, &trees(0..2));
        assert!(matches!(neighbours.begin(start), Turn::Fresh));
        assert!(matches!(neighbours.begin(start + FRESH), Turn::Ask(..)));
        assert_eq!(neighbours.trees(), sorted(0..2));
    }

    #[test]
    fn who_does_not_answer_once_is_not_forgotten_at_once() {
        let (mut neighbours, start) = (Neighbours::default(), Instant::now());
        neighbours.end(start, &trees(0..2));
        neighbours.end(start + FRESH, &trees(1..3));
        assert_eq!(neighbours.trees(), sorted(0..3));
        neighbours.end(start + LASTS, &trees(2..3));
        assert_eq!(neighbours.trees(), sorted(1..3));
        neighbours.forget(&id(1));
        assert!(!neighbours.has(&id(1)) && neighbours.has(&id(2)));
    }

    #[test]
    fn what_is_listed_is_bounded_and_the_newest_stays() {
        let (mut neighbours, start) = (Neighbours::default(), Instant::now());
        let most = u32::try_from(MAX_TREES).unwrap();
        neighbours.end(start, &trees(0..most));
        neighbours.end(start + FRESH, &trees(most..most + 7));
        assert_eq!(neighbours.trees().len(), MAX_TREES);
        assert!((most..most + 7).all(|number| neighbours.has(&id(number))));
    }

    fn trees(numbers: std::ops::Range<u32>) -> BTreeSet<TreeId> {
        numbers.map(id).collect()
    }

    fn sorted(numbers: std::ops::Range<u32>) -> Vec<TreeId> {
        trees(numbers).into_iter().collect()
    }

    fn id(number: u32) -> TreeId {
        TreeId::of_manifest(Family::Sha256, &number.to_be_bytes())
    }
}
