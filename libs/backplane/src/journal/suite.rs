//! What every journal promises, as tests. [`journal_suite!`](crate::journal_suite) makes them of an implementation.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod follows;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use tokio::time::timeout;

pub use follows::*;

use super::{FrameId, Journal, JournalError, Reader, StoredFrame};

/// Makes one test of each promise: `journal_suite!(tokio::test, make)`, where `make` is an async function that returns an
/// empty `Arc<dyn Journal>` of its own, with four partitions that take frames of 1 MiB. The tests use real time.
#[macro_export]
macro_rules! journal_suite {
    ($attr:meta, $make:expr) => {
        $crate::suite_tests!(journal, ($attr), ($make),
            frames_are_numbered_from_1_and_read_in_order
            an_empty_partition_has_head_0
            partitions_count_for_themselves
            what_is_acknowledged_is_below_the_head_and_there_to_read
            a_reader_begins_after_its_cursor
            a_reader_waits_for_what_is_not_there_yet
            every_reader_sees_every_frame_while_it_is_appended
            a_retried_append_gets_the_place_of_the_first
            retries_in_flight_together_are_stored_once
            ids_of_different_writers_are_different_frames
            appends_in_flight_together_get_places_without_holes
            a_task_that_appends_one_after_the_other_keeps_its_order
            next_can_be_cancelled_without_losing_a_frame
            empty_and_large_frames_come_back_as_they_were
            trimming_leaves_what_is_above_the_mark
            a_partition_that_is_not_there_is_refused
            the_log_has_an_epoch_and_is_well
            a_frame_goes_behind_the_one_it_names_or_nowhere
            the_first_frame_follows_0
            of_writers_that_expect_the_same_one_wins
            a_writer_that_was_outrun_reads_on_and_appends_behind
            a_retry_with_its_expectation_gets_the_place_of_the_first
            retries_in_flight_together_with_their_expectation_are_stored_once
            appends_in_flight_together_may_follow_one_another
        );
    };
}

const SOON: Duration = Duration::from_secs(20);
const P: PartitionId = PartitionId(1);

/// The id of a frame.
pub fn id(writer: &str, number: u64) -> FrameId {
    FrameId {
        writer: writer.into(),
        number,
    }
}

/// Appends, and takes nothing but success.
pub async fn append(journal: &dyn Journal, partition: PartitionId, number: u64, frame: &str) -> u64 {
    let frame = Bytes::copy_from_slice(frame.as_bytes());
    journal
        .append(partition, None, id("w", number), frame)
        .await
        .expect("the frame is stored")
        .0
}

/// Exactly the next `count` frames of a reader.
pub async fn take(reader: &mut Box<dyn Reader>, count: usize) -> Vec<StoredFrame> {
    let mut got = Vec::new();
    while got.len() < count {
        let frames = timeout(SOON, reader.next())
            .await
            .expect("frames in time")
            .expect("an open journal");
        assert!(!frames.is_empty(), "next() gives at least one");
        got.extend(frames);
    }
    assert_eq!(got.len(), count, "no more than were appended");
    got
}

fn text(frames: &[StoredFrame]) -> Vec<(u64, &str)> {
    frames
        .iter()
        .map(|f| (f.seq.0, std::str::from_utf8(&f.bytes).unwrap()))
        .collect()
}

async fn read(journal: &dyn Journal, after: u64, count: usize) -> Vec<StoredFrame> {
    let mut reader = journal.read(P, FrameSeq(after)).await.unwrap();
    take(&mut reader, count).await
}

