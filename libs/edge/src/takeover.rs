//! How a session moves from one edge to another. The epoch of the session decides who holds it; what happens here only
//! lets the former holder store its progress first, so that less comes again, and close.

use std::sync::Arc;

use bytes::Bytes;
use contract::persistence::SessionKey;
use model::{ClientId, EdgeId, OrgId, UserId};
use tracing::debug;

use crate::Core;
use crate::core::retry;
use crate::mailbox::Mailbox;
use crate::registry::HANDOVER;

/// The subject, with the edge's id behind it, on which an edge is asked to let go of a session: org, user and client with
/// zero bytes between them.
const TAKEOVER_SUBJECT: &str = "takeover";

impl Core {
    /// Makes a connection the holder of a session. Whoever held it, on this edge or on another one that the address book
    /// knows of, is told to store its progress and close, and is waited for, for a second at most. `number` is the
    /// connection's own; give it to [`Registry::remove`] when it has stored its state.
    pub async fn take_over(&self, key: &SessionKey, number: u64, mailbox: &Arc<Mailbox>) {
        let here = self.registry.take_over(key, number, mailbox);
        tokio::join!(here, self.call_in(key));
    }

    async fn call_in(&self, key: &SessionKey) {
        let known = self.presence.connections(&key.org, &key.user);
        // Without the address book the epoch of the session still decides who holds it.
        let Ok(Ok(known)) = tokio::time::timeout(HANDOVER, known).await else {
            return;
        };
        let elsewhere = known
            .into_iter()
            .filter(|p| p.connection == *key.client && p.edge != self.id);
        for holder in elsewhere {
            self.drop_at(&holder.edge, key, None).await;
        }
    }

    /// Tells another edge to let go of a session, and waits until it has stored it, for a second at most. With the `epoch`
    /// at which the session was opened here, a connection there that has opened it again since stays.
    pub async fn drop_at(&self, edge: &EdgeId, key: &SessionKey, epoch: Option<u64>) {
        let epoch = epoch.map_or(String::new(), |epoch| epoch.to_string());
        let name = format!("{epoch}\0{}\0{}\0{}", key.org, key.user, key.client);
        let subject = format!("{TAKEOVER_SUBJECT}.{edge}");
        if let Err(error) = self.bus.request(&subject, name.into(), HANDOVER).await {
            debug!(%edge, %error, "the former holder of a session does not answer");
        }
    }

    pub(crate) async fn hear_of_takeovers(self: Arc<Self>) {
        let subject = format!("{TAKEOVER_SUBJECT}.{}", self.id);
        let mut requests = loop {
            match self.bus.serve(&subject).await {
                Ok(requests) => break requests,
                Err(error) => retry(&subject, &error).await,
            }
        };
        while let Some(request) = requests.next().await {
            let Some((epoch, key)) = session_key(&request.payload) else {
                continue;
            };
            let core = self.clone();
            tokio::spawn(async move {
                core.registry.release(&key, epoch).await;
                request.reply.send(Bytes::new());
            });
        }
    }
}

fn session_key(name: &[u8]) -> Option<(Option<u64>, SessionKey)> {
    let mut parts = std::str::from_utf8(name).ok()?.splitn(4, '\0');
    let epoch = parts.next()?.parse().ok();
    let key = SessionKey {
        org: OrgId::new(parts.next()?),
        user: UserId::new(parts.next()?),
        client: ClientId::new(parts.next()?),
    };
    Some((epoch, key))
}
