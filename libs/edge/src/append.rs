//! Taking messages into the log: one append in flight per partition, the next frame collected meanwhile. No added latency
//! when idle, large frames under load, and the order of one edge by construction.
//!
//! Those whose messages one frame has carried are answered together and send their next ones together, but a little after
//! the log is free again. So under load the next frame waits for them, a fraction of what the last append took: without
//! that the senders fall into two groups that take turns, and every frame carries half of what it could
//! (docs/adr/0013-gathering-frames.md).
//!
//! A message's outcome is known when routing has settled its frame: only then is it certain whether it is new, a resend
//! of an earlier one, or refused, and only then is it acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use backplane::journal::{FrameId, Journal, JournalError};
use bytes::Bytes;
use model::{EdgeId, FrameSeq, PartitionId, Partitioning, Position};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use wire::{Exception, Frame, Settled, Verdict};

use crate::mailbox::{Mail, Mailbox};
pub use crate::metrics::Appended;
use crate::outcome::Outcome;

/// How long routing usually takes at most; then it is asked.
const OVERDUE: Duration = Duration::from_secs(1);

/// The part of an append's time that the next frame waits for more.
const GATHER_PART: u32 = 4;
/// The least and the longest that a frame waits: less is below what a timer can do.
const GATHER: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));
/// With so many messages a frame does not wait for more.
const GATHERED: usize = 256;

/// Where an outcome goes.
#[derive(Debug)]
pub enum Ticket {
    /// To a connection, under its own name for the message.
    Mail(Arc<Mailbox>, u64),
    /// To whoever waits.
    Waiter(oneshot::Sender<Outcome>),
    /// Nobody asks.
    Nobody,
}

/// Encoded entries, and who waits for what becomes of each.
type Batch = Vec<(Bytes, Ticket)>;

#[derive(Default)]
struct Queue {
    entries: Batch,
}

struct Waiting {
    partition: PartitionId,
    seq: Option<FrameSeq>,
    tickets: Vec<Ticket>,
    since: Instant,
}

/// How long the next frame waits for those whom the last one answers, and until when they can be expected.
struct Gather {
    pause: Duration,
    until: Instant,
}

impl Gather {
    /// After a frame of so many messages, whose append begun then has just ended. `None` after a single message, or when the
    /// log is too fast for a timer.
    fn after(messages: usize, begun: Instant) -> Option<Self> {
        let took = begun.elapsed();
        let (pause, until) = ((took / GATHER_PART).min(GATHER.1), begun + took * 2);
        (messages > 1 && pause >= GATHER.0).then_some(Self { pause, until })
    }
}

struct Lane {
    queue: Mutex<Queue>,
    filled: Notify,
}

/// The way into the log for everything on this edge.
pub struct Appender {
    edge: EdgeId,
    journal: Arc<dyn Journal>,
    partitioning: Partitioning,
    lanes: Vec<Lane>,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    next_id: AtomicU64,
    bytes: AtomicUsize,
    drained: Notify,
    max_frame: usize,
    max_waiting: usize,
    timeout: Duration,
    appended: Appended,
}

impl Appender {
    /// An appender that writes as `edge`; call [`Self::run`] for every partition and [`Self::sweep`] once.
    pub fn new(
        edge: EdgeId,
        journal: Arc<dyn Journal>,
        partitioning: Partitioning,
        config: &crate::Config,
        first_id: u64,
        appended: Appended,
    ) -> Arc<Self> {
        let lane = || Lane {
            queue: Mutex::default(),
            filled: Notify::new(),
        };
        Arc::new(Self {
            edge,
            journal,
            partitioning,
            lanes: partitioning.all().map(|_| lane()).collect(),
            waiting: Mutex::default(),
            next_id: AtomicU64::new(first_id),
            bytes: AtomicUsize::new(0),
            drained: Notify::new(),
            max_frame: config.max_frame.as_usize(),
            max_waiting: config.max_waiting.as_usize(),
            timeout: config.commit_timeout.get(),
            appended,
        })
    }

    /// Queues an encoded entry of a partition. Its outcome goes to the ticket's holder, exactly once.
    pub fn append(&self, partition: PartitionId, entry: Bytes, ticket: Ticket) {
        let Some(lane) = self.lanes.get(usize::from(partition.0)) else {
            return;
        };
        self.bytes.fetch_add(entry.len(), Ordering::Relaxed);
        let mut queue = lane.queue.lock();
        queue.entries.push((entry, ticket));
        drop(queue);
        lane.filled.notify_one();
    }

