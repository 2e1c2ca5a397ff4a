//! What is missing, the rarest first.

use std::collections::BTreeSet;

use crate::UnitId;
use crate::pieces::PieceSet;

/// The units that nobody is asked for.
///
/// They stand in the order in which they are asked for: those first that somebody waits for, by the turn that they were
/// given; then those that the fewest partial providers hold or are about to, and among equals by [`Ties`].
#[derive(Debug)]
pub(crate) struct Missing {
    order: BTreeSet<(Rank, UnitId)>,
    ranks: Vec<Rank>,
    /// The piece of each unit; they rise.
    pieces: Vec<u32>,
    /// Pieces of which anything is missing.
    in_pieces: PieceSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Its turn among those that are waited for, else [`NOT_WANTED`].
    turn: u32,
    copies: u32,
    tie: u32,
}

/// Nobody waits for it.
const NOT_WANTED: u32 = u32::MAX;

impl Default for Rank {
    fn default() -> Self {
        Self {
            turn: NOT_WANTED,
            copies: 0,
            tie: 0,
        }
    }
}

/// In which order units are asked for that are equally rare.
#[derive(Debug)]
pub(crate) enum Ties<'a> {
    /// By their numbers, from this one on and then from the first: good for disks.
    From(usize),
    /// By chance: what many ask for at once is not the same.
    Random(&'a mut fastrand::Rng),
}

impl Missing {
    /// Of units that lie in these pieces, none is missing yet.
    pub(crate) fn new(pieces: Vec<u32>) -> Self {
        let bound = pieces.last().map_or(0, |last| last.saturating_add(1));
        Self {
            order: BTreeSet::new(),
            ranks: vec![Rank::default(); pieces.len()],
            pieces,
            in_pieces: PieceSet::new(bound),
        }
    }

    /// One more than the highest piece of any unit.
    pub(crate) fn bound(&self) -> u32 {
        self.pieces.last().map_or(0, |last| last.saturating_add(1))
    }

    pub(crate) fn insert(&mut self, unit: UnitId) {
        let (Some(rank), Some(piece)) =
            (self.ranks.get(unit.index()), self.pieces.get(unit.index()))
        else {
            return;
        };
        self.order.insert((*rank, unit));
        self.in_pieces.insert(*piece);
    }

    pub(crate) fn remove(&mut self, unit: UnitId) -> bool {
        let Some(rank) = self.ranks.get(unit.index()) else {
            return false;
        };
        let was_there = self.order.remove(&(*rank, unit));
        let piece = self.pieces[unit.index()];
        let mut siblings = self.units_of(piece);
        if was_there && !siblings.any(|other| self.contains(other)) {
            self.in_pieces.remove(piece);
        }
        was_there
    }

