//! What is remembered beside a staging directory: which parts of large files are there.
//!
//! Whole files need no remembering, their mode says that they are proven. The journal starts with a header, written atomically,
//! and grows by one record for each part that was written, after it was written. It is believed under the boot that wrote it
//! and up to the first record that does not match its checksum.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::AtFlags;
use zeroshare_content::{BlobId, HashKind};

use crate::beneath::{self, Access};
use crate::extents::Extents;

const MAGIC: &[u8; 16] = b"zeroshare-staged";
const VERSION: u32 = 1;
const CHECK_BYTES: usize = 8;
const HEADER_BYTES: usize = 16 + 4 + 64 + 32 + CHECK_BYTES;
const RECORD_BYTES: usize = 4 + 4 + 8 + 8 + CHECK_BYTES;

/// More than this is not read: a million parts, which is 16 TiB in pieces of 16 MiB.
const MAX_JOURNAL_BYTES: u64 = 32 * 1024 * 1024;

/// A journal shorter than this is never written anew.
const COMPACT_BYTES: u64 = 256 * 1024;

/// What belongs to one tree under one boot.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) boot_id: Option<String>,
    pub(crate) manifest: BlobId,
}

/// The open journal of a tree being staged.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    len: u64,
    /// Beyond this length it is worth to write it anew.
    compact_at: u64,
    seed: [u8; CHECK_BYTES],
}

/// What happened to a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Written = 1,
    Dropped = 2,
}

impl Owner {
    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let boot = self.boot_id.as_deref().unwrap_or("").as_bytes();
        header[..16].copy_from_slice(MAGIC);
        header[16..20].copy_from_slice(&VERSION.to_le_bytes());
        let boot = &boot[..boot.len().min(64)];
        header[20..20 + boot.len()].copy_from_slice(boot);
        let digest = self.manifest.digest();
        header[84..84 + digest.len()].copy_from_slice(digest);
        let check = check(&[], &header[..HEADER_BYTES - CHECK_BYTES]);
        header[HEADER_BYTES - CHECK_BYTES..].copy_from_slice(&check);
        header
    }
}

/// Reads what was written under this boot; `None` if there is nothing that can be believed.
pub(crate) fn read(dir: impl AsFd, name: &[u8], owner: &Owner) -> Option<BTreeMap<u32, Extents>> {
    owner.boot_id.as_ref()?;
    let (file, _) = beneath::open_file(dir, name, Access::Read).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_JOURNAL_BYTES).read_to_end(&mut bytes).ok()?;
    let (header, records) = bytes.split_at_checked(HEADER_BYTES)?;
    if header != owner.header() {
        return None;
    }
    let seed = &header[HEADER_BYTES - CHECK_BYTES..];
    let mut held: BTreeMap<u32, Extents> = BTreeMap::new();
    for record in records.chunks_exact(RECORD_BYTES) {
        let Some((change, item, range)) = read_record(seed, record) else {
            break;
        };
        let extents = held.entry(item).or_default();
        match change {
            Change::Written => extents.insert(range, None),
            Change::Dropped => extents.remove(range),
        }
    }
    held.retain(|_, extents| !extents.is_empty());
    Some(held)
}

impl Journal {
    /// Replaces the journal by one that says just this.
    pub(crate) fn create<'a>(
        dir: impl AsFd,
        name: &[u8],
        owner: &Owner,
        held: impl IntoIterator<Item = (u32, &'a Extents)>,
    ) -> io::Result<Self> {
        let header = owner.header();
        let mut seed = [0; CHECK_BYTES];
        seed.copy_from_slice(&header[HEADER_BYTES - CHECK_BYTES..]);
        let mut bytes = header.to_vec();
        for (item, extents) in held {
            for (range, _) in extents.iter() {
                bytes.extend(record(seed, Change::Written, item, &range));
            }
        }
        let draft = [name, b".new"].concat();
        beneath::remove(&dir, &draft)?;
        let file = beneath::create_file(&dir, &draft, 0o600)?;
        if let Err(error) = replace(&dir, &draft, name, &file, &bytes) {
            // A draft that stays is swept later.
            let _removed = rustix::fs::unlinkat(&dir, draft.as_slice(), AtFlags::empty());
            return Err(error);
        }
        let len = bytes.len() as u64;
        Ok(Self {
            file,
            len,
            compact_at: 2 * len + COMPACT_BYTES,
            seed,
        })
    }

    /// Says whether most of it may be out of date.
    pub(crate) fn has_grown(&self) -> bool {
        self.len > self.compact_at
    }

