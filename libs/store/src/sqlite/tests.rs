use std::sync::Arc;

use contract::persistence::{OpenSession, SessionKey};
use model::{FrameSeq, PartitionId, Position};
use wire::{Entry, Kind};

use super::*;
use crate::{Advance, Flags, LogBatch, LogStore, NewMessage, SessionStore};
use model::UnixMillis;
use std::sync::atomic::Ordering;

fn open(dir: &Path) -> SqliteStore {
    let path = dir.join("store.db");
    SqliteStore::migrate(&path).unwrap();
    SqliteStore::open(
        &path,
        Options {
            tail: 50,
            ..Options::default()
        },
    )
    .unwrap()
}

/// A batch of large messages, so that it needs new pages.
fn batch(store: &SqliteStore) -> Arc<LogBatch> {
    let (partition, service) = (PartitionId(0), Service::Persistence);
    let from = store.shared.mem.read().applied(service, partition);
    let message = |i: u64| {
        let position = Position::new(FrameSeq(from.seq().0 + i), 0);
        let uid = position.to_string();
        let (org, topic) = ("o".to_owned(), format!("t/{}", i % 3));
        let payload = vec![b'x'; 4000].into();
        let entry = Entry {
            kind: Kind::Chat.into(),
            org,
            topic,
            uid,
            payload,
            ..Entry::default()
        };
        let bytes = entry.to_bytes();
        NewMessage {
            partition,
            position,
            flags: Flags::SHOWN,
            entry,
            bytes,
        }
    };
    let messages: Vec<_> = (1..=100).map(message).collect();
    let to = Position::end_of(FrameSeq(from.seq().0 + 100));
    let advances = vec![Advance { partition, from, to }];
    Arc::new(LogBatch {
        advances,
        messages,
        ..LogBatch::default()
    })
}

/// Lets the database have only so many more pages.
async fn allow(store: &SqliteStore, pages: i64) {
    let set = move |ctx: &mut Ctx<'_>| {
        let count: i64 = ctx.conn.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        let most = format!("PRAGMA max_page_count = {}", count + pages);
        ctx.conn
            .query_row(&most, [], |_| Ok(()))
            .map_err(sql("limiting the database"))
    };
    store.write(Mode::Lazy, set).await.unwrap();
}

fn session(client: &str) -> OpenSession {
    let key = SessionKey {
        org: "o".into(),
        user: "u".into(),
        client: client.into(),
    };
    let entry = vec![b'x'; 20_000].into();
    let will = Some(contract::persistence::Will { entry, delay: 0 });
    OpenSession {
        key,
        clean_start: false,
        expiry: 60,
        will,
        edge: "e".into(),
        identities: Vec::new(),
    }
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_what_it_refused_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.apply(batch(&store)).await.unwrap();
    let before = store.progress(Service::Persistence).await.unwrap();
    allow(&store, 3).await;
    let next = batch(&store);
    for _ in 0..3 {
        let error = store.apply(next.clone()).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Full(_)) && error.is_temporary(),
            "{error:?}"
        );
        assert_eq!(store.progress(Service::Persistence).await.unwrap(), before);
    }
    assert!(matches!(
        store.open_session(session("c"), UnixMillis(1)).await,
        Err(StoreError::Full(_))
    ));
    allow(&store, 1 << 20).await;
    store.apply(next).await.unwrap();
    store.apply(batch(&store)).await.unwrap();
    store.open_session(session("c"), UnixMillis(1)).await.unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        store.progress(Service::Persistence).await.unwrap()[0].1.seq(),
        FrameSeq(300)
    );
    let shown = |conn: &Connection, mem: &RwLock<Mem>| {
        let id = cold::id(conn, mem, "o", "t/1")?.unwrap_or_default();
        Ok(cold::get(conn, mem, id)?.map(|topic| topic.sums.shown))
    };
    assert_eq!(store.read(shown).await.unwrap(), Some(102));
}

