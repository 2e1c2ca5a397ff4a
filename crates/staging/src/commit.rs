//! Makes a tree or a single file visible.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::RenameFlags;
use rustix::io::Errno;
use zeroshare_content::ContentId;
use zeroshare_proof::Midstates;

use crate::listing::Modes;
use crate::place::PlaceKind;
use crate::quarantine::move_aside;
use crate::staged::STAGED_NAME;
use crate::stamp::FileStamp;
use crate::{CommitError, Durability, Staged, Step, beneath, existing, process};

/// How often what stands at our place may change while we look at it.
const RENAME_ATTEMPTS: usize = 8;

/// The mask where the system does not say which.
const COMMON_UMASK: u32 = 0o022;

/// A tree that is visible now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where it lies.
    pub path: PathBuf,
    /// Its files, by line.
    pub files: Vec<CommittedFile>,
    /// Whether it survives a loss of power; else it must be hashed anew under another boot.
    pub durable: bool,
    /// Under which boot of the machine it was written; `None` where the system does not say.
    pub boot_id: Option<String>,
    /// Whether it stood there already, and verifies.
    pub existed: bool,
    /// Where that was moved to which stood there and did not verify.
    pub quarantined: Option<PathBuf>,
}

/// What an index wants to know of a file that was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// Its line in the manifest, counted from 0.
    pub line: u32,
    /// By which to see whether it is still the same.
    pub stamp: FileStamp,
    /// Those of a file larger than one grain, if it was hashed by SHA-256 in this run.
    pub midstates: Option<Midstates>,
}

/// How a tree got its name.
enum Named {
    New { quarantined: Option<PathBuf> },
    Existed(Vec<CommittedFile>),
}

impl Staged {
    /// Compares the tree with its manifest, makes it durable and gives it its name.
    ///
    /// What stands at its place in a store and verifies is a success; else it is moved aside. After an error the tree is
    /// still staged.
    pub fn commit(self, durability: Durability) -> Result<Committed, CommitError> {
        let missing = self.unproven();
        if missing > 0 {
            return Err(CommitError::Incomplete { missing });
        }
        let modes = Modes::of(self.place.kind, process::umask().unwrap_or(COMMON_UMASK));
        let files = self.list(modes)?;
        self.reached(Step::Listed);
        let io = |error| CommitError::io(&self.path, error);
        if durability == Durability::Durable {
            self.sync_tree().map_err(io)?;
        }
        self.reached(Step::Synced);
        let named = match self.place.kind {
            PlaceKind::Store | PlaceKind::Copy => self.rename()?,
            PlaceKind::File => self.rename_file()?,
        };
        let (files, existed, quarantined) = match named {
            Named::New { quarantined } => (self.after_rename(files)?, false, quarantined),
            Named::Existed(files) => {
                if durability == Durability::Durable {
                    // Nobody knows how it came there.
                    rustix::fs::syncfs(&self.place.parent).map_err(|error| io(error.into()))?;
                }
                (files, true, None)
            }
        };
        self.reached(Step::Renamed);
        if durability == Durability::Durable {
            rustix::fs::fsync(&self.place.parent).map_err(|error| io(error.into()))?;
        }
        if existed || self.place.kind == PlaceKind::File {
            self.remove(self.place.name.as_encoded_bytes());
        }
        self.remove(&self.place.journal_name());
        Ok(Committed {
            path: self.target_path.clone(),
            files,
            durable: durability == Durability::Durable,
            boot_id: self.owner.boot_id.clone(),
            existed,
            quarantined,
        })
    }

    /// Removes what is not needed any more; if that fails, it is swept later.
    fn remove(&self, name: &[u8]) {
        if let Err(error) = beneath::remove(&self.place.parent, name) {
            tracing::debug!(path = %self.path.display(), %error, "a leftover stays");
        }
    }

