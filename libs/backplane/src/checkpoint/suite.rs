//! What every store of checkpoints promises, as tests. [`checkpoint_suite!`](crate::checkpoint_suite) makes them of an
//! implementation.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::sync::Arc;

use bytes::Bytes;
use model::PartitionId;

use super::{CheckpointError, Checkpoints};

/// Makes one test of each promise: `checkpoint_suite!(tokio::test, make)`, where `make` is an async function that
/// returns an `Arc<dyn Checkpoints>` of its own.
#[macro_export]
macro_rules! checkpoint_suite {
    ($attr:meta, $make:expr) => {
        $crate::suite_tests!(checkpoint, ($attr), ($make),
            a_blob_of_any_size_is_read_as_it_was_put
            a_blob_that_is_put_again_is_replaced
            blobs_are_listed_until_they_are_deleted
            partitions_do_not_concern_each_other
            names_that_could_be_paths_or_patterns_are_refused
            a_manifest_is_replaced_whole
            the_manifest_is_no_blob
            an_owner_that_was_replaced_cannot_replace_the_manifest
            a_claim_keeps_what_is_there
            of_many_owners_at_once_the_newest_has_the_last_word
            blobs_that_are_put_at_once_are_all_there
        );
    };
}

const P: PartitionId = PartitionId(0);
const Q: PartitionId = PartitionId(15);

