#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use backplane::bus::{Bus as _, EmbeddedBus};
use backplane::journal::{FrameId, Journal, JournalError, Reader};
use bytes::Bytes;
use model::{EdgeId, FrameSeq, Partitioning};
use tokio::time::advance;

use super::*;
use crate::append::Appended;

/// A log that is not used.
struct NoJournal;

#[async_trait]
impl Journal for NoJournal {
    async fn append(
        &self,
        _: PartitionId,
        _: Option<FrameSeq>,
        _: FrameId,
        _: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        Err(JournalError::Closed)
    }
    async fn read(&self, _: PartitionId, _: FrameSeq) -> Result<Box<dyn Reader>, JournalError> {
        Err(JournalError::Closed)
    }
    async fn head(&self, _: PartitionId) -> Result<FrameSeq, JournalError> {
        Err(JournalError::Closed)
    }
    async fn trim(&self, _: PartitionId, _: FrameSeq) -> Result<(), JournalError> {
        Err(JournalError::Closed)
    }
    fn epoch(&self) -> u64 {
        1
    }
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What an edge is told, and what it wants.
#[derive(Default)]
struct Told {
    gaps: AtomicU64,
    boundaries: Mutex<Vec<u64>>,
}

impl Listener for Told {
    fn gap(&self, _: PartitionId) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
    fn boundary(&self, _: PartitionId, boundary: Position) {
        self.boundaries.lock().push(boundary.0);
    }
    fn filters(&self, _: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        vec![(OrgId::new("o"), TopicFilter::trusted("wanted"))]
    }
}

/// An owner that answers as it is told, and remembers what it was asked.
#[derive(Clone, Default)]
struct Owner {
    reply: Arc<Mutex<RouteReply>>,
    asked: Arc<Mutex<Vec<RouteRequest>>>,
}

struct World {
    bus: EmbeddedBus,
    appender: Arc<Appender>,
    told: Told,
    link: Link,
    owner: Owner,
}

impl World {
    async fn new() -> Self {
        let partitioning = Partitioning::new(1);
        let id = EdgeId::new("e");
        let config = crate::Config::default();
        let world = Self {
            bus: EmbeddedBus::default(),
            appender: Appender::new(
                id,
                Arc::new(NoJournal),
                partitioning,
                &config,
                1,
                Appended::default(),
            ),
            told: Told::default(),
            link: Link::new(PartitionId(0), 1),
            owner: Owner::default(),
        };
        world.owner_is(1, 0, 10);
        let (owner, mut server) = (world.owner.clone(), world.bus.serve("routing.0").await.unwrap());
        tokio::spawn(async move {
            while let Some(request) = server.next().await {
                owner
                    .asked
                    .lock()
                    .push(wire::frame::decode(request.payload).unwrap());
                let reply = wire::frame::encode(&*owner.reply.lock());
                request.reply.send(reply);
            }
        });
        world
    }

    fn owner_is(&self, owner_epoch: u64, last_number: u64, boundary: u64) {
        *self.owner.reply.lock() = RouteReply {
            owner_epoch,
            last_number,
            boundary,
            ..RouteReply::default()
        };
    }

    async fn talk(&self) {
        let with = With {
            edge: "e",
            bus: &self.bus,
            appender: &self.appender,
            listener: &self.told,
        };
        self.link.talk(with).await.unwrap();
    }

    fn asked(&self) -> Vec<RouteRequest> {
        std::mem::take(&mut *self.owner.asked.lock())
    }

    fn gaps(&self) -> u64 {
        self.told.gaps.swap(0, Ordering::Relaxed)
    }

