//! Lines between an edge and the owner of a partition: which replica they are opened to, and how much goes over them.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use contract::routing::{
    Downstream, Hello, Outcome, Routed, RoutedEntry, Routing, Submission, Up, Upstream, Welcome,
};
use contract::{ErrorKind, RpcError};
use model::{EdgeId, FrameSeq, PartitionId, Position, TopicFilter};
use parking_lot::Mutex;
use rpc::{Config, Metrics, Services};
use runtime::config::{ByteSize, HumanDuration};
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
        let client = rpc::connect_routing(&config, &Metrics::new(&metrics), Health::new().require("routing"));
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

fn small() -> Config {
    Config {
        max_message: ByteSize::mib(16),
        // Many bytes are read by a slow build.
        connect_timeout: HumanDuration::from_secs(5),
        ..quick()
    }
}

#[tokio::test]
async fn more_than_a_message_holds_goes_up_in_several() {
    let world = World::with(1, small()).await;
    world.owners[0].set(Mood::Says(welcome(1, true)));
    let (line, edge) = world.open(hello()).await;
    let line = line.unwrap();
    // All of it before anything is taken: the test has this thread for itself until it waits.
    for number in 1..=40 {
        line.send(submit(number, 1 << 20));
    }
    let all: Vec<u64> = (1..=40).collect();
    until("all of it arrives", || world.owners[0].numbers(0) == all).await;
    assert!(!edge.has_ended.load(Ordering::SeqCst));
    line.send(submit(41, 9 << 20));
    until("the largest message too", || {
        world.owners[0].numbers(0).len() == 41
    })
    .await;
}

#[tokio::test]
async fn more_filters_than_a_message_holds_are_attached() {
    let world = World::with(1, small()).await;
    world.owners[0].set(Mood::Says(welcome(1, true)));
    let filter = |n: u64| TopicFilter::trusted(format!("{}/{n}", "a".repeat(500)));
    let filters: Vec<_> = (0..40_000).map(|n| ("o".into(), filter(n))).collect();
    let hello = Hello {
        filters: filters.clone(),
        ..hello()
    };
    let (line, _edge) = world.open(hello).await;
    assert!(line.is_ok(), "{:?}", line.err());
    let got = world.owners[0].hello(0);
    assert_eq!((got.first, got.partition), (1, PartitionId(3)));
    assert!(got.filters == filters, "each of them, in order");
}

/// What an owner says that has 20 MiB to give, and much to answer.
fn much(whole: bool) -> Routed {
    let routed = |seq| RoutedEntry {
        position: at(seq),
        prev: None,
        entry: entry(1 << 20),
        bytes: Bytes::new(),
    };
    let why = Outcome::Unavailable("the log is away".repeat(10));
    Routed {
        entries: (1..=20).map(routed).collect(),
        attached: vec![(7, at(20))],
        answers: (0..20_000).map(|n| (n, why.clone())).collect(),
        upto: at(21),
        ..welcome(1, whole)
    }
}

#[tokio::test]
async fn more_than_a_message_holds_comes_down_in_several() {
    let world = World::with(1, small()).await;
    world.owners[0].set(Mood::Says(much(true)));
    let (line, edge) = world.open(hello()).await;
    assert!(line.is_ok(), "{:?}", line.err());
    let has_welcome = || edge.said.lock().iter().any(|routed| routed.welcome.is_some());
    until("the welcome comes", has_welcome).await;
    let said = edge.said.lock().clone();
    let given: Vec<Position> = said.iter().flat_map(|r| &r.entries).map(|e| e.position).collect();
    assert_eq!(given, (1..=20).map(at).collect::<Vec<_>>());
    assert_eq!(said.iter().map(|r| r.answers.len()).sum::<usize>(), 20_000);
    assert_eq!(said.iter().map(|r| r.attached.len()).sum::<usize>(), 1);
    let (last, before) = said.split_last().unwrap();
    assert!(before.len() >= 10, "{}", before.len());
    assert!(last.welcome.is_some_and(|w| w.whole), "after all that was missed");
    assert_eq!(last.upto, at(21));
    let mut given = at(0);
    for piece in before {
        assert!(piece.welcome.is_none() && piece.epoch == 1);
        given = piece
            .entries
            .iter()
            .map(|e| e.position)
            .fold(given, Position::max);
        assert_eq!(piece.upto, given, "no further than it was given");
    }
    assert!(!edge.has_ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_gap_is_told_before_what_follows_it() {
    let world = World::with(1, small()).await;
    world.owners[0].set(Mood::Says(much(false)));
    let (line, edge) = world.open(hello()).await;
    assert!(line.is_ok(), "{:?}", line.err());
    until("all of it comes", || {
        edge.said.lock().last().unwrap().upto == at(21)
    })
    .await;
    let said = edge.said.lock();
    let (first, rest) = said.split_first().unwrap();
    assert!(first.welcome.is_some_and(|w| !w.whole));
    assert!(rest.iter().all(|piece| piece.welcome.is_none()));
}
