//! SQLite keeps every promise of the seam.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use model::thread::{Membership, Thread, ThreadStatus};
use model::{OrgId, PartitionId, Position, TopicName, UnixMillis};
use store::suite::Fixture;
use store::{
    LogBatch, LogStore, NewThread, Options, SqliteStore, Store, StoreError, ThreadEvent, ThreadQuery,
    ThreadStore,
};

/// A file of which so many topics stay in memory.
struct File(tempfile::TempDir, usize);

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
                    topics: self.1,
                    ..Options::default()
                },
            )
            .unwrap(),
        )
    }
}

async fn file() -> File {
    File(tempfile::tempdir().unwrap(), Options::default().topics)
}

store::store_suite!(file);

mod with_topics_that_leave_memory {
    use super::File;

    async fn file() -> File {
        File(tempfile::tempdir().unwrap(), 0)
    }

    store::store_suite!(file);
}

#[test]
fn a_schema_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    rusqlite::Connection::open(&path).unwrap();
    let error = SqliteStore::open(&path, Options::default()).err().unwrap();
    assert!(
        matches!(error, StoreError::Outdated { found: 0, wanted: 7 }),
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

/// A file as it was before threads had a life: each with its members for ever.
fn former(path: &std::path::Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let script = include_str!("../../../migrations/sqlite/0003_store.sql");
    conn.execute_batch(script).unwrap();
    conn.pragma_update(None, "user_version", 3).unwrap();
    conn.execute_batch(
        "INSERT INTO topics (id, org, topic, partition) VALUES (1, 'o', 'org/workgroup/w/v', 2), (2, 'o', 'org/member/a/b', 1);
         INSERT INTO threads VALUES (1, 'o', 'one', 'WORKGROUP', 'CHATTING', 'w', 'v', 'Ann', '', 'x', 1000, 2),
           (2, 'o', 'two', 'MEMBER', 'CHATTING', 'a', 'b', '', '', NULL, 2000, 1);
         INSERT INTO members VALUES ('o', 'x', 1, 70, 'user-of-x', 0);",
    )
    .unwrap();
}

#[tokio::test]
async fn threads_from_before_they_had_a_life_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    former(&path);
    SqliteStore::migrate(&path).unwrap();
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let (org, topic) = (OrgId::new("o"), TopicName::new("org/workgroup/w/v").unwrap());
    let member = Membership::from("x".into(), "user-of-x".into(), Position(70));
    let stored = store.thread(&org, &topic).await.unwrap().unwrap();
    let life = Thread {
        status: ThreadStatus::Chatting,
        agent: Some("x".into()),
        members: vec![member.clone()],
        ..Thread::default()
    };
    assert_eq!(
        (&stored.life, stored.life.is_open(), stored.pending),
        (&life, false, Position::START)
    );
    assert_eq!(
        (stored.row.uid.as_str(), stored.row.visitor.nickname.as_str()),
        ("one", "Ann")
    );
    let known = store.memberships(&org, vec!["x".into()], vec![]).await.unwrap();
    assert_eq!(
        (known[0].partition, &known[0].memberships),
        (PartitionId(2), &vec![member])
    );
    assert_eq!(store.owed_notices(9).await.unwrap(), []);
    for (who, uid) in [("x", "one"), ("v", "one"), ("a", "two"), ("b", "two")] {
        let query = ThreadQuery {
            org: org.clone(),
            identities: vec![who.into()],
            open: false,
            unreplied: false,
            offset: 0,
            limit: 9,
        };
        let (rows, _) = store.threads(query).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.uid.as_str()).collect::<Vec<_>>(), [uid]);
    }
    // It is in nobody's way, and opened when somebody speaks in it.
    assert_eq!(store.idle_threads(UnixMillis(9000), 9).await.unwrap(), []);
    let spoken = |topic: &TopicName, at| ThreadEvent {
        thread: NewThread {
            org: org.clone(),
            topic: topic.clone(),
            partition: PartitionId(2),
            uid: String::new(),
            kind: "",
            desk: String::new(),
            party: String::new(),
            nickname: String::new(),
            avatar: String::new(),
            has_life: true,
            at: UnixMillis(3000),
        },
        position: Position(at),
        change: None,
    };
    let colleagues = TopicName::new("org/member/a/b").unwrap();
    let batch = LogBatch {
        threads: vec![spoken(&topic, 80), spoken(&colleagues, 81)],
        ..LogBatch::default()
    };
    store.apply(Arc::new(batch)).await.unwrap();
    let pending = store.pending_threads(9).await.unwrap();
    assert_eq!(pending.len(), 1, "colleagues have no life");
    assert_eq!(
        (pending[0].row.uid.as_str(), pending[0].pending),
        ("one", Position(80))
    );
}
