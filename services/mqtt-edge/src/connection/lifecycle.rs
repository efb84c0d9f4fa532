//! The session as the store has it: when it is stored, and whether it is still held here.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Connection;
use super::end::End;

/// Between two questions whether a session is still held here.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long SUBACK, and what is handed out after the lease was lost, waits for the session to be stored.
const STORED: Duration = Duration::from_secs(2);

impl Connection {
    /// Whether the session is known to be held here: the edge holds its lease, and has without a break since the store said
    /// so. Otherwise the store is asked, by storing the state.
    pub(super) async fn is_ours(&mut self) -> Result<bool, End> {
        let core = self.edge.core.clone();
        let (term, now) = (core.lease.term(), Instant::now());
        if !core.lease.is_held() {
            return Ok(false);
        }
        if self.held.term == term || !self.held.stored {
            return Ok(true);
        }
        if now < self.held.ask_again {
            return Ok(false);
        }
        match self.store_now().await {
            Some(true) => {
                self.held.term = term;
                Ok(core.lease.is_held())
            }
            Some(false) => Err(End::TakenOver),
            None => {
                self.held.ask_again = Instant::now() + ASK_AGAIN;
                Ok(false)
            }
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        let changed = self.receiver.session.revision() != self.held.saved_revision;
        self.held.expiry > 0 && (changed || self.held.received_unsaved)
    }

    pub(super) fn save(&mut self) {
        self.held.saved_revision = self.receiver.session.revision();
        let state = self.state();
        let saver = &self.edge.core.saver;
        saver.save(self.held.key.clone(), self.held.epoch, state, &self.mailbox);
    }

    /// What a kept session subscribes to is stored before SUBACK says that it does: no crash of this edge takes it back.
    /// When the store is away the session goes on, and is stored when it is back.
    pub(super) async fn keep_subscriptions(&mut self) {
        if self.held.expiry > 0 {
            let _later = self.store_now().await;
        }
    }

    /// Stores the session's state, in one write with those of all others that wait for theirs: whether the session is held here. `None` when the store does not say.
    pub(super) async fn store_now(&mut self) -> Option<bool> {
        let (core, revision) = (self.edge.core.clone(), self.receiver.session.revision());
        let state = self.state();
        let storing = core
            .saver
            .store(self.held.key.clone(), self.held.epoch, state, &self.mailbox);
        let kept = tokio::time::timeout(STORED, storing).await.ok().flatten();
        // What was not stored in time the saver stores later.
        self.held.saved_revision = revision;
        kept
    }

    /// What is stored of the session: nothing of one that ends with its connection.
    pub(super) fn state(&mut self) -> Bytes {
        self.held.received_unsaved = false;
        match self.held.expiry {
            0 => Bytes::new(),
            _ => self.receiver.state_without(&self.publishing.outbox.unsettled()),
        }
    }
}
