//! Counting how far a fetch is.

use std::time::Instant;

use zeroshare_content::{GRAIN, ItemKind, Layout};
use zeroshare_staging::Staged;
use zeroshare_transfer::{Part, Unit, UnitOutcome};

use super::reuse::Reused;
use super::view::{Progress, Share};
use super::writing::item_size;

/// What a fetch has done so far.
///
/// A slice counts as soon as it is written, a file once it is proven.
#[derive(Debug)]
pub(crate) struct Tally {
    start: Instant,
    progress: Progress,
    /// Bytes that peers sent, as far as they were of use.
    pub(crate) fetched_bytes: u64,
}

impl Tally {
    /// Counts what is there before anything is read.
    pub(crate) fn of_staged(staged: &Staged, reused: Reused) -> Self {
        let layout = staged.layout();
        let mut progress = Progress {
            total_bytes: layout.content_size(),
            reused_bytes: reused.bytes,
            ..Progress::default()
        };
        for (item, index) in layout.items().iter().zip(0_u32..) {
            let files = u64::from(item.kind == ItemKind::File);
            progress.total_files += files;
            if staged.is_proven(index) {
                progress.done_files += files;
            }
        }
        let held = |piece: &u32| staged.holds_piece(*piece);
        let pieces = (0..layout.piece_count()).filter(held);
        progress.done_bytes = pieces.filter_map(|piece| layout.piece_len(piece)).sum();
        Self {
            start: Instant::now(),
            progress,
            fetched_bytes: 0,
        }
    }

    pub(crate) fn count(
        &mut self,
        unit: &Unit,
        outcome: UnitOutcome,
        is_reread: bool,
        layout: &Layout,
    ) {
        let (bytes, items) = match (outcome, &unit.part) {
            (UnitOutcome::Proven, Part::Items(items)) => (unit.len, items.clone()),
            (
                UnitOutcome::Part {
                    proven_items,
                    proven_bytes,
                }
                | UnitOutcome::Wrong {
                    proven_items,
                    proven_bytes,
                },
                Part::Items(items),
            ) => (
                proven_bytes,
                items.start..items.start.saturating_add(proven_items),
            ),
            (UnitOutcome::Written { .. }, _) if !is_reread => (unit.len, 0..0),
            (UnitOutcome::Judged { grains, .. }, _) => {
                let bytes = u64::from(grains).saturating_mul(GRAIN).min(unit.len);
                (bytes, 0..0)
            }
            (
                UnitOutcome::Proven
                | UnitOutcome::Written { .. }
                | UnitOutcome::Part { .. }
                | UnitOutcome::Wrong { .. },
                _,
            ) => (0, 0..0),
        };
        self.fetched_bytes += bytes;
        self.progress.done_bytes += bytes;
        let is_file = |item: &u32| {
            let found = layout.items().get(*item as usize);
            found.is_some_and(|item| item.kind == ItemKind::File)
        };
        self.progress.done_files += items.filter(is_file).count() as u64;
    }

    pub(crate) fn file_proven(&mut self) {
        self.progress.done_files += 1;
    }

    pub(crate) fn progress(&self, peers: Vec<Share>) -> Progress {
        Progress {
            peers,
            ..self.progress.clone()
        }
    }

    /// Takes in pieces that came before the driver began.
    pub(crate) fn early(&mut self, layout: &Layout, items: std::ops::Range<u32>) {
        self.fetched_bytes += items.map(|item| item_size(layout, item)).sum::<u64>();
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}
