//! Trees and shared files in the index.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use zeroshare_content::{BlobId, ContentId, TreeId};

use super::{FileRecord, Index, IndexError, files, path_bytes, signed, unsigned};
use crate::stamp::Stamp;

/// Names one tree or shared file as it was when it was last verified; a later verification gives another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TreeKey(pub(super) i64);

/// What is known of one directory of one store, or of one shared file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TreeRecord {
    /// The store, or the path of the file.
    pub(crate) root: PathBuf,
    /// The name in the store, or the id of the blob: no directory that is a tree is called like that.
    pub(crate) name: String,
    pub(crate) id: ContentId,
    pub(crate) state: TreeState,
    pub(crate) sizes: TreeSizes,
    /// The boot under which it was written, when nothing made it durable since.
    pub(crate) boot: Option<String>,
    /// The manifest, when the tree has none on disk.
    pub(crate) manifest: Option<Vec<u8>>,
}

/// Whether a tree may be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TreeState {
    /// Not hashed yet, or changed since.
    Unverified,
    /// All of it was hashed and matched.
    Verified { at: SystemTime },
    /// It does not match, and here is what.
    Quarantined { faults: Vec<String> },
}

/// What the manifest says of sizes; all zero while it was not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TreeSizes {
    /// Files, each as often as it occurs.
    pub(crate) total: u64,
    /// Distinct files and link targets.
    pub(crate) content: u64,
    pub(crate) manifest: u64,
    /// Zero for a tree that cannot travel in pieces.
    pub(crate) pieces: u32,
}

impl TreeSizes {
    /// Whether the tree can travel in pieces; the empty tree has none, but a layout.
    pub(crate) fn pieces_known(&self) -> bool {
        self.pieces > 0 || self.content == 0
    }
}

const UNVERIFIED: i64 = 0;
const VERIFIED: i64 = 1;
const QUARANTINED: i64 = 2;

const COLUMNS: &str = "tree, root, name, state, verified_seconds, faults, total_bytes, \
                       content_bytes, manifest_bytes, pieces, boot, manifest";

impl Index {
    /// Lists what is known of the trees of one store, those that are gone left out.
    pub(crate) fn trees(&self, root: &Path) -> Result<Vec<(TreeKey, TreeRecord)>, IndexError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM trees WHERE root = ?1 AND gone_seconds IS NULL"
            ))?;
            let rows = query.query_map([path_bytes(root)], read_tree)?;
            // A name that is no tree's was written by somebody else.
            rows.filter_map(Result::transpose).collect()
        })
    }

    /// Says what is known of one tree.
    pub(crate) fn tree(
        &self,
        root: &Path,
        name: &str,
    ) -> Result<Option<(TreeKey, TreeRecord)>, IndexError> {
        self.with(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM trees WHERE root = ?1 AND name = ?2"
            ))?;
            Ok(query
                .query_row(params![path_bytes(root), name], read_tree)
                .optional()?
                .flatten())
        })
    }

    /// Lists the shared files, those that are gone left out, each with what it was when it was hashed.
    pub(crate) fn shared_files(&self) -> Result<Vec<(TreeKey, TreeRecord, Stamp)>, IndexError> {
        let records: Vec<(TreeKey, TreeRecord)> = self.with(|connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM trees WHERE name GLOB 'blob:*' AND gone_seconds IS NULL"
            ))?;
            let rows = query.query_map([], read_tree)?;
            rows.filter_map(Result::transpose).collect()
        })?;
        let mut shared = Vec::with_capacity(records.len());
        for (key, record) in records {
            let file = self.files(key, 0..=0)?.into_iter().next();
            shared.extend(file.map(|file| (key, record, file.stamp)));
        }
        Ok(shared)
    }

    /// Names all that is known of files that were shared as a blob, gone or not.
    pub(crate) fn keys_of_blob(&self, id: &ContentId) -> Result<Vec<TreeKey>, IndexError> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT tree FROM trees WHERE name = ?1")?
                .query_map([id.to_string()], |row| row.get(0).map(TreeKey))?
                .collect()
        })
    }

    /// Replaces all that is known of a tree and its files.
    pub(crate) fn put_tree(
        &self,
        tree: &TreeRecord,
        files: &[FileRecord],
    ) -> Result<TreeKey, IndexError> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let old: Option<i64> = transaction
                .query_row(
                    "SELECT tree FROM trees WHERE root = ?1 AND name = ?2",
                    params![path_bytes(&tree.root), tree.name],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(old) = old {
                delete_tree(&transaction, old)?;
            }
            insert_tree(&transaction, tree)?;
            let key = transaction.last_insert_rowid();
            files::insert_files(&transaction, key, files)?;
            transaction.commit()?;
            Ok(TreeKey(key))
        })
    }

    /// Notes another state of a tree, and keeps the rest.
    pub(crate) fn set_state(&self, key: TreeKey, state: &TreeState) -> Result<(), IndexError> {
        let (number, verified, faults) = state_columns(state);
        self.with(|connection| {
            connection.execute(
                "UPDATE trees SET state = ?2, verified_seconds = ?3, faults = ?4 WHERE tree = ?1",
                params![key.0, number, verified, faults],
            )?;
            Ok(())
        })
    }

    /// Notes that a tree is not on disk any more; what is known of it is kept for a while.
    pub(crate) fn set_gone(&self, key: TreeKey, now: SystemTime) -> Result<(), IndexError> {
        self.with(|connection| {
            connection.execute(
                "UPDATE trees SET gone_seconds = ?2 WHERE tree = ?1 AND gone_seconds IS NULL",
                params![key.0, seconds(now)],
            )?;
            Ok(())
        })
    }

    /// Notes that a tree that was gone is on disk again.
    pub(crate) fn set_present(&self, key: TreeKey) -> Result<(), IndexError> {
        self.with(|connection| {
            connection.execute(
                "UPDATE trees SET gone_seconds = NULL WHERE tree = ?1",
                [key.0],
            )?;
            Ok(())
        })
    }

    /// Forgets what was gone already at a time.
    pub(crate) fn purge_gone(&self, before: SystemTime) -> Result<(), IndexError> {
        self.with(|connection| {
            let gone: Vec<i64> = connection
                .prepare_cached("SELECT tree FROM trees WHERE gone_seconds <= ?1")?
                .query_map([seconds(before)], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            if gone.is_empty() {
                return Ok(());
            }
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for tree in gone {
                delete_tree(&transaction, tree)?;
            }
            transaction.commit()
        })
    }
}

