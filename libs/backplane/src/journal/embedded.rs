//! The journal of one process: one sequence of segment files for all partitions, and one thread that writes it.
//!
//! ```text
//!  append ─► queue ─► writer: encode, one write, one fdatasync ─► memory + index ─► answers
//!                                                                              └─► readers that wait, a moment later
//! ```
//!
//! One sync commits everything that waits, whichever partition it is for. See docs/adr/0003-embedded-journal.md.

mod batch;
mod config;
mod disk;
mod format;
mod heads;
mod log;
mod queue;
mod reader;
mod recovery;
mod scan;
#[cfg(test)]
mod tests;
mod window;
mod writer;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use config::{JournalConfig, OpenError};
use disk::{Disk, RealDisk};
use format::WRITER_LIMIT;
use heads::Heads;
use log::{Log, Segment};
use queue::{Append, Queue};
use reader::EmbeddedReader;
use writer::{Status, Writer};

use super::{FrameId, Journal, JournalError, Reader};

/// [`Journal`] in a directory of the local disk.
///
/// Dropping it stores what is queued, ends the writer thread and frees the directory; this may take as long as one sync.
/// Readers then return what there is, and [`JournalError::Closed`].
pub struct EmbeddedJournal {
    log: Arc<Log>,
    queue: Arc<Queue>,
    status: Arc<Status>,
    heads: Arc<Heads>,
    config: JournalConfig,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Locked as long as the log is open.
    _lock: File,
}

/// What the journal has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalStats {
    /// Frames stored.
    pub frames: u64,
    /// Bytes written for them.
    pub bytes: u64,
    /// Syncs that made them durable: `frames / commits` is the mean size of a group.
    pub commits: u64,
}

impl EmbeddedJournal {
    /// Opens the log in a directory, or creates both. Reads and checks every segment, as many side by side as there are cores, so
    /// it takes as long as reading the retained log: call it where blocking is allowed.
    pub fn open(dir: impl AsRef<Path>, config: JournalConfig) -> Result<Self, OpenError> {
        Self::open_on(Box::new(RealDisk), dir.as_ref(), config)
    }

    fn open_on(disk: Box<dyn Disk>, dir: &Path, config: JournalConfig) -> Result<Self, OpenError> {
        config.check()?;
        let lock = lock(dir)?;
        let found = recovery::recover(dir, &config)?;
        let segment: Arc<Segment> = found.segments.back().expect("a log has a segment").clone();
        let log = Arc::new(Log::new(
            dir.to_owned(),
            found.epoch,
            config.partitions,
            found.segments,
        ));
        let heads = Arc::new(Heads::new(&found.next));
        let (queue, status) = (Arc::<Queue>::default(), Arc::<Status>::default());
        let writer = Writer {
            log: log.clone(),
            config: config.clone(),
            disk,
            queue: queue.clone(),
            status: status.clone(),
            heads: heads.clone(),
            untold: heads::Untold::default(),
            file_len: segment.len(),
            segment,
            file: found.file,
            poisoned: false,
            next: found.next,
            window: found.window,
            recent: batch::Recent::default(),
        };
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || writer.run());
        let thread = thread.map_err(OpenError::io("starting the writer of", dir))?;
        Ok(Self {
            log,
            queue,
            status,
            heads,
            config,
            writer: Mutex::new(Some(thread)),
            _lock: lock,
        })
    }

    /// Stores what is queued and stops. Blocks as long as that takes. Appends and, once they have returned what there is, readers
    /// fail with [`JournalError::Closed`].
    pub fn close(&self) {
        self.queue.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the journal has panicked");
        }
    }

    /// Counters for metrics.
    pub fn stats(&self) -> JournalStats {
        JournalStats {
            frames: self.status.frames.load(Ordering::Relaxed),
            bytes: self.status.bytes.load(Ordering::Relaxed),
            commits: self.status.commits.load(Ordering::Relaxed),
        }
    }

    fn check(&self, partition: PartitionId) -> Result<(), JournalError> {
        let count = self.config.partitions;
        if partition.0 < count {
            return Ok(());
        }
        Err(JournalError::NoPartition { partition, count })
    }
}

impl Drop for EmbeddedJournal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Creates the directory and takes its lock.
fn lock(dir: &Path) -> Result<File, OpenError> {
    fs::create_dir_all(dir).map_err(OpenError::io("creating", dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk::sync_dir(parent).map_err(OpenError::io("syncing", parent))?;
    }
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(OpenError::io("creating", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io("locking", &path)(error)),
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    async fn append(
        &self,
        partition: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        self.check(partition)?;
        let limit = self.config.max_frame;
        let size = frame.len() + id.writer.len().saturating_sub(WRITER_LIMIT);
        if size > limit || id.writer.len() > WRITER_LIMIT {
            return Err(JournalError::TooLarge { size, limit });
        }
        let (answer, stored) = oneshot::channel();
        let append = Append {
            partition,
            follows,
            id,
            frame,
            answer,
        };
        self.queue.push(append).map_err(|_| JournalError::Closed)?;
        // The writer answers everything it took; gone without an answer, it has panicked in the middle.
        stored.await.unwrap_or(Err(JournalError::Unknown))
    }

    async fn read(&self, partition: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        self.check(partition)?;
        let first = self.log.first(partition);
        if after.0.saturating_add(1) < first {
            return Err(JournalError::Trimmed { partition, first });
        }
        let (log, heads) = (self.log.clone(), self.heads.clone());
        Ok(Box::new(EmbeddedReader::new(log, heads, partition, after)))
    }

    async fn head(&self, partition: PartitionId) -> Result<FrameSeq, JournalError> {
        self.check(partition)?;
        Ok(FrameSeq(self.heads.get(partition.0)))
    }

    fn shares_writes(&self) -> bool {
        true
    }

    fn announce(&self) {
        self.heads.announce();
    }

    async fn trim(&self, partition: PartitionId, upto: FrameSeq) -> Result<(), JournalError> {
        self.check(partition)?;
        let retention = self.config.retention;
        if !self.log.raise_floor(partition, upto, retention) {
            return Ok(());
        }
        let log = self.log.clone();
        let disposed = tokio::task::spawn_blocking(move || log.dispose(retention)).await;
        match disposed {
            Ok(Err(error)) => Err(JournalError::Unavailable {
                reason: format!("deleting a journal segment: {error}"),
            }),
            _ => Ok(()),
        }
    }

    fn epoch(&self) -> u64 {
        self.log.epoch
    }

    fn health(&self) -> Result<(), String> {
        match &*self.status.trouble.lock() {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }
}
