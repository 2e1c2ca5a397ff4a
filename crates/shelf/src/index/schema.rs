//! The tables of the index, and how an older index becomes a newer one.

use rusqlite::{Connection, TransactionBehavior};

/// Each step makes the next version out of the one before; steps are only added.
const STEPS: [&str; 4] = [
    // AUTOINCREMENT: a key that was seen once never means another tree later.
    "CREATE TABLE trees (
        tree INTEGER PRIMARY KEY AUTOINCREMENT,
        root BLOB NOT NULL,
        name TEXT NOT NULL,
        state INTEGER NOT NULL,
        verified_seconds INTEGER,
        faults TEXT,
        total_bytes INTEGER NOT NULL,
        content_bytes INTEGER NOT NULL,
        manifest_bytes INTEGER NOT NULL,
        pieces INTEGER NOT NULL,
        boot TEXT,
        manifest BLOB,
        gone_seconds INTEGER,
        UNIQUE (root, name)
    );
    CREATE TABLE files (
        tree INTEGER NOT NULL,
        line INTEGER NOT NULL,
        digest BLOB NOT NULL,
        size INTEGER NOT NULL,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        mtime INTEGER NOT NULL,
        mtime_nanos INTEGER NOT NULL,
        ctime INTEGER NOT NULL,
        ctime_nanos INTEGER NOT NULL,
        PRIMARY KEY (tree, line)
    ) WITHOUT ROWID;
    CREATE INDEX files_by_digest ON files (substr(digest, 1, 8));",
    "CREATE TABLE midstates (
        tree INTEGER NOT NULL,
        line INTEGER NOT NULL,
        list_digest BLOB NOT NULL,
        list BLOB NOT NULL,
        PRIMARY KEY (tree, line)
    ) WITHOUT ROWID;",
    // Shared files are looked up by their ids, which stand for their names.
    "CREATE INDEX trees_by_name ON trees (name);",
    // Versions of one file begin alike.
    "CREATE INDEX midstates_by_first ON midstates (substr(list, 1, 32));",
];

/// Brings the index to the newest version, in one transaction that other processes wait for.
pub(super) fn upgrade(connection: &mut Connection) -> rusqlite::Result<()> {
    if version(connection)? == STEPS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have done it meanwhile.
    let found = version(&transaction)?;
    let Some(steps) = STEPS.get(found..) else {
        return Err(newer(found));
    };
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(STEPS.len()).unwrap_or(i64::MAX),
    )?;
    transaction.commit()
}

/// Whether an index was refused because a newer program wrote it.
pub(super) fn is_newer(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::IntegralValueOutOfRange(VERSION_COLUMN, _)
    )
}

/// No column of ours has this number, so that it marks this error alone.
const VERSION_COLUMN: usize = usize::MAX;

fn newer(found: usize) -> rusqlite::Error {
    rusqlite::Error::IntegralValueOutOfRange(
        VERSION_COLUMN,
        i64::try_from(found).unwrap_or(i64::MAX),
    )
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map(|version| usize::try_from(version).unwrap_or(usize::MAX))
}

/// Makes an index as an older program left it.
#[cfg(test)]
pub(super) fn make_version(connection: &Connection, version: u32) {
    for step in STEPS.iter().take(version as usize) {
        connection.execute_batch(step).unwrap();
    }
    connection
        .pragma_update(None, "user_version", version)
        .unwrap();
}