#[tokio::test]
async fn a_failing_job_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let blocker = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write(Mode::Log, move |_| hold.recv().map_err(|_| StoreError::Closed))
                .await
        }
    });
    let mut jobs = Vec::new();
    for i in 0..10 {
        let store = store.clone();
        jobs.push(tokio::spawn(async move {
            let enter = move |ctx: &mut Ctx<'_>| {
                ctx.topic("o", &format!("t/{i}"), PartitionId(0))?;
                if i % 2 == 0 {
                    Ok(())
                } else {
                    Err(StoreError::Closed)
                }
            };
            store.write(Mode::Sync, enter).await
        }));
    }
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    blocker.await.unwrap().unwrap();
    for (i, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.await.unwrap().is_ok(), i % 2 == 0);
        let known = store
            .shared
            .mem
            .read()
            .topics
            .id("o", &format!("t/{i}"))
            .is_some();
        assert_eq!(known, i % 2 == 0);
    }
    drop(store);
    let store = open(dir.path());
    let known = async |name: &'static str| {
        let read = store.read(move |conn, mem| cold::id(conn, mem, "o", name)).await;
        read.unwrap().is_some()
    };
    assert!(known("t/8").await && !known("t/9").await);
}

/// A session of which nothing is stored: it is connected until it is known to be something else.
#[tokio::test]
async fn what_memory_holds_of_a_session_changes_with_the_commit_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let transient = OpenSession {
        clean_start: true,
        expiry: 0,
        will: None,
        ..session("c")
    };
    let first = store
        .open_session(transient.clone(), UnixMillis(1))
        .await
        .unwrap();
    assert_eq!(store.connected_edges().await.unwrap(), ["e".into()]);
    allow(&store, 0).await;
    let refused = store.open_session(session("c"), UnixMillis(1)).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert_eq!(
        store.connected_edges().await.unwrap(),
        ["e".into()],
        "the session that could not be opened took nobody's place"
    );
    allow(&store, 1 << 20).await;
    let second = store.open_session(session("c"), UnixMillis(1)).await.unwrap();
    assert!(second.epoch > first.epoch);
    assert_eq!(second.previous_edge, Some("e".into()));
    // Within one transaction each sees what those before it did.
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let blocker = tokio::spawn({
        let store = store.clone();
        async move {
            store
                .write(Mode::Log, move |_| hold.recv().map_err(|_| StoreError::Closed))
                .await
        }
    });
    tokio::task::yield_now().await;
    let mut other = transient.clone();
    other.edge = "other".into();
    let (store_a, store_b) = (store.clone(), store.clone());
    let a = tokio::spawn(async move { store_a.open_session(transient, UnixMillis(1)).await });
    tokio::task::yield_now().await;
    let b = tokio::spawn(async move { store_b.open_session(other, UnixMillis(1)).await });
    tokio::task::yield_now().await;
    release.send(()).unwrap();
    blocker.await.unwrap().unwrap();
    a.await.unwrap().unwrap();
    let last = b.await.unwrap().unwrap();
    assert_eq!(last.previous_edge, Some("e".into()));
    assert_eq!(store.connected_edges().await.unwrap(), ["other".into()]);
    let ended = store.abandon_edge(&"other".into(), UnixMillis(2)).await.unwrap();
    assert_eq!((ended, store.connected_edges().await.unwrap().len()), (1, 0));
}

/// What is removed must be in the index before: entered later it would point to nothing.
#[tokio::test]
async fn nothing_is_removed_while_the_index_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    SqliteStore::migrate(&path).unwrap();
    let options = Options {
        tail: 10_000,
        ..Options::default()
    };
    let store = SqliteStore::open(&path, options).unwrap();
    for _ in 0..10 {
        let mut all = LogBatch::clone(&batch(&store));
        for message in &mut all.messages {
            (message.flags, message.entry.accepted_at) = (Flags::GENERIC, 1);
            message.entry.payload = vec![b'x'; 100].into();
            message.bytes = message.entry.to_bytes();
        }
        store.apply(Arc::new(all)).await.unwrap();
    }
    allow(&store, 0).await;
    let refused = store.prune_generic(UnixMillis(2), 10).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    let count = |text: &'static str| {
        store.read(move |conn, _| {
            conn.query_row(text, [], |r| r.get::<_, i64>(0))
                .map_err(sql("counting"))
        })
    };
    assert_eq!(count("SELECT count(*) FROM messages").await.unwrap(), 1000);
    allow(&store, 1 << 20).await;
    assert_eq!(store.prune_generic(UnixMillis(2), 10).await.unwrap(), 10);
    let dangling = "SELECT count(*) FROM topic_index WHERE message NOT IN (SELECT id FROM messages)";
    assert_eq!(count(dangling).await.unwrap(), 0);
}

