//! The writer on a disk that fails.

mod readers;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{sleep, timeout};

use super::*;
use crate::journal::suite::{append, id, take};

const P: PartitionId = PartitionId(0);
const SOON: Duration = Duration::from_secs(20);

/// What the disk is to do.
#[derive(Default)]
struct Plan {
    /// A write leaves so many bytes and fails.
    short_write: Option<usize>,
    sync_fails: bool,
    truncate_fails: bool,
    /// Whatever is asked for fails, after the bytes are in the file.
    dead: bool,
    panics: bool,
    free: Option<u64>,
}

#[derive(Clone, Default)]
struct FaultyDisk {
    plan: Arc<Mutex<Plan>>,
    /// Held by a test that wants the writer to wait in a sync.
    gate: Arc<Mutex<()>>,
    /// How often it was to sync, and came to the gate.
    syncs: Arc<AtomicUsize>,
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Disk for FaultyDisk {
    fn write(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let short = self.plan.lock().short_write;
        let len = short.map_or(bytes.len(), |len| len.min(bytes.len()));
        RealDisk.write(file, &bytes[..len], at)?;
        match short {
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.lock());
        let plan = self.plan.lock();
        assert!(!plan.panics, "the plan says so");
        match plan.sync_fails || plan.dead {
            true => Err(eio()),
            false => RealDisk.sync(file),
        }
    }

    fn truncate(&mut self, file: &File, len: u64) -> io::Result<()> {
        let plan = self.plan.lock();
        match plan.truncate_fails || plan.dead {
            true => Err(eio()),
            false => RealDisk.truncate(file, len),
        }
    }

    fn free(&mut self, dir: &Path) -> io::Result<u64> {
        match self.plan.lock().free {
            Some(free) => Ok(free),
            None => RealDisk.free(dir),
        }
    }
}

impl FaultyDisk {
    fn plan(&self, change: impl FnOnce(&mut Plan)) {
        let mut plan = Plan::default();
        change(&mut plan);
        *self.plan.lock() = plan;
    }
}

fn config() -> JournalConfig {
    JournalConfig {
        partitions: 4,
        reserve: 1000,
        ..JournalConfig::default()
    }
}

fn open(dir: &Path) -> (EmbeddedJournal, FaultyDisk) {
    let disk = FaultyDisk::default();
    let journal = EmbeddedJournal::open_on(Box::new(disk.clone()), dir, config()).unwrap();
    (journal, disk)
}

async fn try_append(journal: &EmbeddedJournal, number: u64) -> Result<FrameSeq, JournalError> {
    let frame = format!("frame {number}").into();
    journal.append(P, None, id("w", number), frame).await
}

async fn contents(journal: &EmbeddedJournal) -> Vec<String> {
    let head = journal.head(P).await.unwrap().0 as usize;
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let frames = take(&mut reader, head).await;
    frames
        .iter()
        .map(|f| String::from_utf8(f.bytes.to_vec()).unwrap())
        .collect()
}

/// The log holds these frames, now and after a restart.
async fn holds(journal: EmbeddedJournal, dir: &Path, numbers: &[u64]) {
    let expected: Vec<_> = numbers.iter().map(|n| format!("frame {n}")).collect();
    assert_eq!(contents(&journal).await, expected);
    drop(journal);
    let journal = EmbeddedJournal::open(dir, config()).unwrap();
    assert_eq!(contents(&journal).await, expected, "after a restart");
}

#[track_caller]
fn assert_unavailable(result: Result<FrameSeq, JournalError>, why: &str) {
    match result {
        Err(JournalError::Unavailable { reason }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_write_that_fails_half_way_leaves_nothing_and_the_next_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    assert_eq!(try_append(&journal, 0).await.unwrap(), FrameSeq(1));
    for len in [0, 10, 40, 4096] {
        disk.plan(|p| p.short_write = Some(len));
        assert_unavailable(try_append(&journal, 1).await, "writing the journal");
        assert!(journal.health().unwrap_err().contains("writing the journal"));
        assert_eq!(journal.head(P).await.unwrap(), FrameSeq(1));
        disk.plan(|_| {});
    }
    assert_eq!(try_append(&journal, 2).await.unwrap(), FrameSeq(2));
    assert_eq!(journal.health(), Ok(()));
    holds(journal, dir.path(), &[0, 2]).await;
}

#[tokio::test]
async fn health_recovers_without_traffic() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    disk.plan(|p| p.short_write = Some(10));
    assert_unavailable(try_append(&journal, 1).await, "writing the journal");
    disk.plan(|_| {});
    let recovered = async {
        while journal.health().is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, recovered)
        .await
        .expect("the writer looks by itself");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no probe is left");
}

#[tokio::test]
async fn after_a_failed_sync_the_segment_is_left_where_it_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    try_append(&journal, 0).await.unwrap();
    // The sync fails, and what it failed for stays in the file all the same.
    let gate = disk.gate.lock();
    let mut lost = Box::pin(try_append(&journal, 1));
    assert!(lost.as_mut().now_or_never().is_none());
    disk.plan(|p| {
        p.sync_fails = true;
        p.truncate_fails = true;
    });
    drop(gate);
    assert!(
        matches!(lost.await, Err(JournalError::Unknown)),
        "no new segment either"
    );
    assert!(journal.health().is_err());
    assert!(matches!(
        try_append(&journal, 2).await,
        Err(JournalError::Unavailable { .. })
    ));
    disk.plan(|p| p.truncate_fails = true);
    assert_eq!(try_append(&journal, 3).await.unwrap(), FrameSeq(2));
    assert_eq!(journal.health(), Ok(()));
    let first = Segment::path(dir.path(), 1);
    assert!(
        fs::metadata(&first).unwrap().len() > journal.log.locate(P, 1).unwrap().0.len(),
        "the old segment still holds what was not acknowledged"
    );
    holds(journal, dir.path(), &[0, 3]).await;
}

#[tokio::test]
async fn a_frame_of_unknown_outcome_is_stored_once_when_it_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    disk.plan(|p| p.dead = true);
    assert!(matches!(
        try_append(&journal, 7).await,
        Err(JournalError::Unknown)
    ));
    drop(journal);
    // The machine stopped before anything was repaired: the frame happens to be there.
    let journal = EmbeddedJournal::open(dir.path(), config()).unwrap();
    assert_eq!(try_append(&journal, 7).await.unwrap(), FrameSeq(1));
    holds(journal, dir.path(), &[7]).await;
}

