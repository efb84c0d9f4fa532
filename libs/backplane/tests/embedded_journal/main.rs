//! The journal of one process keeps every promise of the seam, across restarts, cuts and damage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod recovery;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backplane::journal::suite::{append, id, take};
use backplane::journal::{EmbeddedJournal, Journal, JournalConfig, JournalError, OpenError};
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use tempfile::TempDir;

thread_local! {
    /// Lives as long as the test.
    static DIR: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

async fn journal() -> Arc<dyn Journal> {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    DIR.set(Some(dir));
    Arc::new(journal)
}

backplane::journal_suite!(tokio::test, journal);

mod in_files_only {
    use super::*;

    /// Nothing is served from memory, and segments are small.
    async fn journal() -> Arc<dyn Journal> {
        let dir = tempfile::tempdir().unwrap();
        let config = JournalConfig {
            memory: 0,
            segment_size: 1000,
            ..config()
        };
        let journal = EmbeddedJournal::open(dir.path(), config).unwrap();
        DIR.set(Some(dir));
        Arc::new(journal)
    }

    backplane::journal_suite!(tokio::test, journal);
}

const P: PartitionId = PartitionId(0);

fn config() -> JournalConfig {
    JournalConfig {
        partitions: 4,
        reserve: 0,
        ..JournalConfig::default()
    }
}

fn open(dir: &Path) -> EmbeddedJournal {
    EmbeddedJournal::open(dir, config()).unwrap()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|p| p.extension().is_some_and(|e| e == "segment"))
        .collect();
    found.sort();
    found
}

/// Bytes of a segment without the zeros that are written ahead.
fn written(segment: &Path) -> usize {
    let bytes = fs::read(segment).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// Appends `count` frames, one write each.
async fn fill(journal: &EmbeddedJournal, from: u64, count: u64) {
    for i in from..from + count {
        append(journal, P, i, &format!("frame {i}")).await;
    }
}

async fn read_all(journal: &EmbeddedJournal) -> Vec<String> {
    let head = journal.head(P).await.unwrap().0 as usize;
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let frames = take(&mut reader, head).await;
    frames
        .iter()
        .map(|f| String::from_utf8(f.bytes.to_vec()).unwrap())
        .collect()
}

fn frames(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|i| format!("frame {i}")).collect()
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let epoch = journal.epoch();
    fill(&journal, 0, 20).await;
    append(&journal, PartitionId(3), 100, "other").await;
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.epoch(), epoch);
    assert_eq!(read_all(&journal).await, frames(0..20));
    assert_eq!(journal.head(PartitionId(3)).await.unwrap(), FrameSeq(1));
    assert_eq!(
        append(&journal, P, 5, "frame 5").await,
        6,
        "the ids are remembered"
    );
    assert_eq!(append(&journal, P, 20, "frame 20").await, 21);
    assert_eq!(read_all(&journal).await, frames(0..21));
}

#[tokio::test]
async fn a_restart_keeps_everything_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalConfig {
        segment_size: 500,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), small.clone()).unwrap();
    fill(&journal, 0, 100).await;
    drop(journal);
    assert!(segments(dir.path()).len() > 5);
    let journal = EmbeddedJournal::open(dir.path(), small).unwrap();
    assert_eq!(read_all(&journal).await, frames(0..100));
}

#[tokio::test]
async fn a_recreated_log_has_another_epoch() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_ne!(open(a.path()).epoch(), open(b.path()).epoch());
}

#[tokio::test]
async fn a_directory_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let Err(refused) = EmbeddedJournal::open(dir.path(), config()) else {
        panic!("opened twice");
    };
    assert!(refused.to_string().contains(dir.path().to_str().unwrap()));
    drop(first);
    open(dir.path());
}

#[tokio::test]
async fn the_number_of_partitions_cannot_change() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let more = JournalConfig {
        partitions: 8,
        ..config()
    };
    let refused = EmbeddedJournal::open(dir.path(), more);
    assert!(matches!(
        refused,
        Err(OpenError::Partitions {
            stored: 4,
            configured: 8,
            ..
        })
    ));
}

#[tokio::test]
async fn appends_in_flight_together_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path()));
    let tasks: Vec<_> = (0..64u64)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for i in 0..20 {
                    append(&*journal, PartitionId((task % 4) as u16), task * 100 + i, "x").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = journal.stats();
    assert_eq!(stats.frames, 1280);
    assert!(stats.commits * 4 < stats.frames, "{stats:?}");
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let limited = JournalConfig {
        max_frame: 100,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), limited).unwrap();
    let largest = journal.append(P, None, id("w", 1), vec![0; 100].into()).await;
    assert_eq!(largest.unwrap(), FrameSeq(1));
    let refused = journal.append(P, None, id("w", 2), vec![0; 101].into()).await;
    assert!(matches!(
        refused,
        Err(JournalError::TooLarge {
            size: 101,
            limit: 100
        })
    ));
}

