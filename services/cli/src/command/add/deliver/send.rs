//! Sends a tree, part by part, to the service that writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::sync::mpsc;
use zeroshare_api::clients::MAX_CHUNK_BYTES;
use zeroshare_content::{Entry, Manifest};
use zeroshare_wire::pb::fetcher::v1::AddContentRequest;

/// Where parts go, and what belongs to the first one.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) target_store: String,
    pub(super) no_sync: bool,
    pub(super) parts: mpsc::Sender<AddContentRequest>,
    /// Told of the bytes of files that were sent; what does not fit is lost.
    pub(super) counted: mpsc::Sender<u64>,
}

/// Why a tree could not be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("cannot read {path}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} was changed while it was read", path = .path.display())]
    Changed { path: PathBuf },
}

/// The service hung up; it says why.
struct Gone;

enum Stop {
    Gone,
    Error(SendError),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Parcel {
    /// Sends the manifest, then every file and link target in its order. Blocks.
    ///
    /// That the service hangs up is no error: its answer says why.
    pub(super) fn send(self, manifest: &Manifest, directory: &Path) -> Result<(), SendError> {
        match self.send_all(manifest, directory) {
            Ok(()) | Err(Stop::Gone) => Ok(()),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn send_all(&self, manifest: &Manifest, directory: &Path) -> Result<(), Stop> {
        self.put(AddContentRequest {
            content_id: manifest.id().to_string(),
            target_store: self.target_store.clone(),
            no_sync: self.no_sync,
            ..AddContentRequest::default()
        })?;
        for part in manifest.text().chunks(MAX_CHUNK_BYTES) {
            self.put(AddContentRequest {
                manifest_data: part.to_vec().into(),
                ..AddContentRequest::default()
            })?;
        }
        for (line, number) in manifest.lines().iter().zip(0..) {
            let path = directory.join(line.path.as_path());
            match line.entry {
                Entry::Directory => {}
                Entry::File { size, .. } => self.send_file(number, &path, size)?,
                Entry::Symlink { .. } => {
                    let target =
                        fs::read_link(&path).map_err(|source| read_error(&path, source))?;
                    let data = target.into_os_string().into_vec().into();
                    self.put(AddContentRequest {
                        file: number,
                        data,
                        ..AddContentRequest::default()
                    })?;
                }
            }
        }
        Ok(())
    }

    fn send_file(&self, number: u32, path: &Path, size_bytes: u64) -> Result<(), Stop> {
        if size_bytes == 0 {
            return Ok(());
        }
        let mut file = open(path).map_err(|source| read_error(path, source))?;
        let mut left = size_bytes;
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(MAX_CHUNK_BYTES)
                .min(MAX_CHUNK_BYTES);
            let mut data = vec![0; wanted];
            file.read_exact(&mut data).map_err(|source| {
                if source.kind() == io::ErrorKind::UnexpectedEof {
                    return Stop::Error(SendError::Changed {
                        path: path.to_owned(),
                    });
                }
                read_error(path, source)
            })?;
            self.put(AddContentRequest {
                file: number,
                data: data.into(),
                ..AddContentRequest::default()
            })?;
            left = left.saturating_sub(wanted as u64);
            // Only for show: while nobody looks, nothing is counted twice or waited for.
            let _shown = self.counted.blocking_send(wanted as u64);
        }
        Ok(())
    }

    fn put(&self, part: AddContentRequest) -> Result<(), Gone> {
        self.parts.blocking_send(part).map_err(|_| Gone)
    }
}

/// Opens what must be the regular file that was scanned, and neither a link nor a pipe that took its place.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no longer a regular file"))
    }
}

fn read_error(path: &Path, source: io::Error) -> Stop {
    Stop::Error(SendError::Read {
        path: path.to_owned(),
        source,
    })
}
