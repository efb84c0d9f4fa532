//! The checkpoints in JetStream keep every promise of the seam.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::cell::RefCell;
use std::sync::Arc;

use backplane::checkpoint::{CheckpointError, Checkpoints, NatsCheckpoints};
use backplane::nats::{Nats, NatsConfig};
use bytes::Bytes;
use model::PartitionId;
use testkit::nats::NatsNamespace;

thread_local! {
    /// Lives as long as the test.
    static SERVER: RefCell<Option<NatsNamespace>> = const { RefCell::new(None) };
}

const P: PartitionId = PartitionId(2);

/// A connection as the services have it, one to look behind them, and the name of the installation.
async fn connect() -> (Nats, async_nats::jetstream::Context, String) {
    let server = testkit::nats::server().await;
    let config = NatsConfig {
        servers: vec![server.url.clone()],
        replicas: 1,
        ..NatsConfig::default()
    };
    let nats = Nats::connect(&config, &server.name).await.unwrap();
    let client = async_nats::connect(&server.url).await.unwrap();
    let name = server.name.clone();
    SERVER.set(Some(server));
    (nats, async_nats::jetstream::new(client), name)
}

async fn checkpoints() -> Arc<dyn Checkpoints> {
    Arc::new(NatsCheckpoints::open(&connect().await.0).await.unwrap())
}

backplane::checkpoint_suite!(tokio::test, checkpoints);

fn large() -> Bytes {
    (0..600_000u32).map(|i| (i / 255) as u8).collect()
}

#[tokio::test]
async fn another_process_finds_what_was_stored_and_the_fence() {
    let (nats, ..) = connect().await;
    let before = NatsCheckpoints::open(&nats).await.unwrap();
    before.put(P, "a", large()).await.unwrap();
    before.put_manifest(P, 7, large()).await.unwrap();
    let after = NatsCheckpoints::open(&nats).await.unwrap();
    assert!(after.get(P, "a").await == Ok(Some(large())));
    assert!(matches!(
        after.claim(P, 6).await,
        Err(CheckpointError::Fenced { epoch: 7, .. })
    ));
    assert!(after.claim(P, 8).await == Ok(Some(large())));
}

#[tokio::test]
async fn a_blob_whose_storing_was_interrupted_is_none_and_can_be_deleted() {
    let (nats, context, name) = connect().await;
    let checkpoints = NatsCheckpoints::open(&nats).await.unwrap();
    let piece = format!("{name}.checkpoint.{P}.blob.half.00000000000000aa.0");
    context
        .publish(piece, "piece".into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(checkpoints.get(P, "half").await, Ok(None));
    assert_eq!(checkpoints.list(P).await, Ok(vec!["half".to_owned()]));
    checkpoints.delete(P, "half").await.unwrap();
    assert_eq!(checkpoints.list(P).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_blob_that_lacks_a_piece_is_damaged() {
    let (nats, context, name) = connect().await;
    let checkpoints = NatsCheckpoints::open(&nats).await.unwrap();
    checkpoints.put(P, "a", large()).await.unwrap();
    let stream = context.get_stream(format!("{name}_checkpoints")).await.unwrap();
    let purged = stream
        .purge()
        .filter(format!("{name}.checkpoint.{P}.blob.a.*.1"))
        .await
        .unwrap();
    assert_eq!(purged.purged, 1);
    assert!(matches!(
        checkpoints.get(P, "a").await,
        Err(CheckpointError::Damaged { place, .. }) if place == "a"
    ));
}

#[tokio::test]
async fn nothing_is_left_of_what_was_deleted() {
    let (nats, context, name) = connect().await;
    let checkpoints = NatsCheckpoints::open(&nats).await.unwrap();
    for _ in 0..2 {
        checkpoints.put(P, "a", large()).await.unwrap();
    }
    checkpoints.delete(P, "a").await.unwrap();
    let stream = context.get_stream(format!("{name}_checkpoints")).await.unwrap();
    assert_eq!(stream.get_info().await.unwrap().state.messages, 0);
}
