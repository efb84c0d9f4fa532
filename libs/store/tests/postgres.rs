//! PostgreSQL keeps every promise of the seam, with several processes at it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use batches::{NOW, PARTITION, at, backlog, batch, check, config, message, open};
use bytes::Bytes;
use contract::persistence::{OpenSession, SaveSession, SessionKey};
use model::{FrameSeq, PartitionId, Position};
use store::suite::Fixture;
use store::{LogBatch, LogStore, MessageStore, PostgresStore, Service, SessionStore, Store, StoreError};
use testkit::postgres::{Database, database, sql};

struct Fresh(Database);

#[async_trait]
impl Fixture for Fresh {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(open(&self.0.url).await)
    }
}

async fn fresh() -> Fresh {
    Fresh(database().await)
}

store::store_suite!(fresh);

#[tokio::test]
async fn the_schema_goes_up_down_and_up_and_several_may_ask_for_it() {
    let database = database().await;
    let config = config(&database.url);
    let refused = PostgresStore::open(&config).await.err().unwrap();
    assert!(
        refused.to_string().contains("run `longwire migrate`"),
        "{refused}"
    );
    let (a, b, c) = tokio::join!(
        PostgresStore::migrate(&config),
        PostgresStore::migrate(&config),
        PostgresStore::migrate(&config)
    );
    a.and(b).and(c).unwrap();
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'f')";
    let whole = sql(&database.url, tables).await;
    assert_eq!(PostgresStore::revert(&config).await.unwrap(), 5);
    PostgresStore::migrate(&config).await.unwrap();
    assert_eq!(sql(&database.url, tables).await, whole, "one version down and up");
    for left in [5, 4, 3, 2, 0] {
        assert_eq!(PostgresStore::revert(&config).await.unwrap(), left);
    }
    assert_eq!(
        PostgresStore::revert(&config).await.unwrap(),
        0,
        "nothing is left to revert"
    );
    assert_eq!(sql(&database.url, tables).await, "1", "the version's own table");
    PostgresStore::migrate(&config).await.unwrap();
    assert_eq!(sql(&database.url, tables).await, whole);
    PostgresStore::open(&config).await.unwrap();
    sql(&database.url, "UPDATE schema_version SET version = 99").await;
    for refused in [
        PostgresStore::open(&config).await.err(),
        PostgresStore::migrate(&config).await.err(),
        PostgresStore::revert(&config).await.err(),
    ] {
        assert!(matches!(refused, Some(StoreError::Unknown { found: 99, .. })));
    }
}

#[tokio::test]
async fn messages_stand_in_the_table_of_their_month() {
    let database = database().await;
    let store = open(&database.url).await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let mut one = message(PARTITION, 1, "t/a", "1");
    one.entry.accepted_at = now.as_millis() as u64;
    let batch = LogBatch {
        messages: vec![one],
        ..LogBatch::default()
    };
    store.apply(Arc::new(batch)).await.unwrap();
    let stands = sql(&database.url, "SELECT tableoid::regclass FROM messages").await;
    let month = sql(
        &database.url,
        "SELECT to_char(now() AT TIME ZONE 'UTC', '\"messages_\"YYYY_MM')",
    )
    .await;
    assert_eq!(stands, month);
}

/// Two processes that both believe to own a partition: whichever comes first wins, with everything.
#[tokio::test]
async fn of_two_stores_that_apply_the_same_one_wins() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    for first in (1..100).step_by(10) {
        let batch = batch(PARTITION, first, first + 9);
        let (one, other) = tokio::join!(a.apply(batch.clone()), b.apply(batch.clone()));
        let lost = match (one, other) {
            (Ok(()), Err(lost)) | (Err(lost), Ok(())) => lost,
            both => panic!("{both:?}"),
        };
        let whole = Position::end_of(FrameSeq(first + 9));
        assert!(
            matches!(lost, StoreError::Misplaced { stored, .. } if stored == whole),
            "{lost}"
        );
        // That of a partition nobody else has goes on beside it.
        b.apply(batches::batch(PartitionId(1), first, first + 9))
            .await
            .unwrap();
    }
    check(&a, 100).await;
    check(&b, 100).await;
}

