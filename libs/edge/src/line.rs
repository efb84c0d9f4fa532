//! The line to the owner of one partition: what is submitted and attached here goes up in order, what became of it comes down.
//!
//! Everything that is numbered stays here until it is answered. When the line ends (the owner is gone, another has taken
//! over, nothing is heard for too long) the keeper opens another, to whoever owns the partition then, and everything
//! unanswered is sent again, in order. So a submission is answered exactly once: by an owner, or after the commit time-out
//! as unknown.

mod keeper;
mod known;
#[cfg(test)]
mod tests;
mod ticket;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use contract::routing::{Outcome, Routed, Submission, Up, Upstream};
use model::{OrgId, PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::Entry;

use crate::mailbox::Mailbox;
pub(crate) use keeper::{LOOK, Listener, With};
pub(crate) use known::Known;
pub use ticket::Ticket;

/// What is numbered and not answered.
struct Waiting {
    since: Instant,
    /// When it was sent on the line that is open.
    sent: Option<Instant>,
    what: What,
}

enum What {
    Attach {
        org: OrgId,
        filter: TopicFilter,
        ready: Arc<Known>,
    },
    Entry {
        entry: Arc<Entry>,
        size: usize,
        ticket: Ticket,
        /// How far the log was known to go when it was first sent; `None`: it was not yet.
        seen: Option<Position>,
    },
}

struct State {
    /// The number of the next thing.
    next: u64,
    /// By number, the last of which is `next - 1`; `None` = answered. The first is never answered.
    waiting: VecDeque<Option<Waiting>>,
    up: Option<Box<dyn Upstream>>,
    /// When it was opened.
    opened: Instant,
    /// Which line is open or being opened: what comes on an earlier one is not heeded.
    line: u64,
    /// The highest epoch that an owner has spoken under, or was announced under.
    epoch: u64,
}

impl State {
    fn first(&self) -> u64 {
        self.next - self.waiting.len() as u64
    }

    fn push(&mut self, what: What) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(Some(Waiting {
            since: Instant::now(),
            sent: None,
            what,
        }));
        number
    }

    fn take(&mut self, number: u64) -> Option<What> {
        let index = usize::try_from(number.checked_sub(self.first())?).ok()?;
        let taken = self.waiting.get_mut(index)?.take();
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 1024 {
            self.waiting = VecDeque::new();
        }
        Some(taken?.what)
    }

    /// Sends one thing that waits on the line that is open. False when it has ended.
    fn send(&mut self, number: u64, heard: Position) -> bool {
        let first = self.first();
        let index = usize::try_from(number - first).unwrap_or(usize::MAX);
        let (Some(up), Some(Some(waiting))) = (&self.up, self.waiting.get_mut(index)) else {
            return self.up.is_some();
        };
        waiting.sent = Some(Instant::now());
        up.send(match &mut waiting.what {
            What::Attach { org, filter, .. } => Up::Attach {
                number,
                org: org.clone(),
                filter: filter.clone(),
            },
            What::Entry { entry, seen, .. } => Up::Submit(Submission {
                number,
                entry: entry.clone(),
                again: seen.is_some(),
                seen: *seen.get_or_insert(heard),
            }),
        })
    }
}

/// The line to the owner of a partition.
pub struct Line {
    pub(crate) partition: PartitionId,
    state: Mutex<State>,
    /// The line has ended, or another owner is there: the keeper looks.
    changed: Notify,
    announced: Notify,
    /// Set while everything that is attached comes live: to where that began.
    whole: Arc<Known>,
    /// How far the log is known to go.
    heard: AtomicU64,
    /// Of the entries that wait.
    bytes: AtomicUsize,
    max_bytes: usize,
    drained: Notify,
    timeout: Duration,
    /// The same of all lines of the edge, for operators.
    waiting: Gauge,
}

impl Line {
    pub(crate) fn new(partition: PartitionId, config: &crate::Config, waiting: Gauge) -> Self {
        let state = State {
            next: 1,
            waiting: VecDeque::new(),
            up: None,
            opened: Instant::now(),
            line: 0,
            epoch: 0,
        };
        Self {
            partition,
            state: Mutex::new(state),
            changed: Notify::new(),
            announced: Notify::new(),
            whole: Arc::default(),
            heard: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            max_bytes: config.max_waiting.as_usize(),
            drained: Notify::new(),
            timeout: config.commit_timeout.get(),
            waiting,
        }
    }

    /// Submits an entry. What becomes of it goes to the ticket's holder, exactly once. The entries of one edge for one
    /// partition are judged in the order in which they are submitted, and after what was attached before.
    pub fn submit(&self, entry: Arc<Entry>, ticket: Ticket) {
        let size = entry.size();
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.waiting.inc_by(i64::try_from(size).unwrap_or(i64::MAX));
        self.push(What::Entry {
            entry,
            size,
            ticket,
            seen: None,
        });
    }

    pub(crate) fn attach(&self, org: OrgId, filter: TopicFilter, ready: Arc<Known>) {
        self.push(What::Attach { org, filter, ready });
    }

    fn push(&self, what: What) {
        let mut state = self.state.lock();
        let number = state.push(what);
        // Under the lock: the order on the line is that of the numbers.
        if state.up.is_some() && !state.send(number, self.heard()) {
            self.end(&mut state);
        }
    }

