//! SQLite: one file, one thread that writes, a few connections that read.
//!
//! ```text
//!  apply, open_session, … ─► queue ─► writer thread ─┬─► database (WAL) ◄── checkpointer
//!                                                    └─► memory: topics, tail of the index
//!  backlog, history, …    ─► memory first, then a reading connection
//! ```

mod apply;
mod backlog;
mod checkpoint;
mod cold;
mod directory;
mod explain;
mod history;
mod identities;
mod job;
mod load;
mod lookup;
mod mem;
mod merge;
mod receipts;
mod schema;
mod sessions;
mod shared;
mod threads;
mod topics;
mod turns;
mod uids;
mod unread;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use model::{PartitionId, Position};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::{Semaphore, watch};

use crate::{Service, StoreError};
use job::{Ctx, Mode};
use mem::Mem;
pub use shared::Options;
use shared::{Shared, sql};
use writer::Writer;

/// The store of one process. Clones are the same store; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

impl SqliteStore {
    /// Brings the schema of the file up, making the file when it is not there.
    ///
    /// # Errors
    /// When the schema is newer than this version, or the disk refuses.
    pub fn migrate(path: &Path) -> Result<(), StoreError> {
        schema::migrate(path)
    }

    /// Opens a migrated file. Reads the newest messages into memory, and their topics.
    ///
    /// # Errors
    /// When the schema is not ours, or the disk refuses.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let conn = schema::writer(path, &options)?;
        let loaded = load::load(&conn, &options)?;
        let mut readers = Vec::with_capacity(options.readers);
        for _ in 0..options.readers.max(1) {
            readers.push(schema::reader(path, &options)?);
        }
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            options: options.clone(),
            mem: RwLock::new(loaded.mem),
            permits: Semaphore::new(readers.len()),
            readers: Mutex::new(readers),
            applied: watch::Sender::new(0),
            hurry: Default::default(),
            synced: AtomicU64::new(0),
            epoch: AtomicU64::new(loaded.epoch),
            uid_pages: Mutex::default(),
            transient: Mutex::default(),
        });
        let checkpointer = checkpoint::start(path, schema::checkpointer(path)?, options.wal_bytes)?;
        let writer = Writer::start(conn, shared.clone(), &options, loaded.next, checkpointer)?;
        Ok(Self {
            shared,
            writer: Arc::new(writer),
        })
    }

    /// Runs `work` on a reading connection, with what is in memory.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &RwLock<Mem>) -> Result<T, StoreError> + Send + 'static,
    {
        let shared = self.shared.clone();
        let _permit = self
            .shared
            .permits
            .acquire()
            .await
            .map_err(|_| StoreError::Closed)?;
        let run = tokio::task::spawn_blocking(move || {
            // A caller that gave up has returned its permit while its read still runs.
            let conn = shared.readers.lock().pop();
            let conn = conn.map_or_else(|| schema::reader(&shared.path, &shared.options), Ok)?;
            let result = work(&conn, &shared.mem);
            let mut readers = shared.readers.lock();
            if readers.len() < shared.options.readers {
                readers.push(conn);
            }
            result
        });
        run.await.map_err(|_| StoreError::Closed)?
    }

    /// The same with one snapshot of the database: its locks are taken once and not for every statement. For work that
    /// asks memory first and never after it has asked the database, where what memory gave up meanwhile would be missed.
    async fn read_snapshot<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &RwLock<Mem>) -> Result<T, StoreError> + Send + 'static,
    {
        self.read(move |conn, mem| {
            let snapshot = conn.unchecked_transaction().map_err(sql("beginning to read"))?;
            let result = work(&snapshot, mem)?;
            snapshot.finish().map_err(sql("ending to read"))?;
            Ok(result)
        })
        .await
    }

    /// Runs `work` in the writer.
    async fn write<T, F>(&self, mode: Mode, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ctx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.call(mode, work).await
    }

    async fn wait(
        &self,
        service: Service,
        partition: PartitionId,
        upto: Position,
        limit: Duration,
    ) -> Position {
        let applied = || self.shared.mem.read().applied(service, partition);
        let mut changes = self.shared.applied.subscribe();
        let reached = async { while applied() < upto && changes.changed().await.is_ok() {} };
        // Whether it was reached or the time is over shows in the answer.
        let _timed_out = tokio::time::timeout(limit, reached).await;
        applied()
    }
}

#[cfg(test)]
mod tests;
