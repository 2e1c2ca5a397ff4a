//! Looks through what an earlier run left, and makes what every tree starts with.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use zeroshare_content::{BlobId, Entry, Line};

use crate::beneath::{self, Access};
use crate::extents::Extents;
use crate::hashing::hash_file;
use crate::listing::MANIFEST_NAME;
use crate::lock::locked;
use crate::place::PlaceKind;
use crate::plan::Directory;
use crate::put::{Bytes, finish_file, proven_mode};
use crate::space::{self, Need};
use crate::stamp::{allocated, size};
use crate::{PutError, StageError, Staged, Step};

/// How many threads hash what was left, at most.
const MAX_HASHERS: usize = 8;

/// What an earlier run left.
#[derive(Debug, Default)]
struct Survey {
    /// Whether what it recorded can be believed: the machine was not started anew.
    trusted: bool,
    recorded: BTreeMap<u32, Extents>,
    directories: Vec<bool>,
    /// The lines whose entries are complete.
    complete: Vec<bool>,
    /// The lines of files that are long enough, but must be hashed.
    doubtful: Vec<u32>,
    /// Items that are there in part.
    partial: BTreeMap<u32, Extents>,
    present: Need,
}

impl Staged {
    /// Brings the staging directory to where items can be put into it.
    pub(crate) fn prepare(
        &self,
        resumed: bool,
        recorded: Option<BTreeMap<u32, Extents>>,
    ) -> Result<(), StageError> {
        let mut survey = Survey {
            trusted: recorded.is_some(),
            recorded: recorded.unwrap_or_default(),
            directories: vec![false; self.plan.directory_count()],
            complete: vec![false; self.plan.manifest.lines().len()],
            ..Survey::default()
        };
        if resumed {
            self.survey(&mut survey).map_err(resume_error)?;
        }
        let possible = self
            .check_times()
            .and_then(|()| self.check_space(survey.present));
        if let Err(refused) = possible {
            if !resumed {
                self.give_up();
            }
            return Err(refused);
        }
        self.hash_doubtful(&mut survey).map_err(resume_error)?;
        self.take_over(&survey).map_err(resume_error)?;
        self.reached(Step::Surveyed);
        self.make_directories(&survey).map_err(prepare_error)?;
        self.make_empty_files(&survey).map_err(prepare_error)?;
        self.write_manifest().map_err(prepare_error)?;
        self.reached(Step::Prepared);
        Ok(())
    }

    fn check_space(&self, present: Need) -> Result<(), StageError> {
        let (kind, link) = (self.place.kind, self.options.link_files);
        space::check(&self.dir, &self.path, self.options.quota, |block| {
            (space::needed(&self.plan, kind, link, block), present)
        })
    }

    /// Tries the earliest and the latest time: some file systems know only some decades, or every other second.
    fn check_times(&self) -> Result<(), StageError> {
        let times = self.plan.lines().filter_map(|(_, line)| match line.entry {
            Entry::File { mtime, .. } => Some(mtime),
            Entry::Directory | Entry::Symlink { .. } => None,
        });
        let (mut earliest, mut latest, mut odd) = (None::<i64>, None::<i64>, None);
        for time in times {
            earliest = Some(earliest.map_or(time, |earliest| earliest.min(time)));
            latest = Some(latest.map_or(time, |latest| latest.max(time)));
            odd = odd.or((time % 2 != 0).then_some(time));
        }
        let io = |error| StageError::io(&self.path, error);
        for seconds in [earliest, latest, odd].into_iter().flatten() {
            beneath::set_mtime(&self.dir, seconds).map_err(io)?;
            let stat = rustix::fs::fstat(&self.dir).map_err(|error| io(error.into()))?;
            if (stat.st_mtime, stat.st_mtime_nsec) != (seconds, 0) {
                let dir = self.path.clone();
                return Err(StageError::TimeNotKept { dir, seconds });
            }
        }
        // A sweep looks at this time.
        beneath::touch(&self.dir).map_err(io)
    }