/// Partitions are taken in any order by both: nobody waits in a circle.
#[tokio::test]
async fn stores_that_apply_many_partitions_in_any_order_do_not_stop_each_other() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    let both = |reverse: bool, first: u64| {
        let mut whole = LogBatch::default();
        let mut partitions: Vec<u16> = (0..8).collect();
        if reverse {
            partitions.reverse();
        }
        for p in partitions {
            let one = batch(PartitionId(p), first, first + 9);
            whole.advances.extend(one.advances.iter().copied());
            whole.messages.extend(one.messages.iter().cloned());
        }
        Arc::new(whole)
    };
    for first in (1..200).step_by(10) {
        let (one, other) = tokio::join!(a.apply(both(false, first)), b.apply(both(true, first)));
        assert!(one.is_ok() != other.is_ok());
        let lost = one.err().or(other.err()).unwrap();
        assert!(matches!(lost, StoreError::Misplaced { .. }), "{lost:?}");
    }
}

#[tokio::test]
async fn a_store_sees_what_another_applies() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    let upto = Position::end_of(FrameSeq(20));
    let wait = |limit| b.wait_applied(Service::Persistence, PARTITION, upto, limit);
    assert_eq!(wait(Duration::ZERO).await.unwrap(), Position::START);
    let waiting = tokio::spawn({
        let b = b.clone();
        async move {
            let limit = Duration::from_secs(30);
            b.wait_applied(Service::Persistence, PARTITION, upto, limit).await
        }
    });
    a.apply(batch(PARTITION, 1, 10)).await.unwrap();
    a.apply(batch(PARTITION, 11, 20)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), upto);
    let page = b
        .backlog(backlog("t/0/+", Position::START, upto), NOW)
        .await
        .unwrap();
    assert_eq!(
        (page.entries.len(), &page.covered[..]),
        (20, &[(PARTITION, upto)][..])
    );
    // What it knows, it does not ask again.
    let before = b.statements();
    assert_eq!(wait(Duration::ZERO).await.unwrap(), upto);
    assert_eq!(b.statements(), before);
}

/// Of a schema that means something else nothing is kept, and it is said so.
#[tokio::test]
async fn a_schema_of_the_former_kind_is_refused() {
    let database = database().await;
    let config = config(&database.url);
    PostgresStore::migrate(&config).await.unwrap();
    sql(&database.url, "UPDATE schema_version SET version = 1").await;
    for refused in [
        PostgresStore::open(&config).await.err(),
        PostgresStore::migrate(&config).await.err(),
        PostgresStore::revert(&config).await.err(),
    ] {
        assert!(
            matches!(refused, Some(StoreError::Former { found: 1 })),
            "{refused:?}"
        );
    }
}

fn session(client: &str, edge: &str) -> OpenSession {
    OpenSession {
        key: SessionKey {
            org: "o".into(),
            user: "u".into(),
            client: client.into(),
        },
        clean_start: false,
        expiry: 60,
        will: None,
        edge: edge.into(),
        identities: Vec::new(),
    }
}

/// However many edges open a session at once, they do so one after the other: each is told who held it before, and only
/// the last may change it.
#[tokio::test]
async fn of_many_edges_that_open_a_session_at_once_one_holds_it() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    for round in 0..5 {
        let client = format!("c{round}");
        let opens = (0..10).map(|n| {
            let (store, open) = (
                if n % 2 == 0 { a.clone() } else { b.clone() },
                session(&client, &format!("e{n}")),
            );
            tokio::spawn(async move { (store.open_session(open, NOW).await.unwrap(), format!("e{n}")) })
        });
        let mut opened = Vec::new();
        for open in opens.collect::<Vec<_>>() {
            opened.push(open.await.unwrap());
        }
        opened.sort_by_key(|(opened, _)| opened.epoch);
        for (before, after) in opened.iter().zip(&opened[1..]) {
            assert!(before.0.epoch < after.0.epoch);
            assert_eq!(
                after.0.previous_edge.as_ref().map(ToString::to_string),
                Some(before.1.clone())
            );
        }
        let save = |epoch| SaveSession {
            key: session(&client, "").key,
            epoch,
            state: Bytes::from_static(b"state"),
        };
        let saves = opened.iter().map(|(opened, _)| save(opened.epoch)).collect();
        let mut want = [false; 10];
        want[9] = true;
        assert_eq!(b.save_sessions(saves).await.unwrap(), want);
    }
}