    pub(crate) fn contains(&self, unit: UnitId) -> bool {
        let rank = self.ranks.get(unit.index());
        rank.is_some_and(|rank| self.order.contains(&(*rank, unit)))
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The rarest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &UnitId> {
        self.order.iter().map(|(_, unit)| unit)
    }

    /// Pieces of which anything is missing.
    pub(crate) fn in_pieces(&self) -> &PieceSet {
        &self.in_pieces
    }

    /// What is missing of one piece.
    pub(crate) fn in_piece(&self, piece: u32) -> impl Iterator<Item = UnitId> {
        let units = self.units_of(piece);
        units.filter(|unit| self.contains(*unit))
    }

    /// How many partial providers hold a unit or are about to.
    pub(crate) fn copies(&self, unit: UnitId) -> u32 {
        self.ranks.get(unit.index()).map_or(0, |rank| rank.copies)
    }

    /// Gives a unit a turn before all that nobody waits for; one that has an earlier turn keeps it.
    pub(crate) fn want(&mut self, unit: UnitId, turn: u32) {
        self.rerank_one(unit, |rank| {
            rank.turn = rank.turn.min(turn.min(NOT_WANTED - 1));
        });
    }

    /// Says whether somebody waits for a unit.
    pub(crate) fn is_wanted(&self, unit: UnitId) -> bool {
        let rank = self.ranks.get(unit.index());
        rank.is_some_and(|rank| rank.turn != NOT_WANTED)
    }

    /// Says whether somebody waits for anything that is missing.
    pub(crate) fn has_wanted(&self) -> bool {
        self.iter().next().is_some_and(|unit| self.is_wanted(*unit))
    }

    /// Takes in that one more holds a piece.
    pub(crate) fn add_copy(&mut self, piece: u32) {
        self.rerank(piece, |rank| rank.copies = rank.copies.saturating_add(1));
    }

    /// Takes in that one less holds a piece.
    pub(crate) fn remove_copy(&mut self, piece: u32) {
        self.rerank(piece, |rank| rank.copies = rank.copies.saturating_sub(1));
    }

    /// Says how equals are ordered from now on.
    pub(crate) fn break_ties(&mut self, ties: Ties<'_>) {
        let units: Vec<UnitId> = self.iter().copied().collect();
        self.order.clear();
        let count = self.ranks.len();
        let mut ties = ties;
        for (index, rank) in self.ranks.iter_mut().enumerate() {
            let tie = match &mut ties {
                Ties::From(first) => (index + count - (*first).min(count)) % count.max(1),
                Ties::Random(random) => random.usize(..),
            };
            rank.tie = u32::try_from(tie & 0xffff_ffff).unwrap_or(u32::MAX);
        }
        for unit in units {
            self.order.insert((self.ranks[unit.index()], unit));
        }
    }

    fn rerank(&mut self, piece: u32, change: impl Fn(&mut Rank)) {
        for unit in self.units_of(piece) {
            self.rerank_one(unit, &change);
        }
    }

    fn rerank_one(&mut self, unit: UnitId, change: impl Fn(&mut Rank)) {
        let Some(rank) = self.ranks.get_mut(unit.index()) else {
            return;
        };
        let was_there = self.order.remove(&(*rank, unit));
        change(rank);
        if was_there {
            self.order.insert((*rank, unit));
        }
    }

    fn units_of(&self, piece: u32) -> impl Iterator<Item = UnitId> + use<> {
        let start = self.pieces.partition_point(|other| *other < piece);
        let end = start + self.pieces[start..].partition_point(|other| *other == piece);
        (start..end).map(|index| UnitId(u32::try_from(index).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_come_first_and_equals_in_the_order_asked_for() {
        let mut missing = all(vec![0, 1, 2, 3, 4]);
        missing.break_ties(Ties::From(3));
        assert_eq!(order(&missing), [3, 4, 0, 1, 2]);
        missing.add_copy(3);
        missing.add_copy(4);
        missing.add_copy(4);
        assert_eq!(order(&missing), [0, 1, 2, 3, 4]);
        missing.remove_copy(3);
        assert_eq!(order(&missing), [3, 0, 1, 2, 4]);
        assert_eq!(missing.copies(UnitId(4)), 2);
    }

    #[test]
    fn by_chance_every_unit_stays_exactly_once() {
        let mut missing = all((0..100).collect());
        missing.break_ties(Ties::Random(&mut fastrand::Rng::with_seed(7)));
        let mut shuffled = order(&missing);
        assert_ne!(shuffled, (0..100).collect::<Vec<_>>());
        shuffled.sort_unstable();
        assert_eq!(shuffled, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_somebody_waits_for_comes_before_the_rarest_and_in_turn() {
        let mut missing = all(vec![0, 1, 2, 3]);
        missing.add_copy(2);
        assert!(!missing.has_wanted());
        missing.want(UnitId(2), 5);
        missing.want(UnitId(1), 6);
        missing.want(UnitId(2), 7);
        missing.want(UnitId(9), 1);
        assert_eq!(order(&missing), [2, 1, 0, 3]);
        missing.break_ties(Ties::From(3));
        assert_eq!(order(&missing), [2, 1, 3, 0]);
        missing.remove(UnitId(2));
        missing.remove(UnitId(1));
        assert!(!missing.has_wanted() && missing.is_wanted(UnitId(1)));
    }

    #[test]
    fn a_piece_is_missing_as_long_as_any_unit_of_it_is() {
        let mut missing = all(vec![2, 5, 5, 5, 9]);
        assert!(missing.remove(UnitId(1)));
        assert!(!missing.remove(UnitId(1)));
        missing.remove(UnitId(3));
        assert!(missing.in_pieces().contains(5));
        missing.remove(UnitId(2));
        assert!(!missing.in_pieces().contains(5));
        assert_eq!(missing.in_pieces().iter().collect::<Vec<_>>(), [2, 9]);
        missing.add_copy(5);
        missing.insert(UnitId(3));
        assert_eq!(order(&missing), [0, 4, 3]);
    }

    fn all(pieces: Vec<u32>) -> Missing {
        let count = u32::try_from(pieces.len()).unwrap();
        let mut missing = Missing::new(pieces);
        (0..count).for_each(|unit| missing.insert(UnitId(unit)));
        missing
    }

    fn order(missing: &Missing) -> Vec<u32> {
        missing.iter().map(|unit| unit.0).collect()
    }
}
