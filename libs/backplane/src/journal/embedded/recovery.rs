//! Opening a log: what was acknowledged is there and whole, or the log does not open.
//!
//! Every record of every segment is checked; each header says where its segment begins, so segments are checked side by side and
//! then held against each other. Nothing is changed before all are found to be whole. What does not fit is one of two things:
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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::config::{JournalConfig, OpenError};
use super::disk::{RealDisk, create, sync_dir};
use super::format::{Header, VERSION};
use super::log::Segment;
use super::scan::{Job, Scanned, holds_data_behind};
use super::window::{AGE, LIMIT, Window};

/// Segments that are checked at a time, at most. Beyond it the disk is what is waited for.
const SIDE_BY_SIDE: usize = 8;

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
    let epoch = headers[0].epoch;
    let scanned = check_segments(&jobs(&files, headers)?)?;
    take_over(dir, epoch, scanned)
}

/// What is to be checked. Ids are wanted of the segments that may hold one that is still remembered.
fn jobs(files: &[(u64, PathBuf)], headers: Vec<Header>) -> Result<Vec<Job>, OpenError> {
    let mut jobs: Vec<Job> = Vec::with_capacity(headers.len());
    // From the last one back: its frames, and how many there are, are told by the next one's header.
    let mut ids = Some(0);
    for (header, (_, path)) in headers.into_iter().zip(files).rev() {
        let after = jobs.last().map(|after| after.header.clone());
        let sealed = match &after {
            Some(after) => {
                let at = modified(path)?;
                let many = after
                    .start
                    .iter()
                    .zip(&header.start)
                    .map(|(end, begin)| end.saturating_sub(*begin));
                let old = at.elapsed().is_ok_and(|age| age >= AGE);
                ids = ids
                    .filter(|ids| !old && *ids < LIMIT as u64)
                    .map(|ids| ids + many.sum::<u64>());
                Some(at)
            }
            None => None,
        };
        jobs.push(Job {
            path: path.clone(),
            header,
            after,
            sealed,
            wants_ids: ids.is_some(),
        });
    }
    jobs.reverse();
    Ok(jobs)
}

/// Checks segments side by side, and that each begins where the one before it ends.
fn check_segments(jobs: &[Job]) -> Result<Vec<Scanned>, OpenError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (turn, failed, done) = (
        AtomicUsize::new(0),
        AtomicBool::new(false),
        Mutex::new(Vec::new()),
    );
    std::thread::scope(|scope| {
        for _ in 0..cores.min(SIDE_BY_SIDE).min(jobs.len()) {
            scope.spawn(|| {
                // In order, so that what stands before the first failure was checked by somebody.
                while !failed.load(Ordering::Relaxed)
                    && let i = turn.fetch_add(1, Ordering::Relaxed)
                    && let Some(job) = jobs.get(i)
                {
                    let scanned = job.scan();
                    failed.fetch_or(scanned.is_err(), Ordering::Relaxed);
                    done.lock().push((i, scanned));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(i, _)| *i);
    let mut whole: Vec<Scanned> = Vec::with_capacity(jobs.len());
    for (_, scanned) in done {
        let scanned = scanned?;
        if let Some(before) = whole.last()
            && *before.next != *scanned.segment.header.start
        {
            let what = "it does not begin where the segment before it ends";
            return Err(corrupt(&scanned.segment.path, 0, what.into()));
        }
        whole.push(scanned);
    }
    Ok(whole)
}

/// The log is whole: cuts off what is not part of it, and remembers what may yet be repeated.
fn take_over(dir: &Path, epoch: u64, scanned: Vec<Scanned>) -> Result<Recovered, OpenError> {
    let (mut window, mut next, now) = (Window::default(), Vec::new(), Instant::now());
    let mut segments = VecDeque::with_capacity(scanned.len());
    for found in scanned {
        if found.longer {
            cut_off(&found.segment.path, found.segment.len())?;
        }
        window.absorb(found.ids, now);
        next = found.next;
        segments.push_back(Arc::new(found.segment));
    }
    let last = segments.back().expect("there is at least one segment");
    let file = open(&last.path)?;
    // What was read may be in the page cache only: the process was killed between write and sync.
    file.sync_all().map_err(OpenError::io("syncing", &last.path))?;
    sync_dir(dir).map_err(OpenError::io("syncing", dir))?;
    Ok(Recovered {
        epoch,
        file,
        segments,
        next,
        window,
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

pub(super) fn corrupt(path: &Path, offset: u64, what: String) -> OpenError {
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
    if let Some(found) = Header::former_version(&bytes) {
        return Err(OpenError::Format {
            dir: dir.to_owned(),
            found,
            known: VERSION,
        });
    }
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
    let segment = Segment::new(Segment::path(dir, header.number), header);
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

/// Shortens a file to its first `len` bytes. What goes are zeros that were written ahead, or a write that was interrupted.
fn cut_off(path: &Path, len: u64) -> Result<(), OpenError> {
    if holds_data_behind(path, len)? {
        tracing::warn!(
            path = %path.display(),
            offset = len,
            "cutting off the end of the journal: an interrupted write that was never acknowledged"
        );
    }
    let file = open(path)?;
    file.set_len(len)
        .and_then(|()| file.sync_all())
        .map_err(OpenError::io("cutting off", path))
}

fn modified(path: &Path) -> Result<SystemTime, OpenError> {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.map_err(OpenError::io("reading the age of", path))
}
