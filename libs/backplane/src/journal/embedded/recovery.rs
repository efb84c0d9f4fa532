//! Opening a log: what was acknowledged is there and whole, or the log does not open.
//!
//! Every record of every segment is checked. What does not fit is one of two things:
//!
//! - *A torn tail.* The process or the machine stopped during the last write, which was never acknowledged: pages of it may be
//!   missing at its end or in its middle. It is cut off, with a warning.
//! - *Damage.* Anything in a segment that another follows; or in the last one, when a record behind the broken place says that
//!   its write began behind that place: by then the place was durable. The log does not open, and nothing is changed.
//!
//! Zeros up to the end of the file are neither: the writer writes them ahead.
//!
//! Damage to the very last write cannot be told from a torn one.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::config::{JournalConfig, OpenError};
use super::disk::{RealDisk, create, sync_dir};
use super::format::{Header, Record};
use super::log::Segment;
use super::window::Window;

/// A log that is whole.
pub(super) struct Recovered {
    pub epoch: u64,
    /// In order; the last one goes on.
    pub segments: VecDeque<Arc<Segment>>,
    /// The last segment's file.
    pub file: File,
    /// The next frame of each partition.
    pub next: Vec<u64>,
    pub window: Window,
}

/// Opens the log in `dir`, or creates one.
pub(super) fn recover(dir: &Path, config: &JournalConfig) -> Result<Recovered, OpenError> {
    let mut files = list(dir)?;
    let mut headers = Vec::with_capacity(files.len());
    for (i, (number, path)) in files.iter().enumerate() {
        let may_be_torn = i + 1 == files.len() && (i > 0 || *number == 1);
        match read_header(dir, path, *number, config, may_be_torn)? {
            Some(header) => headers.push(header),
            None => drop_torn_segment(dir, path)?,
        }
    }
    files.truncate(headers.len());
    if headers.is_empty() {
        return create_log(dir, config);
    }
    check_sequence(&files, &headers)?;
    let mut scan = Scan {
        next: headers[0].start.to_vec(),
        window: Window::default(),
    };
    let mut segments = VecDeque::with_capacity(files.len());
    let mut headers = headers.into_iter().peekable();
    while let Some(header) = headers.next() {
        segments.push_back(Arc::new(scan.segment(dir, header, headers.peek())?));
    }
    let last = segments.back().expect("there is at least one segment");
    let file = open(&last.path)?;
    // What was read may be in the page cache only: the process was killed between write and sync.
    file.sync_all().map_err(OpenError::io("syncing", &last.path))?;
    sync_dir(dir).map_err(OpenError::io("syncing", dir))?;
    Ok(Recovered {
        epoch: last.header.epoch,
        file,
        segments,
        next: scan.next,
        window: scan.window,
    })
}

fn open(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(OpenError::io("opening", path))
}

/// The segment files by number.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::io("listing", dir))? {
        let path = entry.map_err(OpenError::io("listing", dir))?.path();
        if path.extension().is_none_or(|extension| extension != "segment") {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let number = number.filter(|n| Segment::path(dir, *n) == path);
        let number = number.ok_or_else(|| corrupt(&path, 0, "the file is not named by a number".into()))?;
        files.push((number, path));
    }
    files.sort_unstable();
    Ok(files)
}

fn corrupt(path: &Path, offset: u64, what: String) -> OpenError {
    OpenError::Corrupt {
        place: format!("{} at offset {offset}", path.display()),
        what,
    }
}

/// `None` when the segment is the last and was not finished being created: it never held a record.
fn read_header(
    dir: &Path,
    path: &Path,
    number: u64,
    config: &JournalConfig,
    may_be_torn: bool,
) -> Result<Option<Header>, OpenError> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(OpenError::io("opening", path))?;
    let limit = Header::size(u16::MAX);
    (&mut file)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(OpenError::io("reading", path))?;
    match Header::decode(&bytes) {
        Ok(header) if header.start.len() != usize::from(config.partitions) => Err(OpenError::Partitions {
            dir: dir.to_owned(),
            stored: u16::try_from(header.start.len()).unwrap_or(u16::MAX),
            configured: config.partitions,
        }),
        Ok(header) if header.number != number => Err(corrupt(
            path,
            0,
            format!("it calls itself number {}", header.number),
        )),
        Ok(header) => Ok(Some(header)),
        Err(_) if may_be_torn && bytes.len() as u64 <= Header::size(config.partitions) => Ok(None),
        Err(what) => Err(corrupt(path, 0, what.to_owned())),
    }
}

fn drop_torn_segment(dir: &Path, path: &Path) -> Result<(), OpenError> {
    tracing::warn!(path = %path.display(), "removing a journal segment whose creation was interrupted");
    fs::remove_file(path).map_err(OpenError::io("removing", path))?;
    sync_dir(dir).map_err(OpenError::io("syncing", dir))
}

