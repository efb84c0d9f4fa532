//! What NATS does to the journal, the bus and the leases when a server, a stream or a consumer goes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod doubts;

use std::time::Duration;

use async_nats::jetstream;
use backplane::bus::{Bus, BusError, NatsBus};
use backplane::journal::suite::{append, id, take};
use backplane::journal::{JetStreamJournal, Journal, JournalError};
use backplane::lease::{KvLeases, LeaseError, Leases};
use backplane::nats::{Nats, NatsConfig, NatsError};
use bytes::Bytes;
use futures::StreamExt as _;
use model::{FrameSeq, PartitionId};
use runtime::config::{ByteSize, HumanDuration};
use testkit::nats::{NatsServer, Options};
use tokio::time::{Instant, timeout};

const P: PartitionId = PartitionId(0);
const SOON: Duration = Duration::from_secs(30);
const NAME: &str = "t";

fn config(server: &NatsServer) -> NatsConfig {
    NatsConfig {
        servers: vec![server.url()],
        replicas: 1,
        append_timeout: HumanDuration::from_secs(1),
        start_timeout: HumanDuration::from_secs(5),
        ..NatsConfig::default()
    }
}

async fn start() -> (NatsServer, Nats) {
    let server = NatsServer::start(Options::default()).await;
    let nats = Nats::connect(&config(&server), NAME).await.unwrap();
    (server, nats)
}

/// The API, as an operator has it.
async fn operator(server: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(server.url()).await.unwrap())
}

/// Waits until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(SOON, wait).await.is_ok(), "{what} in time");
}

/// Stops a server, and waits until its last thread has stopped: before that it may still answer.
async fn hold_still(server: &NatsServer) {
    server.stop();
    let tasks = format!("/proc/{}/task", server.pid());
    until("every thread holds still", async || {
        let mut tasks = std::fs::read_dir(&tasks).unwrap();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            stat.is_ok_and(|stat| stat.contains(") T "))
        })
    })
    .await;
}

#[tokio::test]
async fn a_reader_goes_on_when_its_consumer_is_deleted() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    append(&journal, P, 1, "a").await;
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    assert_eq!(take(&mut reader, 1).await[0].seq, FrameSeq(1));
    let waiting = tokio::spawn(async move { take(&mut reader, 1).await });
    let stream = operator(&server).await.get_stream("t_log_0").await.unwrap();
    let names: Vec<_> = stream.consumer_names().map(Result::unwrap).collect().await;
    assert_eq!(names.len(), 1);
    stream.delete_consumer(&names[0]).await.unwrap();
    append(&journal, P, 2, "b").await;
    assert_eq!(waiting.await.unwrap()[0].seq, FrameSeq(2));
    assert!(journal.stats().rebuilds > 0);
}

#[tokio::test]
async fn a_dropped_reader_leaves_no_consumer_behind() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    drop(journal.read(P, FrameSeq(0)).await.unwrap());
    let stream = operator(&server).await.get_stream("t_log_0").await.unwrap();
    until("the consumer is gone", async || {
        stream.get_info().await.unwrap().state.consumer_count == 0
    })
    .await;
}

#[tokio::test]
async fn what_is_older_than_the_retention_is_trimmed_and_said_to_be() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    for i in 0..5 {
        append(&journal, P, i, "old").await;
    }
    let mut behind = journal.read(P, FrameSeq(1)).await.unwrap();
    let operator = operator(&server).await;
    let mut edited = operator
        .get_stream("t_log_0")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    edited.max_age = Duration::from_millis(200);
    edited.duplicate_window = edited.max_age;
    operator.update_stream(edited).await.unwrap();
    until("frame 1 is gone", async || {
        matches!(
            journal.read(P, FrameSeq(0)).await.err(),
            Some(JournalError::Trimmed { first: 6, .. })
        )
    })
    .await;
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(5));
    assert_eq!(append(&journal, P, 9, "new").await, 6);
    // Its consumer had taken frames 2 to 5 before they went, or has lost them: both are right, a hole is not.
    let next = timeout(SOON, behind.next()).await.unwrap();
    match next {
        Ok(frames) => assert_eq!(frames[0].seq, FrameSeq(2)),
        Err(error) => assert!(matches!(error, JournalError::Trimmed { .. }), "{error}"),
    }
}

