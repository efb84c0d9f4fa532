//! The line to the owner of one partition: attaches and detaches topics, in order, several in one request; notices a lost
//! frame or a new owner and attaches everything again.
//!
//! What is noticed, and how: a hole in the numbers of frames, at once; an owner that does not know us (another epoch, or
//! one that has counted less than we have), at the next request; a lost last frame, which no later one gives away, by the
//! count in the answer to a request, when the frame has still not come a moment later.
//!
//! What is more than one message of the bus can hold is asked in several requests of one stream. The line is whole when
//! the last of them is answered.

mod known;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backplane::bus::Bus;
use model::{OrgId, PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info};
use wire::{OrgFilter, RouteReply, RouteRequest};

use crate::append::Appender;
pub(crate) use known::Known;

/// How often an owner is asked whether it still knows us.
const HEARTBEAT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a frame may take that the owner says it has sent.
const OVERDUE: Duration = Duration::from_secs(1);
/// After a silence of this length an owner may have forgotten us; it does so after a minute.
const SILENCE: Duration = Duration::from_secs(20);
/// How long to wait at first, and at most, before an owner that does not answer is asked again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// About how many bytes of filters one request carries, so that it fits any bus.
const REQUEST_BYTES: usize = 512 * 1024;
/// About how many bytes a filter takes beside its text.
const FILTER_BYTES: usize = 16;
/// How many frames one request asks about: the oldest. The others are asked about when those are settled.
const REQUEST_PENDING: usize = 4096;

struct Op {
    org: OrgId,
    filter: TopicFilter,
    /// `None`: detach.
    attach: Option<Arc<Known>>,
}

#[derive(Debug)]
struct Numbers {
    stream: u64,
    /// The owner that knows our filters; 0: none has answered on this stream yet.
    owner_epoch: u64,
    number: u64,
    /// Frames were lost, or the owner is new: everything has to be attached again.
    broken: bool,
    /// The owner has counted up to here, and said so then.
    counted: Option<(u64, Instant)>,
    heard: Instant,
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
    announced: Notify,
    numbers: Mutex<Numbers>,
    whole: Arc<Known>,
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

/// What a link needs to talk.
#[derive(Clone, Copy)]
pub(crate) struct With<'a> {
    pub edge: &'a str,
    pub bus: &'a dyn Bus,
    pub appender: &'a Appender,
    pub listener: &'a dyn Listener,
}

impl Link {
    pub fn new(partition: PartitionId, stream: u64) -> Self {
        let numbers = Numbers {
            stream,
            owner_epoch: 0,
            number: 0,
            broken: false,
            counted: None,
            heard: Instant::now(),
        };
        Self {
            partition,
            ops: Mutex::default(),
            wanted: Notify::new(),
            announced: Notify::new(),
            numbers: Mutex::new(numbers),
            whole: Arc::default(),
        }
    }

    pub fn attach(&self, org: OrgId, filter: TopicFilter, ready: Arc<Known>) {
        self.ops.lock().push(Op {
            org,
            filter,
            attach: Some(ready),
        });
        self.nudge();
    }

    pub fn detach(&self, org: OrgId, filter: TopicFilter) {
        self.ops.lock().push(Op {
            org,
            filter,
            attach: None,
        });
        self.nudge();
    }

    /// There is something to ask the owner.
    pub fn nudge(&self) {
        self.wanted.notify_one();
    }

    /// A new owner says that it is there.
    pub fn owner_announced(&self) {
        self.announced.notify_one();
    }

    /// Frames may have been lost on the way.
    pub fn suspect(&self) {
        self.break_off();
        self.nudge();
    }

    /// Set while everything that is attached comes live: to where that began. Not set while the line is broken, so that
    /// nobody takes an attach for complete that a lost frame may have belonged to.
    pub fn whole(&self) -> Arc<Known> {
        self.whole.clone()
    }

