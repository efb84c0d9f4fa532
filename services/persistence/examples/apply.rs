//! Measures what applying the log costs: CPU per message, from frames in memory to rows in SQLite, everything included
//! (decoding, duplicates, appending, indexing, checkpoints).
//!
//! `cargo run --release -p persistence --example apply -- [messages] [topics] [seconds to spread them over]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the terminal")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backplane::bus::{BusLimits, EmbeddedBus};
use backplane::checkpoint::EmbeddedCheckpoints;
use backplane::journal::{FrameId, Journal, JournalError, Reader, StoredFrame};
use backplane::lease::EmbeddedLeases;
use backplane::presence::EmbeddedPresence;
use bytes::Bytes;
use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest};
use contract::routing::{Downstream, Hello, Routing, Upstream};
use contract::{ErrorKind, RpcError};
use model::{FrameSeq, PartitionId, Partitioning, Position, Role, TopicFilter, UnixMillis};
use persistence::{Config, Deps, Service};
use runtime::clock::Clock;
use runtime::health::Health;
use runtime::lifecycle::Stop;
use store::{LogStore, MessageStore, Options, SqliteStore};
use wire::{Entry, Frame, Kind, Message, User};

/// Entries a frame.
const FRAME: usize = 50;
const PARTITIONS: u16 = 16;

/// A log that is there already.
struct Prepared {
    frames: Vec<Vec<Bytes>>,
    /// Frames of a partition given at once, and how long to wait after.
    pace: (usize, Duration),
}

struct PreparedReader {
    frames: Vec<Bytes>,
    next: usize,
    pace: (usize, Duration),
}

#[async_trait]
impl Journal for Prepared {
    async fn append(
        &self,
        _: PartitionId,
        _: Option<FrameSeq>,
        _: FrameId,
        _: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        Err(JournalError::Closed)
    }
    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        let frames = self.frames[usize::from(partition.0)].clone();
        Ok(Box::new(PreparedReader {
            frames,
            next: after.0 as usize,
            pace: self.pace,
        }))
    }
    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError> {
        Ok(FrameSeq(self.frames[usize::from(partition.0)].len() as u64))
    }
    async fn trim(&self, _: PartitionId, _: FrameSeq) -> Result<(), JournalError> {
        Ok(())
    }
    fn epoch(&self) -> u64 {
        1
    }
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Reader for PreparedReader {
    async fn next(&mut self) -> Result<Vec<StoredFrame>, JournalError> {
        tokio::time::sleep(self.pace.1).await;
        let from = self.next;
        if from >= self.frames.len() {
            std::future::pending::<()>().await;
        }
        self.next = self.frames.len().min(from + self.pace.0);
        let frame = |i: usize| StoredFrame {
            seq: FrameSeq(i as u64 + 1),
            bytes: self.frames[i].clone(),
        };
        Ok((from..self.next).map(frame).collect())
    }
}

fn entry(i: usize, topic: &str) -> Entry {
    let message = Message {
        uid: format!("{i:032x}"),
        r#type: "TEXT".into(),
        content: "x".repeat(100),
        user: Some(User {
            uid: "visitor-1".into(),
            nickname: "Visitor".into(),
            ..User::default()
        }),
        ..Message::default()
    };
    Entry {
        kind: Kind::Chat.into(),
        org: "df_org_uid".into(),
        topic: topic.into(),
        sender: "visitor-1".into(),
        sender_role: Role::Visitor.number(),
        author: "visitor-1".into(),
        uid: message.uid.clone(),
        r#type: "TEXT".into(),
        accepted_at: 1_700_000_000_000 + i as u64,
        digest: i as u64,
        payload: wire::envelope::encode(&message),
        ..Entry::default()
    }
}

/// There are no wills to submit.
struct Nobody;

#[async_trait]
impl Routing for Nobody {
    async fn open(&self, _: Hello, _: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        Err(RpcError::new(ErrorKind::Unavailable, "nobody is there"))
    }
}

