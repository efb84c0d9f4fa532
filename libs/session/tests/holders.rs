//! A session that is resumed as somebody else: whatever the order in which holders come and go, each gets in the end what it
//! may see and nobody acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use model::{PartitionId, Position, Role, TopicFilter, UnixMillis, UserId};
use proptest::collection::vec;
use proptest::prelude::*;
use session::{
    Ack, Aside, Fetch, Holder, Item, Limits, Output, Page, SavedCatchUp, SavedInflight, SavedLane,
    SavedPhase, SavedState, Session, Subscription,
};

const PARTITIONS: u16 = 2;
const NOW: UnixMillis = UnixMillis(1000);
const LIFE: u64 = 1000;

/// An agent with some of three aliases, or the same user as a visitor.
fn holder(n: usize) -> Holder {
    let names = [
        vec!["a"],
        vec!["a", "b"],
        vec!["a", "b", "c"],
        vec!["b", "c"],
        vec!["c"],
        vec!["v"],
    ];
    let (role, names) = match names.get(n) {
        Some(names) if n < 5 => (Role::Agent, names),
        _ => (Role::Visitor, &names[5]),
    };
    Holder {
        role,
        identities: names.iter().map(UserId::new).collect(),
    }
}

/// An entry for one alias, or for the visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    uid: usize,
    to: &'static str,
    partition: PartitionId,
    position: Position,
    qos: u8,
}

impl Thing {
    fn is_for(&self, holder: &Holder) -> bool {
        holder.identities.iter().any(|uid| uid.as_str() == self.to)
    }
}

impl Item for Thing {
    type Token = usize;
    fn partition(&self) -> PartitionId {
        self.partition
    }
    fn position(&self) -> Position {
        self.position
    }
    fn qos(&self) -> u8 {
        self.qos
    }
    fn cost(&self) -> usize {
        1
    }
    fn token(&self) -> usize {
        self.uid
    }
}

struct Connection {
    holder: Holder,
    aside: Option<Box<Aside>>,
    session: Session<Thing>,
    /// Packet ids that the client has not answered, with the QoS and whether PUBREC is said.
    unanswered: Vec<(u16, u8, bool)>,
}

#[derive(Default)]
struct World {
    log: Vec<Thing>,
    stored: Vec<u8>,
    epoch: u64,
    connection: Option<Connection>,
    acknowledged: BTreeSet<usize>,
    /// Each holder with the length of the log when it came first.
    first: Vec<(Holder, usize)>,
}

impl World {
    fn head(&self, partition: PartitionId) -> Position {
        let last = self.log.iter().rev().find(|t| t.partition == partition);
        last.map_or(Position::START, |t| t.position)
    }

    fn publish(&mut self, to: usize) {
        let uid = self.log.len();
        let thing = Thing {
            uid,
            to: ["a", "b", "c", "v"][to % 4],
            partition: PartitionId((uid % usize::from(PARTITIONS)) as u16),
            position: Position((uid as u64 + 1) << 17),
            qos: 1 + (uid / 3 % 2) as u8,
        };
        self.log.push(thing.clone());
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let mut out = Vec::new();
        if thing.is_for(&connection.holder) {
            connection.session.live(thing.clone(), &mut out);
        }
        connection.session.upto(thing.partition, thing.position);
        self.connection = Some(connection);
        self.take(out);
    }

    fn resume(&mut self, holder: Holder) {
        self.connection = None;
        let state = SavedState::decode(&self.stored).unwrap();
        let is_another = state.holder.as_ref() != Some(&holder);
        let mut state = state.resumed_by(holder.clone(), NOW, LIFE);
        if is_another {
            // Before it is told that it receives: what it is owed after a crash is known.
            self.stored = state.encode();
        }
        let aside = state.aside.take();
        self.epoch += 1;
        let limits = Limits {
            window: 3,
            page_entries: 2,
            ..Limits::default()
        };
        let session = Session::resume(state, limits, self.epoch);
        if self.first.iter().all(|(known, _)| *known != holder) {
            self.first.push((holder.clone(), self.log.len()));
        }
        let unanswered = Vec::new();
        self.connection = Some(Connection {
            holder,
            aside,
            session,
            unanswered,
        });
        let mut out = Vec::new();
        let heads = [0, 1].map(|p| (PartitionId(p), self.head(PartitionId(p))));
        let session = &mut self.connection.as_mut().unwrap().session;
        session.start(&mut out);
        heads
            .iter()
            .for_each(|(p, at)| session.boundary(*p, *at, &mut out));
        self.take(out);
    }

