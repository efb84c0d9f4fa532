//! An owner that loses its lease, and the log with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backplane::bus::EmbeddedBus;
use backplane::checkpoint::EmbeddedCheckpoints;
use backplane::journal::{FrameId, Journal, JournalError, Reader};
use backplane::lease::{EmbeddedLeases, Lease, LeaseError, Leases};
use bytes::Bytes;
use contract::routing::{Downstream, Hello, Routed, Routing, Submission, Up, Upstream};
use model::{EdgeId, FrameSeq, PartitionId, Partitioning, Position};
use parking_lot::Mutex;
use routing::{Config, Deps, Owners, Service};
use runtime::clock::Clock;
use runtime::lifecycle::{Stop, Tasks};
use runtime::metrics::Metrics;
use tokio::time::{Instant, sleep};
use wire::{Entry, Kind};

use crate::fakes::{FakeStore, MemJournal};

const P: PartitionId = PartitionId(0);

/// What an owner reaches over the network, as long as that is there.
struct Network {
    journal: Arc<MemJournal>,
    leases: EmbeddedLeases,
    is_cut: AtomicBool,
}

impl Network {
    fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    async fn lease(&self) -> Result<&EmbeddedLeases, LeaseError> {
        match self.is_cut.load(Ordering::Relaxed) {
            true => Err(LeaseError::Unavailable("cut off".into())),
            false => Ok(&self.leases),
        }
    }

    async fn log(&self) -> Result<&MemJournal, JournalError> {
        if !self.is_cut.load(Ordering::Relaxed) {
            return Ok(&self.journal);
        }
        // As long as it takes until an answer is not expected any more.
        sleep(Duration::from_millis(500)).await;
        Err(JournalError::Unknown)
    }
}

#[async_trait]
impl Leases for Network {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        self.lease().await?.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        self.lease().await?.renew(lease, ttl).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.lease().await?.release(lease).await
    }
    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError> {
        self.lease().await?.holder(name).await
    }
}

#[async_trait]
impl Journal for Network {
    async fn append(
        &self,
        p: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        self.log().await?.append(p, follows, id, frame).await
    }
    async fn read(&self, p: PartitionId, after: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        self.log().await?.read(p, after).await
    }
    async fn head(&self, p: PartitionId) -> Result<FrameSeq, JournalError> {
        self.log().await?.head(p).await
    }
    async fn trim(&self, p: PartitionId, upto: FrameSeq) -> Result<(), JournalError> {
        self.log().await?.trim(p, upto).await
    }
    fn epoch(&self) -> u64 {
        self.journal.epoch()
    }
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The edge's end of a line.
#[derive(Default)]
struct End {
    said: Mutex<Vec<Routed>>,
    has_ended: AtomicBool,
}

impl Downstream for End {
    fn routed(&self, routed: Routed) -> bool {
        self.said.lock().push(routed);
        true
    }
    fn ended(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

impl End {
    fn is_welcome(&self) -> bool {
        self.said.lock().iter().any(|routed| routed.welcome.is_some())
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

struct World {
    network: Arc<Network>,
    owners: Arc<Owners>,
    tasks: Tasks,
}

impl World {
    fn start() -> Self {
        let journal = MemJournal::new(1, 0);
        let network = Arc::new(Network {
            journal: journal.clone(),
            leases: EmbeddedLeases::new(),
            is_cut: AtomicBool::new(false),
        });
        let dir = tempfile::tempdir().unwrap();
        let (owners, tasks) = (Owners::new(Partitioning::new(1)), Tasks::new(Stop::new()));
        let deps = Deps {
            journal: network.clone(),
            owners: owners.clone(),
            checkpoints: Arc::new(EmbeddedCheckpoints::open(dir.path()).unwrap()),
            salt: 7,
            bus: Arc::new(EmbeddedBus::default()),
            leases: network.clone(),
            persistence: FakeStore::new(&journal),
            partitioning: Partitioning::new(1),
            recall_window: 120_000,
            holder: "owner".into(),
            clock: Clock::system(),
            metrics: Metrics::new().service("routing"),
        };
        Service::new(Config::default(), deps).start(&tasks);
        Self {
            network,
            owners,
            tasks,
        }
    }

    async fn open(&self, epoch: u64, end: &Arc<End>) -> Result<Box<dyn Upstream>, contract::RpcError> {
        let hello = Hello {
            edge: EdgeId::new("e"),
            partition: P,
            epoch,
            first: 1,
            after: Position::START,
            filters: Vec::new(),
        };
        self.owners.open(hello, end.clone()).await
    }

    /// A line as soon as there is an owner that speaks.
    async fn line(&self) -> (Box<dyn Upstream>, Arc<End>) {
        let end = Arc::<End>::default();
        let began = Instant::now();
        loop {
            if let Ok(line) = self.open(0, &end).await {
                until("the owner speaks", || end.is_welcome()).await;
                return (line, end);
            }
            assert!(began.elapsed() < Duration::from_secs(60), "nobody owns it");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn submission() -> Up {
    let entry = Entry {
        kind: Kind::Chat.into(),
        org: "o".into(),
        topic: "t".into(),
        uid: "m1".into(),
        ..Entry::default()
    };
    Up::Submit(Submission {
        number: 1,
        entry: Arc::new(entry),
        seen: Position::START,
        again: false,
    })
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_lease_and_log_lets_go_of_edges_that_only_listen() {
    let world = World::start();
    let (_line, end) = world.line().await;
    world.network.cut(true);
    let cut = Instant::now();
    until("the line ends", || end.has_ended()).await;
    // The lease runs out, the log is asked within a second, and for as long as the lease lasts.
    assert!(cut.elapsed() < Duration::from_secs(6), "{:?}", cut.elapsed());
    assert!(world.open(0, &end).await.is_err(), "nobody is to wait here");

    world.network.cut(false);
    let (_line, end) = world.line().await;
    assert!(!end.has_ended());
    world.tasks.kill();
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_lease_and_log_lets_go_of_what_was_submitted() {
    let world = World::start();
    let (line, end) = world.line().await;
    world.network.cut(true);
    assert!(line.send(submission()));
    let cut = Instant::now();
    until("the line ends", || end.has_ended()).await;
    assert!(
        cut.elapsed() < Duration::from_secs(3),
        "when the lease has run out: {:?}",
        cut.elapsed()
    );
    let answered = end.said.lock().iter().any(|routed| !routed.answers.is_empty());
    assert!(!answered, "whether it is stored is not known");

    world.network.cut(false);
    let (line, end) = world.line().await;
    line.send(submission());
    let is_answered = || end.said.lock().iter().any(|routed| !routed.answers.is_empty());
    until("it is stored", is_answered).await;
    world.tasks.kill();
}

#[tokio::test(start_paused = true)]
async fn an_owner_does_not_take_up_the_line_of_an_edge_that_has_heard_of_a_newer_one() {
    let world = World::start();
    let (_line, end) = world.line().await;
    let epoch = end.said.lock()[0].epoch;
    assert!(world.open(epoch, &end).await.is_ok());
    let error = world.open(epoch + 1, &end).await.err().unwrap();
    assert_eq!(
        error.detail,
        format!(
            "the owner of partition 0 here is of epoch {epoch}, and there is one of {}",
            epoch + 1
        )
    );
    world.tasks.kill();
}
