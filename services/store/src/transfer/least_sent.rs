//! Which pieces went out least often.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroshare_content::ContentId;

/// Counts are kept for so many contents; the one asked for longest ago is forgotten.
const MAX_TREES: usize = 64;

/// How often each piece of each content was sent, so that readers who let us choose get different ones.
#[derive(Debug, Default)]
pub(crate) struct LeastSent {
    /// The tree asked for last stands last.
    counts: Mutex<VecDeque<(ContentId, Vec<u32>)>>,
}

impl LeastSent {
    /// Chooses at most so many of the given pieces, those sent least often first, and counts them as sent.
    pub(crate) fn choose(&self, id: &ContentId, pieces: &[Range<u32>], at_most: u32) -> Vec<u32> {
        let mut all = self.counts();
        let counts = counts_of(
            &mut all,
            id,
            pieces.iter().map(|range| range.end).max().unwrap_or(0),
        );
        let count_of = |piece: &u32| counts.get(*piece as usize).copied().unwrap_or(0);
        let mut chosen: Vec<u32> = pieces.iter().cloned().flatten().collect();
        chosen.sort_by_key(|piece| (count_of(piece), *piece));
        chosen.truncate(usize::try_from(at_most).unwrap_or(usize::MAX));
        for piece in &chosen {
            if let Some(count) = counts.get_mut(*piece as usize) {
                *count = count.saturating_add(1);
            }
        }
        chosen
    }

    /// Counts pieces that were asked for by number.
    pub(crate) fn count(&self, id: &ContentId, pieces: Range<u32>) {
        let mut all = self.counts();
        let counts = counts_of(&mut all, id, pieces.end);
        for count in counts
            .get_mut(pieces.start as usize..pieces.end as usize)
            .into_iter()
            .flatten()
        {
            *count = count.saturating_add(1);
        }
    }

    fn counts(&self) -> MutexGuard<'_, VecDeque<(ContentId, Vec<u32>)>> {
        // A count too few does no harm.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of a tree, as many as its pieces up to `end`.
fn counts_of<'a>(
    all: &'a mut VecDeque<(ContentId, Vec<u32>)>,
    id: &ContentId,
    end: u32,
) -> &'a mut Vec<u32> {
    let known = all
        .iter()
        .position(|(known, _)| known == id)
        .and_then(|place| all.remove(place));
    let (_, mut counts) = known.unwrap_or_else(|| (*id, Vec::new()));
    if counts.len() < end as usize {
        counts.resize(end as usize, 0);
    }
    if all.len() >= MAX_TREES {
        all.pop_front();
    }
    &mut all.push_back_mut((*id, counts)).1
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{BlobId, HashKind};

    use super::*;

    #[test]
    fn pieces_go_out_in_turn() {
        let least = LeastSent::default();
        let id = ContentId::from(BlobId::of(HashKind::Sha256, b"a"));
        let ranges = [0..3, 5..7];
        assert_eq!(least.choose(&id, &ranges, 2), [0, 1]);
        assert_eq!(least.choose(&id, &ranges, 2), [2, 5]);
        least.count(&id, 6..7);
        least.count(&id, 6..7);
        assert_eq!(least.choose(&id, &ranges, 9), [0, 1, 2, 5, 6]);
        assert_eq!(least.choose(&id, &[], 9), [0; 0]);
    }

    #[test]
    fn only_so_many_trees_are_counted() {
        let least = LeastSent::default();
        for tree in 0..1000_u32 {
            least.count(
                &BlobId::of(HashKind::Sha256, &tree.to_le_bytes()).into(),
                0..3,
            );
        }
        assert_eq!(least.counts().len(), MAX_TREES);
    }
}