fn delete_tree(connection: &Connection, tree: i64) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM trees WHERE tree = ?1",
        "DELETE FROM files WHERE tree = ?1",
        "DELETE FROM midstates WHERE tree = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([tree])?;
    }
    Ok(())
}

fn insert_tree(connection: &Connection, tree: &TreeRecord) -> rusqlite::Result<()> {
    let (state, verified, faults) = state_columns(&tree.state);
    connection.execute(
        "INSERT INTO trees (root, name, state, verified_seconds, faults, total_bytes, content_bytes,
            manifest_bytes, pieces, boot, manifest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            path_bytes(&tree.root),
            tree.name,
            state,
            verified,
            faults,
            signed(tree.sizes.total),
            signed(tree.sizes.content),
            signed(tree.sizes.manifest),
            tree.sizes.pieces,
            tree.boot,
            tree.manifest,
        ],
    )?;
    Ok(())
}

fn read_tree(row: &Row<'_>) -> rusqlite::Result<Option<(TreeKey, TreeRecord)>> {
    let name: String = row.get(2)?;
    let tree = TreeId::from_directory_name(name.as_bytes()).map(ContentId::Tree);
    let blob = || name.parse::<BlobId>().ok().map(ContentId::Blob);
    let Some(id) = tree.or_else(blob) else {
        return Ok(None);
    };
    let state = match row.get(3)? {
        VERIFIED => TreeState::Verified {
            at: time_of(row.get(4)?),
        },
        QUARANTINED => TreeState::Quarantined {
            faults: row
                .get::<_, String>(5)?
                .lines()
                .map(str::to_owned)
                .collect(),
        },
        _ => TreeState::Unverified,
    };
    let sizes = TreeSizes {
        total: unsigned(row.get(6)?),
        content: unsigned(row.get(7)?),
        manifest: unsigned(row.get(8)?),
        pieces: row.get(9)?,
    };
    let root = PathBuf::from(std::ffi::OsString::from_vec(row.get(1)?));
    let record = TreeRecord {
        root,
        name,
        id,
        state,
        sizes,
        boot: row.get(10)?,
        manifest: row.get(11)?,
    };
    Ok(Some((TreeKey(row.get(0)?), record)))
}

fn state_columns(state: &TreeState) -> (i64, Option<i64>, Option<String>) {
    match state {
        TreeState::Unverified => (UNVERIFIED, None, None),
        TreeState::Verified { at } => (VERIFIED, Some(seconds(*at)), None),
        TreeState::Quarantined { faults } => (QUARANTINED, None, Some(faults.join("\n"))),
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn time_of(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