#[tokio::test]
async fn the_reserve_is_left_free() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    disk.plan(|p| p.free = Some(1020));
    assert_unavailable(try_append(&journal, 0).await, "1020 bytes are free");
    disk.plan(|p| p.free = Some(1100));
    assert_eq!(try_append(&journal, 1).await.unwrap(), FrameSeq(1));
    disk.plan(|p| p.free = Some(999));
    let noticed = async {
        while journal.health().is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, noticed).await.expect("the writer looks by itself");
}

/// Appends frame 0, and then frames 1 to 5 with one write.
async fn append_a_group(journal: &EmbeddedJournal, disk: &FaultyDisk) {
    let gate = disk.gate.lock();
    let first = try_append(journal, 0);
    let rest = futures::future::join_all((1..6).map(|n| try_append(journal, n)));
    let mut all = Box::pin(futures::future::join(first, rest));
    assert!(all.as_mut().now_or_never().is_none(), "all are queued");
    drop(gate);
    let (first, rest) = all.await;
    assert!(first.is_ok() && rest.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_hole_in_the_last_write_is_torn_and_not_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    // The group begins behind this one, whether or not the writer took frame 0 alone.
    append(&journal, P, 100, "frame 100").await;
    let before = journal.log.locate(P, 1).unwrap().0.len() as usize;
    append_a_group(&journal, &disk).await;
    let commits = journal.stats().commits;
    assert!(commits <= 3, "{commits} commits");
    drop(journal);
    let path = Segment::path(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let record = (whole.len() - before) / 6;
    // A page of frame 2's record never reached the disk; frames 3 to 5 did.
    let mut holed = whole.clone();
    holed[before + 2 * record..before + 3 * record].fill(0);
    fs::write(&path, &holed).unwrap();
    let journal = EmbeddedJournal::open(dir.path(), config()).unwrap();
    assert_eq!(contents(&journal).await, ["frame 100", "frame 0", "frame 1"]);
}

#[tokio::test]
async fn a_writer_that_ends_early_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    disk.plan(|p| p.panics = true);
    let answer = timeout(SOON, try_append(&journal, 0)).await.expect("an answer");
    assert!(matches!(answer, Err(JournalError::Unknown)));
    assert!(timeout(SOON, reader.next()).await.expect("an end").is_err());
    assert!(matches!(try_append(&journal, 1).await, Err(JournalError::Closed)));
    assert!(journal.health().is_err());
}

#[tokio::test]
async fn what_follows_a_frame_that_fails_fails_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, disk) = open(dir.path());
    let follow = |after, number| {
        let frame = format!("frame {number}").into();
        journal.append(P, Some(FrameSeq(after)), id("w", number), frame)
    };
    // The writer waits in the sync of the first; the others gather behind it, and their write fails.
    let (gate, syncs) = (disk.gate.lock(), disk.syncs.load(Ordering::Relaxed));
    let mut first = Box::pin(follow(0, 0));
    assert!(first.as_mut().now_or_never().is_none());
    while disk.syncs.load(Ordering::Relaxed) == syncs {
        std::thread::yield_now();
    }
    let mut rest = Box::pin(futures::future::join3(follow(1, 1), follow(2, 2), follow(1, 3)));
    assert!(rest.as_mut().now_or_never().is_none());
    disk.plan(|p| p.short_write = Some(50));
    drop(gate);
    assert_eq!(first.await.unwrap(), FrameSeq(1));
    let (failed, behind, misplaced) = rest.await;
    assert_unavailable(failed, "writing the journal");
    assert_unavailable(behind, "writing the journal");
    assert!(
        matches!(misplaced, Err(JournalError::Mismatch { .. })),
        "{misplaced:?}"
    );
    disk.plan(|_| {});
    let late = follow(2, 4).await;
    assert!(matches!(late, Err(JournalError::Mismatch { .. })), "{late:?}");
    assert_eq!(follow(1, 3).await.unwrap(), FrameSeq(2));
    holds(journal, dir.path(), &[0, 3]).await;
}
