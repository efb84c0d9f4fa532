//! The log, and what it means: of several entries of one sender with one uid the first is accepted, no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backplane::journal::{FrameId, Journal, JournalError, Reader, StoredFrame};
use bytes::Bytes;
use model::{FrameSeq, PartitionId, Position};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use wire::{Entry, Frame, Verdict};

use crate::chance::Chance;
use crate::process::Process;

/// An entry with its judgement.
pub struct Judged {
    pub position: Position,
    pub entry: Entry,
    pub bytes: Bytes,
    /// The accepted entry before it in its topic.
    pub prev: Option<Position>,
    pub verdict: Verdict,
}

#[derive(Default)]
struct Partition {
    frames: Vec<Bytes>,
    ids: BTreeMap<(String, u64), FrameSeq>,
    entries: Vec<Judged>,
    first: BTreeMap<(String, String), (Position, u64)>,
    heads: BTreeMap<String, Position>,
}

impl Partition {
    fn store(&mut self, id: &FrameId, frame: &Bytes) -> (FrameSeq, bool) {
        let id = (id.writer.to_string(), id.number);
        if let Some(seq) = self.ids.get(&id) {
            return (*seq, false);
        }
        let seq = FrameSeq(self.frames.len() as u64 + 1);
        self.ids.insert(id, seq);
        self.frames.push(frame.clone());
        let decoded: Frame = wire::frame::decode(frame.clone()).unwrap_or_default();
        for (position, bytes, entry) in decoded.positioned(seq) {
            let entry = entry.unwrap_or_default();
            let judged = self.judge(position, entry, bytes.clone());
            self.entries.push(judged);
        }
        (seq, true)
    }

    fn judge(&mut self, position: Position, entry: Entry, bytes: Bytes) -> Judged {
        let key = (entry.sender.clone(), entry.uid.clone());
        let verdict = match self.first.get(&key) {
            _ if !entry.is_deduplicated() => Verdict::Accepted,
            None => {
                self.first.insert(key, (position, entry.digest));
                Verdict::Accepted
            }
            Some((_, digest)) if *digest == entry.digest => Verdict::Duplicate,
            Some(_) => Verdict::Conflict,
        };
        let prev = match verdict {
            Verdict::Accepted => self.heads.insert(entry.topic.clone(), position),
            _ => None,
        };
        Judged {
            position,
            entry,
            bytes,
            prev,
            verdict,
        }
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
    pub fn after<T>(&self, p: PartitionId, after: Position, f: impl FnOnce(&[Judged]) -> T) -> T {
        let partition = self.of(p).lock();
        let from = partition.entries.partition_point(|e| e.position <= after);
        f(&partition.entries[from..])
    }

    /// Looks at one entry.
    pub fn at<T>(&self, p: PartitionId, position: Position, f: impl FnOnce(Option<&Judged>) -> T) -> T {
        let partition = self.of(p).lock();
        let found = partition.entries.binary_search_by_key(&position, |e| e.position);
        f(found.ok().map(|i| &partition.entries[i]))
    }

    /// Looks at the accepted entry of a sender and uid.
    pub fn first_of(&self, p: PartitionId, sender: &str, uid: &str) -> Option<(Position, u64)> {
        let key = (sender.to_owned(), uid.to_owned());
        self.of(p).lock().first.get(&key).copied()
    }

    fn store(&self, p: PartitionId, id: &FrameId, frame: &Bytes) -> FrameSeq {
        let (seq, new) = self.of(p).lock().store(id, frame);
        if new {
            self.chance.note("stored", [u64::from(p.0), seq.0, id.number, 0]);
            self.grown.notify_waiters();
        }
        seq
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
        _: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        self.process.pass().await;
        let chance = &self.log.chance;
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_cut() {
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
                2 => drop(self.log.store(p, &id, &frame)),
                _ => {
                    // It is stored when nobody believes in it any more.
                    let (log, late) = (self.log.clone(), Duration::from_millis(chance.below(4000)));
                    tokio::spawn(async move {
                        sleep(late).await;
                        log.store(p, &id, &frame);
                    });
                }
            }
            return self.unknown().await;
        }
        let seq = self.log.store(p, &id, &frame);
        chance.pause().await;
        self.process.pass().await;
        if self.process.is_cut() {
            return self.unknown().await;
        }
        Ok(seq)
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
        if self.process.is_cut() || self.log.chance.happens(self.log.chance.faults().failed) {
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
