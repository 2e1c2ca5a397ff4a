//! What was found out of trees lately, so that nobody is asked twice within seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zeroshare_content::TreeId;

/// Nobody has it, for so long: somebody may get it at any moment.
const NOBODY: Duration = Duration::from_secs(3);

/// A neighbour has it, for so long; whoever uses the tree goes on with it.
const SOMEBODY: Duration = Duration::from_secs(20);

/// Answers that are remembered; the oldest go first.
const MAX_ANSWERS: usize = 4096;

/// What is known of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Nobody,
    /// It is shown under this number.
    Shown(u32),
}

/// Answers until they are too old.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_id: BTreeMap<TreeId, (Instant, Answer)>,
}

impl Answers {
    /// Takes in an answer.
    pub(crate) fn handle(&mut self, now: Instant, id: TreeId, answer: Answer) {
        let lasts = match answer {
            Answer::Nobody => NOBODY,
            Answer::Shown(_) => SOMEBODY,
        };
        if self.by_id.len() >= MAX_ANSWERS {
            self.by_id.retain(|_, (end, _)| *end > now);
        }
        if self.by_id.len() >= MAX_ANSWERS
            && let Some(first) = self.by_id.iter().min_by_key(|(_, (end, _))| *end)
        {
            let first = *first.0;
            self.by_id.remove(&first);
        }
        self.by_id.insert(id, (now + lasts, answer));
    }

    /// What is known, if it is not too old.
    pub(crate) fn find(&self, now: Instant, id: &TreeId) -> Option<Answer> {
        let (end, answer) = self.by_id.get(id)?;
        (*end > now).then_some(*answer)
    }

    /// Takes in that somebody says to have these.
    pub(crate) fn void_nobody<'a>(&mut self, ids: impl IntoIterator<Item = &'a TreeId>) {
        for id in ids {
            if let Some((_, Answer::Nobody)) = self.by_id.get(id) {
                self.by_id.remove(id);
            }
        }
    }

    /// Forgets that nobody had these, if that was said; of none in particular: all.
    pub(crate) fn refresh(&mut self, ids: &[TreeId]) {
        self.by_id.retain(|id, (_, answer)| {
            *answer != Answer::Nobody || !(ids.is_empty() || ids.contains(id))
        });
    }

    /// Forgets that nobody had it, where that was said: it is here now.
    pub(crate) fn void(&mut self, id: &TreeId) {
        self.by_id.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::Family;

    use super::*;

    fn id(number: u32) -> TreeId {
        TreeId::of_manifest(Family::Sha256, &number.to_be_bytes())
    }

    #[test]
    fn an_answer_lasts_for_seconds_and_a_later_one_replaces_it() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.handle(now, id(1), Answer::Nobody);
        assert_eq!(answers.find(now, &id(1)), Some(Answer::Nobody));
        assert_eq!(answers.find(now + NOBODY, &id(1)), None);
        answers.handle(now, id(1), Answer::Shown(4));
        assert_eq!(answers.find(now + NOBODY, &id(1)), Some(Answer::Shown(4)));
        answers.void(&id(1));
        assert_eq!(answers.find(now, &id(1)), None);
    }

    #[test]
    fn what_somebody_tells_of_is_asked_for_again() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.handle(now, id(1), Answer::Nobody);
        answers.handle(now, id(2), Answer::Shown(4));
        answers.void_nobody(&[id(1), id(2), id(3)]);
        assert_eq!(answers.find(now, &id(1)), None);
        assert_eq!(answers.find(now, &id(2)), Some(Answer::Shown(4)));
    }

    #[test]
    fn what_nobody_had_can_be_forgotten_of_some_or_of_all() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for number in 1..=3 {
            answers.handle(now, id(number), Answer::Nobody);
        }
        answers.handle(now, id(4), Answer::Shown(7));
        answers.refresh(&[id(1), id(4)]);
        assert_eq!(answers.find(now, &id(1)), None);
        assert_eq!(answers.find(now, &id(2)), Some(Answer::Nobody));
        answers.refresh(&[]);
        assert_eq!(answers.find(now, &id(3)), None);
        assert_eq!(answers.find(now, &id(4)), Some(Answer::Shown(7)));
    }

    #[test]
    fn answers_are_bounded_and_the_oldest_go_first() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for number in 0..5000_u32 {
            let later = now + Duration::from_micros(number.into());
            answers.handle(later, id(number), Answer::Nobody);
        }
        assert_eq!(answers.by_id.len(), MAX_ANSWERS);
        assert_eq!(answers.find(now, &id(0)), None);
        assert_eq!(answers.find(now, &id(4999)), Some(Answer::Nobody));
    }
}
