//! Reading one partition: from memory where it is fresh, else from the files, on a thread that may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::format::Record;
use super::heads::Heads;
use super::log::{Log, READ_BYTES, READ_FRAMES, Segment};
use crate::journal::{JournalError, Reader, StoredFrame};

/// Bytes taken from a file at a time, unless a record is larger.
const CHUNK: usize = 512 << 10;

type Frames = Result<Vec<StoredFrame>, JournalError>;

pub(super) struct EmbeddedReader {
    log: Arc<Log>,
    partition: PartitionId,
    heads: Arc<Heads>,
    /// What this reader is told while it waits: never more than is durable, at times less.
    told: watch::Receiver<u64>,
    /// The next frame to return.
    next: u64,
    place: Option<Place>,
    /// A look into the files that goes on: kept here, so that a caller that stops waiting loses nothing.
    reading: Option<JoinHandle<(Option<Place>, Frames)>>,
}

impl EmbeddedReader {
    pub fn new(log: Arc<Log>, heads: Arc<Heads>, partition: PartitionId, after: FrameSeq) -> Self {
        Self {
            log,
            partition,
            told: heads.watch(partition.0),
            heads,
            next: after.0.saturating_add(1),
            place: None,
            reading: None,
        }
    }

    /// Waits until the next frame is durable.
    async fn wait(&mut self) -> Result<(), JournalError> {
        let next = self.next;
        // What became durable between the two lines is told later, like everything that comes while we wait.
        if self.heads.get(self.partition.0) >= next || self.told.wait_for(|head| *head >= next).await.is_ok()
        {
            return Ok(());
        }
        // Closed; the last frames may have come before that.
        match self.heads.get(self.partition.0) >= next {
            true => Ok(()),
            false => Err(JournalError::Closed),
        }
    }

    async fn take_from_files(&mut self) -> Frames {
        let reading = self.reading.get_or_insert_with(|| {
            let (log, partition, next) = (self.log.clone(), self.partition, self.next);
            let mut place = self.place.take().filter(|place| place.next == next);
            tokio::task::spawn_blocking(move || {
                let frames = read_files(&log, partition, next, &mut place);
                (place, frames)
            })
        });
        let done = reading.await;
        self.reading = None;
        let (place, frames) = done.map_err(|_| JournalError::Closed)?;
        self.place = place;
        frames
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self) -> Frames {
        loop {
            self.wait().await?;
            let frames = match self.log.recent(self.partition, self.next) {
                Some(frames) if self.reading.is_none() => {
                    // A file kept open would keep the disk space of a segment that is deleted.
                    self.place = None;
                    frames
                }
                _ => self.take_from_files().await?,
            };
            if let Some(last) = frames.last() {
                self.next = last.seq.0 + 1;
                return Ok(frames);
            }
        }
    }
}

/// Where a reader stands in the files: at or before the record of frame `next`.
struct Place {
    segment: Arc<Segment>,
    file: File,
    offset: u64,
    next: u64,
}

impl Place {
    fn find(log: &Log, partition: PartitionId, next: u64) -> Result<Self, JournalError> {
        let (segment, offset) = log.locate(partition, next)?;
        Self::at(log, partition, segment, offset, next)
    }

    fn at(
        log: &Log,
        partition: PartitionId,
        segment: Arc<Segment>,
        offset: u64,
        next: u64,
    ) -> Result<Self, JournalError> {
        match File::open(&segment.path) {
            Ok(file) => Ok(Self {
                segment,
                file,
                offset,
                next,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(JournalError::Trimmed {
                partition,
                first: log.first(partition),
            }),
            Err(error) => Err(unreadable(&segment, &error)),
        }
    }

    fn corrupt(&self, what: &str) -> JournalError {
        JournalError::Corrupt {
            place: format!("{} at offset {}", self.segment.path.display(), self.offset),
            what: what.to_owned(),
        }
    }

    /// Bytes from the place on, `len` at most.
    fn bytes(&self, len: usize) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; len];
        self.file
            .read_exact_at(&mut bytes, self.offset)
            .map_err(|error| unreadable(&self.segment, &error))?;
        Ok(bytes)
    }

    /// Takes the partition's frames out of the next chunk, of which `left` bytes are durable.
    fn chunk(
        &mut self,
        partition: PartitionId,
        left: usize,
        frames: &mut Vec<StoredFrame>,
    ) -> Result<(), JournalError> {
        let mut bytes = self.bytes(left.min(CHUNK))?;
        let first = Record::claimed_size(&bytes).filter(|size| *size <= left);
        let first = first.ok_or_else(|| self.corrupt("the record is incomplete"))?;
        if first > bytes.len() {
            bytes = self.bytes(first)?;
        }
        let (seed, mut at) = (self.segment.header.seed(), 0);
        while frames.len() < READ_FRAMES
            && Record::claimed_size(&bytes[at..]).is_some_and(|size| at + size <= bytes.len())
        {
            let record = Record::decode(seed, &bytes[at..]).map_err(|what| self.corrupt(what))?;
            if record.partition == partition.0 && record.seq >= self.next {
                if record.seq != self.next {
                    return Err(self.corrupt("a frame is missing"));
                }
                frames.push(StoredFrame {
                    seq: FrameSeq(record.seq),
                    bytes: Bytes::copy_from_slice(record.frame),
                });
                self.next += 1;
            }
            at += record.size();
            self.offset += record.size() as u64;
        }
        Ok(())
    }
}

fn unreadable(segment: &Segment, error: &io::Error) -> JournalError {
    JournalError::Corrupt {
        place: segment.path.display().to_string(),
        what: format!("it cannot be read: {error}"),
    }
}

/// The frames of a partition from `next` on, as many as a few chunks bring; none only if there are none.
fn read_files(log: &Log, partition: PartitionId, next: u64, place: &mut Option<Place>) -> Frames {
    let mut here = match place.take() {
        Some(place) => place,
        None => Place::find(log, partition, next)?,
    };
    let mut frames: Vec<StoredFrame> = Vec::new();
    loop {
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        if bytes + CHUNK > READ_BYTES || frames.len() >= READ_FRAMES {
            break;
        }
        // Asked before the length: once another segment follows, this one's length is final.
        let after = log.after(partition, here.segment.header.number)?;
        let left = here.segment.len().saturating_sub(here.offset);
        if left > 0 {
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            here.chunk(partition, left, &mut frames)?;
            continue;
        }
        let Some(segment) = after else { break };
        let offset = segment.header.len();
        here = Place::at(log, partition, segment, offset, here.next)?;
    }
    *place = Some(here);
    Ok(frames)
}