fn create_log(dir: &Path, config: &JournalConfig) -> Result<Recovered, OpenError> {
    let start = vec![1; usize::from(config.partitions)];
    let header = Header {
        // Fits into signed numbers too, as databases have them; 0 is no epoch.
        epoch: rand::random_range(1..i64::MAX as u64),
        number: 1,
        previous: 0,
        start: start.clone().into(),
    };
    let segment = Segment::new(dir, header);
    let file = create(&mut RealDisk, &segment.path, &segment.header.encode())
        .map_err(OpenError::io("creating", &segment.path))?;
    Ok(Recovered {
        epoch: segment.header.epoch,
        file,
        segments: VecDeque::from([Arc::new(segment)]),
        next: start,
        window: Window::default(),
    })
}

/// One log, and no file of it is missing.
fn check_sequence(files: &[(u64, PathBuf)], headers: &[Header]) -> Result<(), OpenError> {
    for (i, pair) in headers.windows(2).enumerate() {
        let path = &files[i + 1].1;
        if pair[1].epoch != pair[0].epoch {
            return Err(corrupt(path, 0, "it belongs to another log".into()));
        }
        if pair[1].number != pair[0].number + 1 {
            return Err(corrupt(
                path,
                0,
                format!("segment {} is missing", pair[0].number + 1),
            ));
        }
    }
    Ok(())
}

/// What a scan from the first record on knows.
struct Scan {
    next: Vec<u64>,
    window: Window,
}

impl Scan {
    /// Reads a segment, with the header of the one after it, if there is one.
    fn segment(&mut self, dir: &Path, header: Header, after: Option<&Header>) -> Result<Segment, OpenError> {
        let segment = Segment::new(dir, header);
        let path = &segment.path;
        if *segment.header.start != *self.next {
            let what = "it does not begin where the segment before it ends";
            return Err(corrupt(path, 0, what.into()));
        }
        let bytes = fs::read(path).map_err(OpenError::io("reading", path))?;
        let Some(after) = after else {
            self.last(&segment, &bytes)?;
            return Ok(segment);
        };
        let len = usize::try_from(after.previous).unwrap_or(usize::MAX);
        let part = bytes.get(..len).ok_or_else(|| {
            let what = format!("it should hold {len} bytes");
            corrupt(path, bytes.len() as u64, what)
        })?;
        match self.records(&segment, part)? {
            (_, None) => {}
            (end, Some(what)) => return Err(corrupt(path, end as u64, what.to_owned())),
        }
        if bytes.len() > len {
            cut_off(path, &bytes, len)?;
        }
        segment.advance(after.previous);
        segment.seal(modified(path)?);
        Ok(segment)
    }

    fn last(&mut self, segment: &Segment, bytes: &[u8]) -> Result<(), OpenError> {
        let (end, broken) = self.records(segment, bytes)?;
        if let Some(what) = broken {
            if let Some(witness) = witness(segment, bytes, end) {
                let what = format!("{what}, and the record at offset {witness} was written later");
                return Err(corrupt(&segment.path, end as u64, what));
            }
            cut_off(&segment.path, bytes, end)?;
        }
        segment.advance(end as u64);
        Ok(())
    }

    /// Takes records as far as they are whole: up to where, and what is wrong there, if it is not the end.
    fn records(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
    ) -> Result<(usize, Option<&'static str>), OpenError> {
        let seed = segment.header.seed();
        let mut at = usize::try_from(segment.header.len()).unwrap_or(usize::MAX);
        let now = Instant::now();
        while at < bytes.len() {
            let record = match Record::decode(seed, &bytes[at..]) {
                Ok(record) => record,
                Err(what) => return Ok((at, Some(what))),
            };
            let next = self.next.get(usize::from(record.partition)).copied();
            if next != Some(record.seq) {
                let what = format!("frame {} of {} is out of order", record.seq, record.partition);
                return Err(corrupt(&segment.path, at as u64, what));
            }
            segment.mark(at as u64, &self.next);
            self.next[usize::from(record.partition)] += 1;
            let key = self.window.key(record.partition, record.writer, record.number);
            self.window.insert(key, record.seq, now);
            at += record.size();
        }
        Ok((at, None))
    }
}

/// A whole record behind `broken` whose write began behind it, and therefore after `broken` was durable.
fn witness(segment: &Segment, bytes: &[u8], broken: usize) -> Option<usize> {
    let seed = segment.header.seed();
    let partitions = segment.header.start.len();
    (broken + 1..bytes.len()).find(|at| {
        let rest = &bytes[*at..];
        Record::claims(rest).is_some_and(|(batch, partition)| {
            batch as usize > broken
                && batch as usize <= *at
                && usize::from(partition) < partitions
                && Record::decode(seed, rest).is_ok()
        })
    })
}

/// Shortens a file to its first `len` bytes. What goes are zeros that were written ahead, or a write that was interrupted.
fn cut_off(path: &Path, bytes: &[u8], len: usize) -> Result<(), OpenError> {
    if bytes[len..].iter().any(|byte| *byte != 0) {
        tracing::warn!(
            path = %path.display(),
            offset = len,
            bytes = bytes.len() - len,
            "cutting off the end of the journal: an interrupted write that was never acknowledged"
        );
    }
    let file = open(path)?;
    file.set_len(len as u64)
        .and_then(|()| file.sync_all())
        .map_err(OpenError::io("cutting off", path))
}

fn modified(path: &Path) -> Result<std::time::SystemTime, OpenError> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.map_err(OpenError::io("reading the age of", path))
}
