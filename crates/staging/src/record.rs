//! Keeps the journal of a tree being staged.

use std::io;
use std::ops::Range;

use crate::journal::{Change, Journal};
use crate::lock::locked;
use crate::{PutError, StageError, Staged};

impl Staged {
    /// Writes anew, and as short as can be, what is remembered beside the staging directory.
    ///
    /// Every part is remembered as soon as it is written, so that nothing is lost without this.
    pub fn checkpoint(&self) -> Result<(), StageError> {
        self.compact()
            .map_err(|error| StageError::io(&self.path, error))
    }

    pub(crate) fn compact(&self) -> io::Result<()> {
        let items = self.slices.all();
        let data: Vec<_> = items
            .iter()
            .map(|(item, sliced)| (*item, locked(&sliced.data)))
            .collect();
        let held = data.iter().map(|(item, data)| (*item, &data.extents));
        let name = self.place.journal_name();
        let mut journal = locked(&self.journal);
        *journal = Some(Journal::create(
            &self.place.parent,
            &name,
            &self.owner,
            held,
        )?);
        Ok(())
    }

    /// Remembers a change that was made before, or is about to be made.
    pub(crate) fn record(
        &self,
        change: Change,
        item: u32,
        range: &Range<u64>,
    ) -> Result<(), PutError> {
        match locked(&self.journal).as_mut() {
            Some(journal) => journal
                .append(change, item, range)
                .map_err(|error| PutError::io(&self.path, error)),
            None => Ok(()),
        }
    }

    pub(crate) fn journal_has_grown(&self) -> bool {
        let journal = locked(&self.journal);
        journal.as_ref().is_some_and(Journal::has_grown)
    }
}
