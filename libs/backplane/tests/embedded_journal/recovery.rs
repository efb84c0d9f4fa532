//! What was acknowledged is there and whole, or the log does not open.

use super::*;

#[tokio::test]
async fn a_last_record_torn_at_any_byte_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 0, 5).await;
    let segment = segments(dir.path()).remove(0);
    let before = written(&segment);
    fill(&journal, 5, 1).await;
    drop(journal);
    let whole = fs::read(&segment).unwrap();
    for (cut, ahead) in (before..whole.len()).flat_map(|cut| [(cut, 0), (cut, 5000)]) {
        let mut torn = whole[..cut].to_vec();
        torn.resize(cut + ahead, 0);
        fs::write(&segment, &torn).unwrap();
        let journal = open(dir.path());
        assert_eq!(
            read_all(&journal).await,
            frames(0..5),
            "cut at {cut}, {ahead} zeros"
        );
        assert_eq!(append(&journal, P, 50, "again").await, 6);
        drop(journal);
        let journal = open(dir.path());
        assert_eq!(journal.head(P).await.unwrap(), FrameSeq(6));
    }
}

#[tokio::test]
async fn a_last_record_that_does_not_match_its_checksum_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 0, 5).await;
    let segment = segments(dir.path()).remove(0);
    let before = written(&segment);
    fill(&journal, 5, 1).await;
    drop(journal);
    let whole = fs::read(&segment).unwrap();
    for at in before..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        fs::write(&segment, &broken).unwrap();
        assert_eq!(read_all(&open(dir.path())).await, frames(0..5), "flipped at {at}");
    }
}

#[tokio::test]
async fn a_flipped_byte_before_the_last_write_is_told_as_damage() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 0, 4).await;
    let segment = segments(dir.path()).remove(0);
    let before = written(&segment);
    fill(&journal, 4, 1).await;
    drop(journal);
    let whole = fs::read(&segment).unwrap();
    for at in 0..before {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        fs::write(&segment, &broken).unwrap();
        match EmbeddedJournal::open(dir.path(), config()) {
            Err(OpenError::Corrupt { place, .. }) => {
                assert!(
                    place.contains("000000000001.segment at offset"),
                    "flipped at {at}: {place}"
                )
            }
            Err(other) => panic!("flipped at {at}: {other}"),
            Ok(_) => panic!("flipped at {at}: the log opens"),
        }
        assert_eq!(fs::read(&segment).unwrap(), broken, "nothing was changed");
    }
}

#[tokio::test]
async fn damage_in_a_segment_that_another_follows_is_told_whatever_stands_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalConfig {
        segment_size: 300,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), small.clone()).unwrap();
    fill(&journal, 0, 20).await;
    drop(journal);
    let first = segments(dir.path()).remove(0);
    let whole = fs::read(&first).unwrap();
    fs::write(&first, &whole[..whole.len() - 1]).unwrap();
    let cut = EmbeddedJournal::open(dir.path(), small.clone());
    assert!(matches!(cut, Err(OpenError::Corrupt { .. })), "cut off");
    let mut broken = whole.clone();
    *broken.last_mut().unwrap() ^= 1;
    fs::write(&first, &broken).unwrap();
    let flipped = EmbeddedJournal::open(dir.path(), small.clone());
    assert!(matches!(flipped, Err(OpenError::Corrupt { .. })), "flipped");
    fs::write(&first, &whole).unwrap();
    let second = segments(dir.path()).remove(1);
    fs::rename(&second, dir.path().join("aside")).unwrap();
    let missing = EmbeddedJournal::open(dir.path(), small.clone());
    assert!(
        matches!(missing, Err(OpenError::Corrupt { what, .. }) if what == "segment 2 is missing"),
        "missing"
    );
}

#[tokio::test]
async fn damage_met_by_a_reader_is_told_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        memory: 0,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), config).unwrap();
    fill(&journal, 0, 3).await;
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[written(&segment) - 1] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let mut reader = journal.read(P, FrameSeq(2)).await.unwrap();
    let read = reader.next().await;
    assert!(matches!(read, Err(JournalError::Corrupt { place, .. }) if place.contains("offset")));
}

#[tokio::test]
async fn a_segment_whose_creation_was_interrupted_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 0, 5).await;
    drop(journal);
    let header = 40 + 8 * 4;
    for len in 0..=header {
        fs::write(dir.path().join("000000000002.segment"), vec![0; len]).unwrap();
        assert_eq!(read_all(&open(dir.path())).await, frames(0..5));
        assert_eq!(segments(dir.path()).len(), 1);
    }
}

#[tokio::test]
async fn damage_in_several_segments_is_told_of_the_first_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalConfig {
        segment_size: 300,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), small.clone()).unwrap();
    fill(&journal, 0, 100).await;
    drop(journal);
    let files = segments(dir.path());
    for damaged in [7, 3, 5] {
        let mut bytes = fs::read(&files[damaged]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&files[damaged], bytes).unwrap();
    }
    // Bytes that do not count, in a segment before them: they would be cut off.
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes.extend([7; 100]);
    fs::write(&files[1], bytes).unwrap();
    let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let Err(OpenError::Corrupt { place, .. }) = EmbeddedJournal::open(dir.path(), small) else {
        panic!("it does not open");
    };
    assert!(place.contains("000000000004.segment"), "{place}");
    let after: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(before == after, "nothing was changed");
}

#[tokio::test]
async fn ids_are_remembered_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let small = JournalConfig {
        segment_size: 500,
        ..config()
    };
    let journal = EmbeddedJournal::open(dir.path(), small.clone()).unwrap();
    fill(&journal, 0, 100).await;
    drop(journal);
    let journal = EmbeddedJournal::open(dir.path(), small).unwrap();
    for number in [0, 50, 99] {
        assert_eq!(append(&journal, P, number, "again").await, number + 1);
    }
}

#[tokio::test]
async fn a_log_of_the_former_kind_is_refused_in_words_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    fill(&journal, 0, 5).await;
    drop(journal);
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[7] = 1;
    // Also one whose header is all there is.
    for len in [bytes.len(), 40 + 8 * 4, 20] {
        fs::write(&segment, &bytes[..len]).unwrap();
        let Err(error) = EmbeddedJournal::open(dir.path(), config()) else {
            panic!("it does not open");
        };
        assert!(
            matches!(
                error,
                OpenError::Format {
                    found: 1,
                    known: 3,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("--data"), "{error}");
        assert_eq!(fs::read(&segment).unwrap(), bytes[..len]);
    }
}
