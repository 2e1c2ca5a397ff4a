use std::ops::Range;

/// A set of grains.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    pub(crate) fn new(len: u32) -> Self {
        Self {
            words: vec![0; (len as usize).div_ceil(64)],
            count: 0,
        }
    }

    pub(crate) fn has(&self, index: u32) -> bool {
        self.words
            .get(index as usize / 64)
            .is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, index: u32, value: bool) {
        let Some(word) = self.words.get_mut(index as usize / 64) else {
            return;
        };
        let bit = 1_u64 << (index % 64);
        match (*word & bit != 0, value) {
            (false, true) => {
                *word |= bit;
                self.count += 1;
            }
            (true, false) => {
                *word &= !bit;
                self.count -= 1;
            }
            (true, true) | (false, false) => {}
        }
    }

    /// How many are in it.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The first run within `range` of those for which `is_wanted` says yes.
    pub(crate) fn first_run(
        range: Range<u32>,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Option<Range<u32>> {
        let start = range.clone().find(|index| is_wanted(*index))?;
        let end = (start..range.end)
            .find(|index| !is_wanted(*index))
            .unwrap_or(range.end);
        Some(start..end)
    }
}
