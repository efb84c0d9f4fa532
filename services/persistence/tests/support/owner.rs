//! The owner of every partition: one who accepts whatever is submitted, and one who refuses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backplane::journal::{EmbeddedJournal, FrameId, Journal};
use contract::RpcError;
use contract::routing::{Downstream, Hello, Outcome, Routed, Routing, Up, Upstream};
use model::{EdgeId, PartitionId, Position};
use wire::Frame;

static NUMBER: AtomicU64 = AtomicU64::new(1);

pub struct Owner(pub Arc<EmbeddedJournal>);

struct Line {
    journal: Arc<EmbeddedJournal>,
    partition: PartitionId,
    edge: Arc<dyn Downstream>,
}

impl Upstream for Line {
    fn send(&self, up: Up) -> bool {
        let Up::Submit(submission) = up else { return true };
        let (journal, partition, edge) = (self.journal.clone(), self.partition, self.edge.clone());
        tokio::spawn(async move {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let frame = Frame {
                epoch: 1,
                number,
                entries: vec![submission.entry.to_bytes()],
                ..Frame::default()
            };
            let id = FrameId {
                writer: EdgeId::new("owner"),
                number,
            };
            let stored = journal
                .append(partition, None, id, wire::frame::encode(&frame))
                .await;
            let outcome = Outcome::Stored {
                position: Position::new(stored.unwrap(), 0),
                duplicate: false,
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

#[async_trait]
impl Routing for Owner {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        Ok(Box::new(Line {
            journal: self.0.clone(),
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