    /// Whether a frame follows the last one. Called in the order of arrival.
    pub fn follow(&self, owner_epoch: u64, stream: u64, number: u64) -> Follows {
        let mut n = self.numbers.lock();
        if stream != n.stream || owner_epoch < n.owner_epoch {
            return Follows::Stale;
        }
        if n.owner_epoch == 0 {
            // It may overtake the answer to the request that began the stream.
            n.owner_epoch = owner_epoch;
        }
        if owner_epoch == n.owner_epoch && number == n.number + 1 {
            n.number = number;
            return Follows::Yes;
        }
        let news = !n.broken;
        drop(n);
        self.suspect();
        if news { Follows::Gap } else { Follows::Stale }
    }

    fn break_off(&self) {
        let mut numbers = self.numbers.lock();
        numbers.broken = true;
        self.whole.unset();
    }

    /// Keeps the line. Never returns.
    pub async fn run(&self, with: With<'_>) {
        let mut pause = PAUSES.0;
        loop {
            // At once: an owner settles frames only to edges that it has heard of.
            while let Err(reason) = self.talk(with).await {
                debug!(partition = %self.partition, reason, "the owner of a partition does not answer yet");
                tokio::select! {
                    biased;
                    () = self.announced.notified() => {}
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                }
            }
            pause = PAUSES.0;
            let counts = self.numbers.lock().counted.is_some();
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = self.announced.notified() => {}
                () = tokio::time::sleep(if counts { OVERDUE } else { HEARTBEAT }) => {}
            }
        }
    }

    pub(crate) async fn talk(&self, with: With<'_>) -> Result<(), String> {
        if self.has_lost_track() {
            self.break_off();
            with.listener.gap(self.partition);
        }
        let ops = std::mem::take(&mut *self.ops.lock());
        match self.tell(&ops, with).await {
            Ok(boundary) => {
                for ready in ops.into_iter().filter_map(|op| op.attach) {
                    ready.set_if_unset(boundary);
                }
                Ok(())
            }
            Err(reason) => {
                self.ops.lock().splice(0..0, ops);
                Err(reason)
            }
        }
    }

    /// Whether a frame is overdue, or the owner may have forgotten us.
    fn has_lost_track(&self) -> bool {
        let mut n = self.numbers.lock();
        if n.counted.is_some_and(|(number, _)| n.number >= number) {
            n.counted = None;
        }
        !n.broken
            && (n.counted.is_some_and(|(_, since)| since.elapsed() >= OVERDUE)
                || n.owner_epoch != 0 && n.heard.elapsed() > SILENCE)
    }

    async fn tell(&self, ops: &[Op], with: With<'_>) -> Result<Position, String> {
        let (stream, number, broken) = {
            let n = self.numbers.lock();
            (n.stream, n.number, n.broken)
        };
        if broken {
            return self.reattach(with).await;
        }
        let (attach, detach) = changes(ops);
        let mut boundary = Position::START;
        for request in requests(with.edge, stream, attach, detach) {
            let reply = self.ask(with, request).await?;
            if !self.is_known_to(&reply, stream, number) {
                // This owner has never heard of our other filters.
                info!(partition = %self.partition, epoch = reply.owner_epoch, "a partition has a new owner");
                self.break_off();
                with.listener.gap(self.partition);
                return self.reattach(with).await;
            }
            boundary = Position(reply.boundary);
        }
        self.is_whole_from(boundary);
        Ok(boundary)
    }

    /// Unless it broke again meanwhile; then it stays unset until the next attach.
    fn is_whole_from(&self, boundary: Position) {
        let numbers = self.numbers.lock();
        if !numbers.broken {
            self.whole.set_if_unset(boundary);
        }
    }

    /// Whether the owner that answered is the one that has all our filters. The first to answer on a stream becomes it.
    fn is_known_to(&self, reply: &RouteReply, stream: u64, number: u64) -> bool {
        let mut n = self.numbers.lock();
        if n.stream != stream {
            return true;
        }
        if n.owner_epoch == 0 {
            n.owner_epoch = reply.owner_epoch;
        }
        n.heard = Instant::now();
        if n.counted.is_none() && reply.last_number > n.number {
            n.counted = Some((reply.last_number, Instant::now()));
        }
        n.owner_epoch == reply.owner_epoch && reply.last_number >= number
    }

    /// Begins a new stream with every filter. Answers with the boundary.
    async fn reattach(&self, with: With<'_>) -> Result<Position, String> {
        let stream = {
            let mut n = self.numbers.lock();
            n.stream += 1;
            (n.owner_epoch, n.number, n.broken, n.counted) = (0, 0, false, None);
            n.stream
        };
        // Entered into the table before they were asked for: whatever waits to be told is among them.
        let attach = with.listener.filters(self.partition);
        let mut boundary = Position::START;
        for request in requests(with.edge, stream, attach, Vec::new()) {
            let number = self.numbers.lock().number;
            let reply = self.ask(with, request).await.inspect_err(|_| self.break_off())?;
            if !self.is_known_to(&reply, stream, number) {
                self.break_off();
                return Err("the owner changed while everything was attached again".into());
            }
            boundary = Position(reply.boundary);
        }
        with.listener.boundary(self.partition, boundary);
        self.is_whole_from(boundary);
        Ok(boundary)
    }

    /// Asks the owner; with every request about the frames whose outcome is awaited, since the one that told it may be
    /// lost.
    async fn ask(&self, with: With<'_>, request: RouteRequest) -> Result<RouteReply, String> {
        let mut unsettled = with.appender.unsettled(self.partition);
        unsettled.truncate(REQUEST_PENDING);
        let request = RouteRequest {
            pending_ids: unsettled.iter().map(|(id, _)| *id).collect(),
            pending_seqs: unsettled.iter().map(|(_, seq)| seq.0).collect(),
            ..request
        };
        let subject = format!("routing.{}", self.partition);
        let reply = with
            .bus
            .request(&subject, wire::frame::encode(&request), REQUEST_TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        let reply: RouteReply = wire::frame::decode(reply).map_err(|e| e.to_string())?;
        reply.settled.iter().for_each(|s| with.appender.settle(s));
        Ok(reply)
    }
}

