//! Appends of which nobody heard whether they were stored.

use super::*;

#[tokio::test]
async fn what_was_never_sent_is_refused_for_certain_and_what_may_have_been_is_not() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    server.stop();
    let doubtful = journal
        .append(P, None, id("w", 1), Bytes::from_static(b"x"))
        .await;
    assert!(matches!(doubtful, Err(JournalError::Unknown)), "{doubtful:?}");
    server.kill().await;
    until("the loss is noticed", async || !nats.is_connected()).await;
    let still = journal
        .append(P, None, id("w", 1), Bytes::from_static(b"x"))
        .await;
    assert!(matches!(still, Err(JournalError::Unknown)), "{still:?}");
    let never = journal
        .append(P, None, id("w", 2), Bytes::from_static(b"y"))
        .await;
    assert!(
        matches!(never, Err(JournalError::Unavailable { .. })),
        "{never:?}"
    );
}

#[tokio::test]
async fn a_refusal_after_a_doubt_is_settled_by_what_stands_in_the_place() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    let follow = |writer: &'static str, after, number| {
        let frame = Bytes::from_static(b"x");
        journal.append(P, Some(FrameSeq(after)), id(writer, number), frame)
    };
    // The server holds still, takes what was sent when it goes on, and nobody hears of it.
    hold_still(&server).await;
    let doubtful = follow("w", 0, 1).await;
    assert!(matches!(doubtful, Err(JournalError::Unknown)), "{doubtful:?}");
    server.cont();
    until("it goes on", async || journal.head(P).await.is_ok()).await;
    assert_eq!(follow("w", 0, 1).await.unwrap(), FrameSeq(1));
    assert_eq!(follow("w", 1, 2).await.unwrap(), FrameSeq(2));
    assert_eq!(follow("w", 0, 1).await.unwrap(), FrameSeq(1), "others follow it");
    // What was sent dies with the server, and somebody else takes the place.
    hold_still(&server).await;
    let doubtful = follow("w", 2, 3).await;
    assert!(matches!(doubtful, Err(JournalError::Unknown)), "{doubtful:?}");
    let ahead = follow("w", 3, 4).await;
    assert!(matches!(ahead, Err(JournalError::Unknown)), "{ahead:?}");
    server.kill().await;
    server.restart().await;
    until("it is connected again", async || journal.head(P).await.is_ok()).await;
    let early = follow("w", 3, 4).await;
    assert!(
        matches!(early, Err(JournalError::Unknown)),
        "an earlier attempt is in doubt, and nothing is there to tell: {early:?}"
    );
    assert_eq!(follow("other", 2, 1).await.unwrap(), FrameSeq(3));
    let displaced = follow("w", 2, 3).await;
    assert!(
        matches!(displaced, Err(JournalError::Mismatch { .. })),
        "{displaced:?}"
    );
    assert_eq!(follow("w", 3, 4).await.unwrap(), FrameSeq(4), "it fits now");
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(4));
}
