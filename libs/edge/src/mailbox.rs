//! What waits for one connection. Bounded: a connection that does not take its mail loses live entries, is told so, and
//! reads on from the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{PartitionId, Position};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};

use crate::Refusal;
use crate::delivery::Delivery;
use contract::routing::Outcome;

/// From where on a filter comes live, for each partition that it concerns.
pub type Boundaries = SmallVec<[(PartitionId, Position); 1]>;

/// One thing for a connection to deal with.
#[derive(Debug)]
pub enum Mail {
    /// An entry of a topic it attached to.
    Live(Arc<Delivery>),
    /// Entries of this partition were lost on the way to the edge. What comes live may have holes until the boundary that
    /// follows this.
    Gap(PartitionId),
    /// Everything of this partition after the position comes live to the edge; what is before it has to be read from the store.
    Boundary(PartitionId, Position),
    /// The mailbox had no room: of this partition, what is up to the position has to be read from the store. Says nothing of what
    /// was lost on the way to the edge.
    Skipped(PartitionId, Position),
    /// What became of a message that the connection published.
    Settled {
        /// The connection's own name for it.
        token: u64,
        /// The outcome.
        outcome: Outcome,
    },
    /// The connection's attach under this name is complete.
    Attached {
        /// The connection's own name for it.
        token: u64,
        /// For each filter, from where on it comes live.
        boundaries: Vec<Boundaries>,
    },
    /// Retained messages for a new subscription, with the QoS granted to it.
    Retained(Vec<Arc<Delivery>>, u8),
    /// Close: another connection holds the session now, or wants to. Answer when the session's state has been stored.
    TakenOver(oneshot::Sender<()>),
    /// The edge did not hold its lease for a while: store the session's state now, which tells whether the session is
    /// still held here.
    Verify,
    /// The edge is cut off from the rest: close, so that the client goes elsewhere.
    Leave,
    /// Close: the client may not be the user that it says it is any more.
    Refused(Refusal),
}

#[derive(Debug, Default)]
struct Inner {
    mail: VecDeque<Mail>,
    live: usize,
    live_bytes: usize,
    skipped: SmallVec<[(PartitionId, Position); 2]>,
    closed: bool,
}

/// The mailbox of one connection. Filled by the dispatcher, emptied by the connection's task.
#[derive(Debug)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    notify: Notify,
    mark: AtomicU64,
    /// Given when it is entered into the table, in the order of entering; 0 before.
    pub(crate) number: AtomicU64,
    max_live: usize,
    max_live_bytes: usize,
}

