//! A database that is killed, stopped, restarted while the log is applied.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use batches::{NOW, PARTITION, applied, backlog, batch, check, open};
use bytes::Bytes;
use contract::persistence::{HistoryRange, OpenSession, SessionKey};
use model::{FrameSeq, OrgId, Position, ReceiptKind, TopicName};
use store::{
    Advance, LogStore, MessageStore, NewReceipt, PostgresStore, ReceiptBatch, ReceiptStore, Service,
    SessionStore, StoreError,
};
use testkit::postgres::{Options, PostgresServer};

/// Messages a batch.
const BATCH: u64 = 37;

/// Asks again while the database is away.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    testkit::eventually("the database answers", testkit::DEADLINE, async || {
        match ask().await {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(error.is_temporary(), "{error:?}");
                None
            }
        }
    })
    .await
}

async fn apply_upto(store: &PostgresStore, last: u64) {
    loop {
        let from = patiently(async || store.progress(Service::Persistence).await).await;
        let from = from.first().map_or(0, |(_, at)| at.seq().0);
        if from >= last {
            return;
        }
        // Lost is the answer, or the whole: then it is refused as misplaced, and read again.
        let applied = store
            .apply(batch(PARTITION, from + 1, last.min(from + BATCH)))
            .await;
        if let Err(error) = applied {
            let misplaced = matches!(error, StoreError::Misplaced { .. });
            assert!(misplaced || error.is_temporary(), "{error:?}");
        }
    }
}

/// A server that keeps what is committed lazily to itself for as long as it can.
async fn lazy() -> PostgresServer {
    let options = Options {
        settings: vec![
            "wal_writer_delay=10000".into(),
            "wal_writer_flush_after=1GB".into(),
        ],
        ..Options::default()
    };
    PostgresServer::start_with(options).await
}

#[tokio::test]
async fn rows_and_progress_of_a_killed_database_go_back_together() {
    let server = lazy().await;
    let store = open(&server.database().await).await;
    for round in 1..=4u64 {
        let (begin, sure) = ((round - 1) * 1000, (round - 1) * 1000 + 200);
        apply_upto(&store, sure).await;
        let durable = store.durable_progress(Service::Persistence).await.unwrap();
        assert_eq!(durable, [(PARTITION, Position::end_of(FrameSeq(sure)))]);
        let killing = async {
            testkit::eventually("half of it is applied", testkit::DEADLINE, async || {
                (applied(&store).await >= begin + 500).then_some(())
            })
            .await;
            server.kill().await;
            server.restart().await;
        };
        tokio::join!(apply_upto(&store, begin + 1000), killing);
        // All of it may have been applied when the kill came; what that took back is applied again.
        apply_upto(&store, begin + 1000).await;
        check(&store, begin + 1000).await;
    }
}

/// What was told to be applied may be lost with the database; who acts on it is not given less.
#[tokio::test]
async fn a_backlog_is_not_given_short_after_a_crash() {
    let server = lazy().await;
    let store = open(&server.database().await).await;
    apply_upto(&store, 100).await;
    store.durable_progress(Service::Persistence).await.unwrap();
    apply_upto(&store, 200).await;
    let upto = Position::end_of(FrameSeq(200));
    let wait = store.wait_applied(Service::Persistence, PARTITION, upto, Duration::ZERO);
    assert_eq!(wait.await.unwrap(), upto);
    server.kill().await;
    server.restart().await;
    let ask = || store.backlog(backlog("#", Position::START, upto), NOW);
    let refused = ask().await.unwrap_err();
    assert!(refused.is_temporary(), "{refused:?}");
    let kept = patiently(async || store.progress(Service::Persistence).await).await;
    assert!((100..200).contains(&kept[0].1.seq().0), "{kept:?}");
    let refused = ask().await.unwrap_err();
    assert!(matches!(refused, StoreError::WentBack { .. }), "{refused:?}");
    apply_upto(&store, 200).await;
    let page = patiently(async || ask().await).await;
    assert_eq!((page.entries.len(), page.covered[0].1), (200, upto));
}

/// P8: a status never goes back. History does not wait for receipts, so what it has shown must outlive the database.
#[tokio::test]
async fn a_status_that_was_shown_survives_a_kill() {
    let server = lazy().await;
    let store = open(&server.database().await).await;
    apply_upto(&store, 3).await;
    let (org, topic) = (OrgId::new("o"), TopicName::trusted("t/0/1"));
    let read = NewReceipt {
        org: org.clone(),
        topic: topic.clone(),
        message: batches::at(1),
        edit: None,
        state: ReceiptKind::Read,
        by: "v".into(),
        changed: batches::at(4),
        bytes: Bytes::from_static(b"r"),
    };
    let batch = ReceiptBatch {
        advances: vec![Advance {
            partition: PARTITION,
            from: Position::START,
            to: Position::end_of(FrameSeq(4)),
        }],
        receipts: vec![read],
        marks: Vec::new(),
    };
    store.apply_receipts(Arc::new(batch)).await.unwrap();
    let range = HistoryRange::After {
        position: Position::START,
        limit: 9,
    };
    let states = async || {
        let page = patiently(async || store.history(&org, &topic, range).await).await;
        page.entries.iter().map(|e| e.state).collect::<Vec<_>>()
    };
    assert_eq!(states().await, [Some(ReceiptKind::Read)]);
    server.kill().await;
    server.restart().await;
    assert_eq!(states().await, [Some(ReceiptKind::Read)]);
}

/// What was answered is there: sessions are not committed lazily.
#[tokio::test]
async fn an_opened_session_survives_a_kill() {
    let server = lazy().await;
    let store = open(&server.database().await).await;
    let session = OpenSession {
        key: SessionKey {
            org: "o".into(),
            user: "u".into(),
            client: "c".into(),
        },
        clean_start: false,
        expiry: 60,
        will: None,
        edge: "e".into(),
        identities: Vec::new(),
    };
    let opened = store.open_session(session.clone(), NOW).await.unwrap();
    server.kill().await;
    server.restart().await;
    let again = patiently(async || store.open_session(session.clone(), NOW).await).await;
    assert!(again.epoch > opened.epoch);
    assert_eq!(again.previous_edge, Some("e".into()));
}

/// A database that hangs is an error soon enough, and all is well when it goes on.
#[tokio::test]
async fn a_database_that_hangs_is_given_up_and_found_again() {
    let server = PostgresServer::start().await;
    let store = open(&server.database().await).await;
    apply_upto(&store, 100).await;
    server.stop();
    let began = Instant::now();
    let refused = store.apply(batch(PARTITION, 101, 110)).await.unwrap_err();
    assert!(refused.is_temporary(), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    server.cont();
    apply_upto(&store, 300).await;
    check(&store, 300).await;
}