/// Filters with their tenants.
type Filters = Vec<(OrgId, TopicFilter)>;

/// What to attach and what to detach: the last word on each filter counts.
fn changes(ops: &[Op]) -> (Filters, Filters) {
    let mut last: BTreeMap<(&OrgId, &TopicFilter), bool> = BTreeMap::new();
    for op in ops {
        last.insert((&op.org, &op.filter), op.attach.is_some());
    }
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    for ((org, filter), attached) in last {
        let list = if attached { &mut attach } else { &mut detach };
        list.push((org.clone(), filter.clone()));
    }
    (attach, detach)
}

/// As few requests as the bus allows, at least one.
fn requests(edge: &str, stream: u64, attach: Filters, detach: Filters) -> Vec<RouteRequest> {
    let empty = || RouteRequest {
        edge: edge.to_owned(),
        stream,
        ..RouteRequest::default()
    };
    let (mut requests, mut last, mut bytes) = (Vec::new(), empty(), 0);
    let attach = attach.into_iter().map(|f| (true, f));
    for (attached, filter) in attach.chain(detach.into_iter().map(|f| (false, f))) {
        let size = filter.0.len() + filter.1.len() + FILTER_BYTES;
        if bytes > 0 && bytes + size > REQUEST_BYTES {
            requests.push(std::mem::replace(&mut last, empty()));
            bytes = 0;
        }
        bytes += size;
        let list = if attached {
            &mut last.attach
        } else {
            &mut last.detach
        };
        list.push(org_filter(filter));
    }
    requests.push(last);
    requests
}

fn org_filter((org, filter): (OrgId, TopicFilter)) -> OrgFilter {
    OrgFilter {
        org: org.to_string(),
        filter: filter.to_string(),
    }
}

#[cfg(test)]
mod tests;
