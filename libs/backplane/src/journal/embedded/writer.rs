//! The one thread that writes. It takes every append that waits, writes them with one call, syncs once, shows them to the
//! readers, and answers. While it syncs, the next batch gathers: no timer, and the more comes the larger the batches.
//! Readers that wait are told a little later: see `heads`.
//!
//! When a write fails, what it may have left behind is cut off and synced away. When a sync fails, nothing that file says can
//! be trusted any more (the kernel may have dropped the pages and call the next sync a success): a new segment begins, whose
//! header says how much of the old one counts. Only if that fails too is the outcome unknown.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use model::FrameSeq;
use parking_lot::Mutex;

use super::batch::{Batch, Recent};
use super::config::JournalConfig;
use super::disk::{Disk, create};
use super::format::{Header, RECORD};
use super::heads::{Heads, Untold};
use super::log::{Log, Segment};
use super::queue::{Append, Queue, Work};
use super::window::Window;
use crate::journal::{JournalError, StoredFrame};

/// How often an idle writer looks whether the disk has room.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Bytes that a failed disk must take before it counts as well again.
const PROBE: usize = 256 << 10;
/// Zeros that a small batch writes behind itself when it makes the file longer. Those after it then overwrite them, and their
/// sync has no length and no new blocks to make durable: it waits for the data alone, not for the file system's journal.
const AHEAD: usize = 512 << 10;
/// Batches of this size and above write nothing ahead: for them the length costs little.
const LARGE: usize = 64 << 10;

/// What the outside sees of the writer.
#[derive(Default)]
pub(super) struct Status {
    /// Why appends fail; `None` while they do not.
    pub trouble: Mutex<Option<String>>,
    pub frames: AtomicU64,
    pub bytes: AtomicU64,
    pub commits: AtomicU64,
}

pub(super) struct Writer {
    pub log: Arc<Log>,
    pub config: JournalConfig,
    pub disk: Box<dyn Disk>,
    pub queue: Arc<Queue>,
    pub status: Arc<Status>,
    /// The last durable frame of each partition, for the readers.
    pub heads: Arc<Heads>,
    /// What readers that wait were not told of yet.
    pub untold: Untold,
    pub segment: Arc<Segment>,
    pub file: File,
    /// Bytes of the file, with the zeros ahead.
    pub file_len: u64,
    /// A sync of the segment failed: it takes no more records.
    pub poisoned: bool,
    /// The next frame of each partition.
    pub next: Vec<u64>,
    pub window: Window,
    pub recent: Recent,
}

/// Why a batch is not stored.
struct Failure {
    reason: String,
    /// Whether a restart could find parts of it all the same.
    unknown: bool,
}

impl Failure {
    fn certain(doing: &str, cause: impl std::fmt::Display) -> Self {
        Self {
            reason: format!("{doing}: {cause}"),
            unknown: false,
        }
    }
}