    /// Removes a staging directory in which nothing is yet.
    fn give_up(&self) {
        let journal = self.place.journal_name();
        let removed = beneath::remove(&self.place.parent, self.place.name.as_encoded_bytes())
            .and_then(|()| beneath::remove(&self.place.parent, &journal));
        if let Err(error) = removed {
            tracing::debug!(path = %self.path.display(), %error, "an empty staging directory stays");
        }
    }

    fn survey(&self, survey: &mut Survey) -> Result<(), PutError> {
        for (number, directory) in self.plan.directories() {
            let path = self.plan.directory_path(number);
            let io = |error| PutError::io(self.path_below(path), error);
            let opened = match beneath::open_directory(&self.dir, path) {
                Ok(opened) => opened,
                // It was not made yet, or something else had its name and is gone.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
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
                self.survey_unproven(number, survey);
                (false, true)
            }
        };
        if let Some(found) = survey.complete.get_mut(number as usize) {
            *found = complete;
        }
        if stays {
            survey.present.entries += 1;
            survey.present.bytes += allocated(stat);
        }
        stays
    }

    fn survey_unproven(&self, number: u32, survey: &mut Survey) {
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
            None => survey.doubtful.push(number),
        }
    }

    /// Hashes, on several threads, what may be complete but is not known to be; what is not is removed.
    fn hash_doubtful(&self, survey: &mut Survey) -> Result<(), PutError> {
        let doubtful = std::mem::take(&mut survey.doubtful);
        let next = AtomicUsize::new(0);
        let outcome: Mutex<Result<Vec<u32>, PutError>> = Mutex::new(Ok(Vec::new()));
        let hash_some = || {
            while let Some(number) = doubtful.get(next.fetch_add(1, Ordering::Relaxed)) {
                let proven = self.hash_line(*number);
                let mut outcome = locked(&outcome);
                match (outcome.as_mut(), proven) {
                    (Ok(proven_lines), Ok(true)) => proven_lines.push(*number),
                    (Ok(_), Ok(false)) => {}
                    (Ok(_), Err(error)) => *outcome = Err(error),
                    (Err(_), _) => return,
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(MAX_HASHERS).min(doubtful.len());
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(hash_some);
            }
            hash_some();
        });
        let proven = outcome
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)?;
        for number in proven {
            if let Some(complete) = survey.complete.get_mut(number as usize) {
                *complete = true;
            }
        }
        Ok(())
    }

    fn hash_line(&self, number: u32) -> Result<bool, PutError> {
        let Some(line) = self.plan.line(number) else {
            return Ok(false);
        };
        let Entry::File { blob, size, .. } = line.entry else {
            return Ok(false);
        };
        let dir = self.directory(self.plan.directory_of(number))?;
        let hashed = beneath::open_file(&dir, line.path.name(), Access::Read)
            .and_then(|(file, _)| Ok((hash_file(blob.kind(), &file, size)?, file)));
        match hashed {
            Ok(((found, _), file)) if found == blob => finish_file(&file, line, true)
                .map(|()| true)
                .map_err(|error| self.fault(line, error)),
            // What cannot be read is worth as little as what is wrong.
            Ok(_) | Err(_) => {
                self.unlink(number);
                Ok(false)
            }
        }
    }

    /// Lets count what was found: items at all their lines, and parts.
    fn take_over(&self, survey: &Survey) -> Result<(), PutError> {
        for (number, line) in self.plan.lines() {
            let is_complete = survey.complete.get(number as usize) == Some(&true);
            if is_complete && matches!(line.entry, Entry::File { .. }) {
                self.restore_mtime(number, line)?;
            }
        }
        let items = self.plan.layout.items().len();
        for item in (0_u32..).take(items) {
            let lines = self.plan.lines_of_item(item).map(|(line, _)| line);
            let (standing, missing): (Vec<u32>, Vec<u32>) =
                lines.partition(|line| survey.complete.get(*line as usize) == Some(&true));
            let Some(first) = standing.first().copied() else {
                continue;
            };
            if !missing.is_empty() {
                // Where its parts were being written it can be put whole now.
                if survey.partial.contains_key(&item) {
                    for line in &missing {
                        self.unlink(*line);
                    }
                }
                self.place(item, Bytes::Line(first), &standing)?;
            }
            self.mark_proven(item, None);
        }
        for (item, extents) in &survey.partial {
            if self.is_proven(*item) {
                continue;
            }
            let wanted = self.item(*item)?;
            let whole = extents.first_gap(wanted.size).is_none();
            self.slices.resume(*item, &wanted, extents.clone());
            if whole {
                match self.finish_item(*item) {
                    Ok(()) | Err(PutError::Mismatch { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// A run that was killed between the two may have set the mode alone.
    fn restore_mtime(&self, number: u32, line: &Line) -> Result<(), PutError> {
        let Entry::File { mtime, .. } = line.entry else {
            return Ok(());
        };
        let dir = self.directory(self.plan.directory_of(number))?;
        let name = line.path.name();
        let io = |error| self.fault(line, error);
        let stat = beneath::stat(&dir, name).map_err(io)?;
        let wants_mode = beneath::mode(&stat) != proven_mode(&line.entry);
        if !wants_mode && (stat.st_mtime, stat.st_mtime_nsec) == (mtime, 0) {
            return Ok(());
        }
        let (file, _) = beneath::open_file(&dir, name, Access::Read).map_err(io)?;
        finish_file(&file, line, wants_mode).map_err(io)
    }

    fn make_directories(&self, survey: &Survey) -> Result<(), PutError> {
        for (number, directory) in self.plan.directories() {
            let there = survey.directories.get(number as usize) == Some(&true);
            let line = directory
                .line
                .and_then(|line| Some((line, self.plan.line(line)?)));
            let Some((line_number, line)) = line.filter(|_| !there) else {
                continue;
            };
            let parent = self.directory(self.plan.directory_of(line_number))?;
            rustix::fs::mkdirat(&parent, line.path.name(), Mode::RWXU)
                .map_err(|error| self.fault(line, error))?;
            if self.masked {
                let made = self.directory(number)?;
                beneath::set_mode(&made, 0o700).map_err(|error| self.fault(line, error))?;
            }
        }
        Ok(())
    }

    fn make_empty_files(&self, survey: &Survey) -> Result<(), PutError> {
        for (number, line) in self.plan.lines() {
            let Entry::File { size: 0, .. } = line.entry else {
                continue;
            };
            if survey.complete.get(number as usize) == Some(&true) {
                continue;
            }
            let dir = self.directory(self.plan.directory_of(number))?;
            self.create_file(&dir, line.path.name(), proven_mode(&line.entry))
                .and_then(|file| finish_file(&file, line, false))
                .map_err(|error| self.fault(line, error))?;
        }
        Ok(())
    }

    /// Puts the manifest where a store keeps it, for those who read a tree that is not whole yet.
    fn write_manifest(&self) -> Result<(), PutError> {
        if self.place.kind == PlaceKind::Copy {
            return Ok(());
        }
        let io = |error| PutError::io(self.path_below(MANIFEST_NAME), error);
        let dir = self.dir.as_fd();
        beneath::remove(dir, MANIFEST_NAME).map_err(io)?;
        let file = beneath::create_file(dir, MANIFEST_NAME, 0o444).map_err(io)?;
        beneath::write_at(&file, self.plan.manifest.text(), 0).map_err(io)?;
        beneath::set_mode(&file, 0o444).map_err(io)
    }
}

fn has_target(dir: &OwnedFd, name: &[u8], blob: &BlobId) -> bool {
    let target = beneath::read_link(dir, name);
    target.is_ok_and(|target| BlobId::of(blob.kind(), &target) == *blob)
}

fn resume_error(error: PutError) -> StageError {
    StageError::Resume(Box::new(error))
}

fn prepare_error(error: PutError) -> StageError {
    match error {
        PutError::NameTaken { path } => StageError::NameTaken { path },
        PutError::Io { path, source } => StageError::Io { path, source },
        PutError::NoSpace { path } => StageError::io(path, Errno::NOSPC),
        other @ (PutError::NoSuchItem { .. }
        | PutError::OutOfRange { .. }
        | PutError::Mismatch { .. }
        | PutError::Incomplete { .. }) => resume_error(other),
    }
}
