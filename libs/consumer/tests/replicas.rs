//! Replicas of a consumer share the partitions, and apply each frame once, whoever comes or goes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backplane::journal::{EmbeddedJournal, FrameId, Journal, JournalConfig};
use backplane::lease::{EmbeddedLeases, Leases};
use consumer::{Apply, Consumer, Deps, Item, Settings};
use model::{EdgeId, PartitionId, Partitioning, Position};
use parking_lot::Mutex;
use runtime::health::Health;
use runtime::lifecycle::Stop;
use store::{Advance, LogBatch, LogStore, Options, Service, SqliteStore, StoreError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use wire::{Entry, Frame, Kind};

const PARTITIONS: u16 = 4;
const LEASE: Duration = Duration::from_secs(1);

/// Each entry, and who applied it.
type Applied = Arc<Mutex<Vec<(PartitionId, Position, &'static str)>>>;

/// Notes what was applied, and by whom.
#[derive(Clone)]
struct Noting {
    store: SqliteStore,
    name: &'static str,
    applied: Applied,
}

#[async_trait]
impl Apply for Noting {
    async fn apply(&mut self, items: Vec<Item>, advances: Vec<Advance>) -> Result<(), StoreError> {
        let batch = LogBatch {
            advances,
            ..LogBatch::default()
        };
        self.store.apply(Arc::new(batch)).await?;
        let notes = items.iter().map(|i| (i.partition, i.position, self.name));
        self.applied.lock().extend(notes);
        Ok(())
    }
}

struct World {
    store: SqliteStore,
    journal: Arc<EmbeddedJournal>,
    leases: Arc<EmbeddedLeases>,
    applied: Applied,
    appended: u64,
}

impl World {
    fn replica(&self, name: &'static str) -> (Stop, JoinHandle<()>) {
        let health = Health::new();
        let deps = Deps {
            store: Arc::new(self.store.clone()),
            journal: self.journal.clone(),
            leases: self.leases.clone(),
            partitioning: Partitioning::new(PARTITIONS),
            holder: name.into(),
            store_check: health.require("store"),
            journal_check: health.require("journal"),
        };
        let settings = Settings {
            interval: Duration::from_millis(10),
            batch_entries: 16,
            lease: LEASE,
            wait: Duration::from_secs(5),
        };
        let consumer = Consumer::new(Service::Persistence, "persistence", settings, deps);
        let (stop, apply) = (Stop::new(), self.noting(name));
        let stopping = stop.clone();
        let running = tokio::spawn(async move { consumer.run(apply, stopping).await.unwrap() });
        (stop, running)
    }

    fn noting(&self, name: &'static str) -> Noting {
        Noting {
            store: self.store.clone(),
            name,
            applied: self.applied.clone(),
        }
    }

    /// Waits until the replicas own so many partitions, appending all the while.
    async fn until_owned(&mut self, numbers: &[(&str, usize)]) -> Duration {
        let began = Instant::now();
        loop {
            self.append().await;
            let mut owned = vec![0; numbers.len()];
            for p in 0..PARTITIONS {
                let held = self.leases.holder(&format!("persistence/{p}")).await.unwrap();
                let by = |(name, _): &(&str, usize)| held.as_ref().is_some_and(|l| l.holder == *name);
                if let Some(i) = numbers.iter().position(by) {
                    owned[i] += 1;
                }
            }
            if numbers.iter().zip(&owned).all(|((_, n), owned)| n == owned) {
                return began.elapsed();
            }
            assert!(began.elapsed() < LEASE * 20, "{owned:?} and never {numbers:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn append(&mut self) {
        self.appended += 1;
        let entry = Entry {
            kind: Kind::Chat.into(),
            uid: self.appended.to_string(),
            ..Entry::default()
        };
        let frame = Frame {
            epoch: 1,
            number: self.appended,
            entries: vec![entry.to_bytes()],
            ..Frame::default()
        };
        let id = FrameId {
            writer: EdgeId::new("e"),
            number: self.appended,
        };
        let partition = PartitionId(u16::try_from(self.appended % u64::from(PARTITIONS)).unwrap());
        let bytes = wire::frame::encode(&frame);
        self.journal.append(partition, None, id, bytes).await.unwrap();
    }
}

#[tokio::test]
async fn a_replica_that_comes_gets_work_and_one_that_leaves_or_dies_gives_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    SqliteStore::migrate(&path).unwrap();
    let config = JournalConfig {
        partitions: PARTITIONS,
        ..JournalConfig::default()
    };
    let mut world = World {
        store: SqliteStore::open(&path, Options::default()).unwrap(),
        journal: Arc::new(EmbeddedJournal::open(dir.path().join("log"), config).unwrap()),
        leases: Arc::new(EmbeddedLeases::new()),
        applied: Arc::default(),
        appended: 0,
    };
    let (_first, first_running) = world.replica("a");
    world.until_owned(&[("a", 4)]).await;
    let (second, second_running) = world.replica("b");
    assert!(world.until_owned(&[("a", 2), ("b", 2)]).await < LEASE * 4);
    second.stop_softly();
    assert!(world.until_owned(&[("a", 4), ("b", 0)]).await < LEASE * 2);
    second_running.await.unwrap();
    let (third, third_running) = world.replica("c");
    assert!(world.until_owned(&[("a", 2), ("c", 2)]).await < LEASE * 4);
    first_running.abort();
    assert!(world.until_owned(&[("c", 4)]).await < LEASE * 4);

    for p in 0..PARTITIONS {
        let head = world.journal.head(PartitionId(p)).await.unwrap();
        let limit = Duration::from_secs(20);
        let upto = Position::end_of(head);
        let reached = world
            .store
            .wait_applied(Service::Persistence, PartitionId(p), upto, limit);
        assert_eq!(reached.await.unwrap(), upto);
    }
    third.stop_softly();
    third_running.await.unwrap();
    let applied = world.applied.lock();
    let mut places: Vec<_> = applied.iter().map(|(p, at, _)| (*p, *at)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        (applied.len() as u64, places.len() as u64),
        (world.appended, world.appended),
        "each once"
    );
    for name in ["a", "b", "c"] {
        assert!(applied.iter().any(|(.., by)| *by == name), "{name} had work");
    }
}
