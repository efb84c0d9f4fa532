//! The address book of one process: a table under a lock, by the clock of the runtime.

use std::time::Duration;

use ahash::AHashMap;
use async_trait::async_trait;
use model::{EdgeId, OrgId, UserId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Presence, PresenceBook, PresenceError};

/// [`PresenceBook`] within one process. Empty at start: the edges enter their connections again.
#[derive(Default)]
pub struct EmbeddedPresence {
    book: Mutex<Book>,
}

impl EmbeddedPresence {
    /// An empty book: the edges share it.
    pub fn new() -> Self {
        Self::default()
    }
}

#[derive(Default)]
struct Book {
    users: AHashMap<(OrgId, UserId), Vec<Entry>>,
    entries: usize,
    /// How many entries may stand before the next sweep.
    sweep_at: usize,
}

struct Entry {
    at: Presence,
    until: Instant,
}

impl Book {
    /// Enters a connection in place of its older entry.
    fn enter(&mut self, user: (OrgId, UserId), entry: Entry) {
        let entries = self.users.entry(user).or_default();
        match entries
            .iter_mut()
            .find(|e| e.at.connection == entry.at.connection)
        {
            Some(old) => *old = entry,
            None => {
                entries.push(entry);
                self.entries += 1;
            }
        }
    }

    /// Strikes out what has run out, of everyone, each time the book has doubled: its size follows the number of live
    /// connections, at a constant cost per entry.
    fn sweep(&mut self, now: Instant) {
        if self.entries < self.sweep_at {
            return;
        }
        self.users.retain(|_, entries| {
            entries.retain(|e| e.until > now);
            !entries.is_empty()
        });
        self.entries = self.users.values().map(Vec::len).sum();
        self.sweep_at = (2 * self.entries).max(1024);
    }
}

#[async_trait]
impl PresenceBook for EmbeddedPresence {
    async fn refresh(
        &self,
        org: &OrgId,
        user: &UserId,
        at: Presence,
        ttl: Duration,
    ) -> Result<(), PresenceError> {
        let now = Instant::now();
        let mut book = self.book.lock();
        book.sweep(now);
        book.enter((org.clone(), user.clone()), Entry { at, until: now + ttl });
        Ok(())
    }

    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
    ) -> Result<(), PresenceError> {
        let key = (org.clone(), user.clone());
        let mut book = self.book.lock();
        let Some(entries) = book.users.get_mut(&key) else {
            return Ok(());
        };
        let before = entries.len();
        entries.retain(|e| e.at.connection != connection || e.at.edge != *edge);
        let struck = before - entries.len();
        if entries.is_empty() {
            book.users.remove(&key);
        }
        book.entries -= struck;
        Ok(())
    }

    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError> {
        let now = Instant::now();
        let book = self.book.lock();
        let entries = book.users.get(&(org.clone(), user.clone()));
        let live = entries.into_iter().flatten().filter(|e| e.until > now);
        Ok(live.map(|e| e.at.clone()).collect())
    }
}
