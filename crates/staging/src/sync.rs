use std::io;

use zeroshare_content::Entry;

use crate::Staged;
use crate::beneath::{self, Access};
use crate::listing::MANIFEST_NAME;
use crate::place::PlaceKind;

/// Up to so many entries are synced one by one, so that nobody else's dirty pages are waited for.
const FEW_ENTRIES: usize = 64;

impl Staged {
    /// Waits until the whole staged tree is on disk.
    pub(crate) fn sync_tree(&self) -> io::Result<()> {
        if self.plan.manifest.lines().len() > FEW_ENTRIES {
            return Ok(rustix::fs::syncfs(&self.dir)?);
        }
        for (number, directory) in self.plan.directories() {
            let opened = beneath::open_directory(&self.dir, self.plan.directory_path(number))?;
            for (_, line) in self.plan.leaves(directory) {
                if let Entry::File { .. } = line.entry {
                    let (file, _) = beneath::open_file(&opened, line.path.name(), Access::Read)?;
                    file.sync_all()?;
                }
            }
            if number == 0 && self.place.kind == PlaceKind::Store {
                let (file, _) = beneath::open_file(&opened, MANIFEST_NAME, Access::Read)?;
                file.sync_all()?;
            }
            rustix::fs::fsync(&opened)?;
        }
        Ok(())
    }
}
