//! A session between its opening at persistence and CONNACK.

use std::sync::Arc;

use bytes::Bytes;
use contract::persistence::{CloseSession, SessionKey};
use edge::mailbox::Mailbox;
use model::Principal;
use tracing::debug;

use crate::edge::Edge;

/// A session that is being opened. Dropped before it is complete, it is closed again as it was: it would stay connected
/// for ever.
pub(super) struct Opening {
    pub edge: Arc<Edge>,
    pub key: SessionKey,
    pub number: u64,
    pub mailbox: Arc<Mailbox>,
    /// Its epoch, its expiry and its state, once persistence has opened it.
    pub opened: Option<(u64, u32, Bytes)>,
}

impl Opening {
    /// Becomes the connection that the session is for; whoever held it here stores its progress first.
    pub(super) async fn enter(edge: &Arc<Edge>, who: &Principal, client: &str) -> Self {
        let (core, limits) = (&edge.core, &edge.config.limits);
        let mailbox = Mailbox::new(limits.buffer * 4, limits.buffer_bytes.as_usize() * 4);
        let (key, number) = (SessionKey::of(who, client), core.connection_number());
        core.take_over(&key, number, &mailbox).await;
        Self {
            edge: edge.clone(),
            key,
            number,
            mailbox,
            opened: None,
        }
    }

    pub(super) fn complete(mut self) {
        self.number = 0;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.number == 0 {
            return;
        }
        let core = self.edge.core.clone();
        core.registry.remove(&self.key, self.number);
        self.mailbox.close();
        if let Some((epoch, expiry, state)) = self.opened.take() {
            let close = CloseSession {
                key: self.key.clone(),
                epoch,
                state,
                expiry,
                at: core.now(),
                publish_will: false,
            };
            tokio::spawn(async move {
                if let Err(error) = core.persistence.close_session(close).await {
                    debug!(%error, "a session that was not begun is not closed");
                }
            });
        }
    }
}
