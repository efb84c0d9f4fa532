//! The stored form of a session: a version byte, then sections (tag, length, body). A section's body is a record or a
//! list of records (length, fields). A reader skips sections that it does not know and fields behind those it knows,
//! so that a newer edge's state can be read by an older one while both run. Numbers are little-endian base 128.

mod aside;

use model::{PartitionId, Position, TopicFilter};
use thiserror::Error;

use crate::holder::Aside;
use crate::saved::{
    SavedCatchUp, SavedInflight, SavedLane, SavedMembership, SavedPhase, SavedState, Subscription,
};

const VERSION: u8 = 1;
const LANES: u64 = 1;
const CATCH_UPS: u64 = 2;
const INFLIGHT: u64 = 3;
const RECEIVED: u64 = 4;
const SUBSCRIPTIONS: u64 = 5;
const NEXT_ID: u64 = 6;
const HOLDER: u64 = 7;
const ASIDE: u64 = 8;
const MEMBERSHIPS: u64 = 9;
const ELSEWHERE: u64 = 10;

/// Why bytes are no saved session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Written in a form that this reader does not know.
    #[error("reading a saved session: its version {0} is not known")]
    Version(u8),
    /// It ends in the middle, or a field has no meaning.
    #[error("reading a saved session: the {0} are corrupt")]
    Corrupt(&'static str),
}

impl SavedState {
    /// Writes the state: about ten bytes for a lane or an item in flight.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        section(&mut out, LANES, &self.lanes, put_lane);
        section(&mut out, CATCH_UPS, &self.catch_ups, put_catch_up);
        section(&mut out, INFLIGHT, &self.inflight, put_inflight);
        section(&mut out, SUBSCRIPTIONS, &self.subscriptions, put_subscription);
        if !self.received.is_empty() {
            let mut body = Vec::new();
            self.received.iter().for_each(|id| put(&mut body, u64::from(*id)));
            put(&mut out, RECEIVED);
            put_bytes(&mut out, &body);
        }
        put(&mut out, NEXT_ID);
        let mut body = Vec::new();
        put(&mut body, u64::from(self.next_id));
        put_bytes(&mut out, &body);
        if let Some(memberships) = &self.memberships {
            let mut body = Vec::new();
            for m in memberships {
                body.extend_from_slice(&m.thread.to_le_bytes());
                put(&mut body, u64::from(m.left) | u64::from(m.over) << 1);
                put(&mut body, u64::from(m.partition.0));
                put(&mut body, m.since.0);
                put(&mut body, if m.until == Position::END { 0 } else { m.until.0 });
            }
            put(&mut out, MEMBERSHIPS);
            put_bytes(&mut out, &body);
        }
        section(&mut out, ELSEWHERE, &self.elsewhere, |record, (partition, at)| {
            put(record, u64::from(partition.0));
            put(record, at.0);
        });
        if let Some(holder) = &self.holder {
            let mut body = Vec::new();
            aside::put_holder(&mut body, holder);
            put(&mut out, HOLDER);
            put_bytes(&mut out, &body);
        }
        if let Some(aside) = &self.aside {
            put(&mut out, ASIDE);
            put_bytes(&mut out, &aside.encode());
        }
        out
    }

    /// Reads it back. No bytes at all are a session without state.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut state = SavedState::default();
        let Some((version, rest)) = bytes.split_first() else {
            return Ok(state);
        };
        if *version != VERSION {
            return Err(DecodeError::Version(*version));
        }
        let mut all = Reader(rest);
        while !all.0.is_empty() {
            let (tag, mut body) = all.section().ok_or(DecodeError::Corrupt("sections"))?;
            match tag {
                LANES => state.lanes = body.list(lane).ok_or(DecodeError::Corrupt("lanes"))?,
                CATCH_UPS => {
                    state.catch_ups = body.list(catch_up).ok_or(DecodeError::Corrupt("catch-ups"))?
                }
                INFLIGHT => {
                    state.inflight = body
                        .list(inflight)
                        .ok_or(DecodeError::Corrupt("items in flight"))?;
                }
                RECEIVED => state.received = received(body).ok_or(DecodeError::Corrupt("received ids"))?,
                SUBSCRIPTIONS => {
                    state.subscriptions = body
                        .list(subscription)
                        .ok_or(DecodeError::Corrupt("subscriptions"))?;
                }
                NEXT_ID => state.next_id = body.number().ok_or(DecodeError::Corrupt("packet ids"))?,
                ELSEWHERE => {
                    let place = |r: &mut Reader<'_>| Some((PartitionId(r.number()?), Position(r.varint()?)));
                    let places = body.list(place);
                    state.elsewhere = places.ok_or(DecodeError::Corrupt("places elsewhere"))?;
                }
                MEMBERSHIPS => {
                    let known = memberships(body).ok_or(DecodeError::Corrupt("memberships"))?;
                    state.memberships = Some(known);
                }
                HOLDER => {
                    state.holder = Some(aside::holder(&mut body).ok_or(DecodeError::Corrupt("holder"))?)
                }
                ASIDE => state.aside = Some(Box::new(Aside::decode(body)?)),
                _ => {}
            }
        }
        check(&state)?;
        Ok(state)
    }
}

