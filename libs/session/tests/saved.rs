//! The stored form.

use model::{PartitionId, Position, Role, TopicFilter, UnixMillis, UserId};
use session::{
    Aside, DecodeError, Holder, Item, Limits, SavedCatchUp, SavedInflight, SavedLane, SavedMembership,
    SavedPhase, SavedState, Session, Subscription,
};

struct Nothing;

impl Item for Nothing {
    type Token = ();
    fn partition(&self) -> PartitionId {
        PartitionId(0)
    }
    fn position(&self) -> Position {
        Position::START
    }
    fn qos(&self) -> u8 {
        0
    }
    fn cost(&self) -> usize {
        0
    }
    fn token(&self) {}
}

fn holder(role: Role, identities: &[&str]) -> Holder {
    let identities = identities.iter().map(UserId::new).collect();
    Holder { role, identities }
}

fn full() -> SavedState {
    let lane = |p, cursor, sent| SavedLane {
        partition: PartitionId(p),
        cursor: Position(cursor),
        sent: Position(sent),
    };
    let inflight = |packet_id, side, at, phase| SavedInflight {
        packet_id,
        partition: PartitionId(9),
        side,
        position: Position(at),
        phase,
    };
    let filter = TopicFilter::trusted("org/agent/a/+");
    SavedState {
        lanes: vec![lane(0, 0, 0), lane(9, 1 << 40, (1 << 40) + 7)],
        catch_ups: vec![SavedCatchUp {
            side: 1,
            filter: filter.clone(),
            lane: lane(9, 5, 6),
            upto: Position::END,
        }],
        inflight: vec![
            inflight(65_535, 0, (1 << 40) + 1, SavedPhase::AtLeastOnce),
            inflight(1, 0, (1 << 40) + 2, SavedPhase::ExactlyOnce),
            inflight(2, 1, 6, SavedPhase::Released),
        ],
        received: vec![1, 7, 65_535],
        subscriptions: vec![Subscription {
            filter: filter.clone(),
            qos: 2,
            no_local: true,
            retain_as_published: true,
            retain_handling: 2,
            id: Some(268_435_455),
            start: vec![(PartitionId(9), Position(3))],
        }],
        next_id: 3,
        holder: Some(holder(Role::Agent, &["a1", "u1"])),
        elsewhere: vec![(PartitionId(3), Position(1 << 40))],
        memberships: Some(vec![
            SavedMembership {
                thread: u64::MAX,
                partition: PartitionId(9),
                since: Position::START,
                until: Position::END,
                left: false,
                over: true,
            },
            SavedMembership {
                thread: 7,
                partition: PartitionId(0),
                since: Position(1 << 40),
                until: Position(1 << 41),
                left: true,
                over: false,
            },
        ]),
        aside: Some(Box::new(Aside {
            holders: vec![holder(Role::Agent, &["u1"]), holder(Role::Visitor, &["u1"])],
            until: UnixMillis(1 << 41),
            lanes: vec![lane(0, 3, 3), lane(9, 4, 4)],
            catch_ups: vec![SavedCatchUp {
                side: 2,
                filter: filter.clone(),
                lane: lane(9, 2, 2),
                upto: Position(4),
            }],
            subscriptions: Vec::new(),
        })),
    }
}

#[test]
fn a_state_comes_back_as_it_was_and_goes_on_as_it_was() {
    let state = full();
    let bytes = state.encode();
    assert!(bytes.len() < 250, "{}", bytes.len());
    assert_eq!(SavedState::decode(&bytes), Ok(state.clone()));
    let again = Session::<Nothing>::resume(state.clone(), Limits::default(), 0).save();
    // Nothing below 6 is unacknowledged in flight but 6 itself, so the catch-up's cursor is what it was.
    assert_eq!(again.lanes[1].cursor, Position(1 << 40));
    assert_eq!(
        (again.inflight, again.catch_ups, again.received),
        (state.inflight, state.catch_ups, state.received)
    );
}

#[test]
fn no_bytes_are_a_session_without_state() {
    assert_eq!(SavedState::decode(&[]), Ok(SavedState::default()));
}

#[test]
fn what_a_newer_writer_adds_is_skipped() {
    let mut bytes = full().encode();
    bytes.extend([99, 2, 1, 2]);
    assert_eq!(SavedState::decode(&bytes), Ok(full()));
    let with_a_longer_lane = [1, 1, 6, 5, 4, 2, 1, 77, 78];
    let state = SavedState::decode(&with_a_longer_lane).unwrap();
    assert_eq!(
        (state.lanes[0].partition, state.lanes[0].sent),
        (PartitionId(4), Position(3))
    );
    assert_eq!(SavedState::decode(&[2, 0]), Err(DecodeError::Version(2)));
}

#[test]
fn corrupt_bytes_are_an_error_or_a_state_that_can_be_used_and_never_a_panic() {
    let good = full().encode();
    for cut in 1..good.len() {
        let _ = SavedState::decode(&good[..cut]);
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Ok(state) = SavedState::decode(&bad) {
                let mut session = Session::<Nothing>::resume(state, Limits::default(), 1);
                let mut out = Vec::new();
                session.start(&mut out);
                (0..12).for_each(|p| session.boundary(PartitionId(p), Position(9), &mut out));
                for id in [1, 2, 65_535] {
                    session.ack(id, &mut out);
                }
                session.save().encode();
            }
        }
    }
}

#[test]
fn an_item_in_flight_belongs_to_a_lane_and_has_its_own_packet_id() {
    let corrupt = Err(DecodeError::Corrupt("items in flight"));
    let mut state = full();
    state.inflight[0].partition = PartitionId(3);
    assert_eq!(SavedState::decode(&state.encode()), corrupt);
    let mut state = full();
    state.inflight[0].packet_id = 1;
    assert_eq!(SavedState::decode(&state.encode()), corrupt);
}

#[test]
fn a_state_that_does_not_say_who_held_it_is_read_and_is_its_next_holders() {
    let mut old = full();
    (old.holder, old.aside) = (None, None);
    let read = SavedState::decode(&old.encode()).unwrap();
    assert_eq!(read, old);
    let resumed = read.resumed_by(holder(Role::Visitor, &["u1"]), UnixMillis(1), 1000);
    assert_eq!(resumed.holder, Some(holder(Role::Visitor, &["u1"])));
    assert_eq!((resumed.aside, resumed.lanes), (None, old.lanes));
}