#[tokio::test]
async fn a_log_that_was_made_anew_is_not_taken_for_the_old_one() {
    let (server, nats) = start().await;
    let old = JetStreamJournal::open(&nats, 2).await.unwrap();
    append(&old, P, 1, "old").await;
    let mut reader = old.read(P, FrameSeq(1)).await.unwrap();
    let operator = operator(&server).await;
    for stream in ["t_log_0", "t_log_1"] {
        operator.delete_stream(stream).await.unwrap();
    }
    let new = JetStreamJournal::open(&nats, 2).await.unwrap();
    assert_ne!(new.epoch(), old.epoch());
    append(&new, P, 1, "new").await;
    append(&new, P, 2, "new").await;
    let stale = old.append(P, None, id("w", 3), Bytes::new()).await;
    assert!(
        matches!(stale, Err(JournalError::Unavailable { .. })),
        "{stale:?}"
    );
    let next = timeout(SOON, reader.next()).await.unwrap();
    assert!(
        matches!(next, Err(JournalError::Recreated { partition: P })),
        "{next:?}"
    );
    assert!(matches!(old.head(P).await, Err(JournalError::Recreated { .. })));
    until("it says so to the operator", async || {
        old.health().is_err_and(|reason| reason.contains("created anew"))
    })
    .await;
    assert_eq!(new.head(P).await.unwrap(), FrameSeq(2));
}

#[tokio::test]
async fn a_stream_that_is_gone_is_not_replaced_by_an_empty_one() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 3).await.unwrap();
    append(&journal, PartitionId(2), 1, "kept").await;
    let operator = operator(&server).await;
    for gone in ["t_log_1", "t_log_0"] {
        operator.delete_stream(gone).await.unwrap();
        let opened = JetStreamJournal::open(&nats, 3).await.err();
        assert!(matches!(&opened, Some(NatsError::Damaged { .. })), "{opened:?}");
        assert!(!opened.unwrap().is_temporary());
    }
}

#[tokio::test]
async fn a_log_that_was_cut_short_is_not_read_on() {
    let (server, nats) = start().await;
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    append(&journal, P, 1, "a").await;
    let beyond = journal.read(P, FrameSeq(2)).await.err();
    assert!(matches!(beyond, Some(JournalError::Corrupt { .. })), "{beyond:?}");
    drop(server);
}

#[tokio::test]
async fn a_full_log_refuses_for_certain() {
    let (server, _) = start().await;
    let config = NatsConfig {
        max_partition_size: ByteSize::kib(64),
        ..config(&server)
    };
    let nats = Nats::connect(&config, NAME).await.unwrap();
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    let frame = Bytes::from(vec![7; 10 << 10]);
    let mut stored = 0;
    let refused = loop {
        match journal.append(P, None, id("w", stored), frame.clone()).await {
            Ok(seq) => stored = seq.0,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, JournalError::Unavailable { .. }), "{refused}");
    assert_eq!(journal.head(P).await.unwrap(), FrameSeq(stored));
    let large = journal
        .append(P, None, id("w", 99), Bytes::from(vec![0; 9 << 20]))
        .await;
    assert!(matches!(large, Err(JournalError::TooLarge { .. })), "{large:?}");
}