/// However the thread ends, nobody waits for it any longer.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.abandon();
        // Only tidiness: recovery knows the zeros ahead.
        let _ = self.cut_off();
        if std::thread::panicking() {
            self.ill("the writer of the journal has panicked".to_owned());
        }
        self.heads.close();
    }
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        loop {
            let untold = self.untold.patience(self.config.reader_delay, Instant::now());
            if untold.is_some_and(|left| left.is_zero()) {
                self.tell_readers();
                continue;
            }
            match self.queue.take(untold.unwrap_or(PROBE_EVERY).min(PROBE_EVERY)) {
                Work::Commit(appends) => self.commit(appends),
                Work::Idle if untold.is_some() => {}
                Work::Idle => self.probe(),
                Work::End => return,
            }
        }
    }

    fn tell_readers(&mut self) {
        self.heads.announce();
        self.untold = Untold::default();
    }

    fn commit(&mut self, appends: Vec<Append>) {
        let mut next = self.next.clone();
        let batch = self.place(appends, &mut next);
        if batch.appends.is_empty() {
            // At most refusals: what is stored already was answered.
            return batch.answer(|seq| Ok(FrameSeq(seq)));
        }
        match self.store(&batch) {
            Ok(bytes) => {
                self.next = next;
                self.publish(&batch, &bytes);
                self.well();
                batch.answer(|seq| Ok(FrameSeq(seq)));
            }
            Err(Failure { reason, unknown }) => {
                self.ill(reason.clone());
                batch.answer(|_| match unknown {
                    true => Err(JournalError::Unknown),
                    false => Err(JournalError::Unavailable {
                        reason: reason.clone(),
                    }),
                });
            }
        }
    }

    /// Gives each append its place; answers those that are stored already.
    fn place(&mut self, appends: Vec<Append>, next: &mut [u64]) -> Batch {
        let mut batch = Batch::default();
        for append in appends {
            let partition = append.partition.0;
            let key = self.window.key(partition, &append.id.writer, append.id.number);
            if let Some(seq) = self.window.get(&key) {
                // Whoever asked may have gone; the frame is stored all the same.
                let _ = append.answer.send(Ok(FrameSeq(seq)));
                continue;
            }
            batch.place(append, key, &mut next[usize::from(partition)]);
        }
        batch
    }

    /// Makes the batch durable; returns its bytes as written.
    fn store(&mut self, batch: &Batch) -> Result<Bytes, Failure> {
        self.leave_reserve(batch.size)?;
        let len = self.segment.len();
        let full = len > self.segment.header.len() && len + batch.size as u64 > self.config.segment_size;
        if self.poisoned || full {
            self.begin_segment()
                .map_err(|e| Failure::certain("beginning a journal segment", e))?;
        }
        let at = self.segment.len();
        let bytes = batch.encode(self.segment.header.seed(), at);
        if let Err(error) = self.write(&bytes, at) {
            return Err(self.undo_write(&error));
        }
        if let Err(error) = self.disk.sync(&self.file) {
            return Err(self.abandon_segment(&format!("syncing the journal: {error}")));
        }
        self.status.commits.fetch_add(1, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Writes a batch, and zeros behind it if they pay.
    fn write(&mut self, bytes: &Bytes, at: u64) -> std::io::Result<()> {
        let end = at + bytes.len() as u64;
        if end <= self.file_len {
            return self.disk.write(&self.file, bytes, at);
        }
        let room = self.config.segment_size.saturating_sub(end);
        let ahead = match bytes.len() {
            LARGE.. => 0,
            _ => usize::try_from(room).unwrap_or(AHEAD).min(AHEAD),
        };
        let mut padded = BytesMut::with_capacity(bytes.len() + ahead);
        padded.extend_from_slice(bytes);
        padded.resize(bytes.len() + ahead, 0);
        self.disk.write(&self.file, &padded, at)?;
        self.file_len = end + ahead as u64;
        Ok(())
    }

    /// Cuts the file off behind the last durable record.
    fn cut_off(&mut self) -> std::io::Result<()> {
        let len = self.segment.len();
        self.file_len = len;
        self.disk.truncate(&self.file, len)
    }

    /// Refuses what would leave less free than is reserved.
    fn leave_reserve(&mut self, size: usize) -> Result<(), Failure> {
        let free = self
            .disk
            .free(&self.log.dir)
            .map_err(|e| Failure::certain("asking for free disk space", e))?;
        if free < self.config.reserve.saturating_add(size as u64) {
            let reserve = self.config.reserve;
            let cause = format!("{free} bytes are free, of which {reserve} are reserved");
            return Err(Failure::certain("writing the journal", cause));
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> std::io::Result<()> {
        let header = Header {
            epoch: self.log.epoch,
            number: self.segment.header.number + 1,
            previous: self.segment.len(),
            start: self.next.clone().into(),
        };
        // Only tidiness: the header decides what counts of the old segment.
        let _ = self.cut_off();
        let segment = Arc::new(Segment::new(Segment::path(&self.log.dir, header.number), header));
        self.file = create(&mut *self.disk, &segment.path, &segment.header.encode())?;
        self.file_len = segment.header.len();
        self.log.add(segment.clone());
        self.segment = segment;
        self.poisoned = false;
        Ok(())
    }

    /// After a write that failed, perhaps half way: takes away what it left.
    fn undo_write(&mut self, cause: &std::io::Error) -> Failure {
        let reason = format!("writing the journal: {cause}");
        match self.cut_off().and_then(|()| self.disk.sync(&self.file)) {
            Ok(()) => Failure {
                reason,
                unknown: false,
            },
            Err(_) => self.abandon_segment(&reason),
        }
    }

    /// After a sync that failed: the segment ends where it last was durable, whatever the disk holds behind.
    fn abandon_segment(&mut self, reason: &str) -> Failure {
        self.poisoned = true;
        Failure {
            unknown: self.begin_segment().is_err(),
            reason: reason.to_owned(),
        }
    }

    /// Shows the batch to the readers.
    fn publish(&mut self, batch: &Batch, bytes: &Bytes) {
        let (begin, now) = (self.segment.len(), Instant::now());
        let mut next = batch.first_places(&self.next);
        let mut at = 0;
        for placed in &batch.appends {
            self.segment.mark(begin + at as u64, &next);
            let partition = placed.append.partition.0;
            let frame = at + RECORD + placed.append.id.writer.len();
            at = frame + placed.append.frame.len();
            let stored = StoredFrame {
                seq: FrameSeq(placed.seq),
                bytes: bytes.slice(frame..at),
            };
            next[usize::from(partition)] = placed.seq + 1;
            self.recent
                .remember(&self.log, partition, stored, self.config.memory);
            self.window.insert(placed.key, placed.seq, now);
        }
        self.segment.advance(begin + at as u64);
        // Behind the segment and the memory: a reader that knows the head finds all of it.
        for placed in &batch.appends {
            self.heads.set(placed.append.partition.0, placed.seq);
        }
        self.untold.add(batch.appends.len(), at, now);
        let frames = batch.appends.len() as u64;
        self.status.frames.fetch_add(frames, Ordering::Relaxed);
        self.status.bytes.fetch_add(at as u64, Ordering::Relaxed);
    }

    /// Finds out without traffic whether the disk is full, or no longer is.
    fn probe(&mut self) {
        let troubled = self.status.trouble.lock().is_some();
        let found = match self.leave_reserve(0) {
            Ok(()) if troubled => self.try_to_write(),
            other => other,
        };
        match found {
            Ok(()) => self.well(),
            Err(failure) => self.ill(failure.reason),
        }
    }

    fn try_to_write(&mut self) -> Result<(), Failure> {
        if self.poisoned {
            return self
                .begin_segment()
                .map_err(|e| Failure::certain("beginning a journal segment", e));
        }
        let path = self.log.dir.join("probe");
        let written = create(&mut *self.disk, &path, &vec![0; PROBE]);
        let removed = std::fs::remove_file(&path);
        written
            .and(removed)
            .map_err(|e| Failure::certain("writing to the journal's disk", e))
    }

    fn well(&mut self) {
        if self.status.trouble.lock().take().is_some() {
            tracing::info!("the journal takes appends again");
        }
    }

    fn ill(&mut self, reason: String) {
        let mut trouble = self.status.trouble.lock();
        if trouble.is_none() {
            tracing::error!(reason, "the journal takes no appends");
        }
        *trouble = Some(reason);
    }
}