    /// Nobody here wants it any more. A line that is opened later begins without it.
    pub(crate) fn detach(&self, org: OrgId, filter: TopicFilter) {
        self.send(Up::Detach { org, filter });
    }

    /// Gives an entry to whoever is online now; it may be lost.
    pub(crate) fn transient(&self, entry: Arc<Entry>) {
        self.send(Up::Transient(entry));
    }

    fn send(&self, up: Up) {
        let mut state = self.state.lock();
        if state.up.as_ref().is_some_and(|line| !line.send(up)) {
            self.end(&mut state);
        }
    }

    fn end(&self, state: &mut State) {
        state.up = None;
        // What was said on it counts no more, even if it is still on its way.
        state.line += 1;
        self.whole.unset();
        self.changed.notify_one();
    }

    /// A line has ended.
    pub(crate) fn ended(&self, line: u64) {
        let mut state = self.state.lock();
        if state.line == line {
            self.end(&mut state);
        }
    }

    /// An owner says that it is there, under this epoch.
    pub(crate) fn owner_announced(&self, epoch: u64) {
        let mut state = self.state.lock();
        if epoch > state.epoch {
            state.epoch = epoch;
            // One that is only being opened too: whoever is being asked may be none any more, and not know it.
            self.end(&mut state);
        }
        drop(state);
        self.announced.notify_one();
    }

    /// Whether what an owner says on a line counts: not on one that has ended, nor under an epoch that is over.
    pub(crate) fn heeds(&self, line: u64, epoch: u64) -> bool {
        let mut state = self.state.lock();
        if state.line != line {
            return false;
        }
        if epoch < state.epoch {
            self.end(&mut state);
            return false;
        }
        state.epoch = epoch;
        true
    }

    /// Takes in the answers in what an owner says; whom they are for is told, and to be woken.
    pub(crate) fn answered(&self, routed: &mut Routed, touched: &mut Vec<Arc<Mailbox>>) {
        self.hear(routed.upto);
        let mut done = Vec::with_capacity(routed.answers.len());
        let mut state = self.state.lock();
        for (number, boundary) in routed.attached.drain(..) {
            if let Some(What::Attach { ready, .. }) = state.take(number) {
                ready.set_if_unset(boundary);
            }
        }
        for (number, outcome) in routed.answers.drain(..) {
            if let Some(What::Entry { ticket, size, .. }) = state.take(number) {
                done.push((ticket, size, outcome));
            }
        }
        drop(state);
        self.give(done, touched);
    }

    fn give(&self, done: Vec<(Ticket, usize, Outcome)>, touched: &mut Vec<Arc<Mailbox>>) {
        let bytes: usize = done.iter().map(|(_, size, _)| size).sum();
        self.waiting.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        if bytes > 0 && self.bytes.fetch_sub(bytes, Ordering::Relaxed) > self.max_bytes && !self.is_full() {
            self.drained.notify_waiters();
        }
        for (ticket, _, outcome) in done {
            ticket.give(outcome, touched);
        }
    }

    /// The log goes at least as far as this.
    pub(crate) fn hear(&self, upto: Position) {
        self.heard.fetch_max(upto.0, Ordering::Relaxed);
    }

    fn heard(&self) -> Position {
        Position(self.heard.load(Ordering::Relaxed))
    }

    /// What waits too long is told to be unknown.
    pub(crate) fn sweep(&self) {
        let (mut done, now) = (Vec::new(), Instant::now());
        let mut state = self.state.lock();
        let first = state.first();
        let late = |w: &Waiting| matches!(w.what, What::Entry { .. }) && now - w.since > self.timeout;
        let late: Vec<u64> = (first..)
            .zip(&state.waiting)
            .filter(|(_, w)| w.as_ref().is_some_and(late))
            .map(|(number, _)| number)
            .collect();
        for number in late {
            if let Some(What::Entry { ticket, size, .. }) = state.take(number) {
                done.push((ticket, size, Outcome::Unknown));
            }
        }
        drop(state);
        if done.is_empty() {
            return;
        }
        tracing::warn!(
            partition = %self.partition,
            messages = done.len(),
            "messages were not answered in time; their senders are told that the outcome is unknown"
        );
        let mut touched = Vec::new();
        self.give(done, &mut touched);
        touched.into_iter().for_each(|mailbox| mailbox.wake());
    }

    /// Whether the oldest thing that was sent, or the first word, has been waited for longer than an owner takes that
    /// lives.
    fn is_overdue(&self, limit: Duration) -> bool {
        let state = self.state.lock();
        let sent = state.waiting.iter().flatten().find_map(|w| w.sent);
        let unwelcomed = (!self.whole.is_known()).then_some(state.opened);
        let mut since = sent.into_iter().chain(unwelcomed);
        state.up.is_some() && since.any(|since| since.elapsed() > limit)
    }

    /// Set while everything that is attached comes live: to where that began. Not set while there is no line, so that
    /// nobody takes an attach for complete that a lost frame may have belonged to.
    pub(crate) fn whole(&self) -> Arc<Known> {
        self.whole.clone()
    }

    /// How many bytes of entries wait for an answer.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many things wait for an answer.
    pub fn unanswered(&self) -> usize {
        self.state.lock().waiting.iter().flatten().count()
    }

    /// Whether so much waits that who publishes here should not be read.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes() > self.max_bytes
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            // From here on it is noticed.
            drained.as_mut().enable();
            if !self.is_full() {
                return;
            }
            drained.await;
        }
    }
}