impl Mailbox {
    /// At most `max_live` entries of about `max_live_bytes` wait; mail of other kinds always fits.
    pub fn new(max_live: usize, max_live_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            notify: Notify::new(),
            mark: AtomicU64::new(0),
            number: AtomicU64::new(0),
            max_live,
            max_live_bytes,
        })
    }

    /// Puts an entry in without waking the connection. What does not fit is remembered as skipped.
    pub(crate) fn push_live(&self, delivery: &Arc<Delivery>) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        let in_log = delivery.position > Position::START;
        let skipped = inner.skipped.iter_mut().find(|(p, _)| *p == delivery.partition);
        if let Some((_, upto)) = skipped {
            // Order within a partition: once something was skipped, all after it is.
            if in_log {
                *upto = delivery.position;
            }
            return;
        }
        if inner.live >= self.max_live || inner.live_bytes >= self.max_live_bytes {
            if in_log {
                inner.skipped.push((delivery.partition, delivery.position));
            }
            return;
        }
        inner.live += 1;
        inner.live_bytes += delivery.cost();
        inner.mail.push_back(Mail::Live(delivery.clone()));
    }

    /// Puts mail in without waking the connection.
    pub(crate) fn push_quietly(&self, mail: Mail) {
        let mut inner = self.inner.lock();
        if !inner.closed {
            inner.mail.push_back(mail);
        }
    }

    /// Puts mail in and wakes the connection.
    pub fn push(&self, mail: Mail) {
        self.push_quietly(mail);
        self.wake();
    }

    /// Nobody takes mail any more: what is there and what still comes is dropped, and with it the question of whoever
    /// waits for the connection to end.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let mail = std::mem::take(&mut inner.mail);
        drop(inner);
        drop(mail);
    }

    /// Its place in the order of entering; 0 before it is entered.
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Wakes the connection.
    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Marks the mailbox with a number; whether it had another one. Lets the dispatcher give an entry once, however many
    /// filters match.
    pub(crate) fn mark(&self, with: u64) -> bool {
        self.mark.swap(with, Ordering::Relaxed) != with
    }

    /// Takes all mail, appending it to `out`; waits when there is none. Cancel safe.
    pub async fn take(&self, out: &mut Vec<Mail>) {
        while !self.try_take(out) {
            self.notify.notified().await;
        }
    }

    /// Takes all mail there is now; whether there was any.
    pub fn try_take(&self, out: &mut Vec<Mail>) -> bool {
        let mut inner = self.inner.lock();
        let before = out.len();
        out.extend(inner.mail.drain(..));
        for (partition, upto) in std::mem::take(&mut inner.skipped) {
            out.push(Mail::Skipped(partition, upto));
        }
        (inner.live, inner.live_bytes) = (0, 0);
        if inner.mail.capacity() > 64 {
            inner.mail = VecDeque::new();
        }
        out.len() > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(partition: u16, position: u64) -> Arc<Delivery> {
        Arc::new(Delivery::new(
            PartitionId(partition),
            Position(position),
            None,
            wire::Entry::default(),
        ))
    }

    /// Counts the bytes of frames that are in memory.
    struct Frame(Vec<u8>, Arc<AtomicU64>);

    impl Frame {
        fn of(entry: &wire::Entry, others: usize, pinned: &Arc<AtomicU64>) -> bytes::Bytes {
            let mut frame = entry.to_bytes().to_vec();
            frame.resize(frame.len() + others, 0);
            pinned.fetch_add(frame.len() as u64, Ordering::Relaxed);
            bytes::Bytes::from_owner(Frame(frame, pinned.clone()))
        }
    }

    impl AsRef<[u8]> for Frame {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Frame {
        fn drop(&mut self) {
            self.1.fetch_sub(self.0.len() as u64, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_waits_keeps_no_more_in_memory_than_a_few_times_what_it_counts() {
        let (mailbox, pinned) = (Mailbox::new(1_024, 1 << 20), Arc::new(AtomicU64::new(0)));
        for i in 1..=1_024 {
            let entry = wire::Entry {
                payload: vec![b'x'; 64 << (i % 8)].into(),
                ..wire::Entry::default()
            };
            // One entry for this mailbox in each frame, beside none, some or many for others.
            let others = [0, 300, 4 << 10, 512 << 10][i % 4];
            let frame = Frame::of(&entry, others, &pinned);
            let whole = frame.len();
            let entry = wire::frame::decode_entry(frame.slice(..entry.to_bytes().len())).unwrap();
            drop(frame);
            let at = Position(i as u64);
            mailbox.push_live(&Arc::new(Delivery::out_of(
                whole,
                PartitionId(0),
                at,
                None,
                entry,
            )));
        }
        let counted = mailbox.inner.lock().live_bytes;
        let pinned = pinned.load(Ordering::Relaxed);
        assert!(pinned > 0, "the larger part of a frame is not copied");
        assert!(
            pinned <= (counted * wire::Entry::PINNED) as u64,
            "{pinned} bytes are kept, {counted} counted"
        );
    }

    fn positions(mail: &[Mail]) -> Vec<String> {
        mail.iter()
            .map(|m| match m {
                Mail::Live(d) => format!("{}:{}", d.partition, d.position),
                Mail::Gap(p) => format!("gap {p}"),
                Mail::Skipped(p, b) => format!("skipped {p}:{b}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn who_waits_for_a_closed_mailbox_waits_no_longer() {
        let mailbox = Mailbox::new(2, usize::MAX);
        let (before, mut at_once) = oneshot::channel();
        mailbox.push(Mail::TakenOver(before));
        mailbox.close();
        assert!(
            at_once
                .try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Closed)
        );
        let (after, mut at_once) = oneshot::channel();
        mailbox.push(Mail::TakenOver(after));
        assert!(
            at_once
                .try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Closed)
        );
        mailbox.push_live(&delivery(0, 1));
        assert!(!mailbox.try_take(&mut Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_told_and_nothing_after_it_overtakes() {
        let mailbox = Mailbox::new(2, usize::MAX);
        for i in 1..=4 {
            mailbox.push_live(&delivery(0, i));
        }
        mailbox.push_live(&delivery(1, 9));
        let mut out = Vec::new();
        assert!(mailbox.try_take(&mut out));
        assert_eq!(positions(&out), ["0:1", "0:2", "skipped 0:4", "skipped 1:9"]);
        out.clear();
        mailbox.push_live(&delivery(0, 5));
        assert!(mailbox.try_take(&mut out));
        assert_eq!(positions(&out), ["0:5"]);
        assert!(!mailbox.try_take(&mut out));
    }
}