#[tokio::test]
async fn closing_stores_what_is_queued_and_ends_readers_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path()));
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let appends: Vec<_> = (0..100)
        .map(|i| journal.append(P, None, id("w", i), Bytes::from_static(b"x")))
        .collect();
    let mut appends = Box::pin(futures::future::join_all(appends));
    assert!(
        futures::poll!(&mut appends).is_pending(),
        "all are queued, none is answered here"
    );
    journal.close();
    assert!(appends.await.iter().all(Result::is_ok));
    assert_eq!(take(&mut reader, 100).await.len(), 100);
    assert!(matches!(reader.next().await, Err(JournalError::Closed)));
    let late = journal.append(P, None, id("w", 200), Bytes::new()).await;
    assert!(matches!(late, Err(JournalError::Closed)));
}

#[tokio::test]
async fn trimmed_segments_go_when_they_are_old_enough_and_all_partitions_agree() {
    let dir = tempfile::tempdir().unwrap();
    let small = |retention| JournalConfig {
        segment_size: 500,
        retention,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), small(Duration::from_secs(3600))).unwrap();
    fill(&journal, 0, 50).await;
    append(&journal, PartitionId(1), 1000, "held").await;
    fill(&journal, 50, 50).await;
    let all = segments(dir.path()).len();
    journal.trim(P, FrameSeq(100)).await.unwrap();
    assert_eq!(segments(dir.path()).len(), all, "nothing is old enough");
    drop(journal);

    let journal = EmbeddedJournal::open(dir.path(), small(Duration::ZERO)).unwrap();
    journal.trim(P, FrameSeq(100)).await.unwrap();
    let left = segments(dir.path()).len();
    assert!(left < all && left > 1, "up to what partition 1 still needs");
    let mut reader = journal.read(PartitionId(1), FrameSeq(0)).await.unwrap();
    take(&mut reader, 1).await;
    journal.trim(PartitionId(1), FrameSeq(1)).await.unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    let Err(JournalError::Trimmed { partition: P, first }) = journal.read(P, FrameSeq(0)).await.map(|_| ())
    else {
        panic!("frame 1 is gone");
    };
    let mut reader = journal.read(P, FrameSeq(first - 1)).await.unwrap();
    take(&mut reader, 101 - first as usize).await;
    drop(journal);

    let journal = open(dir.path());
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(100));
    assert_eq!(
        append(&journal, PartitionId(1), 1001, "x").await,
        2,
        "counts go on"
    );
}

#[tokio::test]
async fn a_slow_reader_takes_from_the_files_while_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        memory: 20_000,
        segment_size: 100_000,
        ..config()
    };
    let journal = Arc::new(EmbeddedJournal::open(dir.path(), config).unwrap());
    let frame = |i: u64| format!("{i} {}", "x".repeat((i * 37 % 900) as usize));
    let writer = {
        let journal = journal.clone();
        tokio::spawn(async move {
            for i in 0..1500 {
                append(&*journal, PartitionId((i % 3) as u16), i, &frame(i)).await;
            }
        })
    };
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 500 {
        got.extend(reader.next().await.unwrap());
        // Falls behind by more than the memory holds, as often as the writer is there to go on.
        let wait = (journal.head(P).await.unwrap().0 + 60).min(500);
        while journal.head(P).await.unwrap().0 < wait {
            tokio::task::yield_now().await;
        }
    }
    writer.await.unwrap();
    for (i, stored) in got.iter().enumerate() {
        assert_eq!(stored.seq.0, i as u64 + 1);
        assert_eq!(stored.bytes, frame(i as u64 * 3));
    }
    assert!(segments(dir.path()).len() > 3);
}

#[tokio::test]
async fn cursors_beyond_the_head_wait_and_marks_beyond_it_take_no_more_than_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalConfig {
        segment_size: 300,
        retention: Duration::ZERO,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), small).unwrap();
    fill(&journal, 0, 20).await;
    let mut beyond = journal.read(P, FrameSeq(21)).await.unwrap();
    let mut never = journal.read(P, FrameSeq(u64::MAX)).await.unwrap();
    assert!(futures::poll!(never.next()).is_pending());
    journal.trim(P, FrameSeq(u64::MAX)).await.unwrap();
    assert_eq!(
        segments(dir.path()).len(),
        1,
        "the one that is being written stays"
    );
    fill(&journal, 20, 2).await;
    assert_eq!(take(&mut beyond, 1).await[0].seq, FrameSeq(22));
}
