//! What somebody waits, ahead of everything else.

use zeroshare_content::GRAIN;
use zeroshare_proof::{FileProof, KnownList};

use super::{Transfer, unit_id};
use crate::{Part, ProviderId, UnitId};

/// The first turn of slices, which is that of the last grain of any file.
const LARGE: u32 = 1 << 31;

impl Transfer {
    /// Takes in that somebody waits for an item: it is asked for before all that nobody waits for, and after what was
    /// wanted earlier.
    ///
    /// Of a file that comes in slices it is what lies behind `offset`, in bytes: only a chain of grains to the file's end
    /// proves anything. That is much, so it comes after all that is small; and it comes from the end backwards, so that
    /// whoever waits for less has it before whoever waits for more, of this file and of others.
    pub fn want(&mut self, item: u32, offset: u64) {
        let turn = self.turns.min(LARGE - 1);
        self.turns = self.turns.saturating_add(1);
        let Some(file) = self.files.get(&item) else {
            if let Some(unit) = self.run_of(item) {
                self.missing.want(unit, turn);
            }
            return;
        };
        let slices = file.units.clone();
        let ends = slices.clone().map(|index| self.units[index].end());
        let size = ends.max().unwrap_or(0);
        for index in slices {
            let end = self.units[index].end();
            if end > offset {
                let behind = u32::try_from((size - end) / GRAIN).unwrap_or(u32::MAX);
                self.missing
                    .want(unit_id(index), LARGE.saturating_add(behind));
            }
        }
    }

    /// Says from which byte on a file that comes in slices is proven on the disk, and by which list.
    ///
    /// Its grains from there to the end are linked, so that the list's midstates between them are those of the file, and
    /// stay so whatever becomes of the list. `None` while nothing is proven; a file that is proven as a whole only has none.
    pub fn proven_from(&self, item: u32) -> Option<(u64, KnownList)> {
        let proof = self.files.get(&item)?.proof.as_ref()?;
        let (lead, first) = (proof.lead()?, proof.proven_from());
        (first < FileProof::grains(proof)).then(|| (u64::from(first) * GRAIN, lead.clone()))
    }

    /// Whether a provider has all calls that it may have, and one more only for what somebody waits for.
    pub(super) fn is_kept_for_wanted(&self, provider: ProviderId) -> bool {
        self.providers[provider.index()].calls >= self.settings.calls_per_provider
    }

    /// The unit of a run that holds an item.
    fn run_of(&self, item: u32) -> Option<UnitId> {
        let holds = |part: &Part| matches!(part, Part::Items(items) if items.contains(&item));
        let index = self
            .units
            .iter()
            .position(|tracked| holds(&tracked.unit.part))?;
        Some(unit_id(index))
    }
}
