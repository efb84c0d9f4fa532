//! Three servers, and what the journal and the leases promise while they die.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backplane::journal::suite::{self as promises, id, take};
use backplane::journal::{JetStreamJournal, Journal, JournalError, StoredFrame};
use backplane::lease::suite as grants;
use backplane::lease::{KvLeases, LeaseError, Leases};
use backplane::nats::{Nats, NatsConfig, NatsError};
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use testkit::nats::NatsCluster;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const P: PartitionId = PartitionId(0);
const WRITERS: u64 = 4;
/// The budget of each test for its fault to be over: an election takes up to ten seconds, and the machine is busy.
const OVER: Duration = Duration::from_secs(60);

async fn connect(cluster: &NatsCluster) -> Nats {
    connect_as(cluster, "t").await
}

async fn connect_as(cluster: &NatsCluster, name: &str) -> Nats {
    let config = NatsConfig {
        servers: cluster.urls(),
        monitor: cluster.monitor_urls(),
        ..NatsConfig::default()
    };
    Nats::connect(&config, name).await.unwrap()
}

/// Opens as a role does: servers that have just found each other may refuse for a moment, saying that it will pass.
async fn patiently<T>(open: impl AsyncFn() -> Result<T, NatsError>) -> T {
    let opened = async {
        loop {
            match open().await {
                Err(error) if error.is_temporary() => sleep(Duration::from_millis(200)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    timeout(OVER, opened)
        .await
        .expect("the servers are ready in time")
}

async fn log(nats: &Nats, partitions: u16) -> Arc<JetStreamJournal> {
    Arc::new(patiently(async || JetStreamJournal::open(nats, partitions).await).await)
}

async fn leases(nats: &Nats) -> Arc<KvLeases> {
    Arc::new(patiently(async || KvLeases::open(nats).await).await)
}

/// Writers that append one frame after the other, each again with its id until it is stored.
struct Load {
    stored: Arc<AtomicU64>,
    writers: Vec<JoinHandle<BTreeMap<u64, String>>>,
}

impl Load {
    fn start(journal: &Arc<JetStreamJournal>, each: u64) -> Self {
        let stored = Arc::new(AtomicU64::new(0));
        let writers = (0..WRITERS).map(|writer| {
            let (journal, stored) = (journal.clone(), stored.clone());
            tokio::spawn(async move {
                let mut places = BTreeMap::new();
                for number in 0..each {
                    let text = format!("{writer}/{number}");
                    let seq = persist(&journal, &writer.to_string(), number, &text).await;
                    assert_eq!(places.insert(seq, text), None, "two frames at {seq}");
                    stored.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(2)).await;
                }
                places
            })
        });
        Self {
            writers: writers.collect(),
            stored,
        }
    }

    /// Waits until so many are stored.
    async fn reach(&self, count: u64) {
        let wait = async {
            while self.stored.load(Ordering::Relaxed) < count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(OVER, wait)
            .await
            .expect("frames are stored again within the budget");
    }

    /// Every frame's place, as its writer was told.
    async fn finish(self) -> BTreeMap<u64, String> {
        let mut places = BTreeMap::new();
        for writer in self.writers {
            for (seq, text) in timeout(OVER * 2, writer).await.unwrap().unwrap() {
                assert_eq!(places.insert(seq, text), None, "two frames at {seq}");
            }
        }
        places
    }
}

async fn persist(journal: &JetStreamJournal, writer: &str, number: u64, text: &str) -> u64 {
    loop {
        let frame = Bytes::copy_from_slice(text.as_bytes());
        match journal.append(P, None, id(writer, number), frame).await {
            Ok(seq) => return seq.0,
            Err(JournalError::Unknown | JournalError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn follow(journal: &Arc<JetStreamJournal>, count: u64) -> JoinHandle<Vec<StoredFrame>> {
    let journal = journal.clone();
    tokio::spawn(async move {
        let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
        let mut got = Vec::new();
        while got.len() < count as usize {
            got.extend(
                timeout(OVER, reader.next())
                    .await
                    .expect("the reader goes on")
                    .unwrap(),
            );
        }
        got
    })
}

/// I1, I2: what was acknowledged is there once, in its place, and the reader saw everything in order without a hole.
async fn check(journal: &JetStreamJournal, places: &BTreeMap<u64, String>, seen: Vec<StoredFrame>) {
    let read = |frames: Vec<StoredFrame>| -> BTreeMap<u64, String> {
        assert!(
            frames.iter().map(|f| f.seq.0).eq(1..=frames.len() as u64),
            "no hole, no repetition"
        );
        let text = |f: StoredFrame| (f.seq.0, String::from_utf8(f.bytes.to_vec()).unwrap());
        frames.into_iter().map(text).collect()
    };
    assert_eq!(read(seen), *places, "the reader that was there all the time");
    assert_eq!(
        journal.head(P).await.unwrap().0,
        places.len() as u64,
        "nothing is stored twice"
    );
    let mut reader = journal.read(P, FrameSeq(0)).await.unwrap();
    assert_eq!(
        read(take(&mut reader, places.len()).await),
        *places,
        "a new reader"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicated_streams_keep_the_promises_of_the_seams() {
    let cluster = NatsCluster::start(3).await;
    let journal = async |name: &str| {
        let nats = connect_as(&cluster, name).await;
        let journal: Arc<dyn Journal> = log(&nats, 4).await;
        journal
    };
    let nats = connect(&cluster).await;
    let leases: Arc<dyn Leases> = leases(&nats).await;
    let log = async {
        promises::retries_in_flight_together_are_stored_once(journal("a").await).await;
        promises::appends_in_flight_together_get_places_without_holes(journal("b").await).await;
        promises::every_reader_sees_every_frame_while_it_is_appended(journal("c").await).await;
        promises::what_is_acknowledged_is_below_the_head_and_there_to_read(journal("d").await).await;
        promises::next_can_be_cancelled_without_losing_a_frame(journal("e").await).await;
        promises::empty_and_large_frames_come_back_as_they_were(journal("f").await).await;
    };
    let fences = async {
        grants::of_many_contenders_one_wins(leases.clone()).await;
        grants::epochs_grow_at_every_change_of_holder(leases.clone()).await;
        grants::a_lease_that_ran_out_goes_to_the_next_with_a_higher_epoch(leases.clone()).await;
        grants::a_holder_that_comes_back_late_has_lost_its_lease(leases.clone()).await;
    };
    tokio::join!(log, fences);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_leader_loses_and_doubles_nothing_and_leases_outlive_it() {
    let cluster = NatsCluster::start(3).await;
    let nats = connect(&cluster).await;
    let journal = log(&nats, 2).await;
    let leases = leases(&nats).await;
    let ttl = Duration::from_secs(40);
    let lease = leases.acquire("p", "a", ttl).await.unwrap();
    let attestation = nats.attest().await;
    assert!(attestation.durable, "{attestation:?}");

    let each = 150;
    let (load, seen) = (Load::start(&journal, each), follow(&journal, WRITERS * each));
    load.reach(100).await;
    let leader = cluster.leader_of("t_log_0").await.unwrap();
    cluster[leader].kill().await;
    let (killed, before) = (Instant::now(), load.stored.load(Ordering::Relaxed));
    // Those that were under way at the moment may still be told.
    load.reach(before + WRITERS + 1).await;
    println!("appends went on after {:?}", killed.elapsed());
    timeout(OVER, leases.renew(&lease, ttl)).await.unwrap().unwrap();
    assert_eq!(leases.holder("p").await.unwrap(), Some(lease));
    assert!(matches!(
        leases.acquire("p", "b", ttl).await,
        Err(LeaseError::Held { .. })
    ));
    let places = load.finish().await;
    check(&journal, &places, seen.await.unwrap()).await;
    assert!(!nats.attest().await.durable, "a server is missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_all_servers_loses_and_doubles_nothing() {
    let cluster = NatsCluster::start(3).await;
    let nats = connect(&cluster).await;
    let journal = log(&nats, 1).await;
    let each = 100;
    let (load, seen) = (Load::start(&journal, each), follow(&journal, WRITERS * each));
    load.reach(100).await;
    for server in cluster.iter() {
        server.kill().await;
    }
    let before = load.stored.load(Ordering::Relaxed);
    for server in cluster.iter() {
        server.relaunch();
    }
    let restarted = Instant::now();
    load.reach(before + WRITERS + 1).await;
    println!("appends went on {:?} after the restart", restarted.elapsed());
    let places = load.finish().await;
    check(&journal, &places, seen.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_left_for_another() {
    let cluster = NatsCluster::start(3).await;
    let nats = connect(&cluster).await;
    let journal = log(&nats, 1).await;
    let each = 100;
    let (load, seen) = (Load::start(&journal, each), follow(&journal, WRITERS * each));
    load.reach(100).await;
    let leader = cluster.leader_of("t_log_0").await.unwrap();
    cluster[leader].stop();
    let (stopped, before) = (Instant::now(), load.stored.load(Ordering::Relaxed));
    load.reach(before + WRITERS + 1).await;
    println!("appends went on after {:?}", stopped.elapsed());
    cluster[leader].cont();
    let places = load.finish().await;
    check(&journal, &places, seen.await.unwrap()).await;
}
