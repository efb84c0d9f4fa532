//! The line to the owner of one partition: attaches and detaches topics, in order, several in one request; notices a lost
//! frame or a new owner and attaches everything again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backplane::bus::Bus;
use model::{FrameSeq, OrgId, PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{debug, info};
use wire::{OrgFilter, RouteReply, RouteRequest};

use crate::append::Appender;

/// How often an owner is asked whether it still knows us.
const HEARTBEAT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Set once the owner of the partition has answered an attach: everything after the position comes live.
pub(crate) type Ready = watch::Sender<Option<Position>>;

struct Op {
    org: OrgId,
    filter: TopicFilter,
    /// `None`: detach.
    attach: Option<Arc<Ready>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Frames follow one another.
    Following,
    /// Frames were lost, or the owner is new: attach everything again.
    Broken,
}

#[derive(Debug)]
struct Numbers {
    stream: u64,
    owner_epoch: u64,
    number: u64,
    health: Health,
}

/// What a frame is to the stream that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// The next.
    Yes,
    /// Of a stream that is not followed any more.
    Stale,
    /// Something before it is missing.
    Gap,
}

/// The line to one partition's owner.
pub(crate) struct Link {
    pub partition: PartitionId,
    ops: Mutex<Vec<Op>>,
    wanted: Notify,
    numbers: Mutex<Numbers>,
}

/// What the link tells the rest of the edge.
pub(crate) trait Listener: Send + Sync {
    /// Frames of the partition were lost.
    fn gap(&self, partition: PartitionId);
    /// Everything after the boundary comes live again.
    fn boundary(&self, partition: PartitionId, boundary: Position);
    /// Every filter that this edge wants from the partition.
    fn filters(&self, partition: PartitionId) -> Vec<(OrgId, TopicFilter)>;
}

impl Link {
    pub fn new(partition: PartitionId, stream: u64) -> Self {
        let numbers = Numbers {
            stream,
            owner_epoch: 0,
            number: 0,
            // An owner that has never heard of this edge does not tell it what became of its frames: the first word is a
            // full attach, which asks about them as well.
            health: Health::Broken,
        };
        Self {
            partition,
            ops: Mutex::default(),
            wanted: Notify::new(),
            numbers: Mutex::new(numbers),
        }
    }

    pub fn attach(&self, org: OrgId, filter: TopicFilter, ready: Arc<Ready>) {
        self.ops.lock().push(Op {
            org,
            filter,
            attach: Some(ready),
        });
        self.wanted.notify_one();
    }

    pub fn detach(&self, org: OrgId, filter: TopicFilter) {
        self.ops.lock().push(Op {
            org,
            filter,
            attach: None,
        });
        self.wanted.notify_one();
    }

    /// A new owner says that it is there.
    pub fn owner_announced(&self) {
        self.wanted.notify_one();
    }

    /// Frames may have been lost on the way.
    pub fn suspect(&self) {
        self.numbers.lock().health = Health::Broken;
        self.wanted.notify_one();
    }

    /// Whether a frame follows the last one. Called in the order of arrival.
    pub fn follow(&self, owner_epoch: u64, stream: u64, number: u64) -> Follows {
        let mut n = self.numbers.lock();
        if stream != n.stream || owner_epoch < n.owner_epoch {
            return Follows::Stale;
        }
        if owner_epoch > n.owner_epoch {
            // The first frame may overtake the answer to our first request.
            (n.owner_epoch, n.number) = (owner_epoch, 0);
        }
        if number == n.number + 1 {
            n.number = number;
            return Follows::Yes;
        }
        let news = n.health == Health::Following;
        n.health = Health::Broken;
        drop(n);
        self.wanted.notify_one();
        if news { Follows::Gap } else { Follows::Stale }
    }