/// A status that was shown must not go back with the power; messages come again from the log.
#[tokio::test]
async fn receipts_are_synced_before_they_can_be_seen_and_messages_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let synced = || store.shared.synced.load(Ordering::Relaxed);
    let before = synced();
    store.apply(batch(&store)).await.unwrap();
    assert_eq!(synced(), before);
    let step = Advance {
        partition: PartitionId(0),
        from: Position::START,
        to: Position::end_of(FrameSeq(1)),
    };
    let receipts = crate::ReceiptBatch {
        advances: vec![step],
        ..crate::ReceiptBatch::default()
    };
    crate::ReceiptStore::apply_receipts(&store, Arc::new(receipts))
        .await
        .unwrap();
    assert_eq!(synced(), before + 1);
}

/// Messages of so many topics, one each, of which none was there before.
fn of_new_topics(from: Position, count: u64) -> LogBatch {
    let partition = PartitionId(0);
    let message = |i: u64| {
        let position = Position::new(FrameSeq(from.seq().0 + i), 0);
        let entry = Entry {
            kind: Kind::Chat.into(),
            org: "o".to_owned(),
            topic: format!("t/{}", position.seq().0),
            uid: position.to_string(),
            ..Entry::default()
        };
        NewMessage {
            partition,
            position,
            flags: Flags::SHOWN,
            bytes: entry.to_bytes(),
            entry,
        }
    };
    let to = Position::end_of(FrameSeq(from.seq().0 + count));
    LogBatch {
        advances: vec![Advance { partition, from, to }],
        messages: (1..=count).map(message).collect(),
        ..LogBatch::default()
    }
}

#[tokio::test]
async fn topics_in_which_nothing_happens_leave_memory_and_are_found_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    SqliteStore::migrate(&path).unwrap();
    let options = || Options {
        tail: 100,
        topics: 50,
        ..Options::default()
    };
    let store = SqliteStore::open(&path, options()).unwrap();
    let progress = |store: &SqliteStore| {
        store
            .shared
            .mem
            .read()
            .applied(Service::Persistence, PartitionId(0))
    };
    let held = |store: &SqliteStore| store.shared.mem.read().topics.len();
    for _ in 0..40 {
        let batch = of_new_topics(progress(&store), 100);
        store.apply(Arc::new(batch)).await.unwrap();
        // Those that stay, and those of two tails.
        assert!(held(&store) <= 50 + 2 * 200, "{}", held(&store));
    }
    let request = |after: u64, filter: &str| contract::persistence::BacklogRequest {
        org: "o".into(),
        lanes: vec![contract::persistence::BacklogLane {
            partition: PartitionId(0),
            after: Position::end_of(FrameSeq(after)),
            upto: progress(&store),
        }],
        filters: vec![contract::persistence::BacklogFilter {
            filter: model::TopicFilter::new(filter).unwrap(),
            start: Vec::new(),
        }],
        max_entries: 10_000,
        max_bytes: usize::MAX,
    };
    // Few with news, so many that they are not looked at one by one, and one.
    for (after, filter, count) in [
        (3500, "t/+", 500),
        (100, "t/+", 3900),
        (100, "t/200", 1),
        (200, "t/200", 0),
    ] {
        let page = crate::MessageStore::backlog(&store, request(after, filter), UnixMillis(0)).await;
        let page = page.unwrap();
        assert_eq!(page.entries.len(), count, "{filter} after {after}");
        assert!(page.entries.is_sorted_by_key(|e| e.position));
    }
    // One that has left comes back as it was.
    let mut again = of_new_topics(progress(&store), 1);
    again.messages[0].entry.topic = "t/7".to_owned();
    again.messages[0].bytes = again.messages[0].entry.to_bytes();
    store.apply(Arc::new(again)).await.unwrap();
    let history = async |store: &SqliteStore| {
        let range = contract::persistence::HistoryRange::After {
            position: Position::START,
            limit: 9,
        };
        let (org, topic) = ("o".into(), model::TopicName::trusted("t/7"));
        let page = crate::MessageStore::history(store, &org, &topic, range)
            .await
            .unwrap();
        let at: Vec<_> = page
            .entries
            .iter()
            .map(|e| (e.position.seq().0, e.prev))
            .collect();
        (at, page.total)
    };
    let first = Position::new(FrameSeq(7), 0);
    let both = (vec![(7, None), (4001, Some(first))], 2);
    assert_eq!(history(&store).await, both);
    drop(store);
    let store = SqliteStore::open(&path, options()).unwrap();
    assert!(held(&store) <= 200, "a start reads the tail");
    assert_eq!(history(&store).await, both);
}
