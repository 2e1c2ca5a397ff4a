//! Forgetting, on demand, that nobody had something.

use zeroshare_content::ContentId;

use crate::machine::Membership;

impl Membership {
    /// Forgets that nobody had these a moment ago; of none in particular: all. The next lookup asks as if it were the first.
    pub fn refresh(&mut self, contents: &[ContentId]) {
        if contents.is_empty() {
            self.absences.clear();
            return;
        }
        for (day, tag) in self.tags_of(contents).all() {
            self.absences.void(day, tag);
        }
    }
}