    /// Queues an entry and waits for its outcome.
    pub async fn append_and_wait(&self, entry: &wire::Entry) -> Outcome {
        let (tx, rx) = oneshot::channel();
        self.append(
            entry.partition(self.partitioning),
            entry.to_bytes(),
            Ticket::Waiter(tx),
        );
        rx.await.unwrap_or(Outcome::Unknown)
    }

    /// Whether so much waits for the log that no more should be read from clients.
    pub fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_waiting
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            if !self.is_full() {
                return;
            }
            drained.await;
        }
    }

    /// How many bytes wait for the log.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Frames whose outcome is awaited, as (id, seq) with the sequence known, the oldest first: an edge that lost frames from routing asks
    /// about these again.
    pub fn unsettled(&self, partition: PartitionId) -> Vec<(u64, FrameSeq)> {
        let waiting = self.waiting.lock();
        waiting
            .iter()
            .filter(|(_, w)| w.partition == partition)
            .filter_map(|(id, w)| Some((*id, w.seq?)))
            .collect()
    }

    /// Appends what is queued for one partition, frame after frame. Never returns.
    pub async fn run(self: Arc<Self>, partition: PartitionId) {
        let Some(lane) = self.lanes.get(usize::from(partition.0)) else {
            return;
        };
        let mut gather: Option<Gather> = None;
        loop {
            let waiting = lane.queue.lock().entries.len();
            if waiting == 0 {
                lane.filled.notified().await;
                continue;
            }
            if let Some(Gather { pause, until }) = gather
                && waiting < GATHERED
                && Instant::now() < until
            {
                sleep(pause).await;
            }
            let batch = self.take(lane);
            let (messages, begun) = (batch.len(), Instant::now());
            let mut batches = vec![batch];
            while let Some(batch) = batches.pop() {
                if let Some([first, second]) = self.append_frame(partition, batch).await {
                    batches.extend([second, first]);
                }
            }
            gather = Gather::after(messages, begun);
        }
    }

    fn take(&self, lane: &Lane) -> Batch {
        let mut queue = lane.queue.lock();
        let mut size = 0;
        let fits = queue
            .entries
            .iter()
            .take(Position::FRAME_LIMIT)
            .take_while(|(entry, _)| {
                let first = size == 0;
                size += entry.len() + 8;
                first || size <= self.max_frame
            })
            .count();
        if fits == queue.entries.len() {
            return std::mem::take(&mut queue.entries);
        }
        queue.entries.drain(..fits).collect()
    }

    /// Appends a batch as one frame. Gives it back in halves if that is more than the log takes at once.
    async fn append_frame(&self, partition: PartitionId, batch: Batch) -> Option<[Batch; 2]> {
        let (entries, tickets): (Vec<Bytes>, Vec<Ticket>) = batch.into_iter().unzip();
        let bytes: usize = entries.iter().map(Bytes::len).sum();
        let count = entries.len() as u64;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = Frame {
            edge: self.edge.to_string(),
            id,
            entries,
        };
        let encoded = wire::frame::encode(&frame);
        // Entered before the append: routing may settle the frame before we hear that it is stored.
        let waiting = Waiting {
            partition,
            seq: None,
            tickets,
            since: Instant::now(),
        };
        self.waiting.lock().insert(id, waiting);
        let result = self.append_with_retry(partition, id, encoded).await;
        if matches!(result, Err(JournalError::TooLarge { .. }))
            && let Some(halves) = self.halve(id, frame.entries)
        {
            return Some(halves);
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if !self.is_full() {
            self.drained.notify_waiters();
        }
        match result {
            Ok(seq) => {
                self.appended.frames.inc();
                self.appended.entries.inc_by(count);
                if let Some(waiting) = self.waiting.lock().get_mut(&id) {
                    waiting.seq = Some(seq);
                }
            }
            Err(JournalError::Unknown) => self.finish(id, &Outcome::Unknown),
            Err(error @ JournalError::TooLarge { .. }) => {
                debug!(%partition, %error, "a message is too large for the log");
                self.finish(id, &Outcome::TooLarge);
            }
            Err(error) => {
                warn!(%partition, %error, "the log did not take a frame");
                self.finish(id, &Outcome::Unavailable(error.to_string()));
            }
        }
        None
    }

    /// Takes back a frame that is not stored; `None` if it cannot be divided.
    fn halve(&self, id: u64, mut entries: Vec<Bytes>) -> Option<[Batch; 2]> {
        let middle = entries.len() / 2;
        if middle == 0 {
            return None;
        }
        let mut tickets = self.waiting.lock().remove(&id)?.tickets;
        let second = (entries.split_off(middle).into_iter()).zip(tickets.split_off(middle));
        let first = entries.into_iter().zip(tickets);
        Some([first.collect(), second.collect()])
    }

    /// An unknown outcome is resolved by appending the same frame id again, until the time is over. It stays unknown
    /// whatever is said of a later try: the first may be stored even after that.
    async fn append_with_retry(
        &self,
        partition: PartitionId,
        id: u64,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        let deadline = Instant::now() + self.timeout;
        let mut unknown = false;
        loop {
            let frame_id = FrameId {
                writer: self.edge.clone(),
                number: id,
            };
            let append = self.journal.append(partition, None, frame_id, frame.clone());
            match tokio::time::timeout_at(deadline, append).await {
                Ok(Ok(seq)) => return Ok(seq),
                Ok(Err(error)) if !unknown && !matches!(error, JournalError::Unknown) => return Err(error),
                Ok(Err(error)) if Instant::now() < deadline => {
                    debug!(%partition, id, %error, "appending a frame again");
                    unknown = true;
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(Err(_)) | Err(_) => return Err(JournalError::Unknown),
            }
        }
    }

    /// Routing has judged a frame.
    pub fn settle(&self, settled: &Settled) {
        let Some(waiting) = self.waiting.lock().remove(&settled.id) else {
            return;
        };
        let seq = FrameSeq(settled.seq);
        let mut exceptions = settled.exceptions.iter().peekable();
        let outcomes = (0u16..=u16::MAX).map(|index| {
            let refused = exceptions.next_if(|e| e.index == u32::from(index));
            refused.map_or_else(|| stored(Position::new(seq, index)), outcome)
        });
        answer(waiting.tickets.into_iter().zip(outcomes));
    }

    fn finish(&self, id: u64, outcome: &Outcome) {
        let Some(waiting) = self.waiting.lock().remove(&id) else {
            return;
        };
        answer(
            waiting
                .tickets
                .into_iter()
                .zip(std::iter::repeat(outcome.clone())),
        );
    }

    /// Looks after frames that routing has not settled: `ask` is called, once a second, for each partition in which one
    /// is overdue, and after the commit timeout their senders are told that the outcome is unknown. Never returns.
    pub async fn sweep(self: Arc<Self>, ask: impl Fn(PartitionId)) {
        loop {
            sleep(OVERDUE).await;
            let (mut late, mut overdue) = (Vec::new(), Vec::new());
            for (id, frame) in self.waiting.lock().iter() {
                let waits = frame.since.elapsed();
                if waits > self.timeout {
                    late.push(*id);
                } else if waits > OVERDUE && frame.seq.is_some() && !overdue.contains(&frame.partition) {
                    overdue.push(frame.partition);
                }
            }
            overdue.into_iter().for_each(&ask);
            if !late.is_empty() {
                warn!(
                    frames = late.len(),
                    "frames were not judged in time; their senders are told that the outcome is unknown"
                );
            }
            late.into_iter().for_each(|id| self.finish(id, &Outcome::Unknown));
        }
    }
}

fn stored(position: Position) -> Outcome {
    Outcome::Stored {
        position,
        duplicate: false,
    }
}

fn outcome(exception: &Exception) -> Outcome {
    match exception.verdict() {
        Verdict::Accepted => stored(Position(exception.position)),
        Verdict::Duplicate => Outcome::Stored {
            position: Position(exception.position),
            duplicate: true,
        },
        Verdict::Conflict => Outcome::Conflict,
        Verdict::Forbidden => Outcome::Forbidden,
        Verdict::Rejected => Outcome::Rejected,
    }
}

/// Gives outcomes to those who wait for them. A frame's messages of one connection usually stand together: it is woken
/// once for them.
fn answer(outcomes: impl Iterator<Item = (Ticket, Outcome)>) {
    let mut told: Option<Arc<Mailbox>> = None;
    for (ticket, outcome) in outcomes {
        match ticket {
            Ticket::Mail(mailbox, token) => {
                mailbox.push_quietly(Mail::Settled { token, outcome });
                match &told {
                    Some(last) if Arc::ptr_eq(last, &mailbox) => {}
                    _ => {
                        if let Some(last) = told.replace(mailbox) {
                            last.wake();
                        }
                    }
                }
            }
            // A waiter that went away does not care any more.
            Ticket::Waiter(tx) => drop(tx.send(outcome)),
            Ticket::Nobody => {}
        }
    }
    if let Some(last) = told {
        last.wake();
    }
}

#[cfg(test)]
mod tests;
