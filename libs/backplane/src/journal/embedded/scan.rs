//! Checking one segment: every record of it, a chunk at a time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::config::OpenError;
use super::format::{Header, RECORD, Record};
use super::log::Segment;
use super::recovery::corrupt;
use super::window::Ids;

/// Bytes read at a time, unless a record is larger.
const CHUNK: usize = 512 << 10;

/// A segment to check.
pub(super) struct Job {
    pub path: PathBuf,
    pub header: Header,
    /// The header of the one behind it, which says how much of it counts; `None` for the last one.
    pub after: Option<Header>,
    /// When it was written last, if another follows.
    pub sealed: Option<SystemTime>,
    pub wants_ids: bool,
}

/// What was found in it.
pub(super) struct Scanned {
    pub segment: Segment,
    /// The next frame of each partition behind it.
    pub next: Vec<u64>,
    pub ids: Ids,
    /// The file holds more than the segment.
    pub longer: bool,
}

impl Job {
    /// Reads the segment and changes nothing.
    pub fn scan(&self) -> Result<Scanned, OpenError> {
        let segment = Segment::new(self.path.clone(), self.header.clone());
        let mut chunks = Chunks::open(&self.path, segment.header.len())?;
        let file_len = chunks.end;
        if let Some(after) = &self.after {
            if after.previous > file_len {
                let what = format!("it should hold {} bytes", after.previous);
                return Err(corrupt(&self.path, file_len, what));
            }
            chunks.end = after.previous;
        }
        let mut scanned = Scanned {
            next: self.header.start.to_vec(),
            ids: Ids::default(),
            longer: false,
            segment,
        };
        let broken = scanned.records(&mut chunks, self.wants_ids)?;
        if let Some(what) = broken {
            self.is_torn(chunks.offset, file_len, what)?;
        }
        // Of a segment that another follows, and that is whole, this is all that counts.
        scanned.segment.advance(chunks.offset);
        scanned.longer = file_len > chunks.offset;
        if let Some(at) = self.sealed {
            scanned.segment.seal(at);
        }
        Ok(scanned)
    }

    /// Whether what is broken at `offset` is the last write, and not damage.
    fn is_torn(&self, offset: u64, file_len: u64, what: &str) -> Result<(), OpenError> {
        if self.after.is_some() {
            return Err(corrupt(&self.path, offset, what.to_owned()));
        }
        let mut rest = Chunks::open(&self.path, offset)?;
        let len = usize::try_from(file_len - offset).unwrap_or(usize::MAX);
        match witness(&self.header, rest.fill(len)?, offset) {
            Some(witness) => {
                let what = format!("{what}, and the record at offset {witness} was written later");
                Err(corrupt(&self.path, offset, what))
            }
            None => Ok(()),
        }
    }
}

impl Scanned {
    /// Takes records as far as they are whole: what is wrong there, if it is not the end.
    fn records(&mut self, chunks: &mut Chunks<'_>, ids: bool) -> Result<Option<&'static str>, OpenError> {
        let (segment, next) = (&self.segment, &mut self.next);
        let seed = segment.header.seed();
        while chunks.left() > 0 {
            let at = chunks.offset;
            let size =
                Record::claimed_size(chunks.fill(RECORD)?).filter(|size| *size as u64 <= chunks.left());
            let Some(size) = size else {
                return Ok(Some("the record is incomplete"));
            };
            let record = match Record::decode(seed, chunks.fill(size)?) {
                Ok(record) => record,
                Err(what) => return Ok(Some(what)),
            };
            let expected = next.get(usize::from(record.partition)).copied();
            if expected != Some(record.seq) {
                let what = format!("frame {} of {} is out of order", record.seq, record.partition);
                return Err(corrupt(&segment.path, at, what));
            }
            segment.mark(at, next);
            next[usize::from(record.partition)] += 1;
            if ids {
                self.ids
                    .add(record.partition, record.writer, record.number, record.seq);
            }
            chunks.skip(size);
        }
        Ok(None)
    }
}

/// A whole record behind the broken place at `offset`, with which `rest` begins, whose write began behind it, and therefore after
/// the place was durable.
fn witness(header: &Header, rest: &[u8], offset: u64) -> Option<u64> {
    let (seed, partitions) = (header.seed(), header.start.len());
    let found = (1..rest.len()).find(|i| {
        let (bytes, at) = (&rest[*i..], offset + *i as u64);
        Record::claims(bytes).is_some_and(|(batch, partition)| {
            u64::from(batch) > offset
                && u64::from(batch) <= at
                && usize::from(partition) < partitions
                && Record::decode(seed, bytes).is_ok()
        })
    });
    found.map(|i| offset + i as u64)
}

/// Whether a file holds anything but zeros from `offset` on.
pub(super) fn holds_data_behind(path: &Path, offset: u64) -> Result<bool, OpenError> {
    let mut chunks = Chunks::open(path, offset)?;
    while chunks.left() > 0 {
        let bytes = chunks.fill(1)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        let len = bytes.len();
        chunks.skip(len);
    }
    Ok(false)
}

/// A file read from front to back.
struct Chunks<'a> {
    path: &'a Path,
    file: File,
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet taken: it begins with the byte at `offset`.
    from: usize,
    to: usize,
    /// How far in the file it has been read.
    offset: u64,
    /// Up to where it is to be read.
    end: u64,
}

impl<'a> Chunks<'a> {
    fn open(path: &'a Path, offset: u64) -> Result<Self, OpenError> {
        let file = File::open(path).map_err(OpenError::io("opening", path))?;
        let end = file.metadata().map_err(OpenError::io("reading", path))?.len();
        Ok(Self {
            path,
            file,
            buffer: Vec::new(),
            from: 0,
            to: 0,
            offset,
            end,
        })
    }

    fn left(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    /// At least `want` bytes from the place on, or all that are left.
    fn fill(&mut self, want: usize) -> Result<&[u8], OpenError> {
        let there = self.to - self.from;
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        if there < want.min(left) {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, want.max(CHUNK).min(left));
            self.buffer.resize(self.buffer.len().max(self.to), 0);
            self.file
                .read_exact_at(&mut self.buffer[there..self.to], self.offset + there as u64)
                .map_err(OpenError::io("reading", self.path))?;
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn skip(&mut self, bytes: usize) {
        self.from += bytes;
        self.offset += bytes as u64;
    }
}
