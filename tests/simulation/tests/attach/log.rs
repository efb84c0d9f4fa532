//! The log. It holds what was accepted, so a uid is once in a topic, and what an edge submitted under a number is there once.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backplane::journal::{FrameId, Journal, JournalError, Reader, StoredFrame};
use bytes::Bytes;
use model::{FrameSeq, PartitionId, Position};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use wire::{Entry, Frame, Kind};

use crate::chance::Chance;
use crate::process::Process;

/// An entry at its place.
pub struct Placed {
    pub position: Position,
    pub entry: Entry,
    pub bytes: Bytes,
    /// The entry before it in its topic.
    pub prev: Option<Position>,
    /// The edge that submitted it, and its own number.
    pub origin: Option<(String, u64)>,
}

#[derive(Default)]
struct Partition {
    frames: Vec<Bytes>,
    ids: BTreeMap<(String, u64), FrameSeq>,
    entries: Vec<Placed>,
    first: BTreeMap<(String, String), Position>,
    heads: BTreeMap<String, Position>,
    /// The latest change of each thread.
    changes: BTreeMap<String, Position>,
    epoch: u64,
    /// What must never be in a log.
    wrong: Option<String>,
}

/// What there is one of in a topic: a message of this uid, an answer to a prompt.
pub fn known_as(entry: &Entry) -> (String, String) {
    let uid = match entry.known_kind() {
        Kind::Edit => edit_of(&entry.target),
        _ => entry.uid.clone(),
    };
    (entry.topic.clone(), uid)
}

/// As what the answer to a prompt of this uid is known.
pub fn edit_of(uid: &str) -> String {
    format!("{uid} answered")
}

/// What became of an attempt to store a frame.
enum Stored {
    New(FrameSeq),
    Before(FrameSeq),
    Mismatch,
}

impl Partition {
    fn store(&mut self, id: &FrameId, follows: Option<FrameSeq>, frame: &Bytes) -> Stored {
        let id = (id.writer.to_string(), id.number);
        if let Some(seq) = self.ids.get(&id) {
            return Stored::Before(*seq);
        }
        let head = FrameSeq(self.frames.len() as u64);
        if follows.is_some_and(|f| f != head) {
            return Stored::Mismatch;
        }
        let seq = FrameSeq(head.0 + 1);
        self.ids.insert(id, seq);
        self.frames.push(frame.clone());
        let decoded: Frame = wire::frame::decode(frame.clone()).unwrap_or_default();
        if decoded.epoch < self.epoch {
            self.fail(format!(
                "epoch {} follows {} at {}",
                decoded.epoch, self.epoch, seq.0
            ));
        }
        self.epoch = decoded.epoch;
        for (index, (position, bytes, entry)) in decoded.positioned(seq).enumerate() {
            let origin = decoded
                .origin(index)
                .map(|(edge, number)| (edge.to_owned(), number));
            self.place(position, entry.unwrap_or_default(), bytes.clone(), origin);
        }
        Stored::New(seq)
    }

    fn place(&mut self, position: Position, entry: Entry, bytes: Bytes, origin: Option<(String, u64)>) {
        let known_as = known_as(&entry);
        if entry.known_kind() == Kind::StreamPart {
            self.first.entry(known_as).or_insert(position);
        } else if (entry.is_unique() || entry.known_kind() == Kind::Edit)
            && let Some(first) = self.first.insert(known_as, position)
        {
            self.fail(format!("{} is at {first} and again at {position}", entry.uid));
        }
        if origin.is_some() && self.entries.iter().any(|e| e.origin == origin) {
            self.fail(format!("{origin:?} is in the log again at {position}"));
        }
        if let Some(change) = entry.change.as_ref().filter(|change| change.act != 0) {
            let latest = self.changes.insert(entry.topic.clone(), position);
            if latest.unwrap_or_default().0 != change.expects {
                self.fail(format!("{} changes what was changed at {latest:?}", entry.uid));
            }
        }
        let prev = match entry.is_told() {
            true => self.heads.insert(entry.topic.clone(), position),
            false => self.heads.get(&entry.topic).copied(),
        };
        self.entries.push(Placed {
            position,
            entry,
            bytes,
            prev,
            origin,
        });
    }

    fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

/// The log.
pub struct Log {
    chance: Arc<Chance>,
    partitions: Vec<Mutex<Partition>>,
    grown: Notify,
}

impl Log {
    pub fn new(chance: Arc<Chance>, partitions: u16) -> Arc<Self> {
        Arc::new(Self {
            chance,
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            grown: Notify::new(),
        })
    }

    fn of(&self, p: PartitionId) -> &Mutex<Partition> {
        &self.partitions[usize::from(p.0)]
    }

    pub fn head(&self, p: PartitionId) -> Position {
        Position::end_of(FrameSeq(self.of(p).lock().frames.len() as u64))
    }

    pub async fn grown(&self) {
        self.grown.notified().await;
    }

    /// Looks at every entry after a position.
    pub fn after<T>(&self, p: PartitionId, after: Position, f: impl FnOnce(&[Placed]) -> T) -> T {
        let partition = self.of(p).lock();
        let from = partition.entries.partition_point(|e| e.position <= after);
        f(&partition.entries[from..])
    }

