//! The address book of one process: a table under a lock, by the clock of the runtime.

use std::time::Duration;

use ahash::AHashMap;
use async_trait::async_trait;
use model::{EdgeId, OrgId, UserId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Departed, Entered, Presence, PresenceBook, PresenceError};

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

type Who = (OrgId, UserId);

#[derive(Default)]
struct Book {
    users: AHashMap<Who, Vec<Line>>,
    /// Users that are taken to be there, with their cards, and until when.
    there: AHashMap<Who, (String, Instant)>,
    lines: usize,
    /// How many lines may stand before the next sweep.
    sweep_at: usize,
}

struct Line {
    at: Presence,
    until: Instant,
}

impl Book {
    /// Enters a connection in place of its older line; whether its user comes with it.
    fn enter(&mut self, entered: &Entered, until: Instant) -> bool {
        let who = (entered.org.clone(), entered.user.clone());
        let at = entered.at.clone();
        let lines = self.users.entry(who.clone()).or_default();
        match lines.iter_mut().find(|l| l.at.connection == at.connection) {
            Some(old) => *old = Line { at, until },
            None => {
                lines.push(Line { at, until });
                self.lines += 1;
            }
        }
        if entered.card.is_empty() {
            return false;
        }
        let last = lines.iter().map(|l| l.until).max().unwrap_or(until);
        self.there.insert(who, (entered.card.clone(), last)).is_none()
    }

    fn remove(&mut self, who: &Who, connection: &str, edge: &EdgeId, now: Instant, linger: Duration) {
        let Some(lines) = self.users.get_mut(who) else {
            return;
        };
        let before = lines.len();
        lines.retain(|l| l.at.connection != connection || l.at.edge != *edge);
        if lines.len() == before {
            return;
        }
        self.lines -= before - lines.len();
        let last = lines.iter().map(|l| l.until).max();
        if lines.is_empty() {
            self.users.remove(who);
        }
        if let Some((_, until)) = self.there.get_mut(who) {
            *until = last.map_or(now + linger, |last| last.max(now + linger));
        }
    }

    /// Strikes out what has run out, of everyone, each time the book has doubled: its size follows the number of live
    /// connections, at a constant cost per line.
    fn sweep(&mut self, now: Instant) {
        if self.lines < self.sweep_at {
            return;
        }
        self.users.retain(|_, lines| {
            lines.retain(|l| l.until > now);
            !lines.is_empty()
        });
        self.lines = self.users.values().map(Vec::len).sum();
        self.sweep_at = (2 * self.lines).max(1024);
    }
}

#[async_trait]
impl PresenceBook for EmbeddedPresence {
    async fn enter(&self, entered: &[Entered], ttl: Duration) -> Result<Vec<bool>, PresenceError> {
        let now = Instant::now();
        let mut book = self.book.lock();
        book.sweep(now);
        Ok(entered.iter().map(|e| book.enter(e, now + ttl)).collect())
    }

    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
        linger: Duration,
    ) -> Result<(), PresenceError> {
        let who = (org.clone(), user.clone());
        self.book
            .lock()
            .remove(&who, connection, edge, Instant::now(), linger);
        Ok(())
    }

    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError> {
        let now = Instant::now();
        let book = self.book.lock();
        let lines = book.users.get(&(org.clone(), user.clone()));
        let live = lines.into_iter().flatten().filter(|l| l.until > now);
        Ok(live.map(|l| l.at.clone()).collect())
    }

    async fn departed(&self, limit: usize) -> Result<Vec<Departed>, PresenceError> {
        let now = Instant::now();
        let mut book = self.book.lock();
        let overdue = book.there.iter().filter(|(_, (_, until))| *until <= now);
        let gone: Vec<Who> = overdue.map(|(who, _)| who.clone()).take(limit).collect();
        let strike = |who: Who| {
            let (card, _) = book.there.remove(&who)?;
            let (org, user) = who;
            Some(Departed { org, user, card })
        };
        Ok(gone.into_iter().filter_map(strike).collect())
    }
}
