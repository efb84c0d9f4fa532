//! Readers that wait are told a little later; whoever asks is told at once.

use super::*;

const NEVER: Duration = Duration::from_secs(3600);

fn open_with(dir: &Path, reader_delay: Duration) -> EmbeddedJournal {
    let config = JournalConfig {
        reader_delay,
        ..config()
    };
    EmbeddedJournal::open(dir, config).unwrap()
}

#[tokio::test]
async fn a_frame_is_there_for_whoever_asks_and_wakes_nobody_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_with(dir.path(), NEVER);
    let mut waiting = journal.read(P, FrameSeq(0)).await.unwrap();
    let mut waiting = Box::pin(waiting.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    append(&journal, P, 1, "a").await;
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(1));
    assert!(futures::poll!(&mut waiting).is_pending());
    let mut asks = journal.read(P, FrameSeq(0)).await.unwrap();
    assert_eq!(asks.next().now_or_never().unwrap().unwrap().len(), 1);
    journal.announce();
    assert_eq!(waiting.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reader_that_waits_is_told_within_the_delay() {
    let dir = tempfile::tempdir().unwrap();
    for delay in [Duration::ZERO, Duration::from_millis(20)] {
        let journal = open_with(&dir.path().join(format!("{delay:?}")), delay);
        for number in 0..5 {
            let mut reader = journal.read(P, FrameSeq(number)).await.unwrap();
            let mut waiting = Box::pin(reader.next());
            assert!(futures::poll!(&mut waiting).is_pending());
            append(&journal, P, number, "a").await;
            let frames = timeout(SOON, waiting).await.expect("told by itself").unwrap();
            assert_eq!(frames[0].seq, FrameSeq(number + 1));
        }
    }
}

#[tokio::test]
async fn many_frames_are_told_before_the_delay_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_with(dir.path(), NEVER);
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let mut waiting = Box::pin(reader.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    for number in 0..65 {
        append(&journal, P, number, "a").await;
    }
    let frames = timeout(SOON, waiting).await.expect("told by itself").unwrap();
    assert_eq!(frames.len(), 65);
}

#[tokio::test]
async fn a_large_frame_is_told_before_the_delay_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_with(dir.path(), NEVER);
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let mut waiting = Box::pin(reader.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    append(&journal, P, 1, &"x".repeat(300 << 10)).await;
    timeout(SOON, waiting).await.expect("told by itself").unwrap();
}

#[tokio::test]
async fn closing_tells_of_what_was_stored_before_it_ends_readers() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open_with(dir.path(), NEVER);
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    let mut waiting = Box::pin(reader.next());
    assert!(futures::poll!(&mut waiting).is_pending());
    append(&journal, P, 1, "a").await;
    journal.close();
    assert_eq!(waiting.await.unwrap().len(), 1);
    assert!(matches!(reader.next().await, Err(JournalError::Closed)));
    let mut late = journal.read(P, FrameSeq(0)).await.unwrap();
    assert_eq!(late.next().await.unwrap().len(), 1);
    assert!(matches!(late.next().await, Err(JournalError::Closed)));
}
