//! The owner of every partition: one who accepts what is submitted, and one who refuses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backplane::journal::{EmbeddedJournal, FrameId, Journal};
use contract::RpcError;
use contract::routing::{Downstream, Hello, Outcome, Routed, Routing, Up, Upstream};
use model::{EdgeId, PartitionId, Position};
use tokio::sync::Mutex;
use wire::{Entry, Frame};

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What was given to whoever is online.
pub type Told = Arc<parking_lot::Mutex<Vec<Entry>>>;

pub struct Owner {
    journal: Arc<EmbeddedJournal>,
    told: Told,
    /// What it knows: one thing is judged and appended at a time.
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// By topic and uid.
    uids: HashMap<(String, String), Position>,
    /// The latest change of each thread.
    changes: HashMap<String, Position>,
}

struct Line {
    journal: Arc<EmbeddedJournal>,
    told: Told,
    known: Arc<Mutex<Known>>,
    partition: PartitionId,
    edge: Arc<dyn Downstream>,
}

impl Owner {
    pub fn new(journal: Arc<EmbeddedJournal>, told: Told) -> Self {
        Self {
            journal,
            told,
            known: Arc::default(),
        }
    }
}

impl Upstream for Line {
    fn send(&self, up: Up) -> bool {
        let submission = match up {
            Up::Submit(submission) => submission,
            Up::Transient(entry) => {
                self.told.lock().push((*entry).clone());
                return true;
            }
            Up::Attach { number, .. } => {
                return self.edge.routed(Routed {
                    epoch: 1,
                    attached: vec![(number, Position::START)],
                    ..Routed::default()
                });
            }
            Up::Detach { .. } => return true,
        };
        let (journal, known, edge) = (self.journal.clone(), self.known.clone(), self.edge.clone());
        let partition = self.partition;
        tokio::spawn(async move {
            let outcome = {
                let mut known = known.lock().await;
                judged(&journal, &mut known, partition, &submission.entry).await
            };
            edge.routed(Routed {
                epoch: 1,
                answers: vec![(submission.number, outcome)],
                ..Routed::default()
            });
        });
        true
    }
}

/// As a real one does: a uid is one message, and of changes that race one is accepted.
async fn judged(
    journal: &EmbeddedJournal,
    known: &mut Known,
    partition: PartitionId,
    entry: &Entry,
) -> Outcome {
    let key = (entry.topic.clone(), entry.uid.clone());
    if let Some(position) = known.uids.get(&key).filter(|_| !entry.uid.is_empty()) {
        return Outcome::Stored {
            position: *position,
            duplicate: true,
        };
    }
    let change = entry.change.as_ref().filter(|change| change.act != 0);
    let latest = known.changes.get(&entry.topic).copied().unwrap_or_default();
    if change.is_some_and(|change| change.expects != latest.0) {
        return Outcome::Conflict;
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let frame = Frame {
        epoch: 1,
        number,
        entries: vec![entry.to_bytes()],
        ..Frame::default()
    };
    let id = FrameId {
        writer: EdgeId::new("owner"),
        number,
    };
    let seq = journal
        .append(partition, None, id, wire::frame::encode(&frame))
        .await;
    let position = Position::new(seq.unwrap(), 0);
    known.uids.insert(key, position);
    if change.is_some() {
        known.changes.insert(entry.topic.clone(), position);
    }
    Outcome::Stored {
        position,
        duplicate: false,
    }
}

#[async_trait]
impl Routing for Owner {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        Ok(Box::new(Line {
            journal: self.journal.clone(),
            told: self.told.clone(),
            known: self.known.clone(),
            partition: hello.partition,
            edge,
        }))
    }
}

/// One who stores nothing: the log has no room. Counts what it is asked.
#[derive(Default)]
pub struct Refusing {
    pub asked: Arc<AtomicU64>,
}

struct RefusingLine {
    asked: Arc<AtomicU64>,
    edge: Arc<dyn Downstream>,
}

impl Upstream for RefusingLine {
    fn send(&self, up: Up) -> bool {
        if let Up::Submit(submission) = up {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let outcome = Outcome::Unavailable("the disk is full".to_owned());
            return self.edge.routed(Routed {
                epoch: 1,
                answers: vec![(submission.number, outcome)],
                ..Routed::default()
            });
        }
        true
    }
}

#[async_trait]
impl Routing for Refusing {
    async fn open(&self, _: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        Ok(Box::new(RefusingLine {
            asked: self.asked.clone(),
            edge,
        }))
    }
}
