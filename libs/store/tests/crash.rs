//! A process that is killed while it applies: what it applied is there once, and what comes again is too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, its child talks by lines"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use contract::persistence::HistoryRange;
use model::{FrameSeq, OrgId, PartitionId, Position, TopicName};
use store::{
    Advance, Flags, LogBatch, LogStore, MessageStore, NewMessage, Options, Service, SqliteStore, TargetKey,
    Want,
};
use wire::{Entry, Kind};

const CHILD: &str = "LONGWIRE_TEST_CRASH_DIR";
const PARTITION: PartitionId = PartitionId(0);
/// Messages a batch.
const BATCH: u64 = 37;
const LAST: u64 = 6000;

fn open(dir: &Path) -> SqliteStore {
    let path = dir.join("store.db");
    SqliteStore::migrate(&path).unwrap();
    SqliteStore::open(
        &path,
        Options {
            tail: 200,
            wal_bytes: 1 << 20,
            ..Options::default()
        },
    )
    .unwrap()
}

fn message(n: u64) -> NewMessage {
    let entry = Entry {
        kind: Kind::Chat.into(),
        org: "o".into(),
        topic: format!("t/{}", n % 3),
        sender: "u".into(),
        uid: format!("m{n}"),
        r#type: "TEXT".into(),
        payload: Bytes::from(vec![b'x'; 200]),
        ..Entry::default()
    };
    let (bytes, flags) = (entry.to_bytes(), Flags::SHOWN);
    NewMessage {
        partition: PARTITION,
        position: Position::new(FrameSeq(n), 0),
        flags,
        entry,
        bytes,
    }
}

/// Applies from where the store stands, up to the last message.
async fn apply_on(store: &SqliteStore, mut after_each: impl FnMut(u64)) {
    loop {
        let progress = store.progress(Service::Persistence).await.unwrap();
        let from = progress.first().map_or(Position::START, |(_, at)| *at);
        let (first, last) = (from.seq().0 + 1, LAST.min(from.seq().0 + BATCH));
        if first > last {
            return;
        }
        let advances = vec![Advance {
            partition: PARTITION,
            from,
            to: Position::end_of(FrameSeq(last)),
        }];
        let messages = (first..=last).map(message).collect();
        store
            .apply(Arc::new(LogBatch {
                advances,
                messages,
                ..LogBatch::default()
            }))
            .await
            .unwrap();
        after_each(last);
    }
}

/// Each message up to `upto` is there once, in order, and none after it.
async fn check(store: &SqliteStore, upto: u64) {
    for t in 0..3 {
        let topic = TopicName::trusted(format!("t/{t}"));
        let range = HistoryRange::After {
            position: Position::START,
            limit: u32::MAX,
        };
        let page = store.history(&OrgId::new("o"), &topic, range).await.unwrap();
        let got: Vec<u64> = page.entries.iter().map(|e| e.position.seq().0).collect();
        let want: Vec<u64> = (1..=upto).filter(|n| n % 3 == t).collect();
        assert_eq!((page.total, &got), (want.len() as u64, &want), "topic {t}");
    }
    let key = |n: u64| TargetKey {
        org: "o".into(),
        topic: TopicName::trusted(format!("t/{}", n % 3)),
        uid: format!("m{n}"),
        want: Want::First,
    };
    let found = store.find((1..=LAST).map(key).collect()).await.unwrap();
    let found: Vec<u64> = found.into_iter().flatten().map(|s| s.position.seq().0).collect();
    assert_eq!(found, (1..=upto).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_killed_process_applied_is_there_once() {
    if let Ok(dir) = std::env::var(CHILD) {
        apply_on(&open(Path::new(&dir)), |n| println!("applied {n}")).await;
        // Wait to be killed.
        std::future::pending::<()>().await;
    }
    for kill_after in [37, 370, 1900, 4000] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "what_a_killed_process_applied_is_there_once",
                "--nocapture",
            ])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let reached = |line: String| {
            line.rsplit_once("applied ")
                .and_then(|(_, n)| n.parse::<u64>().ok())
        };
        let told = lines.filter_map(reached).find(|n| *n >= kill_after).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let store = open(dir.path());
        let upto = store.progress(Service::Persistence).await.unwrap()[0].1.seq().0;
        assert!(upto >= told, "{told} were applied, {upto} are there");
        check(&store, upto).await;
        apply_on(&store, |_| ()).await;
        check(&store, LAST).await;
    }
}
