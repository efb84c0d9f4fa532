//! What appends that name the frame they follow are promised.

use super::*;

fn refused(result: &Result<FrameSeq, JournalError>, behind: u64) -> bool {
    matches!(result, Err(JournalError::Mismatch { partition: P, follows }) if *follows == FrameSeq(behind))
}

async fn follow(journal: &dyn Journal, after: u64, number: u64) -> Result<FrameSeq, JournalError> {
    let frame = number.to_string().into();
    journal
        .append(P, Some(FrameSeq(after)), id("w", number), frame)
        .await
}

/// The numbers of the frames that are stored.
async fn stored(journal: &dyn Journal) -> Vec<u64> {
    let head = journal.head(P).await.unwrap().0 as usize;
    let frames = read(journal, 0, head).await;
    text(&frames)
        .iter()
        .map(|(_, text)| text.parse().unwrap())
        .collect()
}

/// [`Journal::append`], *Place*.
pub async fn a_frame_goes_behind_the_one_it_names_or_nowhere(journal: Arc<dyn Journal>) {
    assert_eq!(follow(&*journal, 0, 10).await.unwrap(), FrameSeq(1));
    assert_eq!(follow(&*journal, 1, 11).await.unwrap(), FrameSeq(2));
    for (behind, number) in [(1, 20), (3, 21), (0, 22), (u64::MAX, 23)] {
        let result = follow(&*journal, behind, number).await;
        assert!(refused(&result, behind), "{result:?}");
    }
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(2), "they took no place");
    assert_eq!(
        append(&*journal, P, 12, "12").await,
        3,
        "behind whatever there is"
    );
    let result = follow(&*journal, 2, 24).await;
    assert!(refused(&result, 2), "{result:?}");
    assert_eq!(follow(&*journal, 3, 13).await.unwrap(), FrameSeq(4));
    assert_eq!(stored(&*journal).await, [10, 11, 12, 13]);
}

/// [`Journal::append`]: frame 1 follows 0.
pub async fn the_first_frame_follows_0(journal: Arc<dyn Journal>) {
    let other = journal
        .append(PartitionId(2), Some(FrameSeq(0)), id("w", 1), Bytes::new())
        .await;
    assert_eq!(other.unwrap(), FrameSeq(1));
    let result = follow(&*journal, 1, 2).await;
    assert!(
        refused(&result, 1),
        "what another partition holds does not count: {result:?}"
    );
    assert_eq!(follow(&*journal, 0, 3).await.unwrap(), FrameSeq(1));
}

/// [`Journal::append`]: of several that expect the same, one is stored.
pub async fn of_writers_that_expect_the_same_one_wins(journal: Arc<dyn Journal>) {
    for after in 0..20 {
        let racing: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|writer| {
                let journal = journal.clone();
                let append = async move {
                    let frame = Bytes::from(after.to_string());
                    journal
                        .append(P, Some(FrameSeq(after)), id(writer, after), frame)
                        .await
                };
                tokio::spawn(append)
            })
            .collect();
        let mut won = 0;
        for racer in racing {
            let result = racer.await.unwrap();
            match result {
                Ok(seq) => {
                    assert_eq!(seq, FrameSeq(after + 1));
                    won += 1;
                }
                result => assert!(refused(&result, after), "{result:?}"),
            }
        }
        assert_eq!(won, 1);
    }
    assert_eq!(stored(&*journal).await, Vec::from_iter(0..20));
}

/// [`JournalError::Mismatch`] leaves nothing behind: the frame, with its id, can go elsewhere.
pub async fn a_writer_that_was_outrun_reads_on_and_appends_behind(journal: Arc<dyn Journal>) {
    let winner = journal
        .append(P, Some(FrameSeq(0)), id("other", 1), Bytes::from_static(b"9"))
        .await;
    assert_eq!(winner.unwrap(), FrameSeq(1));
    let result = follow(&*journal, 0, 1).await;
    assert!(refused(&result, 0), "{result:?}");
    let found = read(&*journal, 0, 1).await;
    assert_eq!(text(&found), [(1, "9")]);
    assert_eq!(follow(&*journal, found[0].seq.0, 1).await.unwrap(), FrameSeq(2));
    assert_eq!(stored(&*journal).await, [9, 1]);
}

/// [`Journal::append`], *Repetition*.
pub async fn a_retry_with_its_expectation_gets_the_place_of_the_first(journal: Arc<dyn Journal>) {
    for after in 0..3 {
        assert_eq!(
            follow(&*journal, after, after).await.unwrap(),
            FrameSeq(after + 1)
        );
        assert_eq!(
            follow(&*journal, after, after).await.unwrap(),
            FrameSeq(after + 1)
        );
    }
    assert_eq!(
        follow(&*journal, 0, 0).await.unwrap(),
        FrameSeq(1),
        "others came since"
    );
    let elsewhere = follow(&*journal, 3, 0).await;
    assert!(
        refused(&elsewhere, 3) || matches!(elsewhere, Ok(FrameSeq(1))),
        "{elsewhere:?}"
    );
    assert_eq!(
        stored(&*journal).await,
        [0, 1, 2],
        "it is not stored a second time"
    );
}

/// [`Journal::append`], *Repetition*: also when the first one is not durable yet.
pub async fn retries_in_flight_together_with_their_expectation_are_stored_once(journal: Arc<dyn Journal>) {
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move { follow(&*journal, 0, 1).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), FrameSeq(1));
    }
    assert_eq!(stored(&*journal).await, [1]);
}

/// [`Journal::append`]: what is in flight counts, and who is refused disturbs nobody.
pub async fn appends_in_flight_together_may_follow_one_another(journal: Arc<dyn Journal>) {
    let asked = [(0, 0), (1, 1), (5, 2), (6, 3), (2, 4), (1, 5), (3, 6)];
    let appends = asked.map(|(after, number)| follow(&*journal, after, number));
    let results = futures::future::join_all(appends).await;
    for ((after, number), result) in asked.into_iter().zip(&results) {
        match number {
            2 | 3 | 5 => assert!(refused(result, after), "{number}: {result:?}"),
            _ => assert!(
                matches!(result, Ok(seq) if seq.0 == after + 1),
                "{number}: {result:?}"
            ),
        }
    }
    assert_eq!(stored(&*journal).await, [0, 1, 4, 6]);
}