    /// Looks at one entry.
    pub fn at<T>(&self, p: PartitionId, position: Position, f: impl FnOnce(Option<&Placed>) -> T) -> T {
        let partition = self.of(p).lock();
        let found = partition.entries.binary_search_by_key(&position, |e| e.position);
        f(found.ok().map(|i| &partition.entries[i]))
    }

    /// Looks at the entry of a topic with this uid.
    pub fn with_uid<T>(
        &self,
        p: PartitionId,
        topic: &str,
        uid: &str,
        f: impl FnOnce(Option<&Placed>) -> T,
    ) -> T {
        let key = (topic.to_owned(), uid.to_owned());
        let first = self.of(p).lock().first.get(&key).copied();
        self.at(p, first.unwrap_or_default(), |found| {
            f(found.filter(|_| first.is_some()))
        })
    }

    /// What is wrong with the log itself.
    pub fn wrong(&self) -> Option<String> {
        self.partitions.iter().find_map(|p| p.lock().wrong.clone())
    }

    fn store(
        &self,
        p: PartitionId,
        follows: Option<FrameSeq>,
        id: &FrameId,
        frame: &Bytes,
    ) -> Result<FrameSeq, JournalError> {
        let stored = self.of(p).lock().store(id, follows, frame);
        match stored {
            Stored::New(seq) => {
                self.chance.note("stored", [u64::from(p.0), seq.0, id.number, 0]);
                self.grown.notify_waiters();
                Ok(seq)
            }
            Stored::Before(seq) => Ok(seq),
            Stored::Mismatch => Err(JournalError::Mismatch {
                partition: p,
                follows: follows.unwrap_or_default(),
            }),
        }
    }
}

/// A process that uses the log.
pub struct ProcessJournal {
    pub log: Arc<Log>,
    pub process: Arc<Process>,
}

impl ProcessJournal {
    async fn unknown(&self) -> Result<FrameSeq, JournalError> {
        sleep(Duration::from_millis(300)).await;
        self.process.pass().await;
        Err(JournalError::Unknown)
    }
}

#[async_trait]
impl Journal for ProcessJournal {
    async fn append(
        &self,
        p: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        self.process.pass().await;
        let chance = &self.log.chance;
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_without_log() {
            return self.unknown().await;
        }
        if chance.happens(chance.faults().failed) {
            match chance.below(4) {
                0 => {
                    return Err(JournalError::Unavailable {
                        reason: "no room".into(),
                    });
                }
                1 => {}
                2 => drop(self.log.store(p, follows, &id, &frame)),
                _ => {
                    // It is stored when nobody believes in it any more.
                    let (log, late) = (self.log.clone(), Duration::from_millis(chance.below(4000)));
                    tokio::spawn(async move {
                        sleep(late).await;
                        let _unheard = log.store(p, follows, &id, &frame);
                    });
                }
            }
            return self.unknown().await;
        }
        let stored = self.log.store(p, follows, &id, &frame);
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_without_log() {
            return self.unknown().await;
        }
        stored
    }

    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        self.process.connected().await;
        Ok(Box::new(LogReader {
            log: self.log.clone(),
            process: self.process.clone(),
            partition,
            after: after.0,
            due: None,
        }))
    }

    async fn head(&self, p: PartitionId) -> Result<FrameSeq, JournalError> {
        self.process.pass().await;
        self.log.chance.pause().await;
        self.process.pass().await;
        if self.process.is_without_log() || self.log.chance.happens(self.log.chance.faults().failed) {
            return Err(JournalError::Unavailable {
                reason: "not to be reached".into(),
            });
        }
        Ok(self.log.head(p).seq())
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

struct LogReader {
    log: Arc<Log>,
    process: Arc<Process>,
    partition: PartitionId,
    after: u64,
    /// When what has come is given.
    due: Option<Instant>,
}

#[async_trait]
impl Reader for LogReader {
    async fn next(&mut self) -> Result<Vec<StoredFrame>, JournalError> {
        let chance = self.log.chance.clone();
        loop {
            self.process.connected().await;
            let head = self.log.head(self.partition).seq().0;
            if head == self.after {
                self.log.grown().await;
                continue;
            }
            let due = *self.due.get_or_insert_with(|| Instant::now() + chance.delay());
            if due > Instant::now() {
                sleep_until(due).await;
                continue;
            }
            self.due = None;
            if chance.happens(chance.faults().failed / 4) {
                return Err(JournalError::Unavailable {
                    reason: "the connection is lost".into(),
                });
            }
            let (from, many) = (self.after + 1, 1 + chance.below(6));
            let partition = self.log.of(self.partition).lock();
            let frames = (from..=head.min(self.after + many)).filter_map(|seq| {
                let bytes = partition.frames.get(usize::try_from(seq).ok()? - 1)?.clone();
                let seq = FrameSeq(seq);
                Some(StoredFrame { seq, bytes })
            });
            let frames: Vec<_> = frames.collect();
            self.after += frames.len() as u64;
            return Ok(frames);
        }
    }
}