/// [`Journal::append`], [`Journal::read`].
pub async fn frames_are_numbered_from_1_and_read_in_order(journal: Arc<dyn Journal>) {
    for (i, frame) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(append(&*journal, P, i as u64, frame).await, i as u64 + 1);
    }
    assert_eq!(text(&read(&*journal, 0, 3).await), [(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(text(&read(&*journal, 0, 3).await), [(1, "a"), (2, "b"), (3, "c")]);
}

/// [`Journal::head`].
pub async fn an_empty_partition_has_head_0(journal: Arc<dyn Journal>) {
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(0));
}

/// Partitions share nothing but the log's identity.
pub async fn partitions_count_for_themselves(journal: Arc<dyn Journal>) {
    for p in 0..4 {
        for i in 0..=u64::from(p) {
            assert_eq!(
                append(&*journal, PartitionId(p), i, &format!("{p}/{i}")).await,
                i + 1
            );
        }
    }
    for p in 0..4 {
        let count = usize::from(p) + 1;
        let mut reader = journal.read(PartitionId(p), FrameSeq(0)).await.unwrap();
        let frames = take(&mut reader, count).await;
        let expected: Vec<_> = (0..count).map(|i| format!("{p}/{i}")).collect();
        assert!(text(&frames).iter().map(|f| f.1).eq(expected.iter()));
        assert_eq!(
            journal.head(PartitionId(p)).await.unwrap(),
            FrameSeq(count as u64)
        );
    }
}

/// [`Journal::append`] resolves when the frame is there for everyone.
pub async fn what_is_acknowledged_is_below_the_head_and_there_to_read(journal: Arc<dyn Journal>) {
    for i in 0..50 {
        let seq = append(&*journal, P, i, "x").await;
        assert!(journal.head(P).await.unwrap().0 >= seq);
        assert_eq!(read(&*journal, seq - 1, 1).await[0].seq.0, seq);
    }
}

/// [`Journal::read`].
pub async fn a_reader_begins_after_its_cursor(journal: Arc<dyn Journal>) {
    for i in 0..5 {
        append(&*journal, P, i, &i.to_string()).await;
    }
    assert_eq!(text(&read(&*journal, 3, 2).await), [(4, "3"), (5, "4")]);
}

/// [`Reader::next`].
pub async fn a_reader_waits_for_what_is_not_there_yet(journal: Arc<dyn Journal>) {
    append(&*journal, P, 0, "old").await;
    let mut reader = journal.read(P, FrameSeq(1)).await.unwrap();
    let early = timeout(Duration::from_millis(20), reader.next()).await;
    assert!(early.is_err(), "nothing is there");
    append(&*journal, PartitionId(2), 1, "another partition's").await;
    let waiting = tokio::spawn(async move { take(&mut reader, 1).await });
    append(&*journal, P, 2, "new").await;
    assert_eq!(text(&waiting.await.unwrap()), [(2, "new")]);
}

/// [`Journal::read`]: every frame, in order, without holes, for everyone.
pub async fn every_reader_sees_every_frame_while_it_is_appended(journal: Arc<dyn Journal>) {
    const FRAMES: u64 = 300;
    for i in 0..100 {
        append(&*journal, P, i, &i.to_string()).await;
    }
    let mut readers = Vec::new();
    for after in [0, 0, 0, 100] {
        let mut reader = journal.read(P, FrameSeq(after)).await.unwrap();
        readers.push(tokio::spawn(async move {
            take(&mut reader, (FRAMES - after) as usize).await
        }));
    }
    for i in 100..FRAMES {
        append(&*journal, P, i, &i.to_string()).await;
    }
    for (reader, after) in readers.into_iter().zip([0, 0, 0, 100]) {
        let frames = reader.await.unwrap();
        let expected: Vec<_> = (after..FRAMES).map(|i| (i + 1, i.to_string())).collect();
        assert!(
            text(&frames)
                .into_iter()
                .eq(expected.iter().map(|(s, t)| (*s, t.as_str())))
        );
    }
}

/// [`FrameId`].
pub async fn a_retried_append_gets_the_place_of_the_first(journal: Arc<dyn Journal>) {
    assert_eq!(append(&*journal, P, 7, "a").await, 1);
    assert_eq!(append(&*journal, P, 8, "b").await, 2);
    assert_eq!(append(&*journal, P, 7, "a").await, 1);
    assert_eq!(append(&*journal, P, 9, "c").await, 3);
    assert_eq!(text(&read(&*journal, 0, 3).await), [(1, "a"), (2, "b"), (3, "c")]);
}

/// [`FrameId`]: also when the first one is not durable yet.
pub async fn retries_in_flight_together_are_stored_once(journal: Arc<dyn Journal>) {
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let journal = journal.clone();
            tokio::spawn(async move { (i % 4, append(&*journal, P, i % 4, "x").await) })
        })
        .collect();
    let mut places = std::collections::BTreeSet::new();
    for task in tasks {
        places.insert(task.await.unwrap());
    }
    assert_eq!(places.len(), 4, "one place each: {places:?}");
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(4));
}