fn frames(messages: usize, topics: usize) -> Vec<Vec<Bytes>> {
    let partitioning = Partitioning::new(PARTITIONS);
    let mut open: Vec<Vec<Bytes>> = vec![Vec::new(); usize::from(PARTITIONS)];
    let mut frames: Vec<Vec<Bytes>> = vec![Vec::new(); usize::from(PARTITIONS)];
    let close = |entries: Vec<Bytes>| {
        wire::frame::encode(&Frame {
            entries,
            ..Frame::default()
        })
    };
    for i in 0..messages {
        let topic = format!("org/agent/df_ag_uid/visitor-{}", i * 7919 % topics);
        let p = usize::from(partitioning.of("df_org_uid", &topic).0);
        open[p].push(entry(i, &topic).to_bytes());
        if open[p].len() == FRAME {
            frames[p].push(close(std::mem::take(&mut open[p])));
        }
    }
    for (p, rest) in open.into_iter().enumerate() {
        if !rest.is_empty() {
            frames[p].push(close(rest));
        }
    }
    frames
}

/// User and system time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Reads everything as one session's backlog, in pages of 500; how many entries, and how long it took.
async fn drain(store: &SqliteStore) -> (usize, Duration) {
    let lane = |partition| BacklogLane {
        partition,
        after: Position::START,
        upto: Position::END,
    };
    let mut lanes: Vec<_> = Partitioning::new(PARTITIONS).all().map(lane).collect();
    let (mut count, began) = (0, Instant::now());
    while lanes.iter().any(|lane| lane.after < lane.upto) {
        let filter = TopicFilter::new("org/agent/df_ag_uid/+").unwrap();
        let request = BacklogRequest {
            org: "df_org_uid".into(),
            lanes: lanes.clone(),
            filters: vec![BacklogFilter {
                filter,
                start: Vec::new(),
            }],
            max_entries: 500,
            max_bytes: 1 << 20,
        };
        let page = store.backlog(request, UnixMillis(1)).await.unwrap();
        count += page.entries.len();
        for (lane, (_, covered)) in lanes.iter_mut().zip(page.covered) {
            lane.after = covered;
        }
        lanes.retain(|lane| lane.after < lane.upto);
    }
    (count, began.elapsed())
}

#[tokio::main]
async fn main() {
    let arg = |n: usize, default: usize| std::env::args().nth(n).map_or(default, |a| a.parse().unwrap());
    let (messages, topics, seconds) = (arg(1, 400_000), arg(2, 50), arg(3, 0));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    SqliteStore::migrate(&path).unwrap();
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let frames = frames(messages, topics);
    let most = frames.iter().map(Vec::len).max().unwrap_or(1);
    // Ten turns of every reader a second.
    let pace = match seconds {
        0 => (most, Duration::ZERO),
        s => (most.div_ceil(s * 10), Duration::from_millis(100)),
    };
    let bytes: usize = frames.iter().flatten().map(Bytes::len).sum();
    let journal = Arc::new(Prepared { frames, pace });
    let deps = Deps {
        presence: Arc::new(EmbeddedPresence::new()),
        rules: persistence::ThreadRules::default(),
        store: Arc::new(store.clone()),
        routing: Arc::new(Nobody),
        checkpoints: Arc::new(EmbeddedCheckpoints::open(dir.path().join("checkpoints")).unwrap()),
        journal: journal.clone(),
        leases: Arc::new(EmbeddedLeases::new()),
        bus: Arc::new(EmbeddedBus::new(BusLimits::default())),
        clock: Clock::system(),
        partitioning: Partitioning::new(PARTITIONS),
        holder: "bench".into(),
        embedded: true,
        metrics: runtime::metrics::Metrics::new(),
        health: Health::new(),
    };
    let service = Service::build(Config::default(), deps).await.unwrap();
    let stop = Stop::new();
    let (began, used) = (Instant::now(), cpu());
    let running = tokio::spawn(service.run(stop.clone()));
    for partition in Partitioning::new(PARTITIONS).all() {
        let head = journal.head(partition).await.unwrap();
        let (service, upto) = (store::Service::Persistence, Position::end_of(head));
        store
            .wait_applied(service, partition, upto, Duration::from_secs(600))
            .await
            .unwrap();
    }
    let (took, used) = (began.elapsed(), cpu() - used);
    stop.stop_softly();
    running.await.unwrap().unwrap();
    let (read, reading) = drain(&store).await;
    let per = |d: Duration| d.as_secs_f64() * 1e6 / messages as f64;
    println!(
        "{messages} messages of {} bytes, {topics} topics: {:.1} us CPU each, {:.0} messages/s, file {} MiB; \
         one backlog of {read}: {:.0} messages/s",
        bytes / messages,
        per(used),
        messages as f64 / took.as_secs_f64(),
        std::fs::metadata(&path).unwrap().len() >> 20,
        read as f64 / reading.as_secs_f64(),
    );
}
