//! Which session is held by which connection of this edge, and how a session moves from one holder to the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::persistence::SessionKey;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::mailbox::{Mail, Mailbox};

/// How long a former holder has to store its progress. Past that the new one goes on from what is stored: a little comes
/// again.
pub(crate) const HANDOVER: Duration = Duration::from_secs(1);

/// The sessions of this edge that are connected.
#[derive(Debug, Default)]
pub struct Registry {
    holders: Mutex<HashMap<SessionKey, Holder>>,
}

#[derive(Debug)]
struct Holder {
    number: u64,
    mailbox: Arc<Mailbox>,
    /// Of the session; 0 until it is opened.
    epoch: u64,
    /// The highest epoch at which another connection is known to have opened the session.
    elsewhere: u64,
}

impl Registry {
    /// Makes a connection the holder. Whoever held the session on this edge is told to store its progress and close, and
    /// is waited for. `number` is the connection's own, to be given to [`Self::remove`].
    pub async fn take_over(&self, key: &SessionKey, number: u64, mailbox: &Arc<Mailbox>) {
        let holder = Holder {
            number,
            mailbox: mailbox.clone(),
            epoch: 0,
            elsewhere: 0,
        };
        let former = self.holders.lock().insert(key.clone(), holder);
        if let Some(former) = former {
            release(&former.mailbox).await;
        }
    }

    /// The connection has opened the session. If another one did so after it, it is told.
    pub fn opened(&self, key: &SessionKey, number: u64, epoch: u64) {
        let mut holders = self.holders.lock();
        let Some(holder) = holders.get_mut(key).filter(|holder| holder.number == number) else {
            return;
        };
        holder.epoch = epoch;
        if holder.elsewhere > epoch {
            holder.mailbox.push(Mail::TakenOver(oneshot::channel().0));
            holders.remove(key);
        }
    }

    /// Another edge takes a session: the holder here, if there is one, stores its progress and closes. With `epoch` the
    /// other one has opened it at that; a holder that came after it stays.
    pub async fn release(&self, key: &SessionKey, epoch: Option<u64>) {
        if let Some(holder) = self.superseded(key, epoch) {
            release(&holder).await;
        }
    }

    fn superseded(&self, key: &SessionKey, epoch: Option<u64>) -> Option<Arc<Mailbox>> {
        let mut holders = self.holders.lock();
        let holder = holders.get_mut(key)?;
        if let Some(epoch) = epoch {
            holder.elsewhere = epoch.max(holder.elsewhere);
            if holder.epoch == 0 || holder.epoch >= epoch {
                return None;
            }
        }
        holders.remove(key).map(|holder| holder.mailbox)
    }

    /// A connection ended and has stored its state: not before, or the next would begin without it. A later holder is not
    /// disturbed.
    pub fn remove(&self, key: &SessionKey, number: u64) {
        let mut holders = self.holders.lock();
        if holders.get(key).is_some_and(|holder| holder.number == number) {
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
        registry.release(&key, None).await;
        assert_eq!(
            at.elapsed(),
            HANDOVER,
            "one that does not answer is not waited for any longer"
        );
        assert!(registry.holders.lock().is_empty());
    }

    async fn is_told(mailbox: &Mailbox) -> bool {
        let mut mail = Vec::new();
        let taken = tokio::time::timeout(Duration::ZERO, mailbox.take(&mut mail)).await;
        taken.is_ok() && matches!(mail[..], [Mail::TakenOver(_)])
    }

    /// What another edge says comes late: this edge may hold the session again by then.
    #[tokio::test(start_paused = true)]
    async fn a_holder_is_released_only_for_one_that_came_after_it() {
        let (registry, key, mailbox) = (Registry::default(), key(), Mailbox::new(1, 1));
        registry.take_over(&key, 1, &mailbox).await;
        registry.release(&key, Some(5)).await;
        registry.opened(&key, 1, 6);
        registry.release(&key, Some(5)).await;
        assert!(!is_told(&mailbox).await);
        registry.release(&key, Some(7)).await;
        assert!(is_told(&mailbox).await);

        registry.take_over(&key, 2, &mailbox).await;
        registry.release(&key, Some(9)).await;
        assert!(
            !is_told(&mailbox).await,
            "which of them is the later one is not known yet"
        );
        registry.opened(&key, 2, 8);
        assert!(is_told(&mailbox).await);
        assert!(registry.holders.lock().is_empty());
    }
}
