//! A log in memory, a store that is read from it, and lines that end when they are told to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use backplane::journal::{FrameId, Journal, JournalError, Reader, StoredFrame};
use bytes::Bytes;
use contract::persistence::*;
use contract::routing::{self as routing_line, Downstream, Hello, Routed, Routing, Upstream};
use contract::{ErrorKind, RpcError};
use model::thread::Members;
use model::{
    FrameSeq, MessageUid, OrgId, PartitionId, Partitioning, Position, TopicFilter, TopicName, UnixMillis,
    UserId,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use routing::Owners;
use tokio::sync::watch;
use wire::{Entry, Frame, Kind};

#[derive(Default)]
struct Partition {
    frames: Vec<Bytes>,
    ids: HashMap<FrameId, FrameSeq>,
}

pub struct MemJournal {
    partitions: Vec<Arc<Mutex<Partition>>>,
    grown: watch::Sender<u64>,
    rng: Mutex<StdRng>,
    /// It does nothing, and does not say so.
    pub doubts: AtomicBool,
    /// The largest frame that it takes.
    pub limit: AtomicUsize,
}

impl MemJournal {
    pub fn new(partitions: u16, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            partitions: (0..partitions).map(|_| Arc::default()).collect(),
            grown: watch::Sender::new(0),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            doubts: AtomicBool::new(false),
            limit: AtomicUsize::new(usize::MAX),
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
    async fn append(
        &self,
        p: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        let wait = self.rng.lock().random_range(0..3);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if self.doubts.load(Ordering::Relaxed) {
            return Err(JournalError::Unknown);
        }
        let (size, limit) = (frame.len(), self.limit.load(Ordering::Relaxed));
        if size > limit {
            return Err(JournalError::TooLarge { size, limit });
        }
        let seq = {
            let mut partition = self.of(p).lock();
            if let Some(seq) = partition.ids.get(&id) {
                return Ok(*seq);
            }
            let head = FrameSeq(partition.frames.len() as u64);
            if let Some(follows) = follows.filter(|f| *f != head) {
                return Err(JournalError::Mismatch {
                    partition: p,
                    follows,
                });
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

/// The way to the owners of this process. Lines end as they are told to: one in so many at some moment of their life, or all.
pub struct Ways {
    pub owners: Arc<Owners>,
    /// One in so many lines ends by itself; 0 = none does.
    pub ends: AtomicU32,
    /// No line can be opened.
    pub closed: AtomicBool,
    open: Mutex<Vec<Weak<Way>>>,
    rng: Mutex<StdRng>,
}

/// Both ends of one line.
struct Way {
    up: Mutex<Option<Box<dyn Upstream>>>,
    edge: Arc<dyn Downstream>,
    is_over: AtomicBool,
}

impl Way {
    fn end(&self) {
        if !self.is_over.swap(true, Ordering::Relaxed) {
            drop(self.up.lock().take());
            self.edge.ended();
        }
    }
}

struct Up(Arc<Way>);

impl Upstream for Up {
    fn send(&self, up: routing_line::Up) -> bool {
        self.0.up.lock().as_ref().is_some_and(|line| line.send(up))
    }
}

struct Down(Arc<Way>);

impl Downstream for Down {
    fn routed(&self, routed: Routed) -> bool {
        !self.0.is_over.load(Ordering::Relaxed) && self.0.edge.routed(routed)
    }
    fn ended(&self) {
        self.0.end();
    }
}

impl Ways {
    pub fn new(partitions: u16, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            owners: Owners::new(Partitioning::new(partitions)),
            ends: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            open: Mutex::default(),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }

    /// Ends every line there is.
    pub fn end_all(&self) {
        let open = std::mem::take(&mut *self.open.lock());
        open.iter().filter_map(Weak::upgrade).for_each(|way| way.end());
    }
}

#[async_trait]
impl Routing for Ways {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        if self.closed.load(Ordering::Relaxed) {
            return no();
        }
        let way = Arc::new(Way {
            up: Mutex::default(),
            edge,
            is_over: AtomicBool::new(false),
        });
        let up = self.owners.open(hello, Arc::new(Down(way.clone()))).await?;
        *way.up.lock() = Some(up);
        let ends = self.ends.load(Ordering::Relaxed);
        if ends > 0 && self.rng.lock().random_ratio(1, ends) {
            let (after, way) = (self.rng.lock().random_range(0..3000), way.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                way.end();
            });
        }
        self.open.lock().push(Arc::downgrade(&way));
        Ok(Box::new(Up(way)))
    }
}

/// Answers from the log, as a store that is always up to date would; and from what a test has put in.
pub struct FakeStore {
    pub journal: Arc<MemJournal>,
    pub sent: Mutex<HashMap<(UserId, MessageUid), Found>>,
    pub hangs: AtomicBool,
    pub lookups: AtomicU32,
    /// What a look-up takes, in milliseconds.
    pub takes: AtomicU64,
    /// How often somebody began to read all uids. They are never told.
    pub rebuilds: AtomicU32,
}

impl FakeStore {
    pub fn new(journal: &Arc<MemJournal>) -> Arc<Self> {
        Arc::new(Self {
            journal: journal.clone(),
            sent: Mutex::default(),
            hangs: AtomicBool::new(false),
            lookups: AtomicU32::new(0),
            takes: AtomicU64::new(0),
            rebuilds: AtomicU32::new(0),
        })
    }

    /// Where the log has a message.
    pub fn first_of(&self, topic: &str, uid: &str) -> Position {
        let found = self.journal.find(&TopicName::trusted(topic), &uid.into());
        found.unwrap().position
    }

    async fn look_up(&self) {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(self.takes.load(Ordering::Relaxed))).await;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

fn no<T>() -> Result<T, RpcError> {
    Err(RpcError::new(ErrorKind::Unavailable, "not in this test"))
}

#[async_trait]
impl Directory for FakeStore {
    async fn identify(&self, _: &OrgId, _: &UserId) -> Result<Option<DirectoryUid>, RpcError> {
        no()
    }
    async fn agents_of(&self, _: &OrgId, _: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError> {
        no()
    }
    async fn list_agents(&self, _: &OrgId, _: u32, _: u32) -> Result<Listed<AgentCard>, RpcError> {
        no()
    }
    async fn list_desks(&self, _: &OrgId, _: u32, _: u32) -> Result<Listed<DeskEntry>, RpcError> {
        no()
    }
    async fn change_directory(&self, _: &OrgId, _: DirectoryChange) -> Result<Option<Desk>, RpcError> {
        no()
    }
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
    async fn find(
        &self,
        _: PartitionId,
        keys: Vec<MessageKey>,
        _: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        self.look_up().await;
        let sent = self.sent.lock();
        let find = |key: &MessageKey| {
            let put_in = sent
                .iter()
                .find(|((_, u), f)| *u == key.uid && f.topic == key.topic);
            put_in
                .map(|(_, f)| f.clone())
                .or_else(|| self.journal.find(&key.topic, &key.uid))
        };
        Ok(keys.iter().map(find).collect())
    }
    async fn uids_since(&self, _: PartitionId, _: Position, _: u32) -> Result<UidPage, RpcError> {
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
    async fn last_before(&self, _: &OrgId, _: &TopicName, _: Position) -> Result<Option<Position>, RpcError> {
        Ok(None)
    }
    async fn history(&self, _: HistoryRequest) -> Result<HistoryPage, RpcError> {
        no()
    }
    async fn members(&self, _: &OrgId, _: &TopicName, _: Position) -> Result<Members, RpcError> {
        no()
    }
    async fn memberships(
        &self,
        _: &OrgId,
        _: Vec<UserId>,
        _: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError> {
        Ok(Vec::new())
    }
    async fn admit(&self, _: &OrgId, _: &TopicName) -> Result<(), RpcError> {
        Ok(())
    }
    async fn change_thread(&self, _: ChangeThread) -> Result<ThreadCard, RpcError> {
        no()
    }
    async fn desk(&self, _: &OrgId, _: &UserId) -> Result<Desk, RpcError> {
        no()
    }
    async fn open_thread(&self, _: OpenThread) -> Result<OpenedThread, RpcError> {
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
    async fn standing(&self, _: &OrgId, _: &UserId) -> Result<Standing, RpcError> {
        no()
    }
    async fn prove(&self, _: &OrgId, _: Vec<UserId>) -> Result<(), RpcError> {
        no()
    }
}

impl MemJournal {
    /// A message of the log, as the store would know it.
    fn find(&self, topic: &TopicName, uid: &MessageUid) -> Option<Found> {
        let partitions = (0..self.partitions.len()).map(|p| PartitionId(u16::try_from(p).unwrap()));
        let entries = partitions.flat_map(|p| self.entries(p, Position::START, Position::END));
        let of_topic: Vec<_> = entries.filter(|(.., e)| e.topic == topic.as_str()).collect();
        let same = |e: &Entry| e.uid == **uid && e.is_history();
        let recall = |e: &Entry| e.known_kind() == Kind::Recall && e.target == **uid;
        let (position, _, entry) = of_topic.iter().find(|(.., e)| same(e))?;
        Some(Found {
            position: *position,
            kind: match entry.known_kind() {
                Kind::StreamPart => FoundKind::Stream,
                Kind::Recall => FoundKind::Recall,
                _ => FoundKind::Chat,
            },
            recalled: of_topic.iter().any(|(.., e)| recall(e)),
            ..found(topic, &entry.sender, entry.digest, entry.accepted_at)
        })
    }
}

/// A message that the store knows though the log does not any more.
fn found(topic: &str, sender: &str, digest: u64, accepted_at: u64) -> Found {
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
