//! Files of trees in the index, and their midstates.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroshare_content::{BlobId, HashKind};
use zeroshare_proof::Midstates;

use super::{Index, IndexError, TreeKey, signed, unsigned};
use crate::stamp::{Moment, Stamp};

/// What is known of one file of a verified tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    /// Its line in the manifest.
    pub(crate) line: u32,
    pub(crate) blob: BlobId,
    pub(crate) stamp: Stamp,
    /// For files of more than a grain, where SHA-256 names them.
    pub(crate) midstates: Option<Midstates>,
}

/// Where a verified tree has a file of some contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobPlace {
    pub(crate) tree: TreeKey,
    pub(crate) line: u32,
    pub(crate) stamp: Stamp,
}

/// The same contents may lie in very many places; more are not looked at.
const MAX_PLACES: i64 = 16;

/// Versions of one file that are compared; the newest ones are likely the nearest.
const MAX_BEGINNINGS: i64 = 4;

impl Index {
    /// Reads the records of the files on some lines, without their midstates.
    pub(crate) fn files(
        &self,
        tree: TreeKey,
        lines: RangeInclusive<u32>,
    ) -> Result<Vec<FileRecord>, IndexError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT line, digest, size, device, inode, mtime, mtime_nanos, ctime, ctime_nanos
                 FROM files WHERE tree = ?1 AND line BETWEEN ?2 AND ?3 ORDER BY line",
            )?;
            let rows = query.query_map(params![tree.0, lines.start(), lines.end()], read_file)?;
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Reads the midstates of one file.
    pub(crate) fn midstates(
        &self,
        tree: TreeKey,
        line: u32,
    ) -> Result<Option<Vec<u8>>, IndexError> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT list FROM midstates WHERE tree = ?1 AND line = ?2")?
                .query_row(params![tree.0, line], |row| row.get(0))
                .optional()
        })
    }

    /// Counts the midstates of all files of a tree.
    pub(crate) fn midstate_count(&self, tree: TreeKey) -> Result<u64, IndexError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT coalesce(sum(length(list)), 0) / 32 FROM midstates WHERE tree = ?1",
            )?;
            query.query_row([tree.0], |row| row.get(0))
        })
        .map(unsigned)
    }

    /// Reads what names the midstates of one file.
    pub(crate) fn list_digest(
        &self,
        tree: TreeKey,
        line: u32,
    ) -> Result<Option<[u8; 32]>, IndexError> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT list_digest FROM midstates WHERE tree = ?1 AND line = ?2")?
                .query_row(params![tree.0, line], |row| row.get(0))
                .optional()
        })
    }

    /// Finds files of the given contents in verified trees: for each blob its places.
    ///
    /// All are looked up in one transaction, since taking locks for each costs more than finding it.
    pub(crate) fn find_blobs(&self, blobs: &[BlobId]) -> Result<Vec<Vec<BlobPlace>>, IndexError> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            let is_empty = !transaction
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM files)")?
                .query_row([], |row| row.get::<_, bool>(0))?;
            if is_empty {
                return Ok(vec![Vec::new(); blobs.len()]);
            }
            // The prefix is bound by itself: where a parameter may be a constant of an index, SQLite prepares anew for each value.
            let mut query = transaction.prepare_cached(
                "SELECT files.line, files.digest, files.size, files.device, files.inode, files.mtime,
                    files.mtime_nanos, files.ctime, files.ctime_nanos, files.tree
                 FROM files JOIN trees ON trees.tree = files.tree
                 WHERE substr(files.digest, 1, 8) = ?1 AND files.digest = ?2
                    AND trees.state = 1 AND trees.gone_seconds IS NULL
                 ORDER BY files.tree DESC LIMIT ?3",
            )?;
            let mut found = Vec::with_capacity(blobs.len());
            for blob in blobs {
                let digest = blob.digest();
                let prefix = digest.get(..8).unwrap_or(digest);
                let rows = query.query_map(params![prefix, digest, MAX_PLACES], |row| {
                    let tree = TreeKey(row.get(9)?);
                    Ok(read_file(row)?.map(|file| BlobPlace { tree, line: file.line, stamp: file.stamp }))
                })?;
                found.push(rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?);
            }
            drop(query);
            transaction.finish()?;
            Ok(found)
        })
    }

    /// Finds files of verified content whose first midstate is this one, with all of their midstates.
    pub(crate) fn find_beginnings(
        &self,
        first: &[u8],
    ) -> Result<Vec<(BlobPlace, Vec<u8>)>, IndexError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT files.line, files.digest, files.size, files.device, files.inode, files.mtime,
                    files.mtime_nanos, files.ctime, files.ctime_nanos, files.tree, midstates.list
                 FROM midstates JOIN files ON files.tree = midstates.tree AND files.line = midstates.line
                    JOIN trees ON trees.tree = midstates.tree
                 WHERE substr(midstates.list, 1, 32) = ?1
                    AND trees.state = 1 AND trees.gone_seconds IS NULL
                 ORDER BY midstates.tree DESC LIMIT ?2",
            )?;
            let rows = query.query_map(params![first, MAX_BEGINNINGS], |row| {
                let (tree, list) = (TreeKey(row.get(9)?), row.get(10)?);
                let found = read_file(row)?;
                Ok(found.map(|file| (BlobPlace { tree, line: file.line, stamp: file.stamp }, list)))
            })?;
            rows.filter_map(Result::transpose).collect()
        })
    }
}

pub(super) fn insert_files(
    connection: &Connection,
    tree: i64,
    files: &[FileRecord],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut insert_list =
        connection.prepare_cached("INSERT OR REPLACE INTO midstates VALUES (?1, ?2, ?3, ?4)")?;
    for file in files {
        let Stamp {
            device,
            inode,
            size,
            mtime,
            ctime,
        } = file.stamp;
        insert.execute(params![
            tree,
            file.line,
            file.blob.digest(),
            signed(size),
            signed(device),
            signed(inode),
            mtime.seconds,
            mtime.nanoseconds,
            ctime.seconds,
            ctime.nanoseconds,
        ])?;
        if let Some(list) = &file.midstates {
            insert_list.execute(params![
                tree,
                file.line,
                list.list_digest(),
                list.as_bytes()
            ])?;
        }
    }
    Ok(())
}

fn read_file(row: &Row<'_>) -> rusqlite::Result<Option<FileRecord>> {
    let digest: Vec<u8> = row.get(1)?;
    let named = |kind| BlobId::from_digest(kind, &digest);
    let Some(blob) = HashKind::ALL.into_iter().find_map(named) else {
        return Ok(None);
    };
    let stamp = Stamp {
        size: unsigned(row.get(2)?),
        device: unsigned(row.get(3)?),
        inode: unsigned(row.get(4)?),
        mtime: Moment {
            seconds: row.get(5)?,
            nanoseconds: row.get(6)?,
        },
        ctime: Moment {
            seconds: row.get(7)?,
            nanoseconds: row.get(8)?,
        },
    };
    Ok(Some(FileRecord {
        line: row.get(0)?,
        blob,
        stamp,
        midstates: None,
    }))
}
