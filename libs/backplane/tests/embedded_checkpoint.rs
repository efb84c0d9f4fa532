//! The checkpoints of one process keep every promise of the seam, across restarts, crashes and damage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use backplane::checkpoint::{CheckpointError, Checkpoints, EmbeddedCheckpoints};
use bytes::Bytes;
use model::PartitionId;
use tempfile::TempDir;

thread_local! {
    /// Lives as long as the test.
    static DIR: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

const P: PartitionId = PartitionId(2);

async fn checkpoints() -> Arc<dyn Checkpoints> {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = EmbeddedCheckpoints::open(dir.path().join("checkpoints")).unwrap();
    DIR.set(Some(dir));
    Arc::new(checkpoints)
}

backplane::checkpoint_suite!(tokio::test, checkpoints);

fn small(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn the_next_process_finds_what_was_stored_and_the_fence() {
    let dir = tempfile::tempdir().unwrap();
    let before = EmbeddedCheckpoints::open(dir.path()).unwrap();
    before.put(P, "a", small("blob")).await.unwrap();
    before.put_manifest(P, 7, small("manifest")).await.unwrap();
    let after = EmbeddedCheckpoints::open(dir.path()).unwrap();
    assert_eq!(after.get(P, "a").await, Ok(Some(small("blob"))));
    assert_eq!(after.manifest(P).await, Ok(Some(small("manifest"))));
    assert!(matches!(
        after.claim(P, 6).await,
        Err(CheckpointError::Fenced { epoch: 7, .. })
    ));
}

#[tokio::test]
async fn what_was_left_unfinished_is_never_seen_and_goes_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = EmbeddedCheckpoints::open(dir.path()).unwrap();
    checkpoints.put(P, "a", small("blob")).await.unwrap();
    let unfinished = dir.path().join("2/b.0.tmp");
    fs::write(&unfinished, "half").unwrap();
    assert_eq!(checkpoints.list(P).await, Ok(vec!["a".to_owned()]));
    EmbeddedCheckpoints::open(dir.path()).unwrap();
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn nobody_else_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = EmbeddedCheckpoints::open(dir.path().join("c")).unwrap();
    checkpoints.put(P, "a", small("blob")).await.unwrap();
    checkpoints.put_manifest(P, 1, small("m")).await.unwrap();
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        ["c", "c/2", "c/2/a.blob", "c/2/manifest"].map(mode),
        [0o700, 0o700, 0o600, 0o600]
    );
}

#[tokio::test]
async fn a_damaged_manifest_counts_as_none_and_can_be_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = EmbeddedCheckpoints::open(dir.path()).unwrap();
    checkpoints.put_manifest(P, 7, small("manifest")).await.unwrap();
    let path = dir.path().join("2/manifest");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(checkpoints.manifest(P).await, Ok(None));
    assert_eq!(checkpoints.claim(P, 8).await, Ok(None));
    checkpoints.put_manifest(P, 8, small("new")).await.unwrap();
    assert_eq!(checkpoints.manifest(P).await, Ok(Some(small("new"))));
}

#[tokio::test]
async fn a_disk_that_fails_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = EmbeddedCheckpoints::open(dir.path()).unwrap();
    checkpoints.put_manifest(P, 1, small("m")).await.unwrap();
    // A folder stands where the blob is to be: it can be written, but not renamed to that.
    fs::create_dir_all(dir.path().join("2/a.blob/x")).unwrap();
    let failed = checkpoints.put(P, "a", small("blob")).await;
    assert!(
        matches!(failed, Err(CheckpointError::Unavailable(_))),
        "{failed:?}"
    );
    let names = fs::read_dir(dir.path().join("2")).unwrap();
    assert_eq!(names.count(), 2, "nothing unfinished is left");
    assert_eq!(checkpoints.manifest(P).await, Ok(Some(small("m"))));
}
