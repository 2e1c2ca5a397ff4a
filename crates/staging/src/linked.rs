//! Large files of which every grain was judged by a list of midstates: proven without being hashed again.

use std::ops::Range;

use zeroshare_proof::Midstates;

use crate::extents::Extents;
use crate::lock::locked;
use crate::put::{Bytes, finish_file};
use crate::sliced::part_of;
use crate::{PutError, SourceId, Staged, Step};

/// What of a file holds by one list, as it lies there now.
///
/// It is kept under the same lock as the bytes: whatever writes over a part takes it out.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    list: Option<[u8; 32]>,
    parts: Extents,
}

impl Linked {
    pub(crate) fn forget(&mut self, range: &Range<u64>) {
        self.parts.remove(range.clone());
    }

    fn note(&mut self, list: &[u8; 32], range: Range<u64>) {
        if self.list.as_ref() == Some(list) {
            self.parts.insert(range, None);
        } else {
            self.parts.remove(range);
        }
    }
}

impl Staged {
    /// Says by which list a file is judged from now on. What was judged before, by another one, counts no more.
    pub fn judge_by(&self, item: u32, list: [u8; 32]) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        if self.is_proven(item) {
            return Ok(());
        }
        let sliced = self.slices.find_or_add(item, &wanted);
        let mut data = locked(&sliced.data);
        if data.linked.list != Some(list) {
            data.linked = Linked {
                list: Some(list),
                parts: Extents::default(),
            };
        }
        Ok(())
    }

    /// Takes a part of a large file that was judged by a list, and holds by it.
    ///
    /// As [`put_slice`](Self::put_slice), but nothing is hashed: see [`prove_item`](Self::prove_item).
    pub fn put_linked(
        &self,
        item: u32,
        (offset, bytes): (u64, &[u8]),
        source: SourceId,
        list: &[u8; 32],
    ) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        let range = part_of(item, &wanted, offset, bytes.len() as u64)?;
        if self.is_proven(item) || bytes.is_empty() {
            return Ok(());
        }
        let sliced = self.slices.find_or_add(item, &wanted);
        {
            let mut data = locked(&sliced.data);
            if data.proven {
                return Ok(());
            }
            let file = self.file_of(item, &mut data)?;
            if self.write_part(item, &file, (&range, bytes), &mut data)? {
                data.extents.insert(range.clone(), Some(source));
            }
            data.linked.note(list, range);
        }
        self.reached(Step::SliceRecorded(item));
        if self.journal_has_grown() {
            self.compact()
                .map_err(|error| PutError::io(&self.path, error))?;
        }
        Ok(())
    }

    /// Judges a part that lies there: `judge` gets its bytes, and says whether they hold by the list.
    ///
    /// Gives its verdict, or `false` if what lies there changes all the time.
    pub fn judge_part(
        &self,
        item: u32,
        range: &Range<u64>,
        list: &[u8; 32],
        judge: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, PutError> {
        /// Others write to the same file, elsewhere in it.
        const MAX_TRIES: usize = 64;
        for _ in 0..MAX_TRIES {
            let version = self.version_of(item);
            let bytes = match self.read_slice(item, range.start, range.end - range.start) {
                Ok(bytes) => bytes,
                Err(PutError::Incomplete { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            if !judge(&bytes) {
                return Ok(false);
            }
            let Some(sliced) = self.slices.find(item) else {
                return Ok(true);
            };
            let mut data = locked(&sliced.data);
            if data.version == version {
                data.linked.note(list, range.clone());
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Proves a file of which every byte was judged by this list, and puts it at every line that has it.
    ///
    /// The caller vouches that the list leads to the file's hash: its last grain was judged by the hash itself.
    /// It is [`PutError::Incomplete`] if anything was not judged, or written over since.
    pub fn prove_item(&self, item: u32, midstates: Midstates) -> Result<(), PutError> {
        let wanted = self.item(item)?;
        if self.is_proven(item) {
            return Ok(());
        }
        let missing = 0..wanted.size;
        let Some(sliced) = self.slices.find(item) else {
            return Err(PutError::Incomplete { item, missing });
        };
        let Some((number, line)) = self.plan.file_line(item) else {
            return Err(PutError::NoSuchItem { item });
        };
        let mut data = locked(&sliced.data);
        if !data.proven {
            if data.linked.list != Some(midstates.list_digest()) {
                return Err(PutError::Incomplete { item, missing });
            }
            if let Some(missing) = data.linked.parts.first_gap(wanted.size) {
                return Err(PutError::Incomplete { item, missing });
            }
            let file = self.file_of(item, &mut data)?;
            finish_file(&file, line, true).map_err(|error| self.fault(line, error))?;
            data.proven = true;
            data.midstates = Some(midstates);
            self.reached(Step::Placed(number));
        }
        self.place(item, Bytes::Line(number), &[number])?;
        let midstates = data.midstates.take();
        self.mark_proven(item, midstates);
        drop(data);
        self.slices.forget(item);
        Ok(())
    }

    fn version_of(&self, item: u32) -> u64 {
        let sliced = self.slices.find(item);
        sliced.map_or(0, |sliced| locked(&sliced.data).version)
    }
}
