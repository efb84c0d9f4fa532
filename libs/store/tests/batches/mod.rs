//! Batches of messages, one frame each message.
#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::Arc;

use bytes::Bytes;
use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest, HistoryRange};
use model::{FrameSeq, OrgId, PartitionId, Position, TopicFilter, TopicName, UnixMillis};
use runtime::config::{HumanDuration, Secret};
use store::{
    Advance, Flags, LogBatch, LogStore, MessageStore, NewMessage, PostgresConfig, PostgresStore, Service,
};
use wire::{Entry, Kind};

pub const PARTITION: PartitionId = PartitionId(0);
pub const TEXT: Flags = Flags(Flags::SHOWN.0 | Flags::COUNTABLE.0);

pub fn config(url: &str) -> PostgresConfig {
    PostgresConfig {
        url: Secret::new(url),
        max_connections: 4,
        acquire_timeout: HumanDuration::from_secs(2),
        statement_timeout: HumanDuration::from_secs(2),
        ..PostgresConfig::default()
    }
}

pub async fn open(url: &str) -> PostgresStore {
    PostgresStore::migrate(&config(url)).await.unwrap();
    PostgresStore::open(&config(url)).await.unwrap()
}

pub fn at(seq: u64) -> Position {
    Position::new(FrameSeq(seq), 0)
}

pub fn message(partition: PartitionId, seq: u64, topic: &str, uid: &str) -> NewMessage {
    let entry = Entry {
        kind: Kind::Chat.into(),
        org: "o".into(),
        topic: topic.into(),
        sender: "u".into(),
        author: "u".into(),
        uid: uid.into(),
        r#type: "TEXT".into(),
        accepted_at: 1_790_000_000_000 + seq,
        payload: Bytes::from(vec![b'x'; 200]),
        ..Entry::default()
    };
    NewMessage {
        partition,
        position: at(seq),
        flags: TEXT,
        bytes: entry.to_bytes(),
        entry,
    }
}

/// Messages `first..=last` of a partition, over three topics.
pub fn batch(partition: PartitionId, first: u64, last: u64) -> Arc<LogBatch> {
    let message = |n: u64| {
        let (topic, uid) = (format!("t/{partition}/{}", n % 3), format!("{partition}-{n}"));
        message(partition, n, &topic, &uid)
    };
    let from = match first {
        1 => Position::START,
        _ => Position::end_of(FrameSeq(first - 1)),
    };
    let to = Position::end_of(FrameSeq(last));
    Arc::new(LogBatch {
        advances: vec![Advance { partition, from, to }],
        messages: (first..=last).map(message).collect(),
        ..LogBatch::default()
    })
}

pub async fn applied(store: &PostgresStore) -> u64 {
    let progress = store.progress(Service::Persistence).await.unwrap();
    progress
        .iter()
        .find(|(p, _)| *p == PARTITION)
        .map_or(0, |(_, at)| at.seq().0)
}

/// Each message up to `upto` is there once, in order, and none after it.
pub async fn check(store: &PostgresStore, upto: u64) {
    for t in 0..3 {
        let topic = TopicName::trusted(format!("t/{PARTITION}/{t}"));
        let range = HistoryRange::After {
            position: Position::START,
            limit: u32::MAX >> 1,
        };
        let page = store.history(&OrgId::new("o"), &topic, range).await.unwrap();
        let got: Vec<u64> = page.entries.iter().map(|e| e.position.seq().0).collect();
        let want: Vec<u64> = (1..=upto).filter(|n| n % 3 == t).collect();
        assert_eq!((page.total, &got), (want.len() as u64, &want), "topic {t}");
    }
}

pub fn backlog(filter: &str, after: Position, upto: Position) -> BacklogRequest {
    BacklogRequest {
        org: "o".into(),
        lanes: vec![BacklogLane {
            partition: PARTITION,
            after,
            upto,
        }],
        filters: vec![BacklogFilter {
            filter: TopicFilter::new(filter).unwrap(),
            start: Vec::new(),
        }],
        max_entries: 1000,
        max_bytes: 1 << 20,
    }
}

pub const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