    fn page(&self, fetch: &Fetch) -> Page<Thing> {
        let connection = self.connection.as_ref().unwrap();
        let mut entries = Vec::new();
        let mut covered: Vec<_> = fetch.lanes.iter().map(|l| (l.partition, l.upto)).collect();
        for (lane, covered) in fetch.lanes.iter().zip(&mut covered) {
            let here = |t: &&Thing| {
                t.partition == lane.partition && t.position > lane.after && t.position <= lane.upto
            };
            let mut visible = self
                .log
                .iter()
                .filter(here)
                .filter(|t| t.is_for(&connection.holder));
            let page: Vec<_> = visible.by_ref().take(fetch.max_entries).cloned().collect();
            if visible.next().is_some() {
                covered.1 = page.last().unwrap().position;
            }
            entries.extend(page);
        }
        Page { entries, covered }
    }

    fn take(&mut self, out: Vec<Output<Thing>>) {
        for output in out {
            let mut more = Vec::new();
            match output {
                Output::Fetch(fetch) => {
                    let page = self.page(&fetch);
                    let session = &mut self.connection.as_mut().unwrap().session;
                    session.page(fetch.number, page, &mut more);
                }
                Output::Send {
                    packet_id, qos, item, ..
                } => {
                    let connection = self.connection.as_mut().unwrap();
                    assert!(
                        item.is_for(&connection.holder),
                        "{item:?} to {:?}",
                        connection.holder
                    );
                    connection.unanswered.push((packet_id.unwrap(), qos, false));
                }
                Output::Release(id) => {
                    let connection = self.connection.as_mut().unwrap();
                    connection.unanswered.retain(|(other, ..)| *other != id);
                    connection.unanswered.push((id, 2, true));
                }
            }
            self.take(more);
        }
    }

