//! Stores the progress of sessions, many in one write: at most once an interval each, or at once where somebody waits.
//!
//! Of a session, a later state replaces an earlier one, and at most one is being written at a time. So nothing older
//! overtakes, whichever write fails. All of this is decided under one lock.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::RpcError;
use contract::persistence::{Persistence, SaveSession, SessionKey};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::mailbox::{Mail, Mailbox};

/// Sessions in one write.
const BATCH: usize = 512;

type Write = dyn Fn(Vec<SaveSession>) -> BoxFuture<'static, Result<Vec<bool>, RpcError>> + Send + Sync;

/// Collects states until the next write.
pub struct Saver {
    write: Box<Write>,
    interval: Duration,
    states: Mutex<States>,
    /// Something is due after the interval …
    filled: Notify,
    /// … or somebody waits for it.
    waited_for: Notify,
    /// One flush at a time.
    turn: tokio::sync::Mutex<()>,
}

/// A session is in `pending` or in `urgent`, not in both; what is there is newer than what is in `writing`.
#[derive(Default)]
struct States {
    pending: HashMap<SessionKey, Progress>,
    urgent: HashMap<SessionKey, Progress>,
    /// What the write under way is about.
    writing: HashMap<SessionKey, Writing>,
}

/// The state of one session and who holds it.
struct Progress {
    epoch: u64,
    state: Bytes,
    holder: Arc<Mailbox>,
    /// Who waits to hear whether it was kept.
    waiting: Vec<oneshot::Sender<bool>>,
}

struct Writing {
    epoch: u64,
    /// If it fails it is not tried again.
    forgotten: bool,
    /// Who waits for its end; dropped then.
    ended: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    All,
    WaitedFor,
}

impl Saver {
    /// Writes at most once per `interval`, but for what somebody waits for.
    pub fn new(persistence: Arc<dyn Persistence>, interval: Duration) -> Arc<Self> {
        let write = move |saves| {
            let persistence = persistence.clone();
            let write: BoxFuture<'static, _> =
                Box::pin(async move { persistence.save_sessions(saves).await });
            write
        };
        Self::over(Box::new(write), interval)
    }

    fn over(write: Box<Write>, interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            write,
            interval,
            states: Mutex::default(),
            filled: Notify::new(),
            waited_for: Notify::new(),
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
        self.put(key, epoch, state, holder, None);
        self.filled.notify_one();
    }

    /// Stores a session's state now, in one write with all that are waited for: whether the session is still held here. `None`
    /// when the store does not say; then it is tried again as after [`Self::save`]. Waits as long as the store takes.
    pub async fn store(
        &self,
        key: SessionKey,
        epoch: u64,
        state: Bytes,
        holder: &Arc<Mailbox>,
    ) -> Option<bool> {
        let (waiting, kept) = oneshot::channel();
        self.put(key, epoch, state, holder, Some(waiting));
        self.waited_for.notify_one();
        kept.await.ok()
    }

    fn put(
        &self,
        key: SessionKey,
        epoch: u64,
        state: Bytes,
        holder: &Arc<Mailbox>,
        waiting: Option<oneshot::Sender<bool>>,
    ) {
        let progress = Progress {
            epoch,
            state,
            holder: holder.clone(),
            waiting: waiting.into_iter().collect(),
        };
        self.states.lock().put(key, progress);
    }

    /// The session is about to be closed by its holder of this epoch: no state of it is written after this returns. Waits for a
    /// write under way that holds one. A later holder's state stays.
    pub async fn forget(&self, key: &SessionKey, epoch: u64) {
        let ended = self.states.lock().forget(key, epoch);
        if let Some(ended) = ended {
            // An error: the sender is dropped when the write ends.
            let _ended = ended.await;
        }
    }

    /// Writes what was handed in. Never returns.
    pub async fn run(self: Arc<Self>) {
        let mut next = Instant::now();
        loop {
            let due = async {
                sleep_until(next).await;
                self.filled.notified().await;
            };
            tokio::select! {
                () = self.waited_for.notified() => self.flush(Due::WaitedFor).await,
                () = due => {
                    self.flush(Due::All).await;
                    next = Instant::now() + self.interval;
                }
            }
        }
    }

