//! Reading what the fetcher tells of committed content.

use std::path::PathBuf;

use tonic::{Status, Streaming};
use zeroshare_content::MAX_ENTRIES;
use zeroshare_proof::grain_count;
use zeroshare_shelf::{Committed, CommittedFile, Moment, Stamp};
use zeroshare_wire::convert::{content_id, stamp};
use zeroshare_wire::pb::store::v1::{CommitContentRequest, FileStamp};

use super::refused;
use crate::peers::malformed;

/// Bytes of one midstate.
const MIDSTATE_BYTES: usize = 32;

/// Files in one message, as the contract says.
const MAX_FILES_AT_ONCE: usize = 1000;

const NANOSECONDS: u32 = 1_000_000_000;

/// Midstates of one tree that are taken: those of 1 TiB.
const MAX_MIDSTATE_BYTES: usize = 256 * 1024 * 1024;

/// Reads the whole stream.
pub(super) async fn read(mut stream: Streaming<CommitContentRequest>) -> Result<Committed, Status> {
    let Some(first) = stream.message().await? else {
        return Err(refused("content_id", "missing"));
    };
    let mut reading = Reading::start(&first)?;
    while let Some(message) = stream.message().await? {
        reading.take_in(&message)?;
    }
    Ok(reading.committed)
}

struct Reading {
    committed: Committed,
    midstate_bytes: usize,
}

impl Reading {
    fn start(first: &CommitContentRequest) -> Result<Self, Status> {
        let id = content_id("content_id", &first.content_id).map_err(malformed)?;
        if !first.durable && first.boot_id.is_empty() {
            return Err(refused(
                "boot_id",
                "missing, and the content is not durable",
            ));
        }
        let committed = Committed {
            id,
            path: PathBuf::from(&first.path),
            undurable_boot: (!first.durable).then(|| first.boot_id.clone()),
            files: Vec::new(),
        };
        Ok(Self {
            committed,
            midstate_bytes: 0,
        })
    }

    fn take_in(&mut self, message: &CommitContentRequest) -> Result<(), Status> {
        if message.files.is_empty() {
            self.take_file(message)
        } else {
            self.take_files(&message.files)
        }
    }

    /// Takes in files whose midstates are not said.
    fn take_files(&mut self, files: &[FileStamp]) -> Result<(), Status> {
        if files.len() > MAX_FILES_AT_ONCE {
            return Err(refused("files", "more than one message may have"));
        }
        if self.committed.files.len() + files.len() > MAX_ENTRIES {
            return Err(refused("files", "more files than a tree may have"));
        }
        for file in files {
            let moment = |field, seconds, nanoseconds: u32| {
                if nanoseconds >= NANOSECONDS {
                    return Err(refused(field, "not less than a second"));
                }
                Ok(Moment {
                    seconds,
                    nanoseconds,
                })
            };
            let stamp = Stamp {
                device: file.device,
                inode: file.inode,
                size: file.size_bytes,
                mtime: moment(
                    "modify_nanoseconds",
                    file.modify_seconds,
                    file.modify_nanoseconds,
                )?,
                ctime: moment(
                    "change_nanoseconds",
                    file.change_seconds,
                    file.change_nanoseconds,
                )?,
            };
            self.committed.files.push(CommittedFile {
                line: file.file,
                stamp,
                midstates: Vec::new(),
            });
        }
        Ok(())
    }

    /// Takes in one file, or more midstates of the one before: a long list comes in several messages.
    fn take_file(&mut self, message: &CommitContentRequest) -> Result<(), Status> {
        let midstates = message.midstates.as_ref();
        if midstates.is_some_and(|given| given.file != message.file) {
            return Err(refused("midstates", "of another file"));
        }
        let (first_grain, bytes) = midstates.map_or((0, &[][..]), |given| {
            (given.first_grain as usize, given.midstates.as_ref())
        });
        self.midstate_bytes += bytes.len();
        if self.midstate_bytes > MAX_MIDSTATE_BYTES {
            return Err(refused("midstates", "more than are taken"));
        }
        let is_full = self.committed.files.len() >= MAX_ENTRIES;
        match self.committed.files.last_mut() {
            Some(last) if last.line == message.file && first_grain > 0 => {
                let room = (grain_count(last.stamp.size) as usize - 1) * MIDSTATE_BYTES;
                if last.midstates.len() != first_grain * MIDSTATE_BYTES
                    || last.midstates.len() + bytes.len() > room
                {
                    return Err(refused("midstates", "do not continue those before"));
                }
                last.midstates.extend_from_slice(bytes);
            }
            _ if first_grain > 0 => {
                return Err(refused("midstates", "do not start with the first"));
            }
            _ if is_full => {
                return Err(refused("file", "more files than a tree may have"));
            }
            _ => self.committed.files.push(CommittedFile {
                line: message.file,
                stamp: stamp_of(message)?,
                midstates: bytes.to_vec(),
            }),
        }
        Ok(())
    }
}

fn stamp_of(message: &CommitContentRequest) -> Result<Stamp, Status> {
    let moment = |field, value| {
        let (seconds, nanoseconds) = stamp(field, value).map_err(malformed)?;
        Ok::<_, Status>(Moment {
            seconds,
            nanoseconds,
        })
    };
    Ok(Stamp {
        device: message.device,
        inode: message.inode,
        size: message.size_bytes,
        mtime: moment("modify_time", message.modify_time.as_ref())?,
        ctime: moment("change_time", message.change_time.as_ref())?,
    })
}
