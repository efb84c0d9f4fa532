//! What writer and readers share: the segments with a sparse index, and recent frames in memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use model::{FrameSeq, PartitionId};
use parking_lot::{Mutex, RwLock};

use super::disk::sync_dir;
use super::format::Header;
use crate::journal::{JournalError, StoredFrame};

/// Bytes of a segment between two marks of its index: what a reader skips at most to find its place.
const MARK_EVERY: u64 = 64 << 10;
/// What one call of a reader returns at most: bytes (one frame is returned whatever its size), and frames.
pub(super) const READ_BYTES: usize = 4 << 20;
pub(super) const READ_FRAMES: usize = 4096;

/// One file of the log.
pub(super) struct Segment {
    pub path: PathBuf,
    pub header: Header,
    /// Bytes that are durable and part of the log. Readers go no further.
    len: AtomicU64,
    marks: Mutex<Vec<Mark>>,
    /// When the next one began; `None` for the one being written.
    sealed: Mutex<Option<SystemTime>>,
}

/// The next frame of each partition at an offset.
struct Mark {
    offset: u64,
    next: Box<[u64]>,
}

impl Segment {
    pub fn path(dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{number:012}.segment"))
    }

    /// A segment that holds its header.
    pub fn new(path: PathBuf, header: Header) -> Self {
        Self {
            path,
            len: AtomicU64::new(header.len()),
            header,
            marks: Mutex::default(),
            sealed: Mutex::default(),
        }
    }

    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Everything up to `len` is durable.
    pub fn advance(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    pub fn seal(&self, at: SystemTime) {
        *self.sealed.lock() = Some(at);
    }

    /// A record stands at `offset`, before which each partition's next frame was `next`.
    pub fn mark(&self, offset: u64, next: &[u64]) {
        let mut marks = self.marks.lock();
        let last = marks.last().map_or(0, |mark| mark.offset);
        if offset >= last + MARK_EVERY {
            marks.push(Mark {
                offset,
                next: next.into(),
            });
        }
    }

    /// An offset at or before the record of a frame, if this segment holds it.
    fn seek(&self, partition: usize, seq: u64) -> u64 {
        let marks = self.marks.lock();
        let after = marks.partition_point(|mark| mark.next[partition] <= seq);
        match after.checked_sub(1) {
            Some(i) => marks[i].offset,
            None => self.header.len(),
        }
    }

    fn is_older_than(&self, retention: Duration) -> bool {
        let sealed = *self.sealed.lock();
        sealed.is_some_and(|at| at.elapsed().is_ok_and(|age| age >= retention))
    }
}

/// The log as readers see it.
pub(super) struct Log {
    pub dir: PathBuf,
    pub epoch: u64,
    /// In order, without gaps, never empty; the last is being written.
    segments: RwLock<VecDeque<Arc<Segment>>>,
    /// Recent frames of each partition, without gaps up to its head.
    recent: Box<[Mutex<VecDeque<StoredFrame>>]>,
    /// Up to where each partition's frames are no longer needed.
    floors: Mutex<Box<[u64]>>,
    /// Held by who deletes segments, so that they go in order.
    disposing: Mutex<()>,
}

impl Log {
    pub fn new(dir: PathBuf, epoch: u64, partitions: u16, segments: VecDeque<Arc<Segment>>) -> Self {
        Self {
            dir,
            epoch,
            segments: RwLock::new(segments),
            recent: (0..partitions).map(|_| Mutex::default()).collect(),
            floors: Mutex::new(vec![0; usize::from(partitions)].into()),
            disposing: Mutex::default(),
        }
    }

    /// The segment begins that is written from now on.
    pub fn add(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write();
        if let Some(last) = segments.back() {
            last.seal(SystemTime::now());
        }
        segments.push_back(segment);
    }

    pub fn remember(&self, partition: u16, frame: StoredFrame) {
        self.recent[usize::from(partition)].lock().push_back(frame);
    }

    pub fn forget_oldest(&self, partition: u16) {
        self.recent[usize::from(partition)].lock().pop_front();
    }

    /// The frames from `seq` on that are in memory; `None` when that one is not.
    pub fn recent(&self, partition: PartitionId, seq: u64) -> Option<Vec<StoredFrame>> {
        let recent = self.recent[usize::from(partition.0)].lock();
        let skip = seq.checked_sub(recent.front()?.seq.0)?;
        let from = usize::try_from(skip).ok().filter(|skip| *skip < recent.len())?;
        let mut bytes = 0;
        let frames = recent.range(from..).take(READ_FRAMES).take_while(|frame| {
            let fits = bytes == 0 || bytes + frame.bytes.len() <= READ_BYTES;
            bytes += frame.bytes.len().max(1);
            fits
        });
        Some(frames.cloned().collect())
    }

    /// The oldest frame that is still there, or the next one if there is none.
    pub fn first(&self, partition: PartitionId) -> u64 {
        let segments = self.segments.read();
        segments[0].header.start[usize::from(partition.0)]
    }

    /// The segment that holds a frame or will hold it, and an offset from which on it stands.
    pub fn locate(&self, partition: PartitionId, seq: u64) -> Result<(Arc<Segment>, u64), JournalError> {
        let p = usize::from(partition.0);
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.header.start[p] <= seq);
        match after.checked_sub(1) {
            Some(i) => Ok((segments[i].clone(), segments[i].seek(p, seq))),
            None => Err(self.trimmed(partition, &segments)),
        }
    }

    /// The segment after `number`; `None` when that one is the last.
    pub fn after(&self, partition: PartitionId, number: u64) -> Result<Option<Arc<Segment>>, JournalError> {
        let segments = self.segments.read();
        match (number + 1).checked_sub(segments[0].header.number) {
            Some(i) => Ok(usize::try_from(i).ok().and_then(|i| segments.get(i)).cloned()),
            None => Err(self.trimmed(partition, &segments)),
        }
    }

    fn trimmed(&self, partition: PartitionId, segments: &VecDeque<Arc<Segment>>) -> JournalError {
        JournalError::Trimmed {
            partition,
            first: segments[0].header.start[usize::from(partition.0)],
        }
    }

    /// Raises a floor. `true` when segments can go now.
    pub fn raise_floor(&self, partition: PartitionId, upto: FrameSeq, retention: Duration) -> bool {
        let mut floors = self.floors.lock();
        let floor = &mut floors[usize::from(partition.0)];
        *floor = upto.0.max(*floor);
        is_disposable(&self.segments.read(), &floors, retention)
    }

    /// Deletes the segments that nobody needs, the oldest first: whatever interrupts it, the log stays without gaps.
    pub fn dispose(&self, retention: Duration) -> std::io::Result<()> {
        let _in_order = self.disposing.lock();
        loop {
            let floors = self.floors.lock().clone();
            let segment = {
                let mut segments = self.segments.write();
                if !is_disposable(&segments, &floors, retention) {
                    return Ok(());
                }
                segments.pop_front()
            };
            if let Some(segment) = segment {
                std::fs::remove_file(&segment.path)?;
                sync_dir(&self.dir)?;
            }
        }
    }
}

/// Whether the first segment is complete, old enough, and at or below the floors with every record.
fn is_disposable(segments: &VecDeque<Arc<Segment>>, floors: &[u64], retention: Duration) -> bool {
    let (Some(first), Some(second)) = (segments.front(), segments.get(1)) else {
        return false;
    };
    let needed = second.header.start.iter().zip(floors);
    first.is_older_than(retention)
        && needed
            .into_iter()
            .all(|(next, floor)| *next <= floor.saturating_add(1))
}
