//! What the parts of the store have in common.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use contract::persistence::SessionKey;
use model::{EdgeId, PartitionId, Position, UnixMillis};
use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use tokio::sync::{Notify, Semaphore, watch};

use super::mem::Mem;
use crate::StoreError;
use crate::rules::sessions::next_epoch;

/// How the store uses the machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Page cache of the writer, in KiB.
    pub writer_cache_kib: u64,
    /// Page cache of each reader, in KiB.
    pub reader_cache_kib: u64,
    /// How much of the file readers may map.
    pub mmap_bytes: u64,
    /// Reading connections.
    pub readers: usize,
    /// Messages indexed in memory before they are written to the index; what a start reads again.
    pub tail: usize,
    /// Topics kept in memory though nothing happens in them.
    pub topics: usize,
    /// Size of the write-ahead log at which a checkpoint is taken.
    pub wal_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            writer_cache_kib: 64 << 10,
            reader_cache_kib: 8 << 10,
            mmap_bytes: 1 << 30,
            readers: 4,
            tail: 65_536,
            topics: 50_000,
            wal_bytes: 32 << 20,
        }
    }
}

/// What the writer thread and the readers share.
pub(super) struct Shared {
    pub path: PathBuf,
    pub options: Options,
    pub mem: RwLock<Mem>,
    pub readers: Mutex<Vec<Connection>>,
    pub permits: Semaphore,
    /// Grows with each change of progress.
    pub applied: watch::Sender<u64>,
    /// Who is asked to hurry, by service.
    pub hurry: [Notify; 2],
    /// Commits that were synced so far.
    pub synced: AtomicU64,
    /// The last session epoch given.
    pub epoch: AtomicU64,
    /// Where the last page of each partition's uids ended.
    pub uid_pages: Mutex<AHashMap<PartitionId, Ended>>,
    /// Connected sessions of which nothing is stored: epoch and edge.
    pub transient: Mutex<AHashMap<SessionKey, (u64, EdgeId)>>,
}

/// Where a page of uids ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// The last position of it.
    pub position: Position,
    /// Every message of the partition up to that position has this id or a lower one.
    pub id: i64,
}

impl Shared {
    /// An epoch that no session ever had.
    pub fn next_epoch(&self, now: UnixMillis) -> u64 {
        let next = |last| Some(next_epoch(last, now));
        let last = self.epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        next_epoch(last.unwrap_or_default(), now)
    }
}

/// Names what SQLite refused.
pub(super) fn sql(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    StoreError::sqlite(operation)
}

/// Positions, hashes and times are stored as what SQLite has.
pub(super) fn int(n: u64) -> i64 {
    n as i64
}

/// A limit; without one as much as SQLite can count.
pub(super) fn at_most(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
