//! Measures what applying costs in PostgreSQL: rows a second, statements a batch, and how long a session takes to open.
//!
//! `cargo run --release -p store --example postgres -- postgres://user@host/database [messages] [batch] [topics] [new|known]`
//! wipes nothing: give it a database of its own.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the terminal")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use contract::persistence::{OpenSession, SessionKey};
use model::{FrameSeq, PartitionId, Partitioning, Position, UnixMillis};
use runtime::config::Secret;
use store::{
    Advance, Flags, LogBatch, LogStore, NewMessage, PostgresConfig, PostgresStore, Service, SessionStore,
};
use wire::{Entry, Kind};

const ORG: &str = "o";

fn message(partition: PartitionId, seq: u64, index: u16, topic: &str, n: u64) -> NewMessage {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let entry = Entry {
        kind: Kind::Chat.into(),
        org: ORG.into(),
        topic: topic.into(),
        sender: "visitor-1".into(),
        author: "visitor-1".into(),
        uid: format!("{seq:x}-{n:x}-{}", partition.0),
        r#type: "TEXT".into(),
        accepted_at: now.as_millis() as u64,
        payload: Bytes::from(vec![b'x'; 200]),
        ..Entry::default()
    };
    NewMessage {
        partition,
        position: Position::new(FrameSeq(seq), index),
        flags: Flags::SHOWN.with(Flags::COUNTABLE),
        bytes: entry.to_bytes(),
        entry,
    }
}

#[tokio::main]
async fn main() {
    let arg = |n: usize, default: u64| std::env::args().nth(n).map_or(default, |a| a.parse().unwrap());
    let url = std::env::args().nth(1).expect("the address of a database");
    let (messages, size, topics) = (arg(2, 100_000), arg(3, 500), arg(4, 50));
    let config = PostgresConfig {
        url: Secret::new(url),
        ..PostgresConfig::default()
    };
    PostgresStore::migrate(&config).await.unwrap();
    let store = PostgresStore::open(&config).await.unwrap();
    let partitioning = Partitioning::new(16);
    let mut at = [Position::START; 16];
    for (p, position) in store.progress(Service::Persistence).await.unwrap() {
        at[usize::from(p.0)] = position;
    }
    let names: Vec<String> = (0..topics).map(|t| format!("org/agent/a/visitor-{t}")).collect();
    let (before, began) = (store.statements(), Instant::now());
    let (mut n, mut batches) = (0, 0u64);
    while n < messages {
        let mut batch = LogBatch::default();
        let mut index = [0u16; 16];
        for i in n..(n + size).min(messages) {
            let topic = &names[(i * 7919 % topics) as usize];
            let p = partitioning.of(ORG, topic);
            let slot = usize::from(p.0);
            batch
                .messages
                .push(message(p, at[slot].seq().0 + 1, index[slot], topic, i));
            index[slot] += 1;
        }
        for partition in partitioning.all().filter(|p| index[usize::from(p.0)] > 0) {
            let from = at[usize::from(partition.0)];
            let to = Position::end_of(FrameSeq(from.seq().0 + 1));
            batch.advances.push(Advance { partition, from, to });
            at[usize::from(partition.0)] = to;
        }
        store.apply(Arc::new(batch)).await.unwrap();
        n += size;
        batches += 1;
    }
    let took = began.elapsed();
    let statements = store.statements() - before;
    println!(
        "{messages} messages in batches of {size}, {topics} topics: {:.0} rows/s, {:.1} statements and {:.2} ms a batch",
        messages as f64 / took.as_secs_f64(),
        statements as f64 / batches as f64,
        took.as_secs_f64() * 1e3 / batches as f64,
    );
    let began = Instant::now();
    let opens = (0..2000u64).map(|n| {
        let store = store.clone();
        let key = SessionKey {
            org: ORG.into(),
            user: format!("u{n}").into(),
            client: "c".into(),
        };
        let open = OpenSession {
            key,
            clean_start: false,
            expiry: 60,
            will: None,
            edge: "e".into(),
            identities: Vec::new(),
        };
        tokio::spawn(async move { store.open_session(open, UnixMillis(1)).await.unwrap() })
    });
    for open in opens.collect::<Vec<_>>() {
        open.await.unwrap();
    }
    println!(
        "2000 sessions opened at once in {:.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
}
