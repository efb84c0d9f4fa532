//! The owner of one partition: it judges what edges submit, appends what it accepts, gives it out and answers. Everything that
//! happens to the partition happens here, in one order.
//!
//! ```text
//!  inbox ─► queue ─► judge ─► frame ─► log ─► confirmed: given out, answered      (sequence.rs)
//!             └─ held, with its sender's later ones, while the store is asked     (queue.rs, judge.rs)
//!  attach ─► lines: boundary = what is confirmed now                              (lines.rs)
//! ```

mod gather;
mod judge;
mod late;
mod lines;
mod lookups;
mod queue;
mod sequence;
mod tail;
mod take_over;
mod upkeep;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backplane::lease::Fence;
use bytes::Bytes;
use dedupe::{Filter, Limits};
use model::{EdgeId, FrameSeq, PartitionId, Position};
use rpc::routing::{RoutedEntry, Submission, Up};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use wire::{Entry, Kind};

use crate::inbox::{Inbox, Item, LineId};
use crate::known::Known;
use crate::lookup::{self, Answered};
use crate::pulse::Pulse;
use crate::service::With;
use crate::{Config, Error};
use gather::Gather;
use lines::{Lines, Numbered};
use lookups::Lookups;
use queue::{Queue, Queued};
use sequence::{Appended, Frame};
use tail::Tail;
use upkeep::Upkeep;

/// What a record of a message takes at most, with its sender.
const RECORD_BYTES: usize = 160;
/// How many topics' last positions are remembered.
const REMEMBERED_HEADS: usize = 200_000;
/// How much may be held while the store is asked.
const HELD_BYTES: usize = 8 << 20;
/// How often edges that have heard nothing are told how far the log goes.
const TELL: Duration = Duration::from_secs(1);

/// Under which right a partition is owned.
#[derive(Clone)]
pub(crate) struct Tenancy {
    pub partition: PartitionId,
    /// Of the lease: what is appended carries it.
    pub epoch: u64,
    /// Whether the lease is held.
    pub fence: Fence,
    /// Whether the log answers.
    pub log: Arc<Pulse>,
}

/// The soft state of a partition while this process owns it.
pub(crate) struct Owner {
    partition: PartitionId,
    epoch: u64,
    fence: Fence,
    log: Arc<Pulse>,
    writer: EdgeId,
    deps: With,
    lines: Lines,
    queue: Queue,
    known: Known,
    upkeep: Upkeep,
    tail: Tail,
    /// The last position of each topic.
    heads: HashMap<u128, Position, ahash::RandomState>,
    lookups: Lookups,
    /// The last frame of the log: confirmed, and given out.
    head: FrameSeq,
    last_epoch: u64,
    /// What was accepted up to here the filter had from the checkpoint.
    checkpointed: Position,
    next_number: u64,
    /// The last frame of ours that is in the log.
    proven: u64,
    waits_for_proof: bool,
    /// The lease is not held: an append is to tell whether somebody else owns the partition.
    probe: bool,
    /// Not before this is an empty frame appended again that the log did not take.
    proof_at: Instant,
    gather: Option<Gather>,
    max_frame: usize,
    hold: Duration,
}

type Appending = Pin<Box<dyn Future<Output = Appended> + Send>>;

impl Owner {
    /// One that has read the log up to `after`.
    fn new(tenancy: Tenancy, after: FrameSeq, filter: Filter, config: &Config, deps: With) -> Self {
        let Tenancy {
            partition,
            epoch,
            fence,
            log,
        } = tenancy;
        let records = config.remembered_messages / usize::from(deps.partitioning.count());
        let limits = Limits {
            records: records.max(1),
            bytes: records.max(1) * RECORD_BYTES,
        };
        let since = Position::end_of(after);
        Self {
            partition,
            epoch,
            fence,
            log,
            writer: take_over::writer(partition, epoch),
            deps,
            lines: Lines::new(epoch),
            queue: Queue::default(),
            known: Known::new(limits, since, filter),
            upkeep: Upkeep::new(config.checkpoint_interval.get()),
            tail: Tail::new(since, config.tail.as_usize()),
            heads: HashMap::default(),
            lookups: Lookups::default(),
            head: after,
            last_epoch: 0,
            checkpointed: Position::START,
            next_number: 1,
            proven: 0,
            waits_for_proof: false,
            probe: false,
            proof_at: Instant::now(),
            gather: None,
            max_frame: config.max_frame.as_usize(),
            hold: config.hold.get(),
        }
    }

