//! The rules of the machine one by one; all of them together are the simulation's matter.

use model::{PartitionId, Position, TopicFilter};
use session::{
    Ack, Fetch, FetchLane, Inbound, Item, Limits, Output, Page, SavedState, Session, Subscription,
};

const P: PartitionId = PartitionId(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thing {
    partition: PartitionId,
    at: u64,
    qos: u8,
}

impl Item for Thing {
    type Token = u64;
    fn partition(&self) -> PartitionId {
        self.partition
    }
    fn position(&self) -> Position {
        Position(self.at)
    }
    fn qos(&self) -> u8 {
        self.qos
    }
    fn cost(&self) -> usize {
        100
    }
    fn token(&self) -> u64 {
        self.at
    }
}

fn thing(at: u64, qos: u8) -> Thing {
    Thing {
        partition: P,
        at,
        qos,
    }
}

fn limits() -> Limits {
    Limits {
        window: 3,
        buffer_items: 4,
        page_entries: 4,
        ..Limits::default()
    }
}

/// A session together with what it put out last.
struct Rig {
    session: Session<Thing>,
    out: Vec<Output<Thing>>,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        Self::with(Session::new(limits))
    }

    fn with(session: Session<Thing>) -> Self {
        Self {
            session,
            out: Vec::new(),
        }
    }

    fn attached() -> Self {
        let mut rig = Self::new(limits());
        rig.boundary(10);
        rig
    }

    fn reconnected(self) -> Self {
        let saved = SavedState::decode(&self.session.save().encode()).expect("what was encoded is decoded");
        let mut rig = Self::with(Session::resume(saved, limits(), 2));
        rig.session.start(&mut rig.out);
        rig
    }

    fn boundary(&mut self, at: u64) {
        self.session.boundary(P, Position(at), &mut self.out);
    }

    fn live(&mut self, things: impl IntoIterator<Item = u64>) {
        things
            .into_iter()
            .for_each(|at| self.session.live(thing(at, 1), &mut self.out));
    }

    fn page(&mut self, things: &[Thing], covered: u64) {
        let number = self.fetch().number;
        let page = Page {
            entries: things.to_vec(),
            covered: vec![(P, Position(covered))],
        };
        self.out.clear();
        self.session.page(number, page, &mut self.out);
    }

    fn fetch(&self) -> Fetch {
        let fetch = self.out.iter().rev().find_map(|o| match o {
            Output::Fetch(f) => Some(f.clone()),
            _ => None,
        });
        fetch.expect("a fetch was asked for")
    }

    fn range(&self) -> (u64, u64) {
        let FetchLane { after, upto, .. } = self.fetch().lanes[0];
        (after.0, upto.0)
    }

    fn ack(&mut self, id: u16) -> Ack<u64> {
        self.session.ack(id, &mut self.out)
    }

    /// Positions sent since last asked, negative when marked dup.
    fn sent(&mut self) -> Vec<i64> {
        let sign = |dup: bool, at: u64| if dup { -(at as i64) } else { at as i64 };
        let sent = self.out.iter().filter_map(|o| match o {
            Output::Send { dup, item, .. } => Some(sign(*dup, item.at)),
            _ => None,
        });
        let sent = sent.collect();
        self.out.retain(|o| matches!(o, Output::Fetch(_)));
        sent
    }

    fn cursor(&self) -> u64 {
        self.session.cursor(P).expect("the lane exists").0
    }
}

#[test]
fn the_cursor_stands_before_the_oldest_unacknowledged_item() {
    let mut rig = Rig::attached();
    rig.live([11, 12, 13]);
    assert_eq!(rig.sent(), [11, 12, 13]);
    assert_eq!(rig.ack(2), Ack::Done(Some(12)));
    assert_eq!((rig.cursor(), rig.ack(2)), (10, Ack::Unknown));
    rig.ack(1);
    assert_eq!(rig.cursor(), 12);
    rig.ack(3);
    rig.session.upto(P, Position(40));
    assert_eq!(rig.cursor(), 40);
    assert!(rig.session.is_idle());
}

#[test]
fn what_waits_for_the_window_is_bounded_and_the_rest_is_read_back() {
    let mut rig = Rig::attached();
    rig.live(11..=30);
    assert_eq!(rig.sent(), [11, 12, 13]);
    assert_eq!(rig.session.buffered(), (4, 400));
    for id in 1..=4 {
        rig.ack(id);
    }
    assert_eq!(rig.sent(), [14, 15, 16, 17]);
    assert_eq!(rig.range(), (17, 30));
    rig.live([31]);
    let page: Vec<_> = (18..=21).map(|at| thing(at, 1)).collect();
    rig.page(&page, 21);
    for id in 5..=10 {
        rig.ack(id);
    }
    assert_eq!(rig.sent(), [18, 19, 20, 21]);
    assert_eq!(
        rig.range(),
        (21, 31),
        "what came live during an unfinished page is read too"
    );
}

