//! A log in memory, a store that is read from it, and a bus that loses what it is told to lose.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backplane::bus::{Bus, BusError, EmbeddedBus, Server, Subscription};
use backplane::journal::{FrameId, Journal, JournalError, Reader, StoredFrame};
use bytes::Bytes;
use model::{
    FrameSeq, Membership, MessageUid, OrgId, PartitionId, Position, TopicFilter, TopicName, UnixMillis,
    UserId,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rpc::persistence::*;
use rpc::{ErrorKind, RpcError};
use tokio::sync::watch;
use wire::{Entry, Frame};

#[derive(Default)]
struct Partition {
    frames: Vec<Bytes>,
    ids: HashMap<FrameId, FrameSeq>,
}

pub struct MemJournal {
    partitions: Vec<Arc<Mutex<Partition>>>,
    grown: watch::Sender<u64>,
    rng: Mutex<StdRng>,
}

impl MemJournal {
    pub fn new(partitions: u16, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            partitions: (0..partitions).map(|_| Arc::default()).collect(),
            grown: watch::Sender::new(0),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }

    fn of(&self, p: PartitionId) -> &Mutex<Partition> {
        &self.partitions[usize::from(p.0)]
    }

    /// Every entry in (after, upto] with its position.
    pub fn entries(&self, p: PartitionId, after: Position, upto: Position) -> Vec<(Position, Bytes, Entry)> {
        let frames = self.of(p).lock().frames.clone();
        let mut found = Vec::new();
        for (seq, bytes) in (1u64..).zip(frames) {
            let frame: Frame = wire::frame::decode(bytes).unwrap();
            for (position, bytes, entry) in frame.positioned(FrameSeq(seq)) {
                if position > after && position <= upto {
                    found.push((position, bytes.clone(), entry.unwrap()));
                }
            }
        }
        found
    }
}

#[async_trait]
impl Journal for MemJournal {
    async fn append(&self, p: PartitionId, id: FrameId, frame: Bytes) -> Result<FrameSeq, JournalError> {
        let wait = self.rng.lock().random_range(0..3);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let seq = {
            let mut partition = self.of(p).lock();
            if let Some(seq) = partition.ids.get(&id) {
                return Ok(*seq);
            }
            partition.frames.push(frame);
            let seq = FrameSeq(partition.frames.len() as u64);
            partition.ids.insert(id, seq);
            seq
        };
        self.grown.send_modify(|n| *n += 1);
        Ok(seq)
    }
    async fn read(&self, p: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        Ok(Box::new(MemReader {
            partition: self.partitions[usize::from(p.0)].clone(),
            grown: self.grown.subscribe(),
            after: after.0,
        }))
    }
    async fn head(&self, p: PartitionId) -> Result<FrameSeq, JournalError> {
        Ok(FrameSeq(self.of(p).lock().frames.len() as u64))
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

struct MemReader {
    partition: Arc<Mutex<Partition>>,
    grown: watch::Receiver<u64>,
    after: u64,
}

#[async_trait]
impl Reader for MemReader {
    async fn next(&mut self) -> Result<Vec<StoredFrame>, JournalError> {
        loop {
            self.grown.borrow_and_update();
            let from = usize::try_from(self.after).unwrap();
            let new: Vec<StoredFrame> = (self.after + 1..)
                .zip(self.partition.lock().frames.iter().skip(from).cloned())
                .map(|(seq, bytes)| StoredFrame {
                    seq: FrameSeq(seq),
                    bytes,
                })
                .collect();
            if !new.is_empty() {
                self.after += new.len() as u64;
                return Ok(new);
            }
            if self.grown.changed().await.is_err() {
                return Err(JournalError::Closed);
            }
        }
    }
}

/// The embedded bus; loses one in so many frames to edges, and one in so many requests, and of their answers.
pub struct LossyBus {
    inner: EmbeddedBus,
    pub frames: AtomicU32,
    pub requests: AtomicU32,
    pub answers: AtomicU32,
    rng: Mutex<StdRng>,
}

impl LossyBus {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: EmbeddedBus::default(),
            frames: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }

    fn loses(&self, one_in: &AtomicU32) -> bool {
        let one_in = one_in.load(Ordering::Relaxed);
        one_in > 0 && self.rng.lock().random_ratio(1, one_in)
    }
}

#[async_trait]
impl Bus for LossyBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        if subject.starts_with("edge.") && self.loses(&self.frames) {
            return Ok(());
        }
        self.inner.publish(subject, payload).await
    }
    async fn subscribe(&self, subject: &str) -> Result<Box<dyn Subscription>, BusError> {
        self.inner.subscribe(subject).await
    }
    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        let lost = || BusError::Timeout {
            subject: subject.to_owned(),
            after: timeout,
        };
        if self.loses(&self.requests) {
            tokio::time::sleep(timeout).await;
            return Err(lost());
        }
        let answer = self.inner.request(subject, payload, timeout).await?;
        if self.loses(&self.answers) {
            tokio::time::sleep(timeout).await;
            return Err(lost());
        }
        Ok(answer)
    }
    async fn serve(&self, subject: &str) -> Result<Box<dyn Server>, BusError> {
        self.inner.serve(subject).await
    }
}