    /// Serves edges until `leave` resolves: then what is in flight is answered, and nothing more taken in. An error means that
    /// it owns the partition no more, or cannot.
    pub async fn serve(mut self, inbox: &Arc<Inbox>, leave: impl Future<Output = ()>) -> Result<(), Error> {
        let mut leave = std::pin::pin!(leave);
        self.begin_upkeep(inbox);
        let mut in_flight: Option<(Frame, Appending)> = None;
        let mut tell = tokio::time::interval(TELL);
        tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leaving = false;
        loop {
            self.take(inbox.try_take());
            self.forget_ended();
            if in_flight.is_none() {
                // Before the next frame: under load one follows the other, and what one of them may yet undo is not
                // stored.
                self.keep_up(inbox);
            }
            if in_flight.is_none() && !leaving && (self.waits_for_more().is_none() || self.wants_proof()) {
                in_flight = self.next_frame().map(|frame| {
                    let appending = Box::pin(self.appending(&frame));
                    (frame, appending as Appending)
                });
            }
            self.ask(inbox);
            self.flush();
            if leaving && in_flight.is_none() {
                return Ok(());
            }
            let wake = self.wake(in_flight.is_none());
            tokio::select! {
                biased;
                said = appended(&mut in_flight) => {
                    if let Some((frame, _)) = in_flight.take() {
                        self.appended(frame, said).await?;
                    }
                }
                () = &mut leave, if !leaving => leaving = true,
                () = sleep_until_some(wake) => self.time_passes(),
                _ = tell.tick() => self.look_around(),
                // Last: there may always be something in it.
                items = inbox.take() => self.take(items),
            }
        }
    }