/// What the machine relies on.
fn check(state: &SavedState) -> Result<(), DecodeError> {
    let unique = |mut keys: Vec<u64>| {
        keys.sort_unstable();
        keys.windows(2).all(|w| w[0] != w[1])
    };
    let lane = |l: &SavedLane| u64::from(l.partition.0) << 16;
    let side = |c: &SavedCatchUp| lane(&c.lane) | u64::from(c.side);
    let lanes: Vec<_> = state
        .lanes
        .iter()
        .map(lane)
        .chain(state.catch_ups.iter().map(side))
        .collect();
    let belongs = |e: &SavedInflight| lanes.contains(&(u64::from(e.partition.0) << 16 | u64::from(e.side)));
    if !state.inflight.iter().all(belongs) {
        return Err(DecodeError::Corrupt("items in flight"));
    }
    if !unique(lanes) || state.catch_ups.iter().any(|c| c.side == 0) {
        return Err(DecodeError::Corrupt("lanes"));
    }
    let ids = state.inflight.iter().map(|e| u64::from(e.packet_id));
    if !unique(ids.collect()) || state.inflight.iter().any(|e| e.packet_id == 0) {
        return Err(DecodeError::Corrupt("items in flight"));
    }
    if !state.received.is_sorted_by(|a, b| a < b) {
        return Err(DecodeError::Corrupt("received ids"));
    }
    Ok(())
}

