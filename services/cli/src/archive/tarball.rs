//! Takes tar archives apart, entry by raw entry.
//!
//! The crate's own joining of long names reads a header of any size into memory, so it is switched off and done here
//! with bounds.

use std::io::{self, Read};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::ground::{FileFacts, Ground, MAX_TARGET_BYTES};
use super::{ArchiveError, Limits};

/// The most that a header of long names or of extended attributes may take: two longest paths and some words.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;

/// How much of a tar archive is not file contents: a header, its extensions and padding, for each entry.
const OVERHEAD_BYTES: u64 = 512 * 5;

pub(super) fn unpack(
    reader: Box<dyn Read>,
    ground: &mut Ground,
    limits: Limits,
) -> Result<(), ArchiveError> {
    let most = limits
        .entries
        .saturating_mul(OVERHEAD_BYTES)
        .saturating_add(limits.bytes);
    let mut archive = Archive::new(Bounded {
        inner: reader,
        left: most,
    });
    let mut ahead = Ahead::default();
    for entry in archive.entries().map_err(ArchiveError::Read)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Read)?;
        if !ahead.take_in(&mut entry)? {
            place(std::mem::take(&mut ahead), &mut entry, ground)?;
        }
    }
    Ok(())
}

/// What extension headers said of the entry that follows.
#[derive(Debug, Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    mtime: Option<i64>,
    size_bytes: Option<u64>,
}

impl Ahead {
    /// Takes in the entry if it is an extension of the next one, and says so.
    fn take_in<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<bool, ArchiveError> {
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            self.name = Some(long_name(entry)?);
        } else if kind.is_gnu_longlink() {
            self.target = Some(long_name(entry)?);
        } else if kind.is_pax_local_extensions() {
            let data = extension(entry)?;
            self.take_in_records(&data, false)?;
        } else if kind.is_pax_global_extensions() {
            let data = extension(entry)?;
            self.take_in_records(&data, true)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn take_in_records(&mut self, data: &[u8], global: bool) -> Result<(), ArchiveError> {
        for record in PaxExtensions::new(data) {
            let record = record.map_err(ArchiveError::Read)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            let known = matches!(key, b"path" | b"linkpath" | b"mtime" | b"size");
            if global && known {
                return Err(ArchiveError::entry(
                    key,
                    "it is set for all entries of the archive at once",
                ));
            }
            match key {
                b"path" => self.name = Some(value.to_owned()),
                b"linkpath" => self.target = Some(value.to_owned()),
                b"mtime" => self.mtime = Some(whole_seconds(value)?),
                b"size" => self.size_bytes = Some(number(value)?),
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(ArchiveError::entry(key, "sparse files are not supported"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn place<R: Read>(
    ahead: Ahead,
    entry: &mut Entry<'_, R>,
    ground: &mut Ground,
) -> Result<(), ArchiveError> {
    let header = entry.header();
    let name = ahead
        .name
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let target = ahead
        .target
        .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
    let facts = FileFacts {
        size_bytes: entry.size(),
        executable: header.mode().map_err(ArchiveError::Read)? & 0o111 != 0,
        mtime: match ahead.mtime {
            Some(mtime) => mtime,
            None => i64::try_from(header.mtime().map_err(ArchiveError::Read)?).unwrap_or(i64::MAX),
        },
    };
    if ahead
        .size_bytes
        .is_some_and(|size_bytes| size_bytes != facts.size_bytes)
    {
        return Err(ArchiveError::entry(
            &name,
            "its two sizes differ (a file of 8 GiB or more in pax format?)",
        ));
    }
    let kind = header.entry_type();
    if kind.is_dir() || (is_plain(kind) && name.ends_with(b"/")) {
        return ground.directory(&name);
    }
    if is_plain(kind) {
        return ground.file(&name, facts, entry);
    }
    let target = target.unwrap_or_default();
    if kind.is_symlink() {
        ground.symlink(&name, &target)
    } else if kind.is_hard_link() {
        ground.hard_link(&name, &target)
    } else if kind.as_byte() == b'V' {
        // GNU's label of the volume is no file.
        Ok(())
    } else if kind.is_gnu_sparse() {
        Err(ArchiveError::entry(&name, "sparse files are not supported"))
    } else {
        Err(ArchiveError::entry(
            &name,
            "it is neither file, directory nor link",
        ))
    }
}

fn is_plain(kind: EntryType) -> bool {
    kind.is_file() || kind.is_contiguous()
}

fn long_name<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArchiveError> {
    if entry.size() > MAX_TARGET_BYTES + 2 {
        return Err(ArchiveError::entry(b"(long name)", "it is too long"));
    }
    let mut name = extension(entry)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn extension<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArchiveError> {
    let size_bytes = entry.size();
    if size_bytes > MAX_EXTENSION_BYTES {
        return Err(ArchiveError::entry(
            &entry.path_bytes(),
            "its extension header is too long",
        ));
    }
    let mut data = Vec::new();
    entry
        .take(size_bytes)
        .read_to_end(&mut data)
        .map_err(ArchiveError::Read)?;
    if data.len() as u64 != size_bytes {
        return Err(ArchiveError::EndsEarly {
            name: "(extension header)".to_owned(),
        });
    }
    Ok(data)
}

/// Seconds, cut at the point: toward zero, as in manifests.
fn whole_seconds(value: &[u8]) -> Result<i64, ArchiveError> {
    let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
    let text = std::str::from_utf8(whole).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ArchiveError::entry(value, "it is no modification time"))
}

fn number(value: &[u8]) -> Result<u64, ArchiveError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ArchiveError::entry(value, "it is no size"))
}

/// Stops a bomb that hides in what is skipped.
struct Bounded {
    inner: Box<dyn Read>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("it unpacks to far more than its entries may hold"))?;
        Ok(read)
    }
}
