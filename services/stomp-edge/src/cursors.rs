//! Durable subscriptions: how far a visitor has got with a destination, kept while it is away.
//!
//! A visitor may have several pages open, each a connection with a delivery state of its own. None takes the session from
//! another. What all of them acknowledged goes into one [`Durable`] for each (visitor, destination, `client-id`) on this
//! edge: the union, so it only moves forward. The edge opens the stored session once, when the first page comes, and
//! closes it with the last.
//!
//! Pages on two edges: the edge that opened last holds the epoch, the other one's writes are refused. It goes on, and
//! when it has to store something it opens the session again (at most every [`REOPEN`], and when its last page leaves) and merges what it finds. So
//! a crash makes come again what was acknowledged since then, and nothing is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::RpcError;
use contract::persistence::{CloseSession, OpenSession, SaveSession, SessionKey};
use edge::Core;
use model::{PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use session::SavedState;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::progress::Progress;

/// How often an edge whose writes are refused opens a session again.
const REOPEN: Duration = Duration::from_secs(30);

/// How long a client waits for its progress to be stored.
const STORE: Duration = Duration::from_secs(2);

/// The durable subscriptions of this edge.
pub(crate) struct Cursors {
    core: Arc<Core>,
    expiry: u32,
    stored: Counter,
    open: Mutex<HashMap<SessionKey, Arc<Durable>>>,
    changed: Notify,
}

/// One durable subscription, shared by the pages of its visitor.
pub(crate) struct Durable {
    key: SessionKey,
    partition: PartitionId,
    filter: TopicFilter,
    /// Held while the session is opened or closed.
    gate: tokio::sync::Mutex<Life>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Life {
    pages: usize,
    ended: bool,
}

#[derive(Default)]
struct Inner {
    epoch: u64,
    progress: Option<Progress>,
    changed: bool,
    fenced: Option<Instant>,
}

impl Durable {
    /// The state for a page that begins now, where `boundary` is now: what is stored, or nothing before now.
    pub fn begin(&self, boundary: Position) -> SavedState {
        let mut inner = self.inner.lock();
        if inner.progress.is_none() {
            inner.changed = true;
        }
        let progress = inner.progress.get_or_insert_with(|| Progress::at(boundary));
        progress.to_state(self.partition, &self.filter)
    }

    fn take_over(&self, state: &SavedState) {
        let Some(of_page) = Progress::of(state) else {
            return;
        };
        let mut inner = self.inner.lock();
        let before = inner.progress.clone();
        match &mut inner.progress {
            Some(progress) => progress.merge(&of_page),
            None => inner.progress = Some(of_page),
        }
        inner.changed |= inner.progress != before;
    }

    fn encoded(&self, inner: &Inner) -> Bytes {
        let state = inner
            .progress
            .as_ref()
            .map(|p| p.to_state(self.partition, &self.filter));
        state.map_or_else(Bytes::new, |s| s.encode().into())
    }
}

impl Cursors {
    /// Sessions are forgotten `expiry` after their last page left. `stored` counts states that were stored.
    pub fn new(core: Arc<Core>, expiry: Duration, stored: Counter) -> Self {
        Self {
            core,
            stored,
            expiry: u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX),
            open: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A page subscribes. Every `join` needs its [`Self::leave`].
    pub async fn join(
        &self,
        key: SessionKey,
        partition: PartitionId,
        filter: &TopicFilter,
    ) -> Result<Arc<Durable>, RpcError> {
        loop {
            let durable = self.entry(&key, partition, filter);
            let mut life = durable.gate.lock().await;
            if life.ended {
                continue;
            }
            if life.pages == 0
                && let Err(error) = self.open_session(&durable).await
            {
                life.ended = true;
                self.open.lock().remove(&key);
                return Err(error);
            }
            life.pages += 1;
            drop(life);
            return Ok(durable);
        }
    }

    fn entry(&self, key: &SessionKey, partition: PartitionId, filter: &TopicFilter) -> Arc<Durable> {
        let new = || {
            Arc::new(Durable {
                key: key.clone(),
                partition,
                filter: filter.clone(),
                gate: tokio::sync::Mutex::default(),
                inner: Mutex::default(),
            })
        };
        self.open.lock().entry(key.clone()).or_insert_with(new).clone()
    }

    async fn open_session(&self, durable: &Durable) -> Result<(), RpcError> {
        let open = OpenSession {
            key: durable.key.clone(),
            clean_start: false,
            expiry: self.expiry,
            will: None,
            edge: self.core.id.clone(),
            identities: Vec::new(),
        };
        let opened = self.core.persistence.open_session(open).await?;
        match SavedState::decode(&opened.state) {
            Ok(state) => durable.take_over(&state),
            Err(error) => warn!(%error, "a stored subscription cannot be read; it begins anew"),
        }
        let mut inner = durable.inner.lock();
        (inner.epoch, inner.fenced) = (opened.epoch, None);
        Ok(())
    }

    /// What a page has acknowledged so far.
    pub fn report(&self, durable: &Durable, state: &SavedState) {
        durable.take_over(state);
        if durable.inner.lock().changed {
            self.changed.notify_one();
        }
    }

    /// A page unsubscribes or ends. With the last one the session is stored and starts to expire.
    pub async fn leave(&self, durable: &Durable) {
        let mut life = durable.gate.lock().await;
        life.pages -= 1;
        if life.pages > 0 {
            self.changed.notify_one();
            return;
        }
        life.ended = true;
        if let Err(error) = self.close_session(durable).await {
            warn!(%error, "the progress of a visitor is not stored; a little comes again");
        }
        self.open.lock().remove(&durable.key);
    }

    /// Whether the store takes its state: not when another edge has opened the session since.
    async fn save_one(&self, durable: &Durable) -> Result<bool, RpcError> {
        let fenced = durable.inner.lock().fenced.is_some();
        Ok(!fenced && self.save(&[durable]).await?)
    }

    /// Opens it again, taking over what another edge has stored; `false` when its last page has left meanwhile.
    async fn reopen(&self, durable: &Durable) -> Result<bool, RpcError> {
        let life = durable.gate.lock().await;
        if !life.ended {
            self.open_session(durable).await?;
        }
        Ok(!life.ended)
    }

    async fn close_session(&self, durable: &Durable) -> Result<(), RpcError> {
        // Asked once more: another edge may have opened the session since the last write.
        if !self.save_one(durable).await? {
            self.open_session(durable).await?;
        }
        let close = {
            let inner = durable.inner.lock();
            CloseSession {
                key: durable.key.clone(),
                epoch: inner.epoch,
                state: durable.encoded(&inner),
                expiry: self.expiry,
                at: self.core.now(),
                publish_will: false,
            }
        };
        self.core.persistence.close_session(close).await
    }

    /// The edge may have lost its sessions meanwhile: those that it has lost are opened again when their state is refused.
    pub fn verify(&self) {
        let open = self.open.lock();
        open.values()
            .for_each(|durable| durable.inner.lock().changed = true);
        self.changed.notify_one();
    }

    /// Stores these now, as far as they changed; what the store does not take in time is stored later.
    pub async fn store(&self, durables: &[Arc<Durable>]) {
        match tokio::time::timeout(STORE, self.store_these(durables)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "a subscription is stored later"),
            Err(_) => {
                for durable in durables {
                    durable.inner.lock().changed = true;
                }
                debug!("a subscription is stored later: the store does not answer");
            }
        }
        self.changed.notify_one();
    }

    async fn store_these(&self, durables: &[Arc<Durable>]) -> Result<(), RpcError> {
        for durable in durables {
            let changed = durable.inner.lock().changed;
            if changed && !self.save_one(durable).await? && self.reopen(durable).await? {
                self.save(&[durable]).await?;
            }
        }
        Ok(())
    }

    /// Stores what changed, at most once per interval. Never returns.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(self.core.saver.interval()).await;
            self.store_changed().await;
        }
    }

    async fn store_changed(&self) {
        let all: Vec<Arc<Durable>> = self.open.lock().values().cloned().collect();
        let mut due = Vec::new();
        for durable in &all {
            let state = {
                let inner = durable.inner.lock();
                (inner.changed, inner.fenced)
            };
            match state {
                (false, _) => {}
                (true, None) => due.push(&**durable),
                (true, Some(since)) if since.elapsed() < REOPEN => self.changed.notify_one(),
                (true, Some(_)) => match self.reopen(durable).await {
                    Ok(true) => due.push(&**durable),
                    Ok(false) => {}
                    Err(error) => debug!(%error, "a session is not opened again yet"),
                },
            }
        }
        if let Err(error) = self.save(&due).await {
            warn!(%error, sessions = due.len(), "the progress of visitors is not stored; trying again");
            self.changed.notify_one();
        }
    }

    /// Stores states; whether all were taken. Those that were not are marked.
    async fn save(&self, due: &[&Durable]) -> Result<bool, RpcError> {
        if due.is_empty() {
            return Ok(true);
        }
        let saves = due.iter().map(|durable| {
            let mut inner = durable.inner.lock();
            inner.changed = false;
            SaveSession {
                key: durable.key.clone(),
                epoch: inner.epoch,
                state: durable.encoded(&inner),
            }
        });
        let saves: Vec<SaveSession> = saves.collect();
        let epochs: Vec<u64> = saves.iter().map(|s| s.epoch).collect();
        let taken = self.core.persistence.save_sessions(saves).await;
        let mut all = true;
        for (i, durable) in due.iter().enumerate() {
            let took = taken.as_ref().is_ok_and(|t| t.get(i) == Some(&true));
            let mut inner = durable.inner.lock();
            if took {
                self.stored.inc();
            } else {
                all = false;
                inner.changed = true;
                if taken.is_ok() && epochs.get(i) == Some(&inner.epoch) {
                    inner.fenced.get_or_insert_with(Instant::now);
                }
            }
        }
        taken.map(|_| all)
    }
}

/// So that a position said by a client cannot lie in the future.
pub(crate) fn state_after(
    after: Position,
    boundary: Position,
    partition: PartitionId,
    filter: &TopicFilter,
) -> SavedState {
    Progress::at(after.min(boundary)).to_state(partition, filter)
}