    fn take(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Open(line, hello, edge) => {
                    let replay = self.tail.after(hello.after);
                    let boundary = Position::end_of(self.head);
                    self.lines
                        .open(line, hello, edge, boundary, self.next_number, replay);
                }
                Item::Up(line, up) => self.hear(line, up),
                Item::Close(line) => self.lines.close(line),
                Item::Answered(answered) => self.answered(answered),
                Item::Done(done) => self.done(done),
            }
        }
    }

    /// What came on a line that has ended is dropped at once: an append may be in doubt for as long as its edges open
    /// other lines and send everything again.
    fn forget_ended(&mut self) {
        let ended = self.lines.take_ended();
        if !ended.is_empty() {
            self.queue.forget(&ended);
        }
    }

    fn hear(&mut self, line: LineId, up: Up) {
        match up {
            Up::Attach { number, org, filter } if self.follows(line, number) => {
                let boundary = Position::end_of(self.head);
                let of = (org, filter);
                self.lines.attach(line, number, of, boundary, self.next_number);
            }
            Up::Detach { org, filter } => self.lines.detach(line, org, filter),
            Up::Submit(submission) if self.follows(line, submission.number) => self.submit(line, submission),
            Up::Transient(entry) => self.pass_on(entry),
            Up::Attach { .. } | Up::Submit(_) => {}
        }
    }

    fn follows(&mut self, line: LineId, number: u64) -> bool {
        match self.lines.follow(line, number) {
            Numbered::Next => true,
            Numbered::Ended => false,
            Numbered::Hole => {
                tracing::warn!(partition = %self.partition, number, "something an edge has sent is missing; its line is broken off");
                self.lines.break_off(line);
                false
            }
        }
    }

    fn submit(&mut self, line: LineId, submission: Submission) {
        if let Some(edge) = self.lines.edge(line).cloned() {
            self.queue.push(Queued {
                line,
                edge,
                submission,
                held: None,
                asks: Vec::new(),
            });
        }
    }

    /// What is not in the log goes to whoever wants its topic now. It may be lost.
    fn pass_on(&mut self, entry: Arc<Entry>) {
        if matches!(entry.known_kind(), Kind::Transient | Kind::Generic) {
            self.lines.fan_out(&RoutedEntry {
                position: Position::START,
                prev: None,
                bytes: Bytes::new(),
                entry,
            });
        }
    }

    /// Says what there is to say. What is true only while nobody else owns the partition waits for the lease, or for an append.
    fn flush(&mut self) {
        let upto = Position::end_of(self.head);
        let said = self.lines.said;
        self.waits_for_proof = self.lines.flush(upto, self.proven, self.fence.holds());
        self.deps.metrics.sent.inc_by(self.lines.said - said);
    }

    fn wants_proof(&self) -> bool {
        (self.waits_for_proof || self.probe) && !self.fence.holds() && Instant::now() >= self.proof_at
    }

    /// Until when the next frame waits for more.
    fn waits_for_more(&mut self) -> Option<Instant> {
        let waiting = self.queue.len();
        let gather = self.gather.as_mut().filter(|_| waiting > 0)?;
        gather.waits(waiting)
    }

    /// When something is to be done although nothing happens.
    fn wake(&mut self, idle: bool) -> Option<Instant> {
        let gathered = self.waits_for_more().filter(|_| idle);
        let waits = self.waits_for_proof || self.probe;
        // No proof is needed while the lease is held.
        let proof = (idle && waits).then_some(self.proof_at.max(self.fence.until()));
        let overdue = self.queue.next_overdue(self.hold);
        let checkpoint = self.upkeep.due().filter(|_| idle);
        gathered
            .into_iter()
            .chain(overdue)
            .chain(proof)
            .chain(checkpoint)
            .min()
    }

    /// Edges that only listen would not find out that another owns the partition: without the lease, the log is asked.
    fn look_around(&mut self) {
        self.lines.tell(Position::end_of(self.head));
        self.probe = !self.fence.holds() && !self.lines.is_empty();
    }

    fn time_passes(&mut self) {
        for overdue in self.queue.overdue(self.hold) {
            self.retry(&overdue);
        }
    }

    /// Asks the store about what is held; one question after the other, each about everything that came meanwhile.
    fn ask(&mut self, inbox: &Arc<Inbox>) {
        let questions = self.lookups.next();
        if questions.is_empty() {
            return;
        }
        self.deps.metrics.lookups.inc_by(questions.len() as u64);
        let asking = lookup::ask(
            self.deps.persistence.clone(),
            self.partition,
            questions,
            self.known.forgotten_up_to(),
            // What comes behind these is asked about before it is overdue.
            self.hold / 2,
            inbox.clone(),
        );
        let call = AbortOnDropHandle::new(tokio::spawn(asking));
        self.lookups.began(Position::end_of(self.head), call);
    }

    fn answered(&mut self, answered: Answered) {
        self.lookups.said(answered);
        self.queue.release();
    }

    /// The position before this one in its topic, counting what the store gives a backlog (receipts come coalesced there,
    /// so they do not count), and this one in its place.
    fn advance_head(&mut self, entry: &Entry, position: Position) -> Option<Position> {
        let counts = match entry.known_kind() {
            Kind::Generic => entry.qos > 0,
            Kind::Membership | Kind::Edit => true,
            _ => entry.is_history(),
        };
        if !counts {
            return None;
        }
        if self.heads.len() >= REMEMBERED_HEADS {
            self.heads.clear();
        }
        let topic = wire::envelope::uid_key(&entry.org, "", &entry.topic);
        self.heads.insert(topic, position)
    }
}

/// However it ends, the edges are told, and look for another owner.
impl Drop for Owner {
    fn drop(&mut self) {
        self.lines.end();
    }
}

async fn appended(in_flight: &mut Option<(Frame, Appending)>) -> Appended {
    match in_flight {
        Some((_, appending)) => appending.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
