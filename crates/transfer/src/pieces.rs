//! Sets of pieces.

use std::ops::Range;

const BITS: u32 = u64::BITS;

/// Pieces below a bound, a bit for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PieceSet {
    words: Vec<u64>,
    bound: u32,
}

impl PieceSet {
    /// An empty set of pieces below `bound`.
    pub(crate) fn new(bound: u32) -> Self {
        Self {
            words: vec![0; bound.div_ceil(BITS) as usize],
            bound,
        }
    }

    /// Says whether it was not in the set before; a piece that cannot be in it never is.
    pub(crate) fn insert(&mut self, piece: u32) -> bool {
        if piece >= self.bound {
            return false;
        }
        let (word, bit) = place(piece);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Says whether it was in the set.
    pub(crate) fn remove(&mut self, piece: u32) -> bool {
        let (word, bit) = place(piece);
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }

    pub(crate) fn contains(&self, piece: u32) -> bool {
        let (word, bit) = place(piece);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Cuts a range to what can be in the set.
    pub(crate) fn within(&self, range: &Range<u32>) -> Range<u32> {
        range.start.min(self.bound)..range.end.min(self.bound)
    }

    pub(crate) fn is_disjoint(&self, other: &Self) -> bool {
        let mut pairs = self.words.iter().zip(&other.words);
        pairs.all(|(one, two)| one & two == 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().copied().zip(0..).flat_map(ones)
    }

    /// Those that are in both.
    pub(crate) fn common(&self, other: &Self) -> impl Iterator<Item = u32> {
        let words = self.words.iter().zip(&other.words);
        let words = words.map(|(one, two)| one & two);
        words.zip(0..).flat_map(ones)
    }
}

fn place(piece: u32) -> (usize, u64) {
    ((piece / BITS) as usize, 1 << (piece % BITS))
}

fn ones((word, place): (u64, u32)) -> impl Iterator<Item = u32> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(place * BITS + bit)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set(steps in proptest::collection::vec((any::<bool>(), 0..150_u32), 0..200)) {
            let (mut bits, mut slow) = (PieceSet::new(130), BTreeSet::new());
            for (is_insert, piece) in steps {
                if is_insert {
                    prop_assert_eq!(bits.insert(piece), piece < 130 && slow.insert(piece));
                } else {
                    prop_assert_eq!(bits.remove(piece), slow.remove(&piece));
                }
            }
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), slow.clone());
            prop_assert_eq!(bits.is_empty(), slow.is_empty());
            let mut others = PieceSet::new(130);
            for piece in 0..130 {
                if !slow.contains(&piece) {
                    others.insert(piece);
                }
            }
            prop_assert!(bits.is_disjoint(&others));
            prop_assert_eq!(bits.common(&others).count(), 0);
            prop_assert_eq!(bits.common(&bits).collect::<BTreeSet<_>>(), slow);
        }
    }

    #[test]
    fn nothing_past_the_bound_is_ever_in_the_set() {
        let mut bits = PieceSet::new(3);
        assert!(!bits.insert(3));
        assert!(!bits.insert(u32::MAX));
        assert!(!bits.contains(u32::MAX) && !bits.remove(u32::MAX));
        assert_eq!(bits.within(&(1..u32::MAX)), 1..3);
        assert_eq!(bits.within(&(7..9)), 3..3);
    }
}
