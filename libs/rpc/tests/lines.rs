//! Lines between an edge and the owner of a partition: which replica they are opened to.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use model::{EdgeId, FrameSeq, PartitionId, Position};
use parking_lot::Mutex;
use rpc::grpc::{self, Config, Metrics, Services};
use rpc::routing::{Downstream, Hello, Routed, Routing, Submission, Up, Upstream, Welcome};
use rpc::{ErrorKind, RpcError};
use runtime::config::HumanDuration;
use runtime::health::Health;
use support::{Fake, Replica, quick, until};
use wire::Entry;

/// What a replica does when a line is opened to it.
#[derive(Clone, Default)]
enum Mood {
    /// It owns nothing.
    #[default]
    Refuses,
    /// It takes the line up and says nothing.
    Mute,
    /// It says this.
    Says(Routed),
}

/// What goes up a line, in order.
struct Said {
    ups: Arc<Mutex<Vec<Up>>>,
    is_over: Arc<AtomicBool>,
    /// As long as it is there the line is, though nothing be said.
    _edge: Arc<dyn Downstream>,
}

impl Upstream for Said {
    fn send(&self, up: Up) -> bool {
        self.ups.lock().push(up);
        true
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// A line that was taken up.
struct Taken {
    hello: Hello,
    ups: Arc<Mutex<Vec<Up>>>,
    is_over: Arc<AtomicBool>,
}

/// The service of one replica.
#[derive(Default)]
struct Owner {
    mood: Mutex<Mood>,
    lines: Mutex<Vec<Taken>>,
}

impl Owner {
    fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    fn taken(&self) -> usize {
        self.lines.lock().len()
    }

    fn hello(&self, line: usize) -> Hello {
        self.lines.lock()[line].hello.clone()
    }

    /// The numbers of what came on a line.
    fn numbers(&self, line: usize) -> Vec<u64> {
        let number = |up: &Up| match up {
            Up::Submit(submission) => Some(submission.number),
            _ => None,
        };
        let ups = self.lines.lock()[line].ups.clone();
        let ups = ups.lock();
        ups.iter().filter_map(number).collect()
    }

    fn is_over(&self, line: usize) -> bool {
        self.lines.lock()[line].is_over.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Routing for Owner {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        let mood = self.mood.lock().clone();
        if let Mood::Refuses = mood {
            return Err(RpcError::new(ErrorKind::Unavailable, "no owner here"));
        }
        let taken = Taken {
            hello,
            ups: Arc::default(),
            is_over: Arc::default(),
        };
        let (ups, is_over) = (taken.ups.clone(), taken.is_over.clone());
        self.lines.lock().push(taken);
        if let Mood::Says(routed) = mood {
            edge.routed(routed);
        }
        Ok(Box::new(Said {
            ups,
            is_over,
            _edge: edge,
        }))
    }
}

/// The edge's end of a line.
#[derive(Default)]
struct Edge {
    said: Mutex<Vec<Routed>>,
    has_ended: AtomicBool,
}

impl Downstream for Edge {
    fn routed(&self, routed: Routed) -> bool {
        self.said.lock().push(routed);
        true
    }

    fn ended(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
    }
}

impl Edge {
    /// Under which epochs it was spoken to.
    fn epochs(&self) -> Vec<u64> {
        self.said.lock().iter().map(|routed| routed.epoch).collect()
    }
}

/// Replicas, and a client of theirs.
struct World {
    owners: Vec<Arc<Owner>>,
    addresses: Vec<SocketAddr>,
    _replicas: Vec<Replica>,
    client: Arc<dyn Routing>,
}

impl World {
    async fn of(replicas: usize) -> Self {
        Self::with(replicas, quick()).await
    }

    async fn with(replicas: usize, config: Config) -> Self {
        let owners: Vec<Arc<Owner>> = (0..replicas).map(|_| Arc::default()).collect();
        let start = |owner: &Arc<Owner>| {
            let services = Services {
                routing: Some(owner.clone()),
                ..Services::default()
            };
            Replica::start_with(
                Fake::numbered(0),
                services,
                "127.0.0.1:0".parse().unwrap(),
                config.clone(),
            )
        };
        let started: Vec<Replica> = owners.iter().map(start).collect();
        let addresses: Vec<SocketAddr> = started.iter().map(|replica| replica.address).collect();
        let config = Config {
            routing: addresses.iter().map(SocketAddr::to_string).collect(),
            ..config
        };
        config.validate().unwrap();
        let metrics = runtime::metrics::Metrics::new();
        let client =
            grpc::connect_routing(&config, &Metrics::new(&metrics), Health::new().require("routing"));
        let seen = format!("longwire_rpc_replicas{{service=\"routing\",state=\"Ready\"}} {replicas}\n");
        until("the replicas are seen", || metrics.encode().contains(&seen)).await;
        Self {
            owners,
            addresses,
            _replicas: started,
            client,
        }
    }

    async fn open(&self, hello: Hello) -> (Result<Box<dyn Upstream>, RpcError>, Arc<Edge>) {
        let edge = Arc::<Edge>::default();
        (self.client.open(hello, edge.clone()).await, edge)
    }
}

fn hello() -> Hello {
    Hello {
        edge: EdgeId::new("e"),
        partition: PartitionId(3),
        epoch: 0,
        first: 1,
        after: Position::START,
        filters: Vec::new(),
    }
}

fn welcome(epoch: u64, whole: bool) -> Routed {
    Routed {
        epoch,
        welcome: Some(Welcome {
            boundary: at(0),
            whole,
        }),
        ..Routed::default()
    }
}

fn at(seq: u64) -> Position {
    Position::new(FrameSeq(seq), 0)
}

fn entry(payload: usize) -> Arc<Entry> {
    Arc::new(Entry {
        payload: Bytes::from(vec![b'x'; payload]),
        ..Entry::default()
    })
}

fn submit(number: u64, payload: usize) -> Up {
    Up::Submit(Submission {
        number,
        entry: entry(payload),
        seen: Position::START,
        again: false,
    })
}

/// The first of two replicas owns the partition and is asked first from then on; then it says nothing any more, and
/// the other is the owner.
async fn moved() -> World {
    let config = Config {
        connect_timeout: HumanDuration::from_secs(1),
        ..quick()
    };
    let world = World::with(2, config).await;
    world.owners[0].set(Mood::Says(welcome(1, true)));
    let (line, edge) = world.open(hello()).await;
    assert!(line.is_ok(), "{:?}", line.err());
    assert_eq!(edge.epochs(), [1]);
    drop(line);
    until("the line has ended", || world.owners[0].is_over(0)).await;
    world.owners[0].set(Mood::Mute);
    world.owners[1].set(Mood::Says(welcome(2, true)));
    world
}

#[tokio::test]
async fn who_listens_is_served_by_the_replica_that_speaks() {
    let world = moved().await;
    let began = Instant::now();
    let (line, edge) = world.open(hello()).await;
    assert!(line.is_ok(), "{:?}", line.err());
    until("the owner speaks", || edge.epochs() == [2]).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    until("the other is left", || world.owners[0].is_over(1)).await;
    assert!(!edge.has_ended.load(Ordering::SeqCst), "the line stands");

    drop(line);
    let (line, _edge) = world.open(hello()).await;
    assert!(line.is_ok(), "{:?}", line.err());
    assert_eq!(world.owners[0].taken(), 2, "it is not asked first any more");
}

#[tokio::test]
async fn what_is_submitted_goes_to_the_replica_that_speaks() {
    let world = moved().await;
    let began = Instant::now();
    let (line, _edge) = world.open(hello()).await;
    line.as_ref().unwrap().send(submit(1, 10));
    until("it arrives", || {
        world.owners[1].taken() == 1 && world.owners[1].numbers(0) == [1]
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(world.owners[0].numbers(1).is_empty());
}

#[tokio::test]
async fn who_speaks_under_an_epoch_that_is_over_is_passed_over() {
    let world = moved().await;
    world.owners[0].set(Mood::Says(welcome(1, true)));
    let began = Instant::now();
    let hello = Hello { epoch: 2, ..hello() };
    let (line, edge) = world.open(hello).await;
    assert!(line.is_ok(), "{:?}", line.err());
    assert_eq!(edge.epochs(), [2]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(world.owners[0].hello(1).epoch, 2, "it is told");
}

#[tokio::test]
async fn when_nobody_serves_each_replica_is_named_with_what_it_does() {
    let world = World::of(2).await;
    world.owners[0].set(Mood::Mute);
    let (line, _edge) = world.open(hello()).await;
    let error = line.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(
        error
            .detail
            .starts_with("no owner of partition 3 is to be found: "),
        "{error}"
    );
    let mute = format!(
        "{}: it took up the line and says nothing on it",
        world.addresses[0]
    );
    assert!(error.detail.contains(&mute), "{error}");
    let refuses = format!("{}: no owner here", world.addresses[1]);
    assert!(error.detail.contains(&refuses), "{error}");
}
