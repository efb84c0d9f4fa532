//! A log in memory that judges what is appended, as routing would.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use backplane::journal::{FrameId, Journal, JournalError, Reader};
use bytes::Bytes;
use edge::Core;
use model::{FrameSeq, PartitionId, Position, ReceiptKind};
use parking_lot::Mutex;
use wire::{Entry, Exception, Frame, Kind, Settled, Verdict};

/// What the log does with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Works,
    /// It has no room.
    Full,
    /// It never says what became of a frame.
    Silent,
}

/// An entry at its place.
#[derive(Clone)]
pub struct Placed {
    pub position: Position,
    pub entry: Entry,
}

#[derive(Default)]
pub struct Log {
    pub mood: Mutex<Mood>,
    pub entries: Mutex<Vec<Placed>>,
    heads: Mutex<HashMap<u16, u64>>,
    core: OnceLock<Weak<Core>>,
}

impl Log {
    /// Names the edge that is told what became of its frames.
    pub fn settle_at(&self, core: &Arc<Core>) {
        let _first = self.core.set(Arc::downgrade(core));
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

    fn judge(&self, entry: &Entry) -> (Verdict, Position) {
        let entries = self.entries.lock();
        let same = |e: &&Placed| {
            entry.is_deduplicated()
                && (&e.entry.sender, &e.entry.uid, &e.entry.org) == (&entry.sender, &entry.uid, &entry.org)
        };
        if let Some(first) = entries.iter().find(same) {
            let same = first.entry.digest == entry.digest;
            return (
                if same {
                    Verdict::Duplicate
                } else {
                    Verdict::Conflict
                },
                first.position,
            );
        }
        if entry.known_kind() == Kind::Recall {
            return match entries.iter().find(|e| e.entry.uid == entry.target) {
                None => (Verdict::Rejected, Position::START),
                Some(target) if target.entry.author != entry.author => (Verdict::Forbidden, Position::START),
                Some(_) => (Verdict::Accepted, Position::START),
            };
        }
        (Verdict::Accepted, Position::START)
    }
}

#[async_trait]
impl Journal for Log {
    async fn append(
        &self,
        partition: PartitionId,
        _follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        match *self.mood.lock() {
            Mood::Works => {}
            Mood::Full => {
                return Err(JournalError::Unavailable {
                    reason: "no room".to_owned(),
                });
            }
            Mood::Silent => return Err(JournalError::Unknown),
        }
        let seq = {
            let mut heads = self.heads.lock();
            let head = heads.entry(partition.0).or_default();
            *head += 1;
            FrameSeq(*head)
        };
        let frame: Frame = wire::frame::decode(frame).unwrap();
        let mut exceptions = Vec::new();
        for (index, (position, _, entry)) in (0u32..).zip(frame.positioned(seq)) {
            let entry = entry.unwrap();
            match self.judge(&entry) {
                (Verdict::Accepted, _) => self.entries.lock().push(Placed { position, entry }),
                (verdict, position) => exceptions.push(Exception {
                    index,
                    verdict: verdict.into(),
                    position: position.0,
                }),
            }
        }
        let core = self.core.get().and_then(Weak::upgrade).unwrap();
        core.appender.settle(&Settled {
            id: id.number,
            seq: seq.0,
            exceptions,
        });
        Ok(seq)
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