    fn rename(&self) -> Result<Named, CommitError> {
        let io = |error: io::Error| CommitError::io(&self.target_path, error);
        let mut quarantined = None;
        for _ in 0..RENAME_ATTEMPTS {
            match self.rename_to_free() {
                Ok(()) => return Ok(Named::New { quarantined }),
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(error) => return Err(io(error.into())),
            }
            if self.place.kind == PlaceKind::Copy {
                let path = self.target_path.clone();
                return Err(CommitError::TargetExists { path });
            }
            let target = self.place.target.as_encoded_bytes();
            let standing = existing::check(&self.place.parent, target, &self.plan);
            if let Some(files) = standing.map_err(io)? {
                return Ok(Named::Existed(files));
            }
            match self.exchange() {
                Ok(Some(aside)) => {
                    return Ok(Named::New {
                        quarantined: Some(aside),
                    });
                }
                Ok(None) => {
                    // Where two names cannot be exchanged there is a moment with neither.
                    quarantined = self.move_aside(&self.place.target).map_err(io)?;
                }
                Err(error) => return Err(io(error)),
            }
        }
        let path = self.target_path.clone();
        Err(CommitError::TargetExists { path })
    }

    /// Moves the file out of its staging directory; an equal one in its place is as good.
    fn rename_file(&self) -> Result<Named, CommitError> {
        let io = |error: io::Error| CommitError::io(&self.target_path, error);
        let exists = || CommitError::TargetExists {
            path: self.target_path.clone(),
        };
        let name = OsStr::from_bytes(STAGED_NAME);
        match self.rename_from(&self.dir, name) {
            Ok(()) => return Ok(Named::New { quarantined: None }),
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(error) => return Err(io(error.into())),
        }
        let target = self.place.target.as_encoded_bytes();
        let ContentId::Blob(blob) = self.content else {
            return Err(exists());
        };
        match existing::check_file(&self.place.parent, target, blob) {
            Ok(Some(file)) => Ok(Named::Existed(vec![file])),
            Ok(None) => Err(exists()),
            Err(error) => Err(io(error)),
        }
    }

    /// The stamps of files that were moved themselves: a rename changes them.
    fn after_rename(&self, files: Vec<CommittedFile>) -> Result<Vec<CommittedFile>, CommitError> {
        if self.place.kind != PlaceKind::File {
            return Ok(files);
        }
        let io = |error| CommitError::io(&self.target_path, error);
        let stat = beneath::stat(&self.place.parent, self.place.target.as_encoded_bytes());
        let found = FileStamp::of(&stat.map_err(io)?);
        let is_same = |before: &FileStamp| {
            FileStamp {
                change_time: found.change_time,
                ..*before
            } == found
        };
        // Whoever wrote to it meanwhile has it: nothing is said of it then.
        let same = files.into_iter().filter(|file| is_same(&file.stamp));
        Ok(same
            .map(|file| CommittedFile {
                stamp: found,
                ..file
            })
            .collect())
    }

    fn rename_to_free(&self) -> Result<(), Errno> {
        self.rename_from(&self.place.parent, &self.place.name)
    }

    fn rename_from(&self, from: impl AsFd, name: &OsStr) -> Result<(), Errno> {
        let (parent, target) = (&self.place.parent, &self.place.target);
        let renamed =
            rustix::fs::renameat_with(&from, name, parent, target, RenameFlags::NOREPLACE);
        match renamed {
            // Some file systems have no such rename.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match beneath::find(parent, target.as_encoded_bytes()) {
                    Ok(None) => rustix::fs::renameat(&from, name, parent, target),
                    Ok(Some(_)) => Err(Errno::EXIST),
                    Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
                }
            }
            renamed => renamed,
        }
    }

    /// Changes places with what does not verify, and moves that aside; `None` if names cannot be exchanged here.
    fn exchange(&self) -> io::Result<Option<PathBuf>> {
        let (parent, name, target) = (&self.place.parent, &self.place.name, &self.place.target);
        // If we die before it is moved aside, what does not verify has the name of a staging directory: without
        // the journal nothing in that is believed.
        beneath::remove(parent, &self.place.journal_name())?;
        let exchanged =
            rustix::fs::renameat_with(parent, name, parent, target, RenameFlags::EXCHANGE);
        match exchanged {
            Ok(()) => {}
            // Or it is gone meanwhile.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.reached(Step::Exchanged);
        let aside = move_aside(parent, name, target)?;
        Ok(Some(self.place.parent_path.join(aside)))
    }

    fn move_aside(&self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        match move_aside(&self.place.parent, name, name) {
            Ok(aside) => Ok(Some(self.place.parent_path.join(aside))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
