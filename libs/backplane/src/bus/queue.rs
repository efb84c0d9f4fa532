//! What waits for one subscription or server.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How much one subscription or server may hold before it loses messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusLimits {
    /// Messages that wait. Default 65,536.
    pub messages: usize,
    /// Bytes of payload that wait. One message is taken whatever its size. Default 64 MiB.
    pub bytes: usize,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self {
            messages: 64 << 10,
            bytes: 64 << 20,
        }
    }
}

/// A bounded queue with one taker. Full, it refuses what comes rather than what waits, so that what waits keeps its order.
pub(super) struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    wake: Notify,
    lost: AtomicU64,
    limits: BusLimits,
}

struct Waiting<T> {
    items: Vec<T>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(limits: BusLimits) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                items: Vec::new(),
                bytes: 0,
                closed: false,
            }),
            wake: Notify::new(),
            lost: AtomicU64::new(0),
            limits,
        }
    }

    pub(super) fn push(&self, item: T, bytes: usize) {
        let mut waiting = self.waiting.lock();
        let first = waiting.items.is_empty();
        let full = waiting.items.len() >= self.limits.messages || waiting.bytes + bytes > self.limits.bytes;
        if full && !first {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += bytes;
        waiting.items.push(item);
        drop(waiting);
        // Only the first needs to wake the taker: it takes everything that has come until then.
        if first {
            self.wake.notify_one();
        }
    }

    /// How many did not fit.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Lets a taker look whether something other than the queue has changed.
    pub(super) fn nudge(&self) {
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// Everything that waits, at least one; `None` when closed and empty. Cancel safe: nothing is taken before the
    /// moment of return.
    pub(super) async fn take(&self) -> Option<Vec<T>> {
        self.take_unless(|| false).await
    }

    /// As [`Queue::take`]; but with nothing there, nothing is taken when `stop` holds. It is asked after each [`Queue::nudge`].
    pub(super) async fn take_unless(&self, stop: impl Fn() -> bool) -> Option<Vec<T>> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.items.is_empty() {
                    waiting.bytes = 0;
                    return Some(std::mem::take(&mut waiting.items));
                }
                if waiting.closed {
                    return None;
                }
            }
            if stop() {
                return Some(Vec::new());
            }
            self.wake.notified().await;
        }
    }
}