/// Answers from the log, as a store that is always up to date would; and from what a test has put in.
pub struct FakeStore {
    pub journal: Arc<MemJournal>,
    pub sent: Mutex<HashMap<(UserId, MessageUid), Found>>,
    pub hangs: AtomicBool,
    pub lookups: AtomicU32,
}

impl FakeStore {
    pub fn new(journal: &Arc<MemJournal>) -> Arc<Self> {
        Arc::new(Self {
            journal: journal.clone(),
            sent: Mutex::default(),
            hangs: AtomicBool::new(false),
            lookups: AtomicU32::new(0),
        })
    }

    async fn look_up(&self) {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

fn no<T>() -> Result<T, RpcError> {
    Err(RpcError::new(ErrorKind::Unavailable, "not in this test"))
}

#[async_trait]
impl Persistence for FakeStore {
    async fn open_session(&self, _: OpenSession) -> Result<OpenedSession, RpcError> {
        no()
    }
    async fn save_sessions(&self, _: Vec<SaveSession>) -> Result<Vec<bool>, RpcError> {
        no()
    }
    async fn close_session(&self, _: CloseSession) -> Result<(), RpcError> {
        no()
    }
    async fn backlog(&self, r: BacklogRequest) -> Result<BacklogPage, RpcError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut page = BacklogPage::default();
        for lane in &r.lanes {
            let mut covered = lane.upto;
            for (position, bytes, entry) in self.journal.entries(lane.partition, lane.after, lane.upto) {
                let wanted = r.filters.iter().any(|f| {
                    let start = f.start.iter().find(|(p, _)| *p == lane.partition);
                    f.filter.matches(&entry.topic) && start.is_none_or(|(_, at)| position > *at)
                });
                if !wanted {
                    continue;
                }
                if page.entries.len() >= r.max_entries {
                    covered = position.before();
                    break;
                }
                page.entries.push(BacklogEntry {
                    partition: lane.partition,
                    position,
                    prev: None,
                    entry: bytes,
                });
            }
            page.covered.push((lane.partition, covered));
        }
        Ok(page)
    }
    async fn retained(
        &self,
        _: &OrgId,
        _: &TopicFilter,
        _: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError> {
        no()
    }
    async fn find_sent(
        &self,
        _: &OrgId,
        keys: Vec<(UserId, MessageUid)>,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        self.look_up().await;
        let sent = self.sent.lock();
        Ok(keys.iter().map(|k| sent.get(k).cloned()).collect())
    }
    async fn find_in_topic(
        &self,
        _: &OrgId,
        topic: &TopicName,
        uids: Vec<MessageUid>,
        _: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        self.look_up().await;
        let sent = self.sent.lock();
        let find = |uid: &MessageUid| {
            let found = sent.iter().find(|((_, u), f)| u == uid && f.topic == *topic);
            found.map(|(_, f)| f.clone())
        };
        Ok(uids.iter().map(find).collect())
    }
    async fn uids_since(&self, _: PartitionId, _: Position, _: u32) -> Result<UidPage, RpcError> {
        no()
    }
    async fn last_before(&self, _: &OrgId, _: &TopicName, _: Position) -> Result<Option<Position>, RpcError> {
        Ok(None)
    }
    async fn history(&self, _: HistoryRequest) -> Result<HistoryPage, RpcError> {
        no()
    }
    async fn membership(&self, _: &OrgId, _: &TopicName) -> Result<Membership, RpcError> {
        no()
    }
    async fn desk(&self, _: &OrgId, _: &UserId) -> Result<Desk, RpcError> {
        no()
    }
    async fn open_thread(&self, _: OpenThread) -> Result<OpenedThread, RpcError> {
        no()
    }
    async fn announced(&self, _: &OrgId, _: &TopicName, _: Vec<UserId>) -> Result<(), RpcError> {
        no()
    }
    async fn threads(&self, _: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        no()
    }
    async fn visitor(&self, _: &OrgId, _: UserCard) -> Result<UserCard, RpcError> {
        no()
    }
    async fn explain(&self, _: ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        no()
    }
}

/// A message that the store knows though the log does not any more.
pub fn found(topic: &str, sender: &str, digest: u64, accepted_at: u64) -> Found {
    Found {
        position: Position(7),
        topic: TopicName::trusted(topic),
        sender: sender.into(),
        author: sender.into(),
        digest,
        accepted_at: UnixMillis(accepted_at),
        kind: FoundKind::Chat,
        r#type: "TEXT".into(),
        recalled: false,
        state: None,
    }
}
