//! Which session is held by which connection of this edge, and how a session moves from one holder to the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rpc::persistence::SessionKey;
use tokio::sync::oneshot;

use crate::mailbox::{Mail, Mailbox};

/// How long a former holder has to store its progress. Past that the new one goes on from what is stored: a little comes
/// again.
pub(crate) const HANDOVER: Duration = Duration::from_secs(1);

/// The sessions of this edge that are connected.
#[derive(Debug, Default)]
pub struct Registry {
    holders: Mutex<HashMap<SessionKey, (u64, Arc<Mailbox>)>>,
}

impl Registry {
    /// Makes a connection the holder. Whoever held the session on this edge is told to store its progress and close, and
    /// is waited for. `number` is the connection's own, to be given to [`Self::remove`].
    pub async fn take_over(&self, key: &SessionKey, number: u64, mailbox: &Arc<Mailbox>) {
        let former = self.holders.lock().insert(key.clone(), (number, mailbox.clone()));
        if let Some((_, former)) = former {
            release(&former).await;
        }
    }

    /// Another edge takes a session: the holder here, if there is one, stores its progress and closes.
    pub async fn release(&self, key: &SessionKey) {
        let holder = self.holders.lock().remove(key);
        if let Some((_, holder)) = holder {
            release(&holder).await;
        }
    }

    /// A connection ended and has stored its state: not before, or the next would begin without it. A later holder is not
    /// disturbed.
    pub fn remove(&self, key: &SessionKey, number: u64) {
        let mut holders = self.holders.lock();
        if holders.get(key).is_some_and(|(n, _)| *n == number) {
            holders.remove(key);
        }
    }
}

async fn release(former: &Arc<Mailbox>) {
    let (done, stored) = oneshot::channel();
    former.push(Mail::TakenOver(done));
    // Dropped unanswered or late: what is stored is what there is.
    let _late_or_gone = tokio::time::timeout(HANDOVER, stored).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClientId, OrgId, UserId};

    fn key() -> SessionKey {
        SessionKey {
            org: OrgId::new("o"),
            user: UserId::new("u"),
            client: ClientId::new("c"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_holder_waits_for_the_last_to_answer_or_end() {
        let (registry, key, at) = (Registry::default(), key(), tokio::time::Instant::now());
        let (first, second, third) = (Mailbox::new(1, 1), Mailbox::new(1, 1), Mailbox::new(1, 1));
        registry.take_over(&key, 1, &first).await;
        let answering = async {
            let mut mail = Vec::new();
            first.take(&mut mail).await;
            let Some(Mail::TakenOver(done)) = mail.pop() else {
                panic!("told to close")
            };
            registry.remove(&key, 1);
            done.send(()).unwrap();
        };
        tokio::join!(registry.take_over(&key, 2, &second), answering);
        second.close();
        registry.take_over(&key, 3, &third).await;
        assert_eq!(at.elapsed(), Duration::ZERO);
        registry.release(&key).await;
        assert_eq!(
            at.elapsed(),
            HANDOVER,
            "one that does not answer is not waited for any longer"
        );
        assert!(registry.holders.lock().is_empty());
    }
}