fn section<T>(out: &mut Vec<u8>, tag: u64, records: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    if records.is_empty() {
        return;
    }
    let (mut body, mut record) = (Vec::new(), Vec::new());
    for r in records {
        record.clear();
        write(&mut record, r);
        put_bytes(&mut body, &record);
    }
    put(out, tag);
    put_bytes(out, &body);
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_lane(out: &mut Vec<u8>, lane: &SavedLane) {
    put(out, u64::from(lane.partition.0));
    put(out, lane.cursor.0);
    put(out, lane.sent.0.saturating_sub(lane.cursor.0));
}

fn put_catch_up(out: &mut Vec<u8>, c: &SavedCatchUp) {
    put_lane(out, &c.lane);
    put(out, u64::from(c.side));
    put(out, c.upto.0);
    put_bytes(out, c.filter.as_str().as_bytes());
}

fn put_inflight(out: &mut Vec<u8>, e: &SavedInflight) {
    put(out, u64::from(e.packet_id));
    put(out, u64::from(e.partition.0));
    put(out, u64::from(e.side));
    put(out, e.position.0);
    let phase = match e.phase {
        SavedPhase::AtLeastOnce => 1,
        SavedPhase::ExactlyOnce => 2,
        SavedPhase::Released => 3,
    };
    put(out, phase);
}

fn put_subscription(out: &mut Vec<u8>, s: &Subscription) {
    put_bytes(out, s.filter.as_str().as_bytes());
    let flags = u64::from(s.qos & 3)
        | u64::from(s.no_local) << 2
        | u64::from(s.retain_as_published) << 3
        | u64::from(s.retain_handling & 3) << 4;
    put(out, flags);
    put(out, s.id.map_or(0, |id| u64::from(id) + 1));
    put(out, s.start.len() as u64);
    for (partition, at) in &s.start {
        put(out, u64::from(partition.0));
        put(out, at.0);
    }
}

fn lane(r: &mut Reader<'_>) -> Option<SavedLane> {
    let (partition, cursor) = (PartitionId(r.number()?), r.varint()?);
    let sent = Position(cursor.checked_add(r.varint()?)?);
    Some(SavedLane {
        partition,
        cursor: Position(cursor),
        sent,
    })
}

fn catch_up(r: &mut Reader<'_>) -> Option<SavedCatchUp> {
    Some(SavedCatchUp {
        lane: lane(r)?,
        side: r.number()?,
        upto: Position(r.varint()?),
        filter: r.filter()?,
    })
}

fn inflight(r: &mut Reader<'_>) -> Option<SavedInflight> {
    Some(SavedInflight {
        packet_id: r.number()?,
        partition: PartitionId(r.number()?),
        side: r.number()?,
        position: Position(r.varint()?),
        phase: match r.varint()? {
            1 => SavedPhase::AtLeastOnce,
            2 => SavedPhase::ExactlyOnce,
            3 => SavedPhase::Released,
            _ => return None,
        },
    })
}

fn received(mut body: Reader<'_>) -> Option<Vec<u16>> {
    let mut ids = Vec::new();
    while !body.0.is_empty() {
        ids.push(body.number()?);
    }
    Some(ids)
}

fn memberships(mut body: Reader<'_>) -> Option<Vec<SavedMembership>> {
    let mut known = Vec::new();
    while let Some((thread, rest)) = body.0.split_first_chunk() {
        body.0 = rest;
        let flags = body.varint()?;
        known.push(SavedMembership {
            thread: u64::from_le_bytes(*thread),
            left: flags & 1 != 0,
            over: flags & 2 != 0,
            partition: PartitionId(body.number()?),
            since: Position(body.varint()?),
            until: match body.varint()? {
                0 => Position::END,
                until => Position(until),
            },
        });
    }
    body.0.is_empty().then_some(known)
}

fn subscription(r: &mut Reader<'_>) -> Option<Subscription> {
    let (filter, flags) = (r.filter()?, r.varint()?);
    if flags & 3 == 3 || flags >> 4 & 3 == 3 {
        return None;
    }
    let id = match r.varint()? {
        0 => None,
        n => Some(u32::try_from(n - 1).ok()?),
    };
    let mut start = Vec::new();
    for _ in 0..r.varint()? {
        start.push((PartitionId(r.number()?), Position(r.varint()?)));
    }
    Some(Subscription {
        filter,
        qos: (flags & 3) as u8,
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        retain_handling: (flags >> 4 & 3) as u8,
        id,
        start,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn number<N: TryFrom<u64>>(&mut self) -> Option<N> {
        N::try_from(self.varint()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn section(&mut self) -> Option<(u64, Reader<'a>)> {
        Some((self.varint()?, Reader(self.bytes()?)))
    }

    fn filter(&mut self) -> Option<TopicFilter> {
        TopicFilter::new(std::str::from_utf8(self.bytes()?).ok()?).ok()
    }

    fn list<T>(&mut self, read: impl Fn(&mut Reader<'a>) -> Option<T>) -> Option<Vec<T>> {
        let mut records = Vec::new();
        while !self.0.is_empty() {
            records.push(read(&mut Reader(self.bytes()?))?);
        }
        Some(records)
    }
}