    fn is_whole(&self) -> bool {
        self.link.whole().get().is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_the_numbers_attaches_everything_again_on_a_new_stream() {
    let w = World::new().await;
    w.talk().await;
    assert!(w.is_whole() && w.asked().len() == 1);
    assert_eq!(w.link.follow(1, 1, 1), Follows::Yes);
    assert_eq!(w.link.follow(1, 1, 3), Follows::Gap);
    assert_eq!(w.link.follow(1, 1, 4), Follows::Stale, "one gap is told once");
    assert!(!w.is_whole(), "no attach is complete while something is missing");
    w.owner_is(1, 0, 20);
    w.talk().await;
    let asked = w.asked();
    assert_eq!((asked.len(), asked[0].stream, asked[0].attach.len()), (1, 2, 1));
    assert!(w.is_whole() && *w.told.boundaries.lock() == [20]);
    assert_eq!(w.link.follow(1, 1, 4), Follows::Stale);
    assert_eq!(w.link.follow(1, 2, 1), Follows::Yes);
}

#[tokio::test(start_paused = true)]
async fn a_new_owner_is_told_everything_even_when_its_first_frame_overtakes_its_answer() {
    let w = World::new().await;
    w.talk().await;
    assert_eq!(w.link.follow(1, 1, 1), Follows::Yes);
    w.owner_is(2, 1, 30);
    assert_eq!(
        w.link.follow(2, 1, 1),
        Follows::Gap,
        "that owner does not know our filters"
    );
    w.asked();
    w.talk().await;
    assert_eq!(w.asked()[0].attach.len(), 1);
    assert_eq!(
        w.link.follow(1, 2, 1),
        Follows::Stale,
        "the former owner is not heard any more"
    );
    // And when it is noticed by a request only.
    w.owner_is(3, 0, 40);
    w.talk().await;
    let asked = w.asked();
    assert_eq!((asked.len(), asked[1].attach.len(), w.gaps()), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_last_frame_is_noticed_by_the_count_but_one_under_way_is_not_taken_for_lost() {
    let w = World::new().await;
    w.talk().await;
    // The answer overtakes the frame.
    w.owner_is(1, 1, 20);
    w.talk().await;
    advance(OVERDUE / 2).await;
    w.talk().await;
    assert_eq!(w.link.follow(1, 1, 1), Follows::Yes);
    advance(OVERDUE).await;
    w.talk().await;
    assert_eq!(w.gaps(), 0);
    // This one never comes.
    w.owner_is(1, 2, 30);
    w.talk().await;
    advance(OVERDUE).await;
    w.owner_is(1, 2, 40);
    w.asked();
    w.talk().await;
    assert_eq!((w.gaps(), w.asked()[0].stream), (1, 2));
    assert_eq!(*w.told.boundaries.lock(), [40]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_has_forgotten_us_is_told_everything() {
    let w = World::new().await;
    w.talk().await;
    assert_eq!(w.link.follow(1, 1, 1), Follows::Yes);
    // It counts from the beginning again.
    w.owner_is(1, 0, 20);
    w.talk().await;
    assert_eq!((w.gaps(), w.told.boundaries.lock().len()), (1, 1));
    // Or it has never sent us anything that could show it.
    advance(SILENCE * 2).await;
    w.talk().await;
    assert_eq!((w.gaps(), w.told.boundaries.lock().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_attach_is_complete_when_the_owner_has_answered_and_the_last_word_counts() {
    let w = World::new().await;
    let (org, filter) = (OrgId::new("o"), TopicFilter::trusted("a"));
    let (first, last) = (Arc::new(Known::default()), Arc::new(Known::default()));
    w.link.attach(org.clone(), filter.clone(), first.clone());
    w.link.detach(org.clone(), filter.clone());
    w.link.attach(org.clone(), filter.clone(), last.clone());
    w.link.detach(org.clone(), TopicFilter::trusted("b"));
    w.talk().await;
    let asked = w.asked();
    let names = |filters: &[OrgFilter]| filters.iter().map(|f| f.filter.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names(&asked[0].attach), names(&asked[0].detach)),
        (vec!["a".into()], vec!["b".into()])
    );
    assert_eq!(
        (first.get(), last.get()),
        (Some(Position(10)), Some(Position(10)))
    );
    // What an owner did not take is told to the next.
    let third = Arc::new(Known::default());
    w.link.attach(org, TopicFilter::trusted("c"), third.clone());
    let deaf = EmbeddedBus::default();
    let with = With {
        edge: "e",
        bus: &deaf,
        appender: &w.appender,
        listener: &w.told,
    };
    assert!(w.link.talk(with).await.is_err() && third.get().is_none());
    w.talk().await;
    assert_eq!(names(&w.asked()[0].attach), ["c"]);
    assert!(third.get().is_some());
}

#[test]
fn what_is_more_than_the_bus_carries_is_asked_in_several_requests_of_one_stream() {
    let org = OrgId::new("o");
    let filter = |i: usize| TopicFilter::trusted(format!("{}/{i}", "x".repeat(500)));
    let attach: Filters = (0..3000).map(|i| (org.clone(), filter(i))).collect();
    let detach: Filters = (3000..3010).map(|i| (org.clone(), filter(i))).collect();
    let asked = requests("e", 7, attach, detach);
    let counts = |list: fn(&RouteRequest) -> usize| asked.iter().map(list).sum::<usize>();
    assert_eq!(
        (counts(|r| r.attach.len()), counts(|r| r.detach.len())),
        (3000, 10)
    );
    assert!((3..6).contains(&asked.len()) && asked.iter().all(|r| r.stream == 7 && r.edge == "e"));
    let pending = RouteRequest {
        pending_ids: vec![u64::MAX >> 1; REQUEST_PENDING],
        pending_seqs: vec![u64::MAX >> 1; REQUEST_PENDING],
        ..RouteRequest::default()
    };
    let largest = asked.iter().map(prost_len).max().unwrap() + prost_len(&pending);
    assert!(largest < 1_000_000, "{largest} bytes");
    assert_eq!(
        requests("e", 7, Vec::new(), Vec::new()).len(),
        1,
        "there is always something to ask"
    );
}

fn prost_len(request: &RouteRequest) -> usize {
    wire::frame::encode(request).len()
}

/// A bus whose owner stops answering after so many requests.
struct Tiring {
    inner: EmbeddedBus,
    left: AtomicU64,
}

#[async_trait]
impl backplane::bus::Bus for Tiring {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), backplane::bus::BusError> {
        self.inner.publish(subject, payload).await
    }
    async fn subscribe(
        &self,
        subject: &str,
    ) -> Result<Box<dyn backplane::bus::Subscription>, backplane::bus::BusError> {
        self.inner.subscribe(subject).await
    }
    async fn request(
        &self,
        subject: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, backplane::bus::BusError> {
        if self.left.load(Ordering::Relaxed) == 0 {
            return Err(backplane::bus::BusError::NoResponder(subject.to_owned()));
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
        self.inner.request(subject, payload, timeout).await
    }
    async fn serve(
        &self,
        subject: &str,
    ) -> Result<Box<dyn backplane::bus::Server>, backplane::bus::BusError> {
        self.inner.serve(subject).await
    }
}

/// Wants more than one request can hold.
struct Greedy(Told);

impl Listener for Greedy {
    fn gap(&self, p: PartitionId) {
        self.0.gap(p);
    }
    fn boundary(&self, p: PartitionId, boundary: Position) {
        self.0.boundary(p, boundary);
    }
    fn filters(&self, _: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        let filter = |i: usize| TopicFilter::trusted(format!("{}/{i}", "x".repeat(500)));
        (0..3000).map(|i| (OrgId::new("o"), filter(i))).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_is_whole_when_the_last_request_is_answered_and_begins_anew_when_one_is_not() {
    let w = World::new().await;
    let (mut server, listener) = (w.bus.serve("routing.1").await.unwrap(), Greedy(Told::default()));
    let (asked, link) = (Arc::new(Mutex::new(Vec::new())), Link::new(PartitionId(1), 1));
    let noted = asked.clone();
    tokio::spawn(async move {
        while let Some(request) = server.next().await {
            let asked: RouteRequest = wire::frame::decode(request.payload).unwrap();
            let boundary = 10 + noted.lock().len() as u64;
            noted.lock().push((asked.stream, asked.attach.len()));
            let reply = RouteReply {
                owner_epoch: 1,
                boundary,
                ..RouteReply::default()
            };
            request.reply.send(wire::frame::encode(&reply));
        }
    });
    let bus = Tiring {
        inner: w.bus,
        left: AtomicU64::new(2),
    };
    let with = With {
        edge: "e",
        bus: &bus,
        appender: &w.appender,
        listener: &listener,
    };
    link.suspect();
    assert!(link.talk(with).await.is_err());
    assert_eq!(link.whole().get(), None, "half of the filters are not attached");
    bus.left.store(u64::MAX, Ordering::Relaxed);
    link.talk(with).await.unwrap();
    let asked = asked.lock().clone();
    let again: usize = asked
        .iter()
        .filter(|(stream, _)| *stream == 3)
        .map(|(_, n)| n)
        .sum();
    assert_eq!((asked[0].0, asked[1].0, again), (2, 2, 3000));
    let last = Position(10 + asked.len() as u64 - 1);
    assert_eq!(
        (link.whole().get(), listener.0.boundaries.lock().clone()),
        (Some(last), vec![last.0])
    );
}
