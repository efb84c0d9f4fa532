//! SQLite keeps every promise of the seam.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use store::suite::Fixture;
use store::{Options, SqliteStore, Store, StoreError};

struct File(tempfile::TempDir);

#[async_trait]
impl Fixture for File {
    async fn open(&self) -> Arc<dyn Store> {
        let path = self.0.path().join("store.db");
        SqliteStore::migrate(&path).unwrap();
        // A small tail, so that both sides of the index are read.
        Arc::new(
            SqliteStore::open(
                &path,
                Options {
                    tail: 16,
                    wal_bytes: 1,
                    ..Options::default()
                },
            )
            .unwrap(),
        )
    }
}

async fn file() -> File {
    File(tempfile::tempdir().unwrap())
}

store::store_suite!(file);

#[test]
fn a_schema_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    rusqlite::Connection::open(&path).unwrap();
    let error = SqliteStore::open(&path, Options::default()).err().unwrap();
    assert!(
        matches!(error, StoreError::Outdated { found: 0, wanted: 3 }),
        "{error}"
    );
    SqliteStore::migrate(&path).unwrap();
    SqliteStore::migrate(&path).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 2).unwrap();
    for error in [
        SqliteStore::open(&path, Options::default()).err(),
        SqliteStore::migrate(&path).err(),
    ] {
        assert!(
            matches!(error, Some(StoreError::Former { found: 2 })),
            "{error:?}"
        );
    }
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    for error in [
        SqliteStore::open(&path, Options::default()).err(),
        SqliteStore::migrate(&path).err(),
    ] {
        assert!(matches!(error, Some(StoreError::Unknown { found: 99, .. })));
    }
}
