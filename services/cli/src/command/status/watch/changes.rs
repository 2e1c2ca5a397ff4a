//! What of the fetches is news, where each line stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zeroshare_wire::pb::fetcher::v1::Fetch;

use super::transfer::{Name, is_over};

/// What was told already.
///
/// Invariant: only fetches that were listed at the last look are remembered.
#[derive(Debug)]
pub(super) struct Changes {
    /// How often at most a fetch is told of that stays in its state.
    pace: Duration,
    told: Option<BTreeMap<Name, Told>>,
}

#[derive(Debug)]
struct Told {
    fetch: Fetch,
    time: Instant,
}

impl Changes {
    pub(super) fn new(pace: Duration) -> Self {
        Self { pace, told: None }
    }

    /// Takes in all fetches, the newest first; gives those to tell of, the oldest first.
    ///
    /// What ended before the first look is no news.
    pub(super) fn handle_fetches(&mut self, now: Instant, fetches: Vec<Fetch>) -> Vec<Fetch> {
        let is_first = self.told.is_none();
        let mut before = self.told.take().unwrap_or_default();
        let (mut told, mut news) = (BTreeMap::new(), Vec::new());
        for fetch in fetches.into_iter().rev() {
            let name = Name::of(&fetch);
            let last = before.remove(&name);
            let is_news = match &last {
                Some(last) => self.is_due(now, last, &fetch),
                None => !(is_first && is_over(&fetch)),
            };
            if is_news {
                news.push(fetch.clone());
            }
            let told_now = match last {
                Some(last) if !is_news => last,
                Some(_) | None => Told { fetch, time: now },
            };
            told.insert(name, told_now);
        }
        self.told = Some(told);
        news
    }

    fn is_due(&self, now: Instant, last: &Told, fetch: &Fetch) -> bool {
        let is_in_time = now.saturating_duration_since(last.time) >= self.pace;
        last.fetch.state != fetch.state || (last.fetch != *fetch && is_in_time)
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::pb::fetcher::v1::{FetchProgress, FetchState};

    use super::*;

    const PACE: Duration = Duration::from_secs(5);

    fn fetch(id: &str, state: FetchState, done_bytes: u64) -> Fetch {
        let mut fetch = Fetch {
            content_id: id.to_owned(),
            progress: Some(FetchProgress {
                done_bytes,
                ..FetchProgress::default()
            }),
            ..Fetch::default()
        };
        fetch.set_state(state);
        fetch
    }

    fn ids(news: &[Fetch]) -> Vec<(&str, u64)> {
        let done = |fetch: &Fetch| fetch.progress.as_ref().unwrap().done_bytes;
        news.iter()
            .map(|fetch| (fetch.content_id.as_str(), done(fetch)))
            .collect()
    }

    #[test]
    fn each_change_of_state_is_told_and_progress_in_its_pace() {
        let start = Instant::now();
        let running = |done| vec![fetch("a", FetchState::Transferring, done)];
        let mut changes = Changes::new(PACE);
        let mut told = |after: Duration, fetches| {
            let news = changes.handle_fetches(start + after, fetches);
            news.first()
                .map(|fetch| (fetch.state(), fetch.progress.as_ref().unwrap().done_bytes))
        };
        let state = FetchState::Transferring;
        assert_eq!(told(Duration::ZERO, running(1)), Some((state, 1)));
        assert_eq!(told(PACE / 2, running(2)), None, "too soon");
        assert_eq!(told(PACE, running(3)), Some((state, 3)));
        assert_eq!(told(PACE * 3, running(3)), None, "nothing is new");
        let end = FetchState::Succeeded;
        let over = vec![fetch("a", end, 3)];
        assert_eq!(told(PACE * 3, over), Some((end, 3)));
    }

    #[test]
    fn programs_are_told_each_change() {
        let now = Instant::now();
        let mut changes = Changes::new(Duration::ZERO);
        for done in 0..3 {
            let fetches = vec![fetch("a", FetchState::Transferring, done)];
            assert_eq!(ids(&changes.handle_fetches(now, fetches)), [("a", done)]);
        }
    }

    #[test]
    fn what_was_over_before_is_no_news_and_what_was_quick_is() {
        let now = Instant::now();
        let mut changes = Changes::new(PACE);
        let old = fetch("old", FetchState::Failed, 0);
        let new = fetch("new", FetchState::Locating, 0);
        let news = changes.handle_fetches(now, vec![new.clone(), old.clone()]);
        assert_eq!(ids(&news), [("new", 0)]);
        let quick = fetch("quick", FetchState::Succeeded, 7);
        let news = changes.handle_fetches(now, vec![quick, new, old]);
        assert_eq!(ids(&news), [("quick", 7)]);
    }

    #[test]
    fn those_that_are_not_listed_any_more_are_forgotten() {
        let now = Instant::now();
        let mut changes = Changes::new(PACE);
        changes.handle_fetches(now, vec![fetch("a", FetchState::Locating, 0)]);
        changes.handle_fetches(now, Vec::new());
        assert!(changes.told.unwrap().is_empty());
    }
}