#[test]
fn what_comes_live_during_the_last_page_follows_it() {
    let mut rig = Rig::attached();
    rig.session.gap(P);
    rig.live([12]);
    rig.boundary(14);
    assert_eq!(rig.range(), (10, 14));
    rig.live([14, 15, 15, 16]);
    rig.page(&[thing(12, 0), thing(14, 0)], 14);
    assert_eq!(rig.sent(), [12, 14, 15, 16]);
}

#[test]
fn a_reconnect_brings_the_unacknowledged_again_with_their_ids_and_nothing_else() {
    let mut rig = Rig::attached();
    rig.live([11, 12, 13]);
    rig.ack(2);
    let mut rig = rig.reconnected();
    rig.boundary(15);
    assert_eq!(rig.range(), (10, 15));
    rig.page(&[11, 12, 13, 15].map(|at| thing(at, 1)), 15);
    let expect = |id, dup, at| Output::Send {
        packet_id: Some(id),
        qos: 1,
        dup,
        item: thing(at, 1),
    };
    assert_eq!(rig.out[..2], [expect(1, true, 11), expect(3, true, 13)]);
    assert!(
        matches!(rig.out[2], Output::Send { packet_id: Some(id), dup: false, item: Thing { at: 15, .. }, .. } if id > 3)
    );
}

#[test]
fn an_unacknowledged_item_that_is_gone_is_given_up() {
    let mut rig = Rig::attached();
    rig.live([11, 12]);
    let mut rig = rig.reconnected();
    rig.boundary(12);
    rig.page(&[thing(12, 1)], 12);
    assert_eq!(rig.sent(), [-12]);
    assert_eq!((rig.cursor(), rig.ack(1)), (11, Ack::Unknown));
}

#[test]
fn a_gone_item_of_qos_2_keeps_its_packet_id_until_the_client_has_let_go_of_it() {
    let mut rig = Rig::attached();
    rig.session.live(thing(11, 2), &mut rig.out);
    let mut rig = rig.reconnected();
    rig.boundary(11);
    rig.page(&[], 11);
    assert_eq!(
        (rig.out.clone(), rig.session.inflight()),
        (vec![Output::Release(1)], 1)
    );
    assert_eq!(rig.session.comp(1, &mut rig.out), Ack::Done(None));
    assert!(rig.session.is_idle());
}

#[test]
fn a_released_item_is_released_again_and_never_published_again() {
    let mut rig = Rig::attached();
    rig.session.live(thing(11, 2), &mut rig.out);
    rig.session.live(thing(12, 2), &mut rig.out);
    assert_eq!(rig.ack(1), Ack::Mismatch);
    assert_eq!(rig.session.rec(1, true, &mut rig.out), Ack::Done(Some(11)));
    let mut rig = rig.reconnected();
    assert_eq!(rig.out, [Output::Release(1)]);
    rig.boundary(12);
    rig.page(&[thing(11, 2), thing(12, 2)], 12);
    assert_eq!(rig.sent(), [-12]);
    assert_eq!(rig.session.comp(2, &mut rig.out), Ack::Mismatch);
    assert_eq!(rig.session.comp(1, &mut rig.out), Ack::Done(None));
    assert_eq!(rig.session.rec(2, false, &mut rig.out), Ack::Done(Some(12)));
    assert!(rig.session.is_idle());
}

#[test]
fn a_refused_item_comes_again_and_newer_ones_do_not() {
    let mut rig = Rig::attached();
    rig.live([11, 12]);
    rig.sent();
    assert_eq!(rig.session.nack(1, &mut rig.out), Ack::Done(None));
    assert_eq!(rig.range(), (10, 12));
    rig.live([13]);
    rig.page(&[thing(11, 1), thing(12, 1)], 12);
    assert_eq!(rig.sent(), [-11, 13]);
    let mut tokens = Vec::new();
    assert_eq!(
        rig.session.ack_through(1, &mut tokens, &mut rig.out),
        Ack::Done(None)
    );
    assert_eq!(
        (tokens, rig.session.inflight()),
        (vec![11, 12], 1),
        "13 was sent after 11 came again"
    );
}

