//! Stores the progress of sessions, many in one write, at most once an interval each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rpc::persistence::{Persistence, SaveSession, SessionKey};
use tokio::sync::Notify;
use tracing::warn;

/// Collects states until the next write.
pub struct Saver {
    persistence: Arc<dyn Persistence>,
    interval: Duration,
    pending: Mutex<HashMap<SessionKey, (u64, Bytes)>>,
    filled: Notify,
}

impl Saver {
    /// Writes at most once per `interval`.
    pub fn new(persistence: Arc<dyn Persistence>, interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            persistence,
            interval,
            pending: Mutex::default(),
            filled: Notify::new(),
        })
    }

    /// The interval: a connection need not encode its state more often.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Hands in a session's state; a later one replaces it.
    pub fn save(&self, key: SessionKey, epoch: u64, state: Bytes) {
        self.pending.lock().insert(key, (epoch, state));
        self.filled.notify_one();
    }

    /// The session is closed with its last state: an older one must not be written after it.
    pub fn forget(&self, key: &SessionKey) {
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
        let pending = std::mem::take(&mut *self.pending.lock());
        if pending.is_empty() {
            return;
        }
        let saves: Vec<SaveSession> = pending
            .into_iter()
            .map(|(key, (epoch, state))| SaveSession { key, epoch, state })
            .collect();
        if let Err(error) = self.persistence.save_sessions(saves.clone()).await {
            warn!(%error, sessions = saves.len(), "the progress of sessions is not stored; trying again");
            let mut pending = self.pending.lock();
            for save in saves {
                pending.entry(save.key).or_insert((save.epoch, save.state));
            }
            self.filled.notify_one();
        }
    }
}