    async fn flush(&self, due: Due) {
        let _turn = self.turn.lock().await;
        let mut batch = Batch {
            saver: self,
            left: self.states.lock().take(due),
        };
        while !batch.left.is_empty() {
            let now = batch.left.len().min(BATCH);
            let save = |(key, p): &(SessionKey, Progress)| SaveSession {
                key: key.clone(),
                epoch: p.epoch,
                state: p.state.clone(),
            };
            match (self.write)(batch.left[..now].iter().map(save).collect()).await {
                Ok(kept) if kept.len() == now => batch.settle(kept),
                Ok(_) => return warn!("the store did not answer for each session; trying again"),
                Err(error) => {
                    let sessions = batch.left.len();
                    return warn!(%error, sessions, "the progress of sessions is not stored; trying again");
                }
            }
        }
    }
}

/// What has been taken and not been stored yet. Dropped, by a failure or because the process ends, it is given back.
struct Batch<'a> {
    saver: &'a Saver,
    left: Vec<(SessionKey, Progress)>,
}

impl Batch<'_> {
    fn settle(&mut self, kept: Vec<bool>) {
        let mut states = self.saver.states.lock();
        for ((key, progress), kept) in self.left.drain(..kept.len()).zip(kept) {
            states.writing.remove(&key);
            progress.answer(kept);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.left.is_empty() {
            return;
        }
        let mut states = self.saver.states.lock();
        for (key, progress) in self.left.drain(..) {
            states.give_back(key, progress);
        }
        self.saver.filled.notify_one();
    }
}

impl Progress {
    fn answer(self, kept: bool) {
        for waiting in self.waiting {
            let _gone = waiting.send(kept);
        }
        if !kept {
            self.holder.push(Mail::TakenOver(oneshot::channel().0));
        }
    }
}

impl States {
    fn put(&mut self, key: SessionKey, mut progress: Progress) {
        if let Some(mut former) = self.urgent.remove(&key).or_else(|| self.pending.remove(&key)) {
            if former.epoch > progress.epoch {
                // The session was opened again since: what its former holder says is refused, as the store would.
                std::mem::swap(&mut former, &mut progress);
            }
            if former.epoch == progress.epoch {
                // The later state has all that the earlier one had.
                progress.waiting.append(&mut former.waiting);
            } else {
                former.answer(false);
            }
        }
        let to = if progress.waiting.is_empty() {
            &mut self.pending
        } else {
            &mut self.urgent
        };
        to.insert(key, progress);
    }

    fn take(&mut self, due: Due) -> Vec<(SessionKey, Progress)> {
        let mut taken: Vec<_> = self.urgent.drain().collect();
        if due == Due::All {
            taken.extend(self.pending.drain());
        }
        for (key, progress) in &taken {
            let writing = Writing {
                epoch: progress.epoch,
                forgotten: false,
                ended: Vec::new(),
            };
            self.writing.insert(key.clone(), writing);
        }
        taken
    }

    /// It was not stored. Who waits hears so; it is tried again unless there is a later one, or it was forgotten.
    fn give_back(&mut self, key: SessionKey, mut progress: Progress) {
        progress.waiting.clear();
        let is_forgotten = self.writing.remove(&key).is_some_and(|w| w.forgotten);
        let has_later = self.urgent.contains_key(&key) || self.pending.contains_key(&key);
        if !is_forgotten && !has_later {
            self.pending.insert(key, progress);
        }
    }

    /// What to wait for: the end of a write that holds a state of it.
    fn forget(&mut self, key: &SessionKey, epoch: u64) -> Option<oneshot::Receiver<()>> {
        for waiting in [&mut self.pending, &mut self.urgent] {
            if waiting.get(key).is_some_and(|p| p.epoch <= epoch) {
                waiting.remove(key);
            }
        }
        let writing = self.writing.get_mut(key).filter(|w| w.epoch <= epoch)?;
        let (end, ended) = oneshot::channel();
        writing.forgotten = true;
        writing.ended.push(end);
        Some(ended)
    }
}
