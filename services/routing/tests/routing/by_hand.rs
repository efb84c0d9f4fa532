//! A line that a test speaks on itself.

use std::sync::Arc;
use std::time::Duration;

use contract::routing::{Downstream, Hello, Outcome, Routed, Routing, Submission, Up, Upstream};
use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use wire::Entry;

use crate::attach::World;

type Reply = dyn Fn(&Routed) -> Vec<Up> + Send + Sync;

/// The edge's end of a line: keeps what it is told, and may say something at once.
struct End {
    said: Mutex<Vec<Routed>>,
    up: Mutex<Option<Box<dyn Upstream>>>,
    reply: Box<Reply>,
}

impl End {
    fn new(reply: impl Fn(&Routed) -> Vec<Up> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            said: Mutex::default(),
            up: Mutex::default(),
            reply: Box::new(reply),
        })
    }

    fn say(&self, up: Up) {
        if let Some(line) = &*self.up.lock() {
            line.send(up);
        }
    }
}

impl Downstream for End {
    fn routed(&self, routed: Routed) -> bool {
        let reply = (self.reply)(&routed);
        self.said.lock().push(routed);
        reply.into_iter().for_each(|up| self.say(up));
        true
    }

    fn ended(&self) {}
}

/// A line that is open.
pub struct Line(Arc<End>);

impl World {
    /// Opens a line as soon as the partition has an owner.
    pub async fn line(&self, partition: PartitionId, first: u64, filter: Option<&str>) -> Line {
        self.line_that(partition, first, filter, |_| Vec::new()).await
    }

    /// One that replies at once.
    pub async fn line_that(
        &self,
        partition: PartitionId,
        first: u64,
        filter: Option<&str>,
        reply: impl Fn(&Routed) -> Vec<Up> + Send + Sync + 'static,
    ) -> Line {
        let hello = Hello {
            edge: EdgeId::new("by hand"),
            partition,
            epoch: 0,
            first,
            after: Position::START,
            filters: filter
                .map(|f| (OrgId::new("o"), TopicFilter::trusted(f)))
                .into_iter()
                .collect(),
        };
        let end = End::new(reply);
        loop {
            if let Ok(up) = self.ways.owners.open(hello.clone(), end.clone()).await {
                *end.up.lock() = Some(up);
                return Line(end);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether the partition has an owner.
    pub async fn is_owned(&self, partition: PartitionId) -> bool {
        let hello = Hello {
            edge: EdgeId::new("who asks"),
            partition,
            epoch: 0,
            first: 1,
            after: Position::START,
            filters: Vec::new(),
        };
        self.ways
            .owners
            .open(hello, End::new(|_| Vec::new()))
            .await
            .is_ok()
    }
}

impl Line {
    pub fn submit(&self, number: u64, entry: &Arc<Entry>, again: bool) {
        self.say(Up::Submit(submission(number, entry, again)));
    }

    pub fn say(&self, up: Up) {
        self.0.say(up);
    }

    /// What became of a submission, as soon as it is told.
    pub async fn outcome(&self, number: u64) -> Outcome {
        let told = || {
            let said = self.0.said.lock();
            let mut answers = said.iter().flat_map(|routed| &routed.answers);
            answers.find(|(n, _)| *n == number).map(|(_, o)| o.clone())
        };
        loop {
            if let Some(outcome) = told() {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the line.
    pub fn hang_up(self) {
        drop(self.0.up.lock().take());
    }
}

pub fn submission(number: u64, entry: &Arc<Entry>, again: bool) -> Submission {
    Submission {
        number,
        entry: entry.clone(),
        seen: Position::START,
        again,
    }
}