    /// Remembers a change that was made before.
    pub(crate) fn append(
        &mut self,
        change: Change,
        item: u32,
        range: &Range<u64>,
    ) -> io::Result<()> {
        let record = record(self.seed, change, item, range);
        // A torn record is written over by the next one.
        self.file.write_all_at(&record, self.len)?;
        self.len += record.len() as u64;
        Ok(())
    }
}

fn replace(dir: impl AsFd, draft: &[u8], name: &[u8], file: &File, bytes: &[u8]) -> io::Result<()> {
    // The mask might keep the next run from reading it.
    beneath::set_mode(file, 0o600)?;
    file.write_all_at(bytes, 0)?;
    Ok(rustix::fs::renameat(&dir, draft, &dir, name)?)
}

fn record(
    seed: [u8; CHECK_BYTES],
    change: Change,
    item: u32,
    range: &Range<u64>,
) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..4].copy_from_slice(&(change as u32).to_le_bytes());
    record[4..8].copy_from_slice(&item.to_le_bytes());
    record[8..16].copy_from_slice(&range.start.to_le_bytes());
    record[16..24].copy_from_slice(&range.end.to_le_bytes());
    let check = check(&seed, &record[..24]);
    record[24..].copy_from_slice(&check);
    record
}

fn read_record(seed: &[u8], record: &[u8]) -> Option<(Change, u32, Range<u64>)> {
    let (fields, given) = record.split_at_checked(RECORD_BYTES - CHECK_BYTES)?;
    if check(seed, fields) != given {
        return None;
    }
    let (change, fields) = fields.split_first_chunk()?;
    let (item, fields) = fields.split_first_chunk()?;
    let (start, end) = fields.split_first_chunk()?;
    let change = match u32::from_le_bytes(*change) {
        1 => Change::Written,
        2 => Change::Dropped,
        _ => return None,
    };
    let start = u64::from_le_bytes(*start);
    let end = u64::from_le_bytes(end.try_into().ok()?);
    Some((change, u32::from_le_bytes(*item), start..end))
}

fn check(seed: &[u8], bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = BlobId::of(HashKind::Sha256, &[seed, bytes].concat());
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&hash.digest()[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"journal";

    fn owner(boot_id: Option<&str>) -> Owner {
        Owner {
            boot_id: boot_id.map(str::to_owned),
            manifest: BlobId::of(HashKind::Sha256, b"manifest"),
        }
    }

    fn written(owner: &Owner) -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let opened = File::open(dir.path()).unwrap();
        let mut journal = Journal::create(&opened, NAME, owner, []).unwrap();
        journal.append(Change::Written, 3, &(10..30)).unwrap();
        journal.append(Change::Dropped, 3, &(15..20)).unwrap();
        journal.append(Change::Written, 7, &(0..5)).unwrap();
        journal.append(Change::Dropped, 7, &(0..9)).unwrap();
        (dir, opened)
    }

    #[test]
    fn what_was_written_and_not_dropped_is_remembered() {
        let owner = owner(Some("boot"));
        let (_dir, opened) = written(&owner);
        let held = read(&opened, NAME, &owner).unwrap();
        let ranges: Vec<_> = held[&3].iter().map(|(range, _)| range).collect();
        assert_eq!(ranges, [10..15, 20..30]);
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn only_its_owner_believes_a_journal() {
        let (_dir, opened) = written(&owner(Some("boot")));
        assert!(read(&opened, NAME, &owner(Some("another boot"))).is_none());
        let another_tree = Owner {
            manifest: BlobId::of(HashKind::Sha256, b"another"),
            ..owner(Some("boot"))
        };
        assert!(read(&opened, NAME, &another_tree).is_none());
        assert!(read(&opened, b"missing", &owner(Some("boot"))).is_none());
    }

    #[test]
    fn where_the_boot_is_not_known_nothing_is_believed() {
        let (_dir, opened) = written(&owner(None));
        assert!(read(&opened, NAME, &owner(None)).is_none());
    }

    #[test]
    fn a_record_that_was_moved_from_another_journal_is_not_believed() {
        let (_dir, opened) = written(&owner(Some("boot")));
        let (other_dir, other) = written(&owner(Some("another boot")));
        let mut bytes = Vec::new();
        let (mut file, _) = beneath::open_file(&opened, NAME, Access::Read).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let path = other_dir.path().join("journal");
        let mut forged = std::fs::read(&path).unwrap();
        forged.truncate(HEADER_BYTES);
        forged.extend_from_slice(&bytes[HEADER_BYTES..]);
        std::fs::write(&path, forged).unwrap();
        let held = read(&other, NAME, &owner(Some("another boot"))).unwrap();
        assert!(held.is_empty());
    }
}
