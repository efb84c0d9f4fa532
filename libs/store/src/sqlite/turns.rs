//! The turns of the writer thread: take what waits, commit it, tell memory, write a slice of the index.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use rusqlite::Connection;

use super::job::{Change, Ctx, Job, Mode};
use super::merge::Merge;
use super::shared::{Shared, sql};
use crate::StoreError;

/// At most this many jobs share a transaction.
const GROUP: usize = 512;
/// How long the thread rests after the disk refused.
const PAUSE: Duration = Duration::from_millis(100);

/// What the thread works with.
pub(super) struct State {
    pub conn: Connection,
    pub shared: Arc<Shared>,
    pub jobs: Receiver<Box<dyn Job>>,
    /// The id of the next message.
    pub next: i64,
    /// Messages in the tail at which it is written to the index.
    pub tail: usize,
    pub rest: Rest,
}

/// What it remembers between two turns.
#[derive(Default)]
pub(super) struct Rest {
    merge: Option<Merge>,
    /// A job that did not fit into the last group.
    waiting: Option<Box<dyn Job>>,
    /// Whether commits are synced now.
    synced: bool,
}

impl State {
    /// Works until the queue is closed and empty.
    pub fn run(&mut self) {
        loop {
            let first = match self.rest.waiting.take() {
                Some(job) => Some(job),
                // While the index is being written, jobs go first but are not waited for.
                None if self.rest.merge.is_some() => match self.jobs.try_recv() {
                    Ok(job) => Some(job),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return,
                },
                None => match self.jobs.recv() {
                    Ok(job) => Some(job),
                    Err(_) => return,
                },
            };
            if let Some(first) = first {
                let group = self.group(first);
                self.commit(group);
            }
            if let Err(error) = self.index(false) {
                tracing::warn!(%error, "writing the index failed; it will be tried again");
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn group(&mut self, first: Box<dyn Job>) -> Vec<Box<dyn Job>> {
        let alone = |job: &dyn Job| matches!(job.mode(), Mode::Log | Mode::Indexed);
        if alone(first.as_ref()) {
            return vec![first];
        }
        let mut group = vec![first];
        while group.len() < GROUP {
            match self.jobs.try_recv() {
                Ok(job) if alone(job.as_ref()) => {
                    self.rest.waiting = Some(job);
                    break;
                }
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        group
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        let indexed = match group.iter().any(|job| job.mode() == Mode::Indexed) {
            // What is not in the index would be entered later, though the job may have removed it.
            true => self.index(true),
            false => Ok(()),
        };
        let sync = group.iter().any(|job| job.mode() == Mode::Sync);
        let result = indexed
            .and_then(|()| self.durably(sync))
            .and_then(|()| self.transaction(&mut group));
        match result {
            Ok(changes) => {
                if sync {
                    self.shared.synced.fetch_add(1, Ordering::Relaxed);
                }
                self.publish(changes);
                group.into_iter().for_each(|job| job.finish(None));
            }
            Err(error) => {
                tracing::warn!(%error, "a transaction of the store failed");
                // Whatever is left of it; there may be nothing.
                let _nothing_left = self.conn.execute_batch("ROLLBACK");
                let failure = Failure::of(error);
                group
                    .into_iter()
                    .for_each(|job| job.finish(Some(failure.error())));
            }
        }
    }

    fn transaction(&mut self, group: &mut [Box<dyn Job>]) -> Result<Vec<Change>, StoreError> {
        let savepoints = group.len() > 1;
        self.exec("BEGIN IMMEDIATE")?;
        let mut all = Vec::new();
        for job in group {
            if savepoints {
                self.exec("SAVEPOINT job")?;
            }
            let mut ctx = Ctx {
                conn: &self.conn,
                shared: &self.shared,
                changes: Vec::new(),
                pending: &all,
                next: self.next,
            };
            let ok = job.run(&mut ctx);
            let changes = ctx.changes;
            if ok {
                all.extend(changes);
            } else if self.conn.is_autocommit() {
                // SQLite took the whole transaction back: the disk is full or failing.
                return Err(StoreError::Full("applying a change"));
            } else {
                self.exec(if savepoints { "ROLLBACK TO job" } else { "ROLLBACK" })?;
            }
            if savepoints {
                self.exec("RELEASE job")?;
            }
        }
        if !self.conn.is_autocommit() {
            self.exec("COMMIT")?;
        }
        Ok(all)
    }

    /// Whether the next commit is synced to the disk.
    fn durably(&mut self, sync: bool) -> Result<(), StoreError> {
        if sync != self.rest.synced {
            let mode = if sync {
                "PRAGMA synchronous = FULL"
            } else {
                "PRAGMA synchronous = NORMAL"
            };
            self.conn
                .execute_batch(mode)
                .map_err(sql("committing to the database"))?;
            self.rest.synced = sync;
        }
        Ok(())
    }

    fn exec(&self, text: &str) -> Result<(), StoreError> {
        let doing = sql("committing to the database");
        self.conn
            .prepare_cached(text)
            .and_then(|mut s| s.execute([]))
            .map(|_| ())
            .map_err(doing)
    }

    /// Tells memory what was committed.
    fn publish(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut moved = false;
        let mut mem = self.shared.mem.write();
        for change in changes {
            match change {
                Change::Topic(org, topic) => mem.topics.insert(&org, topic),
                Change::ReceiptHead(id, at) => {
                    mem.topics.change(id, |t| t.receipt_head = t.receipt_head.max(at));
                }
                Change::Progress(service, partition, to) => {
                    mem.progress.insert((service as u8, partition), to);
                    moved = true;
                }
                Change::Transient(key, session) => {
                    let mut transient = self.shared.transient.lock();
                    match session {
                        Some(session) => transient.insert(key, session),
                        None => transient.remove(&key),
                    };
                }
                Change::Appended(appended) => {
                    self.next += appended.len();
                    appended.publish(&mut mem);
                }
            }
        }
        if mem.topics.is_crowded() {
            mem.evict();
        }
        drop(mem);
        if moved {
            self.shared.applied.send_modify(|n| *n += 1);
        }
    }

    /// Writes a slice of the tail to the index when there is enough of it, or with `all` the whole tail.
    fn index(&mut self, all: bool) -> Result<(), StoreError> {
        loop {
            if self.rest.merge.is_none() {
                let taken = self.shared.mem.write().freeze(if all { 1 } else { self.tail });
                let Some((tail, sums)) = taken else {
                    return Ok(());
                };
                self.rest.merge = Some(Merge::new(&tail, sums));
            }
            self.index_slice()?;
            // The tail that is being written and the next one are all that memory holds.
            let behind = self.shared.mem.read().active.len >= self.tail;
            let hurry = all || (behind && self.rest.merge.is_some());
            if !hurry {
                return Ok(());
            }
        }
    }

    fn index_slice(&mut self) -> Result<(), StoreError> {
        self.durably(false)?;
        let Some(merge) = self.rest.merge.as_mut() else {
            return Ok(());
        };
        if merge.step(&self.conn)? {
            self.rest.merge = None;
            self.shared.mem.write().thaw();
        }
        Ok(())
    }
}

/// A failure that many callers are told.
struct Failure(rusqlite::ffi::Error, bool);

impl Failure {
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Sqlite {
                source: rusqlite::Error::SqliteFailure(code, _),
                ..
            } => Failure(code, false),
            StoreError::Full(_) => Failure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), true),
            _ => Failure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERNAL), false),
        }
    }

    fn error(&self) -> StoreError {
        if self.1 {
            return StoreError::Full("committing");
        }
        let source = rusqlite::Error::SqliteFailure(self.0, None);
        StoreError::Sqlite {
            operation: "committing",
            source,
        }
    }
}