/// [`FrameId::writer`].
pub async fn ids_of_different_writers_are_different_frames(journal: Arc<dyn Journal>) {
    for (writer, seq) in [("a", 1), ("b", 2), ("a", 1)] {
        let stored = journal.append(P, None, id(writer, 1), Bytes::new()).await;
        assert_eq!(stored.unwrap(), FrameSeq(seq));
    }
}

/// [`Journal::append`]: positions have no holes and nothing is stored twice.
pub async fn appends_in_flight_together_get_places_without_holes(journal: Arc<dyn Journal>) {
    let tasks: Vec<_> = (0..400)
        .map(|i| {
            let journal = journal.clone();
            let partition = PartitionId((i % 4) as u16);
            tokio::spawn(async move { (i % 4, append(&*journal, partition, i, &i.to_string()).await) })
        })
        .collect();
    let mut places = vec![Vec::new(); 4];
    for task in tasks {
        let (partition, seq) = task.await.unwrap();
        places[partition as usize].push(seq);
    }
    for mut seqs in places {
        seqs.sort_unstable();
        assert!(seqs.into_iter().eq(1..=100));
    }
}

/// [`Journal::append`].
pub async fn a_task_that_appends_one_after_the_other_keeps_its_order(journal: Arc<dyn Journal>) {
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for i in 0..25 {
                    let frame = format!("{task} {i:02}");
                    append(&*journal, P, task * 100 + i, &frame).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let frames = read(&*journal, 0, 100).await;
    for task in ["0", "1", "2", "3"] {
        let own: Vec<_> = text(&frames)
            .into_iter()
            .map(|f| f.1)
            .filter(|t| t.starts_with(task))
            .collect();
        assert!(own.len() == 25 && own.is_sorted(), "{own:?}");
    }
}

/// [`Reader::next`] is cancel safe.
pub async fn next_can_be_cancelled_without_losing_a_frame(journal: Arc<dyn Journal>) {
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let mut got = Vec::new();
    for i in 0..100 {
        append(&*journal, P, i, &i.to_string()).await;
        if let Ok(frames) = timeout(Duration::ZERO, reader.next()).await {
            got.extend(frames.unwrap());
        }
    }
    let left = 100 - got.len();
    if left > 0 {
        got.extend(take(&mut reader, left).await);
    }
    assert!(got.iter().map(|f| f.seq.0).eq(1..=100));
}

/// Frames are opaque bytes.
pub async fn empty_and_large_frames_come_back_as_they_were(journal: Arc<dyn Journal>) {
    let large: Bytes = (0..1 << 20)
        .map(|i: u32| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    let frames = [Bytes::new(), large.clone(), Bytes::new(), large];
    for (i, frame) in frames.iter().enumerate() {
        journal
            .append(P, None, id("w", i as u64), frame.clone())
            .await
            .unwrap();
    }
    let stored = read(&*journal, 0, 4).await;
    assert!(stored.iter().map(|f| &f.bytes).eq(&frames));
}

/// [`Journal::trim`].
pub async fn trimming_leaves_what_is_above_the_mark(journal: Arc<dyn Journal>) {
    for i in 0..10 {
        append(&*journal, P, i, &i.to_string()).await;
    }
    journal.trim(P, FrameSeq(4)).await.unwrap();
    journal.trim(P, FrameSeq(2)).await.unwrap();
    assert_eq!(read(&*journal, 4, 6).await[0].seq, FrameSeq(5));
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(10));
    assert_eq!(append(&*journal, P, 99, "next").await, 11);
}

/// [`JournalError::NoPartition`].
pub async fn a_partition_that_is_not_there_is_refused(journal: Arc<dyn Journal>) {
    let beyond = PartitionId(4);
    let refused = journal.append(beyond, None, id("w", 1), Bytes::new()).await;
    assert!(matches!(refused, Err(JournalError::NoPartition { partition, count: 4 }) if partition == beyond));
    assert!(journal.read(beyond, FrameSeq(0)).await.is_err());
    assert!(journal.head(beyond).await.is_err());
}

/// [`Journal::epoch`], [`Journal::health`].
pub async fn the_log_has_an_epoch_and_is_well(journal: Arc<dyn Journal>) {
    assert_ne!(journal.epoch(), 0);
    assert_eq!(journal.health(), Ok(()));
}
