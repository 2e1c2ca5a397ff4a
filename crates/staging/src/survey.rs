//! Looks through what an earlier run left.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat};
use zeroshare_content::{BlobId, Entry, Line};

use crate::beneath;
use crate::extents::Extents;
use crate::plan::Directory;
use crate::put::proven_mode;
use crate::space::Need;
use crate::stamp::{allocated, size};
use crate::{PutError, Staged};

/// What an earlier run left.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Whether what it recorded can be believed: the machine was not started anew.
    pub(crate) trusted: bool,
    pub(crate) recorded: BTreeMap<u32, Extents>,
    pub(crate) directories: Vec<bool>,
    /// The lines whose entries are complete.
    pub(crate) complete: Vec<bool>,
    /// The lines of files that are long enough, but must be hashed, with their inodes.
    pub(crate) doubtful: Vec<(u64, u32)>,
    /// The lines of complete files that have not got their time.
    pub(crate) untimed: Vec<u32>,
    /// Items that are there in part.
    pub(crate) partial: BTreeMap<u32, Extents>,
    pub(crate) present: Need,
}

impl Survey {
    pub(crate) fn is_complete(&self, line: u32) -> bool {
        self.complete.get(line as usize) == Some(&true)
    }
}

impl Staged {
    /// Looks at all that lies in the staging directory, and removes what is not of this tree.
    pub(crate) fn survey(&self, survey: &mut Survey) -> Result<(), PutError> {
        for (number, directory) in self.plan.directories() {
            let path = self.plan.directory_path(number);
            let io = |error| PutError::io(self.path_below(path), error);
            let opened = match beneath::open_directory(&self.dir, path) {
                Ok(opened) => opened,
                // It was not made yet, or something else had its name and is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io(error)),
            };
            beneath::set_mode(&opened, 0o700).map_err(io)?;
            survey.present.entries += 1;
            if let Some(found) = survey.directories.get_mut(number as usize) {
                *found = true;
            }
            self.survey_directory((number, directory), &opened, survey)?;
        }
        Ok(())
    }

    /// Looks at each entry of a directory, and removes what is not of this tree.
    fn survey_directory(
        &self,
        (number, directory): (u32, &Directory),
        opened: &OwnedFd,
        survey: &mut Survey,
    ) -> Result<(), PutError> {
        let mut leaves: Vec<(u32, &Line)> = self.plan.leaves(directory).collect();
        leaves.sort_unstable_by_key(|(_, line)| line.path.name());
        let mut inner: Vec<&[u8]> = self
            .plan
            .subdirectories(number)
            .map(|line| line.path.name())
            .collect();
        inner.sort_unstable();
        let here = self.plan.directory_path(number);
        let io = |error| PutError::io(self.path_below(here), error);
        for name in beneath::names(opened).map_err(io)? {
            let name = name.as_slice();
            let stat = beneath::stat(opened, name).map_err(io)?;
            let is_directory = beneath::file_type(&stat) == FileType::Directory;
            let leaf = leaves.binary_search_by_key(&name, |(_, line)| line.path.name());
            let stays = match leaf {
                Ok(at) if !is_directory => {
                    let (line_number, line) = leaves[at];
                    self.survey_leaf((line_number, line), opened, &stat, survey)
                }
                _ => is_directory && inner.binary_search(&name).is_ok(),
            };
            if !stays {
                beneath::remove(opened, name).map_err(io)?;
            }
        }
        Ok(())
    }

    /// Decides what a file or symlink of the tree is worth; `false`: nothing.
    fn survey_leaf(
        &self,
        (number, line): (u32, &Line),
        dir: &OwnedFd,
        stat: &Stat,
        survey: &mut Survey,
    ) -> bool {
        let (found_type, found_size) = (beneath::file_type(stat), size(stat));
        let (complete, stays) = match line.entry {
            Entry::Directory => (false, false),
            Entry::Symlink { blob, target_len } => {
                let whole = found_type == FileType::Symlink
                    && found_size == target_len
                    && has_target(dir, line.path.name(), &blob);
                (whole, whole)
            }
            Entry::File { .. } if found_type != FileType::RegularFile => (false, false),
            // The journal speaks of sizes that fit only.
            Entry::File { size, .. } if found_size != size => (false, false),
            Entry::File { size: 0, .. } => (true, true),
            Entry::File { .. }
                if survey.trusted && beneath::mode(stat) == proven_mode(&line.entry) =>
            {
                (true, true)
            }
            Entry::File { .. } => {
                self.survey_unproven(number, stat.st_ino, survey);
                (false, true)
            }
        };
        if let Some(found) = survey.complete.get_mut(number as usize) {
            *found = complete;
        }
        if complete && !is_timed(line, stat) {
            survey.untimed.push(number);
        }
        if stays {
            survey.present.entries += 1;
            survey.present.bytes += allocated(stat);
        }
        stays
    }

    fn survey_unproven(&self, number: u32, inode: u64, survey: &mut Survey) {
        let item = self.plan.item_of_line(number);
        let item = item.filter(|item| {
            let first = self.plan.file_line(*item);
            first.is_some_and(|(first, _)| first == number)
        });
        let recorded = item.and_then(|item| {
            let extents = survey.recorded.remove(&item)?;
            let whole = self.plan.item(item)?.size;
            (extents.end() <= whole).then_some((item, extents))
        });
        match recorded {
            Some((item, extents)) => {
                survey.partial.insert(item, extents);
            }
            None => survey.doubtful.push((inode, number)),
        }
    }
}

/// Says whether a file has the mode and time of its line; a run may have been killed before it set them.
fn is_timed(line: &Line, stat: &Stat) -> bool {
    match line.entry {
        Entry::Directory | Entry::Symlink { .. } => true,
        Entry::File { mtime, .. } => {
            beneath::mode(stat) == proven_mode(&line.entry)
                && (stat.st_mtime, stat.st_mtime_nsec) == (mtime, 0)
        }
    }
}

fn has_target(dir: &OwnedFd, name: &[u8], blob: &BlobId) -> bool {
    let target = beneath::read_link(dir, name);
    target.is_ok_and(|target| BlobId::of(blob.kind(), &target) == *blob)
}
