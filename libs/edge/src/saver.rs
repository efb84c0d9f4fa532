//! Stores the progress of sessions, many in one write, at most once an interval each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rpc::persistence::{Persistence, SaveSession, SessionKey};
use tokio::sync::{Notify, oneshot};
use tracing::warn;

use crate::mailbox::{Mail, Mailbox};

/// Collects states until the next write.
pub struct Saver {
    persistence: Arc<dyn Persistence>,
    interval: Duration,
    pending: Mutex<HashMap<SessionKey, Progress>>,
    filled: Notify,
    /// What the write under way is about.
    writing: Mutex<HashSet<SessionKey>>,
    turn: tokio::sync::Mutex<()>,
}

/// The state of one session and who holds it.
struct Progress {
    epoch: u64,
    state: Bytes,
    holder: Arc<Mailbox>,
}

impl Saver {
    /// Writes at most once per `interval`.
    pub fn new(persistence: Arc<dyn Persistence>, interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            persistence,
            interval,
            pending: Mutex::default(),
            filled: Notify::new(),
            writing: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The interval: a connection need not encode its state more often.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Hands in a session's state; a later one replaces it. Where the epoch turns out to be stale, the holder gets
    /// [`Mail::TakenOver`]: another connection has opened the session.
    pub fn save(&self, key: SessionKey, epoch: u64, state: Bytes, holder: &Arc<Mailbox>) {
        let holder = holder.clone();
        self.pending.lock().insert(key, Progress { epoch, state, holder });
        self.filled.notify_one();
    }

    /// The session is about to be closed with its last state: an older one must not be written after it. Waits for a
    /// write under way that may hold one.
    pub async fn forget(&self, key: &SessionKey) {
        if self.writing.lock().contains(key) {
            drop(self.turn.lock().await);
        }
        self.pending.lock().remove(key);
    }

    /// Writes what was handed in. Never returns.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            self.flush().await;
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Writes what was handed in so far.
    pub async fn flush(&self) {
        let _turn = self.turn.lock().await;
        let taken = {
            let mut pending = self.pending.lock();
            *self.writing.lock() = pending.keys().cloned().collect();
            std::mem::take(&mut *pending)
        };
        if taken.is_empty() {
            return;
        }
        let save = |(key, p): (&SessionKey, &Progress)| SaveSession {
            key: key.clone(),
            epoch: p.epoch,
            state: p.state.clone(),
        };
        match self
            .persistence
            .save_sessions(taken.iter().map(save).collect())
            .await
        {
            Ok(kept) => {
                let stale = taken.into_values().zip(kept).filter(|(_, kept)| !kept);
                stale.for_each(|(p, _)| p.holder.push(Mail::TakenOver(oneshot::channel().0)));
            }
            Err(error) => {
                warn!(%error, sessions = taken.len(), "the progress of sessions is not stored; trying again");
                let mut pending = self.pending.lock();
                for (key, progress) in taken {
                    pending.entry(key).or_insert(progress);
                }
                self.filled.notify_one();
            }
        }
        self.writing.lock().clear();
    }
}