    /// Keeps the line. Never returns.
    pub async fn run(&self, edge: &str, bus: &dyn Bus, appender: &Appender, listener: &dyn Listener) {
        let mut pause = Duration::from_millis(20);
        self.wanted.notify_one();
        loop {
            tokio::select! {
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            while let Err(reason) = self.talk(edge, bus, appender, listener).await {
                debug!(partition = %self.partition, reason, "the owner of a partition does not answer yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            pause = Duration::from_millis(20);
        }
    }

    async fn talk(
        &self,
        edge: &str,
        bus: &dyn Bus,
        appender: &Appender,
        listener: &dyn Listener,
    ) -> Result<(), String> {
        let ops = std::mem::take(&mut *self.ops.lock());
        if self.numbers.lock().health == Health::Broken {
            self.reattach(edge, bus, appender, listener)
                .await
                .inspect_err(|_| self.put_back(&ops))?;
        }
        let stream = self.numbers.lock().stream;
        let mut request = request(edge, stream, &ops);
        // Usually none: an outcome that the owner could not tell, because it did not know this edge yet, is asked for.
        ask_about(appender.unsettled(self.partition), &mut request);
        let reply = self
            .ask(bus, &request)
            .await
            .inspect_err(|_| self.put_back(&ops))?;
        reply.settled.iter().for_each(|s| appender.settle(s));
        if !self.is_known_to(&reply) {
            // This owner has never heard of our other filters.
            info!(partition = %self.partition, epoch = reply.owner_epoch, "a partition has a new owner");
            self.numbers.lock().health = Health::Broken;
            listener.gap(self.partition);
            self.reattach(edge, bus, appender, listener)
                .await
                .inspect_err(|_| self.put_back(&ops))?;
        }
        for op in ops {
            if let Some(ready) = op.attach {
                ready.send_if_modified(|b| b.replace(Position(reply.boundary)).is_none());
            }
        }
        Ok(())
    }

    fn put_back(&self, ops: &[Op]) {
        let again = ops.iter().map(|op| Op {
            org: op.org.clone(),
            filter: op.filter.clone(),
            attach: op.attach.clone(),
        });
        self.ops.lock().splice(0..0, again);
    }

    /// Whether the owner is the one we follow. The very first answer makes it so.
    fn is_known_to(&self, reply: &RouteReply) -> bool {
        let mut n = self.numbers.lock();
        if n.owner_epoch == 0 {
            n.owner_epoch = reply.owner_epoch;
        }
        n.owner_epoch == reply.owner_epoch
    }

    /// Begins a new stream with every filter, and asks about frames whose outcome got lost.
    async fn reattach(
        &self,
        edge: &str,
        bus: &dyn Bus,
        appender: &Appender,
        listener: &dyn Listener,
    ) -> Result<(), String> {
        let stream = {
            let mut n = self.numbers.lock();
            n.stream += 1;
            (n.owner_epoch, n.number, n.health) = (0, 0, Health::Following);
            n.stream
        };
        let attach = listener.filters(self.partition);
        let mut request = RouteRequest {
            edge: edge.to_owned(),
            stream,
            attach: attach.into_iter().map(org_filter).collect(),
            ..RouteRequest::default()
        };
        ask_about(appender.unsettled(self.partition), &mut request);
        let reply = self.ask(bus, &request).await.inspect_err(|_| {
            self.numbers.lock().health = Health::Broken;
        })?;
        self.is_known_to(&reply);
        reply.settled.iter().for_each(|s| appender.settle(s));
        listener.boundary(self.partition, Position(reply.boundary));
        Ok(())
    }

    async fn ask(&self, bus: &dyn Bus, request: &RouteRequest) -> Result<RouteReply, String> {
        let subject = format!("routing.{}", self.partition);
        let bytes = wire::frame::encode(request);
        let reply = bus
            .request(&subject, bytes, REQUEST_TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        wire::frame::decode(reply).map_err(|e| e.to_string())
    }
}

fn ask_about(unsettled: Vec<(u64, FrameSeq)>, request: &mut RouteRequest) {
    for (id, seq) in unsettled {
        request.pending_ids.push(id);
        request.pending_seqs.push(seq.0);
    }
}

/// The last word on each filter counts.
fn request(edge: &str, stream: u64, ops: &[Op]) -> RouteRequest {
    let mut last: HashMap<(&OrgId, &TopicFilter), bool> = HashMap::new();
    for op in ops {
        last.insert((&op.org, &op.filter), op.attach.is_some());
    }
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    for ((org, filter), attached) in last {
        let list = if attached { &mut attach } else { &mut detach };
        list.push(org_filter((org.clone(), filter.clone())));
    }
    RouteRequest {
        edge: edge.to_owned(),
        stream,
        attach,
        detach,
        ..RouteRequest::default()
    }
}

fn org_filter((org, filter): (OrgId, TopicFilter)) -> OrgFilter {
    OrgFilter {
        org: org.to_string(),
        filter: filter.to_string(),
    }
}