    /// The client answers the oldest that it has.
    fn answer(&mut self) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        if connection.unanswered.is_empty() {
            return false;
        }
        let (id, qos, received) = connection.unanswered.remove(0);
        let mut out = Vec::new();
        let ack = match (qos, received) {
            (1, _) => connection.session.ack(id, &mut out),
            (_, false) => connection.session.rec(id, true, &mut out),
            (_, true) => connection.session.comp(id, &mut out),
        };
        if let Ack::Done(Some(uid)) = ack {
            self.acknowledged.insert(uid);
        }
        self.take(out);
        true
    }

    fn save(&mut self) {
        if let Some(connection) = &mut self.connection {
            let mut state = connection.session.save();
            state.holder = Some(connection.holder.clone());
            state.aside.clone_from(&connection.aside);
            self.stored = state.encode();
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Publish(to) => self.publish(*to),
            Op::Resume(n) => {
                self.save();
                self.resume(holder(*n));
            }
            Op::Crash => self.connection = None,
            Op::Answer => drop(self.answer()),
            Op::Save => self.save(),
        }
    }

    /// Each holder comes once more and reads all.
    fn come_to_rest(&mut self) {
        for (holder, since) in self.first.clone() {
            self.save();
            self.resume(holder.clone());
            while self.answer() {}
            let missed = |t: &&Thing| t.is_for(&holder) && !self.acknowledged.contains(&t.uid);
            let missed: Vec<_> = self.log[since..].iter().filter(missed).collect();
            assert!(missed.is_empty(), "{holder:?} never got {missed:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Publish(usize),
    Resume(usize),
    Crash,
    Answer,
    Save,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..4usize).prop_map(Op::Publish),
        2 => (0..6usize).prop_map(Op::Resume),
        1 => Just(Op::Crash),
        4 => Just(Op::Answer),
        1 => Just(Op::Save),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_comes_back_gets_what_it_may_see_and_nobody_acknowledged(ops in vec(op(), 1..80)) {
        let mut world = World::default();
        world.resume(holder(2));
        world.save();
        ops.iter().for_each(|op| world.apply(op));
        world.come_to_rest();
    }
}

fn lane(p: u16, cursor: u64, sent: u64) -> SavedLane {
    SavedLane {
        partition: PartitionId(p),
        cursor: Position(cursor),
        sent: Position(sent),
    }
}

fn subscription(filter: &str) -> Subscription {
    Subscription {
        filter: TopicFilter::trusted(filter),
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        id: None,
        start: Vec::new(),
    }
}

/// An agent's session, as it left it.
fn agents() -> SavedState {
    SavedState {
        holder: Some(holder(2)),
        lanes: vec![lane(0, 10, 10), lane(1, 20, 25)],
        inflight: vec![SavedInflight {
            packet_id: 7,
            partition: PartitionId(1),
            side: 0,
            position: Position(21),
            phase: SavedPhase::ExactlyOnce,
        }],
        subscriptions: vec![subscription("x/a"), subscription("x/b")],
        ..SavedState::default()
    }
}

/// The visitor read on to here.
fn read_on(mut state: SavedState) -> SavedState {
    state.lanes = vec![lane(0, 90, 90), lane(1, 95, 95)];
    state.inflight.clear();
    state.subscriptions = vec![subscription("x/v")];
    state
}

#[test]
fn a_holder_with_the_same_or_more_rights_goes_on_and_nothing_is_set_aside() {
    let lesser = SavedState {
        holder: Some(holder(1)),
        ..agents()
    };
    for (state, next) in [(agents(), 2), (lesser, 2)] {
        let resumed = state.clone().resumed_by(holder(next), NOW, LIFE);
        let same = SavedState {
            holder: Some(holder(next)),
            ..state
        };
        assert_eq!(resumed, same);
    }
}

#[test]
fn what_one_with_fewer_rights_passes_and_unsubscribes_by_lack_of_them_comes_back() {
    let visited = read_on(agents().resumed_by(holder(5), NOW, LIFE));
    let back = visited.resumed_by(holder(2), NOW, LIFE);
    // The oldest that was not acknowledged comes again too.
    assert_eq!(back.lanes, [lane(0, 10, 10), lane(1, 20, 20)]);
    let filters: Vec<_> = back.subscriptions.iter().map(|s| s.filter.as_str()).collect();
    assert_eq!(filters, ["x/v", "x/a", "x/b"]);
    let since: Vec<_> = back.subscriptions[0].start.clone();
    assert_eq!(
        since,
        [(PartitionId(0), Position(90)), (PartitionId(1), Position(95))]
    );
    let aside = back.aside.unwrap();
    assert_eq!(
        (aside.holders, aside.lanes),
        (vec![holder(5)], vec![lane(0, 90, 90), lane(1, 95, 95)])
    );
}

#[test]
fn one_position_a_partition_is_kept_the_earliest_whoever_is_owed_something() {
    let visited = read_on(agents().resumed_by(holder(5), NOW, LIFE));
    let third = visited.resumed_by(holder(4), NOW, LIFE);
    let aside = third.aside.clone().unwrap();
    assert_eq!(aside.holders, [holder(2), holder(5)]);
    assert_eq!(aside.lanes, [lane(0, 10, 10), lane(1, 20, 20)]);
    assert_eq!(
        third.lanes[0],
        lane(0, 10, 10),
        "a part of what it may see is what the first one missed"
    );
    let decoded = SavedState::decode(&third.encode());
    assert_eq!(decoded, Ok(third));
}

#[test]
fn what_is_set_aside_lapses_like_a_session_that_nobody_resumes() {
    let visited = read_on(agents().resumed_by(holder(5), NOW, LIFE));
    let in_time = visited
        .clone()
        .resumed_by(holder(2), UnixMillis(NOW.0 + LIFE - 1), LIFE);
    assert_eq!(in_time.lanes[0], lane(0, 10, 10));
    let late = visited.resumed_by(holder(2), UnixMillis(NOW.0 + LIFE), LIFE);
    assert_eq!(late.lanes[0], lane(0, 90, 90));
}

#[test]
fn a_handshake_goes_on_whoever_the_holder_is_and_a_packet_id_is_let_go_of_when_going_back() {
    let visitor = agents().resumed_by(holder(5), NOW, LIFE);
    assert_eq!(visitor.inflight, agents().inflight);
    let back = visitor.resumed_by(holder(2), NOW, LIFE);
    let phases: Vec<_> = back.inflight.iter().map(|e| (e.packet_id, e.phase)).collect();
    assert_eq!(phases, [(7, SavedPhase::Released)]);
}

#[test]
fn a_catch_up_is_set_aside_and_its_handshakes_end_with_it() {
    let mut state = agents();
    let catch_up = |cursor| SavedCatchUp {
        side: 1,
        filter: TopicFilter::trusted("x/joined"),
        lane: lane(1, cursor, cursor),
        upto: Position(20),
    };
    state.catch_ups = vec![catch_up(12)];
    let of_side = |packet_id, phase| SavedInflight {
        packet_id,
        partition: PartitionId(1),
        side: 1,
        position: Position(12),
        phase,
    };
    state.inflight = vec![
        of_side(1, SavedPhase::AtLeastOnce),
        of_side(2, SavedPhase::ExactlyOnce),
    ];
    let mut visitor = state.resumed_by(holder(5), NOW, LIFE);
    visitor.end_catch_ups(&[TopicFilter::trusted("x/joined")]);
    let left: Vec<_> = visitor
        .inflight
        .iter()
        .map(|e| (e.packet_id, e.side, e.phase))
        .collect();
    assert_eq!(left, [(2, 0, SavedPhase::Released)]);
    assert!(visitor.catch_ups.is_empty() && SavedState::decode(&visitor.encode()).is_ok());
    let back = visitor.resumed_by(holder(2), NOW, LIFE);
    assert_eq!(
        back.catch_ups,
        [catch_up(11)],
        "from before what was not acknowledged"
    );
    assert!(SavedState::decode(&back.encode()).is_ok());
}

#[test]
fn a_subscription_that_its_client_ended_does_not_come_back() {
    let mut visitor = agents().resumed_by(holder(5), NOW, LIFE);
    let filter = TopicFilter::trusted("x/a");
    visitor.aside.as_mut().unwrap().unsubscribe(&filter);
    visitor.subscriptions.clear();
    let back = visitor.resumed_by(holder(2), NOW, LIFE);
    assert_eq!(back.subscriptions, [subscription("x/b")]);
}
