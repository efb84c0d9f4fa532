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
mod state;
mod tail;
mod take_over;
mod upkeep;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::routing::{RoutedEntry, Submission, Up};
use model::Position;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use wire::{Entry, Kind};

use crate::inbox::{Answered, Inbox, Item, LineId};
use crate::{Error, lookup};
use lines::Numbered;
use queue::Queued;
use sequence::{Appended, Frame};
pub(crate) use state::{Owner, Tenancy};

/// How many topics' last positions are remembered.
const REMEMBERED_HEADS: usize = 200_000;
/// How often edges that have heard nothing are told how far the log goes.
const TELL: Duration = Duration::from_secs(1);

type Appending = Pin<Box<dyn Future<Output = Appended> + Send>>;

impl Owner {
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

    /// What is not in the log goes to whoever wants its topic now. It may be lost. Who takes part in a thread no more is not
    /// heard there, not even typing.
    fn pass_on(&mut self, entry: Arc<Entry>) {
        if !matches!(entry.known_kind(), Kind::Transient | Kind::Generic) {
            return;
        }
        if self.changes.has_ended(&entry) {
            self.deps.metrics.drop("forbidden");
            return;
        }
        self.lines.fan_out(&RoutedEntry {
            position: Position::START,
            prev: None,
            bytes: Bytes::new(),
            entry,
        });
    }

    /// Says what there is to say. What is true only while nobody else owns the partition waits for the lease, or for an append.
    fn flush(&mut self) {
        let upto = Position::end_of(self.head);
        let said = self.lines.said;
        self.waits_for_proof = self.lines.flush(upto, self.proven, self.fence.holds());
        self.deps.metrics.sent.inc_by(self.lines.said - said);
    }

    fn wants_proof(&self) -> bool {
        let probe = self.probe && !self.fence.holds();
        (self.waits_for_proof || probe) && Instant::now() >= self.proof_at
    }

    /// Until when the next frame waits for more.
    fn waits_for_more(&self) -> Option<Instant> {
        let waiting = self.queue.len();
        let gather = self.gather.as_ref().filter(|_| waiting > 0)?;
        gather.waits(waiting)
    }

    /// When something is to be done although nothing happens.
    fn wake(&self, idle: bool) -> Option<Instant> {
        let gathered = self.waits_for_more().filter(|_| idle);
        let proof = match (self.waits_for_proof, self.probe) {
            (true, _) => Some(self.proof_at),
            // Nobody else is looked for while the lease is held.
            (false, true) => Some(self.proof_at.max(self.fence.until())),
            (false, false) => None,
        };
        let proof = proof.filter(|_| idle);
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
        let topic = wire::envelope::uid_key(&entry.org, "", &entry.topic);
        if !entry.is_told() {
            return self.heads.get(&topic).copied();
        }
        if self.heads.len() >= REMEMBERED_HEADS {
            self.heads.clear();
        }
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