#[tokio::test]
async fn a_restart_of_the_server_is_a_pause() {
    let (server, _) = start().await;
    let config = NatsConfig {
        append_timeout: HumanDuration::from_secs(20),
        ..config(&server)
    };
    let nats = Nats::connect(&config, NAME).await.unwrap();
    let journal = JetStreamJournal::open(&nats, 1).await.unwrap();
    let bus = NatsBus::new(&nats);
    let mut frames = bus.subscribe("s").await.unwrap();
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    append(&journal, P, 1, "before").await;
    server.kill().await;
    until("the loss is noticed", async || !nats.is_connected()).await;
    assert!(journal.health().is_err());
    let published = bus.publish("s", Bytes::from_static(b"lost")).await;
    assert!(
        matches!(published, Err(BusError::Disconnected(_))),
        "{published:?}"
    );
    let asked = bus.request("s", Bytes::new(), SOON).await;
    assert!(matches!(asked, Err(BusError::Disconnected(_))), "{asked:?}");
    let (seq, ()) = tokio::join!(append(&journal, P, 2, "meanwhile"), server.restart());
    assert_eq!(seq, 2);
    assert_eq!(take(&mut reader, 2).await[1].seq, FrameSeq(2));
    // Nothing has come, and yet the subscriber hears that something may be missing.
    let batch = timeout(SOON, frames.next()).await.unwrap().unwrap();
    assert!(batch.is_empty() && frames.lost() > 0);
    bus.publish("s", Bytes::from_static(b"after")).await.unwrap();
    let batch = timeout(SOON, frames.next()).await.unwrap().unwrap();
    assert_eq!(&batch[0].payload[..], b"after");
    until("the journal is well", async || journal.health().is_ok()).await;
}

#[tokio::test]
async fn a_holder_that_reaches_no_server_hears_that_its_lease_is_lost_when_it_ends() {
    let (server, nats) = start().await;
    let leases = KvLeases::open(&nats).await.unwrap();
    let ttl = Duration::from_secs(3);
    let asked = Instant::now();
    let lease = leases.acquire("p", "a", ttl).await.unwrap();
    server.stop();
    let renewed = leases.renew(&lease, ttl).await;
    assert!(matches!(renewed, Err(LeaseError::Lost(_))), "{renewed:?}");
    let after = asked.elapsed();
    assert!(
        after >= ttl - Duration::from_millis(500) && after < ttl + Duration::from_secs(1),
        "{after:?}"
    );
    server.cont();
    // By then it has run out for everybody, whatever became of the renewals that were under way.
    let other = loop {
        match leases.acquire("p", "b", ttl).await {
            Ok(lease) => break lease,
            Err(_) => assert!(asked.elapsed() < SOON),
        }
    };
    assert!(other.epoch > lease.epoch);
}

#[tokio::test]
async fn the_bucket_made_anew_does_not_repeat_epochs() {
    let (server, nats) = start().await;
    let ttl = Duration::from_secs(60);
    let old = KvLeases::open(&nats)
        .await
        .unwrap()
        .acquire("p", "a", ttl)
        .await
        .unwrap();
    operator(&server)
        .await
        .delete_stream("KV_t_leases")
        .await
        .unwrap();
    let new = KvLeases::open(&nats)
        .await
        .unwrap()
        .acquire("p", "b", ttl)
        .await
        .unwrap();
    assert!(new.epoch > old.epoch);
}

#[tokio::test]
async fn a_single_server_is_said_not_to_be_durable() {
    let server = NatsServer::start(Options {
        sync_interval: "2m".to_owned(),
        ..Options::default()
    })
    .await;
    let config = NatsConfig {
        monitor: vec![server.monitor_url()],
        ..config(&server)
    };
    let nats = Nats::connect(&config, NAME).await.unwrap();
    let _journal = JetStreamJournal::open(&nats, 2).await.unwrap();
    let attestation = nats.attest().await;
    assert!(!attestation.durable);
    for part in ["before it syncs", "has 1 servers", "have 1 replicas"] {
        assert!(
            attestation.reasons.iter().any(|r| r.contains(part)),
            "{part}: {attestation:?}"
        );
    }
}

#[tokio::test]
async fn no_server_and_a_wrong_name_are_told() {
    let nobody = NatsConfig {
        servers: vec!["nats://127.0.0.1:1".to_owned()],
        start_timeout: HumanDuration::from_millis(100),
        ..NatsConfig::default()
    };
    let error = Nats::connect(&nobody, NAME).await.err().unwrap();
    assert!(
        matches!(error, NatsError::Connect { .. }) && error.is_temporary(),
        "{error}"
    );
    assert!(matches!(
        Nats::connect(&nobody, "a.b").await.err(),
        Some(NatsError::Name(_))
    ));
}
