//! A log in memory, and the owner of all its partitions, who judges as routing does.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use backplane::journal::{FrameId, Journal, JournalError, Reader};
use bytes::Bytes;
use contract::RpcError;
use contract::routing::{Downstream, Hello, Routed, Routing, Up, Upstream};
use edge::Outcome;
use model::{FrameSeq, PartitionId, Position, ReceiptKind};
use parking_lot::Mutex;
use wire::{Entry, Kind};

/// What the owner does with a submission.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Works,
    /// It has no room.
    Full,
    /// It does not know what became of it.
    Silent,
}

/// An entry at its place.
#[derive(Clone)]
pub struct Placed {
    pub position: Position,
    pub entry: Entry,
}

pub struct Log {
    pub mood: Mutex<Mood>,
    pub entries: Mutex<Vec<Placed>>,
    heads: Mutex<HashMap<u16, u64>>,
    myself: Weak<Log>,
}

impl Log {
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            mood: Mutex::default(),
            entries: Mutex::default(),
            heads: Mutex::default(),
            myself: myself.clone(),
        })
    }

    /// What is stored in a topic.
    pub fn topic(&self, topic: &str) -> Vec<Placed> {
        let entries = self.entries.lock();
        entries
            .iter()
            .filter(|e| e.entry.topic == topic)
            .cloned()
            .collect()
    }

    /// The messages of a topic that history has.
    pub fn messages(&self, org: &str, topic: &str) -> Vec<Placed> {
        let mut found = self.topic(topic);
        found.retain(|e| e.entry.org == org && e.entry.is_history());
        found
    }

    /// How far a message came.
    pub fn state(&self, topic: &str, uid: &str) -> Option<ReceiptKind> {
        let receipts = self.topic(topic).into_iter().map(|e| e.entry);
        let states = receipts.filter(|e| e.known_kind() == Kind::Receipt && e.target == uid);
        states
            .filter_map(|e| ReceiptKind::from_number(e.state.into()))
            .max()
    }

    /// Whether a message was taken back.
    pub fn is_recalled(&self, topic: &str, uid: &str) -> bool {
        let entries = self.topic(topic);
        entries
            .iter()
            .any(|e| e.entry.known_kind() == Kind::Recall && e.entry.target == uid)
    }

    fn judge(&self, entry: &Entry) -> Option<Outcome> {
        let entries = self.entries.lock();
        let same = |e: &&Placed| {
            entry.is_unique()
                && (&e.entry.topic, &e.entry.uid, &e.entry.org) == (&entry.topic, &entry.uid, &entry.org)
        };
        if let Some(first) = entries.iter().find(same) {
            let same = (first.entry.digest, &first.entry.sender) == (entry.digest, &entry.sender);
            return Some(match same {
                true => Outcome::Stored {
                    position: first.position,
                    duplicate: true,
                },
                false => Outcome::Conflict,
            });
        }
        if entry.known_kind() == Kind::Recall {
            return match entries.iter().find(|e| e.entry.uid == entry.target) {
                None => Some(Outcome::Rejected),
                Some(target) if target.entry.author != entry.author => Some(Outcome::Forbidden),
                Some(_) => None,
            };
        }
        None
    }

    fn submit(&self, partition: PartitionId, entry: &Entry) -> Outcome {
        match *self.mood.lock() {
            Mood::Works => {}
            Mood::Full => return Outcome::Unavailable("no room".to_owned()),
            Mood::Silent => return Outcome::Unknown,
        }
        self.judge(entry).unwrap_or_else(|| {
            let mut heads = self.heads.lock();
            let head = heads.entry(partition.0).or_default();
            *head += 1;
            let position = Position::new(FrameSeq(*head), 0);
            let entry = entry.clone();
            self.entries.lock().push(Placed { position, entry });
            Outcome::Stored {
                position,
                duplicate: false,
            }
        })
    }
}

struct Line {
    log: Arc<Log>,
    partition: PartitionId,
    edge: Arc<dyn Downstream>,
}

impl Upstream for Line {
    fn send(&self, up: Up) -> bool {
        let mut routed = Routed {
            epoch: 1,
            ..Routed::default()
        };
        match up {
            Up::Submit(s) => routed
                .answers
                .push((s.number, self.log.submit(self.partition, &s.entry))),
            Up::Attach { number, .. } => routed.attached.push((number, Position::START)),
            Up::Detach { .. } | Up::Transient(_) => {}
        }
        let edge = self.edge.clone();
        // As an owner does, from a task of its own.
        tokio::spawn(async move { edge.routed(routed) });
        true
    }
}

#[async_trait]
impl Routing for Log {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        Ok(Box::new(Line {
            log: self.myself.upgrade().unwrap(),
            partition: hello.partition,
            edge,
        }))
    }
}

#[async_trait]
impl Journal for Log {
    async fn append(
        &self,
        _: PartitionId,
        _: Option<FrameSeq>,
        _: FrameId,
        _: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        Err(JournalError::Closed)
    }

    async fn read(&self, _: PartitionId, _: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        Err(JournalError::Closed)
    }

    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError> {
        Ok(FrameSeq(
            self.heads.lock().get(&partition.0).copied().unwrap_or(0),
        ))
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
