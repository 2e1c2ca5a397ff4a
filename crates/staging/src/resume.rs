//! Goes on with what an earlier run left, and makes what every tree starts with.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use rustix::fs::Mode;
use rustix::io::Errno;
use zeroshare_content::Entry;

use crate::beneath::{self, Access};
use crate::extents::Extents;
use crate::hashing::hash_file;
use crate::listing::MANIFEST_NAME;
use crate::place::PlaceKind;
use crate::put::{Bytes, finish_file, proven_mode};
use crate::space::{self, Need};
use crate::survey::Survey;
use crate::threads::on_threads;
use crate::{PutError, StageError, Staged, Step};

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
        // From now on what is here can be believed.
        self.checkpoint()?;
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

    /// Hashes, on several threads, what may be complete but is not known to be; what is not is removed.
    fn hash_doubtful(&self, survey: &mut Survey) -> Result<(), PutError> {
        let mut doubtful = std::mem::take(&mut survey.doubtful);
        doubtful.sort_unstable();
        // Hard links of one file are hashed once.
        let entry = |line: u32| self.plan.line(line).map(|line| line.entry);
        let files: Vec<&[(u64, u32)]> = doubtful
            .chunk_by(|a, b| a.0 == b.0 && entry(a.1) == entry(b.1))
            .collect();
        let proven = on_threads(files.len(), usize::MAX, |at| {
            let links = files.get(at).copied().unwrap_or_default();
            self.hash_links(links.iter().map(|(_, line)| *line))
        })?;
        for number in proven.into_iter().flatten() {
            if let Some(complete) = survey.complete.get_mut(number as usize) {
                *complete = true;
            }
        }
        Ok(())
    }

    /// Says which of the lines of one file are proven: all or none.
    fn hash_links(&self, lines: impl Iterator<Item = u32> + Clone) -> Result<Vec<u32>, PutError> {
        let Some(first) = lines.clone().next() else {
            return Ok(Vec::new());
        };
        if self.hash_line(first)? {
            return Ok(lines.collect());
        }
        lines.for_each(|line| self.unlink(line));
        Ok(Vec::new())
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
            Ok(((found, _), file)) if found == blob => {
                finish_file(&file, line, true).map_err(|error| self.fault(line, error))?;
                self.reached(Step::Rehashed(number));
                Ok(true)
            }
            // What cannot be read is worth as little as what is wrong.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// Lets count what was found: items at all their lines, and parts.
    fn take_over(&self, survey: &Survey) -> Result<(), PutError> {
        for number in &survey.untimed {
            self.restore_time(*number)?;
        }
        let items = self.plan.layout.items().len();
        for item in (0_u32..).take(items) {
            let lines = self.plan.lines_of_item(item).map(|(line, _)| line);
            let (mut standing, missing): (Vec<u32>, Vec<u32>) =
                lines.partition(|line| survey.is_complete(*line));
            standing.sort_unstable();
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

    fn restore_time(&self, number: u32) -> Result<(), PutError> {
        let Some(line) = self.plan.line(number) else {
            return Ok(());
        };
        let dir = self.directory(self.plan.directory_of(number))?;
        beneath::open_file(&dir, line.path.name(), Access::Read)
            .and_then(|(file, _)| finish_file(&file, line, true))
            .map_err(|error| self.fault(line, error))
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
            if survey.is_complete(number) {
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
        if self.place.kind != PlaceKind::Store {
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