#[test]
fn a_new_member_gets_what_its_lane_has_passed_before_anything_newer() {
    let mut rig = Rig::attached();
    rig.live([11, 13, 15]);
    for id in 1..=3 {
        rig.ack(id);
    }
    rig.sent();
    let filter = TopicFilter::new("org/group/g").unwrap();
    rig.session.catch_up(P, filter.clone(), Position(11));
    rig.boundary(17);
    assert_eq!((rig.range(), rig.fetch().filter), ((11, 15), Some(filter)));
    rig.page(&[thing(12, 1), thing(14, 1)], 15);
    assert_eq!(rig.sent(), [12, 14]);
    assert_eq!((rig.range(), rig.fetch().filter), ((15, 17), None));
    let mut rig = rig.reconnected();
    assert_eq!(rig.range(), (11, 15), "the catch-up is not lost by a reconnect");
    rig.page(&[thing(12, 1), thing(14, 1)], 15);
    rig.boundary(17);
    rig.page(&[thing(16, 1)], 17);
    assert_eq!(rig.sent(), [16]);
}

#[test]
fn a_member_that_has_read_on_with_the_topic_gets_nothing_of_it_twice() {
    let mut rig = Rig::attached();
    // 13 on the topic that it reads since 12; before that it passed 11 without it.
    rig.live([13, 15]);
    for id in 1..=2 {
        rig.ack(id);
    }
    rig.sent();
    let filter = TopicFilter::new("org/group/g").unwrap();
    rig.session
        .catch_up_to(P, filter.clone(), Position(10), Position(12));
    rig.boundary(17);
    assert_eq!((rig.range(), rig.fetch().filter), ((10, 12), Some(filter)));
    rig.page(&[thing(11, 1)], 12);
    assert_eq!(rig.sent(), [11]);
    assert_eq!((rig.range(), rig.fetch().filter), ((15, 17), None));
}

#[test]
fn a_throttled_connection_gets_nothing_and_nothing_is_lost() {
    let mut rig = Rig::attached();
    rig.session.throttle(true, &mut rig.out);
    (11..=13).for_each(|at| rig.session.live(thing(at, 0), &mut rig.out));
    assert!(rig.out.is_empty());
    rig.session.shed();
    assert_eq!((rig.session.buffered(), rig.cursor()), ((0, 0), 10));
    rig.session.throttle(false, &mut rig.out);
    assert_eq!(rig.range(), (10, 13));
}

#[test]
fn a_transient_item_passes_through_and_moves_nothing() {
    let mut rig = Rig::attached();
    rig.session.live(thing(0, 0), &mut rig.out);
    assert_eq!(
        (rig.sent(), rig.cursor(), rig.session.inflight()),
        (vec![0], 10, 0)
    );
}

#[test]
fn a_retained_item_is_acknowledged_like_any_other_and_belongs_to_this_connection_alone() {
    let mut rig = Rig::attached();
    rig.live([0]);
    assert_eq!(
        (rig.sent(), rig.cursor(), rig.session.inflight()),
        (vec![0], 10, 1)
    );
    assert!(rig.session.save().inflight.is_empty());
    assert!(matches!(rig.session.ack(1, &mut rig.out), Ack::Done(_)));
    assert_eq!((rig.cursor(), rig.session.inflight()), (10, 0));
}

#[test]
fn inbound_packet_ids_are_remembered_until_they_are_released() {
    let mut rig = Rig::new(Limits {
        received: 2,
        ..limits()
    });
    let s = &mut rig.session;
    assert_eq!(
        [s.receive(7), s.receive(7), s.receive(5)],
        [Inbound::New, Inbound::Again, Inbound::New]
    );
    assert_eq!(s.receive(6), Inbound::TooMany);
    let mut rig = rig.reconnected();
    assert_eq!(rig.session.receive(5), Inbound::Again);
    assert!(rig.session.release(5) && !rig.session.release(5));
}

#[test]
fn a_subscription_begins_at_its_boundary_and_is_not_replayed() {
    let mut rig = Rig::attached();
    let sub = |qos, at| Subscription {
        filter: TopicFilter::new("a/+").unwrap(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        id: None,
        start: vec![(P, Position(at)), (PartitionId(4), Position(9))],
    };
    assert!(!rig.session.subscribe(sub(1, 20)));
    let begun = sub(1, 20).start;
    assert_eq!(rig.session.subscriptions()[0].start, begun);
    assert_eq!(
        rig.session.save().subscriptions[0].start,
        [(P, Position(20))],
        "the new lane begins there anyway"
    );
    assert!(rig.session.subscribe(sub(2, 30)));
    assert_eq!(
        rig.session.subscriptions(),
        [Subscription {
            start: begun,
            ..sub(2, 0)
        }]
    );
    rig.session.upto(P, Position(25));
    assert_eq!(rig.session.save().subscriptions[0].start, []);
    assert!(rig.session.unsubscribe(&TopicFilter::new("a/+").unwrap()));
}

#[test]
fn an_idle_session_is_small() {
    let size = size_of::<Session<Thing>>();
    assert!(size < 300, "{size}");
}
