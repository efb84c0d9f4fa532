//! The schema: its versions and how a connection is set up.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::shared::Options;
use crate::StoreError;
use crate::rules::schema::Versions;

/// One script a version, the first makes the version after the former ones.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/0003_store.sql"),
    include_str!("../../../../migrations/sqlite/0004_proven.sql"),
    include_str!("../../../../migrations/sqlite/0005_threads.sql"),
    include_str!("../../../../migrations/sqlite/0006_directory.sql"),
    include_str!("../../../../migrations/sqlite/0007_flat.sql"),
];
const VERSIONS: Versions = Versions {
    former: 2,
    scripts: MIGRATIONS.len(),
};

/// Brings the schema up. Each version is one transaction.
pub(super) fn migrate(path: &Path) -> Result<(), StoreError> {
    let sqlite = StoreError::sqlite;
    let mut conn = Connection::open(path).map_err(sqlite("opening the database"))?;
    set(&conn, "journal_mode", "wal")?;
    set(&conn, "synchronous", "full")?;
    let found = version(&conn)?;
    VERSIONS.migratable(found)?;
    for (script, number) in VERSIONS.missing(found) {
        let tx = conn.transaction().map_err(sqlite("migrating the schema"))?;
        tx.execute_batch(MIGRATIONS[script])
            .map_err(sqlite("migrating the schema"))?;
        tx.pragma_update(None, "user_version", number)
            .map_err(sqlite("migrating the schema"))?;
        tx.commit().map_err(sqlite("migrating the schema"))?;
    }
    Ok(())
}

fn version(conn: &Connection) -> Result<i64, StoreError> {
    conn.query_row("PRAGMA user_version", [], |r| r.get(0))
        .map_err(StoreError::sqlite("reading the schema version"))
}

/// Refuses a schema that is not ours.
pub(super) fn check(conn: &Connection) -> Result<(), StoreError> {
    VERSIONS.usable(version(conn)?)
}

fn set(conn: &Connection, name: &str, value: impl rusqlite::ToSql) -> Result<(), StoreError> {
    conn.pragma_update(None, name, value)
        .map_err(StoreError::sqlite("setting up the connection"))
}

/// The connection that writes.
pub(super) fn writer(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(path, flags).map_err(StoreError::sqlite("opening the database"))?;
    check(&conn)?;
    set(&conn, "journal_mode", "wal")?;
    set(&conn, "synchronous", "normal")?;
    set(&conn, "cache_size", -(options.writer_cache_kib as i64))?;
    // Checkpoints are taken beside the writer, see `checkpoint.rs`.
    set(&conn, "wal_autocheckpoint", 0)?;
    set(&conn, "temp_store", "memory")?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(path, flags).map_err(StoreError::sqlite("opening the database"))?;
    set(&conn, "cache_size", -(options.reader_cache_kib as i64))?;
    set(&conn, "mmap_size", options.mmap_bytes as i64)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// A connection that takes checkpoints.
pub(super) fn checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(path, flags).map_err(StoreError::sqlite("opening the database"))?;
    set(&conn, "synchronous", "normal")?;
    Ok(conn)
}