/// What a client costs that comes back, with the threads it is a member of: one statement when it missed nothing at all, two when
/// something was said elsewhere, three with what it missed.
#[tokio::test]
async fn a_reconnect_costs_two_statements_and_one_for_news() {
    let database = database().await;
    let store = open(&database.url).await;
    let opened = store.open_session(session("c", "e"), NOW).await.unwrap();
    let save = SaveSession {
        key: session("c", "e").key,
        epoch: opened.epoch,
        state: Bytes::from_static(b"state"),
    };
    assert_eq!(store.save_sessions(vec![save]).await.unwrap(), [true]);
    store.apply(batch(PARTITION, 1, 30)).await.unwrap();
    let upto = Position::end_of(FrameSeq(30));
    store
        .wait_applied(Service::Persistence, PARTITION, upto, Duration::ZERO)
        .await
        .unwrap();
    for (after, cost, news) in [(upto, 1, 0), (upto.before(), 2, 0), (at(20), 3, 10)] {
        let before = store.statements();
        let connect = OpenSession {
            identities: vec!["u".into(), "desk".into()],
            ..session("c", "e")
        };
        let opened = store.open_session(connect, NOW).await.unwrap();
        assert!(opened.present);
        store
            .wait_applied(Service::Persistence, PARTITION, upto, Duration::ZERO)
            .await
            .unwrap();
        let page = store.backlog(backlog("t/#", after, upto), NOW).await.unwrap();
        assert_eq!((page.entries.len(), store.statements() - before), (news, cost));
    }
}

/// Of ten thousand threads, only those with news are looked at.
#[tokio::test]
async fn idle_threads_cost_nothing() {
    const IDLE: u64 = 10_000;
    let database = database().await;
    let store = open(&database.url).await;
    for first in (1..IDLE).step_by(1000) {
        let mut batch = LogBatch {
            advances: batch(PARTITION, first, first + 999).advances.clone(),
            ..LogBatch::default()
        };
        let message = |n: u64| message(PARTITION, n, &format!("org/agent/a/v{n}"), &format!("{n}"));
        batch.messages = (first..first + 1000).map(message).collect();
        store.apply(Arc::new(batch)).await.unwrap();
    }
    drop(store);
    let read = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
                WHERE relname IN ('heads', 'topics') ORDER BY relname";
    let asked = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname = 'heads_news'";
    let settled = async || {
        // Counts are published when a connection ends; wait until nobody is connected.
        let connected = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND application_name = 'longwire'";
        testkit::eventually("connections end", testkit::DEADLINE, async || {
            (sql(&database.url, connected).await == "0").then_some(())
        })
        .await;
        let rows = sql(&database.url, read).await;
        let rows: i64 = rows.lines().map(|n| n.parse::<i64>().unwrap()).sum();
        (rows, sql(&database.url, asked).await.parse::<i64>().unwrap())
    };
    let before = settled().await;
    let store = open(&database.url).await;
    let news = backlog("org/agent/a/+", at(IDLE - 3), Position::end_of(FrameSeq(IDLE)));
    let page = store.backlog(news, NOW).await.unwrap();
    assert_eq!(page.entries.len(), 3);
    drop(store);
    let after = settled().await;
    assert!(after.1 > before.1, "the index was asked");
    assert!(after.0 - before.0 < 50, "{} rows were read", after.0 - before.0);
}