/// Bytes that do not repeat.
fn bytes(len: usize, seed: u8) -> Bytes {
    let mut state = u32::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn listed(checkpoints: &dyn Checkpoints, partition: PartitionId) -> Vec<String> {
    let mut names = checkpoints.list(partition).await.unwrap();
    names.sort();
    names
}

fn is_fenced<T>(done: Result<T, CheckpointError>, by: u64) -> bool {
    matches!(done, Err(CheckpointError::Fenced { epoch, .. }) if epoch == by)
}

/// [`Checkpoints::put`], [`Checkpoints::get`].
pub async fn a_blob_of_any_size_is_read_as_it_was_put(checkpoints: Arc<dyn Checkpoints>) {
    assert_eq!(checkpoints.get(P, "none").await, Ok(None));
    for size in [0, 1, 65_536, 262_144, 262_145, 2_500_000] {
        let name = format!("b{size}");
        let blob = bytes(size, 1);
        checkpoints.put(P, &name, blob.clone()).await.unwrap();
        assert!(
            checkpoints.get(P, &name).await == Ok(Some(blob)),
            "of {size} bytes"
        );
    }
}

/// [`Checkpoints::put`].
pub async fn a_blob_that_is_put_again_is_replaced(checkpoints: Arc<dyn Checkpoints>) {
    for size in [100, 600_000, 300_000, 5] {
        let blob = bytes(size, 2);
        checkpoints.put(P, "same", blob.clone()).await.unwrap();
        assert!(
            checkpoints.get(P, "same").await == Ok(Some(blob)),
            "of {size} bytes"
        );
    }
    assert_eq!(listed(&*checkpoints, P).await, ["same"]);
}

/// [`Checkpoints::list`], [`Checkpoints::delete`].
pub async fn blobs_are_listed_until_they_are_deleted(checkpoints: Arc<dyn Checkpoints>) {
    assert!(listed(&*checkpoints, P).await.is_empty());
    for (name, size) in [("a", 10), ("ab", 600_000), ("c-1", 10)] {
        checkpoints.put(P, name, bytes(size, 3)).await.unwrap();
    }
    assert_eq!(listed(&*checkpoints, P).await, ["a", "ab", "c-1"]);
    checkpoints.delete(P, "a").await.unwrap();
    checkpoints.delete(P, "a").await.unwrap();
    assert_eq!(listed(&*checkpoints, P).await, ["ab", "c-1"]);
    assert_eq!(checkpoints.get(P, "a").await, Ok(None));
    checkpoints.delete(P, "ab").await.unwrap();
    assert_eq!(checkpoints.get(P, "ab").await, Ok(None));
    assert_eq!(listed(&*checkpoints, P).await, ["c-1"]);
}

/// Each partition has its own blobs, manifest and owner.
pub async fn partitions_do_not_concern_each_other(checkpoints: Arc<dyn Checkpoints>) {
    checkpoints.put(P, "a", bytes(10, 4)).await.unwrap();
    checkpoints.put_manifest(P, 9, bytes(20, 4)).await.unwrap();
    assert_eq!(checkpoints.get(Q, "a").await, Ok(None));
    assert!(listed(&*checkpoints, Q).await.is_empty());
    assert_eq!(checkpoints.claim(Q, 1).await, Ok(None));
    // 1 is not 15, whatever a name begins with.
    assert!(listed(&*checkpoints, PartitionId(1)).await.is_empty());
    checkpoints.delete(Q, "a").await.unwrap();
    assert_eq!(checkpoints.get(P, "a").await, Ok(Some(bytes(10, 4))));
}

/// [`CheckpointError::Name`].
pub async fn names_that_could_be_paths_or_patterns_are_refused(checkpoints: Arc<dyn Checkpoints>) {
    for name in ["", "../manifest", "a.b", "*", ">", "a b", &"x".repeat(65)] {
        let refused = Err(CheckpointError::Name(name.to_owned()));
        assert_eq!(checkpoints.put(P, name, Bytes::new()).await, refused);
        assert_eq!(checkpoints.delete(P, name).await, refused);
        assert!(checkpoints.get(P, name).await.is_err());
    }
}

/// [`Checkpoints::put_manifest`], [`Checkpoints::manifest`].
pub async fn a_manifest_is_replaced_whole(checkpoints: Arc<dyn Checkpoints>) {
    assert_eq!(checkpoints.manifest(P).await, Ok(None));
    for size in [100, 100_000, 0, 7] {
        checkpoints.put_manifest(P, 3, bytes(size, 5)).await.unwrap();
        assert!(
            checkpoints.manifest(P).await == Ok(Some(bytes(size, 5))),
            "of {size} bytes"
        );
    }
}

/// [`Checkpoints::list`].
pub async fn the_manifest_is_no_blob(checkpoints: Arc<dyn Checkpoints>) {
    checkpoints.put_manifest(P, 3, bytes(10, 6)).await.unwrap();
    assert!(listed(&*checkpoints, P).await.is_empty());
    checkpoints.put(P, "manifest", bytes(20, 6)).await.unwrap();
    checkpoints.delete(P, "manifest").await.unwrap();
    assert_eq!(checkpoints.manifest(P).await, Ok(Some(bytes(10, 6))));
}

/// [`CheckpointError::Fenced`].
pub async fn an_owner_that_was_replaced_cannot_replace_the_manifest(checkpoints: Arc<dyn Checkpoints>) {
    checkpoints.put_manifest(P, 5, bytes(10, 7)).await.unwrap();
    // The next owner has claimed it, and stored nothing yet.
    checkpoints.claim(P, 6).await.unwrap();
    assert!(is_fenced(checkpoints.put_manifest(P, 5, bytes(11, 7)).await, 6));
    assert!(is_fenced(checkpoints.claim(P, 5).await, 6));
    assert_eq!(checkpoints.manifest(P).await, Ok(Some(bytes(10, 7))));
    checkpoints.put_manifest(P, 6, bytes(12, 7)).await.unwrap();
    checkpoints.put_manifest(P, 6, bytes(13, 7)).await.unwrap();
    assert!(is_fenced(checkpoints.put_manifest(P, 5, bytes(11, 7)).await, 6));
    assert_eq!(checkpoints.manifest(P).await, Ok(Some(bytes(13, 7))));
}

/// [`Checkpoints::claim`].
pub async fn a_claim_keeps_what_is_there(checkpoints: Arc<dyn Checkpoints>) {
    assert_eq!(checkpoints.claim(P, 4).await, Ok(None));
    assert_eq!(checkpoints.manifest(P).await, Ok(None));
    assert!(
        is_fenced(checkpoints.put_manifest(P, 3, Bytes::new()).await, 4),
        "nothing was there, and it is fenced all the same"
    );
    checkpoints.put_manifest(P, 4, bytes(10, 8)).await.unwrap();
    for epoch in [4, 4, 9] {
        assert_eq!(checkpoints.claim(P, epoch).await, Ok(Some(bytes(10, 8))));
    }
}

/// Claims and manifests are compared and set.
pub async fn of_many_owners_at_once_the_newest_has_the_last_word(checkpoints: Arc<dyn Checkpoints>) {
    let owners: Vec<_> = (1..=8u8)
        .map(|epoch| {
            let checkpoints = checkpoints.clone();
            tokio::spawn(async move {
                let mut last = checkpoints.claim(P, epoch.into()).await.map(drop);
                for len in 0..5 {
                    last = checkpoints.put_manifest(P, epoch.into(), bytes(len, epoch)).await;
                }
                last
            })
        })
        .collect();
    for (i, owner) in owners.into_iter().enumerate() {
        match owner.await.unwrap() {
            Ok(()) | Err(CheckpointError::Fenced { .. }) if i < 7 => {}
            done => assert_eq!((i, done), (7, Ok(()))),
        }
    }
    assert_eq!(checkpoints.manifest(P).await, Ok(Some(bytes(4, 8))));
}

/// Puts do not disturb each other.
pub async fn blobs_that_are_put_at_once_are_all_there(checkpoints: Arc<dyn Checkpoints>) {
    let puts = (0..20u8).map(|i| {
        let checkpoints = checkpoints.clone();
        tokio::spawn(async move { checkpoints.put(P, &i.to_string(), bytes(50_000, i)).await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    for i in 0..20u8 {
        assert_eq!(
            checkpoints.get(P, &i.to_string()).await,
            Ok(Some(bytes(50_000, i)))
        );
    }
}
