//! As whom a session is held, and what is set aside of it.

use model::{Role, UnixMillis, UserId};

use super::{
    CATCH_UPS, DecodeError, HOLDER, LANES, Reader, SUBSCRIPTIONS, catch_up, lane, put, put_bytes,
    put_catch_up, put_lane, put_subscription, section, subscription,
};
use crate::holder::{Aside, Holder};

impl Aside {
    /// In sections like those of the state, with the same tags.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.until.0);
        section(&mut out, LANES, &self.lanes, put_lane);
        section(&mut out, CATCH_UPS, &self.catch_ups, put_catch_up);
        section(&mut out, SUBSCRIPTIONS, &self.subscriptions, put_subscription);
        section(&mut out, HOLDER, &self.holders, put_holder);
        out
    }

    pub(super) fn decode(mut all: Reader<'_>) -> Result<Self, DecodeError> {
        let corrupt = DecodeError::Corrupt("positions set aside");
        let mut aside = Aside {
            holders: Vec::new(),
            until: UnixMillis(all.varint().ok_or(corrupt.clone())?),
            lanes: Vec::new(),
            catch_ups: Vec::new(),
            subscriptions: Vec::new(),
        };
        while !all.0.is_empty() {
            let (tag, mut body) = all.section().ok_or(corrupt.clone())?;
            let read = match tag {
                LANES => body.list(lane).map(|lanes| aside.lanes = lanes),
                CATCH_UPS => body.list(catch_up).map(|all| aside.catch_ups = all),
                SUBSCRIPTIONS => body.list(subscription).map(|all| aside.subscriptions = all),
                HOLDER => body.list(holder).map(|all| aside.holders = all),
                _ => Some(()),
            };
            read.ok_or(corrupt.clone())?;
        }
        let lanes = || aside.lanes.iter().chain(aside.catch_ups.iter().map(|c| &c.lane));
        match lanes().all(|l| l.sent == l.cursor) && aside.catch_ups.iter().all(|c| c.side != 0) {
            true => Ok(aside),
            false => Err(corrupt),
        }
    }
}

pub(super) fn put_holder(out: &mut Vec<u8>, holder: &Holder) {
    put(out, u64::from(holder.role.number()));
    put(out, holder.identities.len() as u64);
    for uid in &holder.identities {
        put_bytes(out, uid.as_bytes());
    }
}

pub(super) fn holder(r: &mut Reader<'_>) -> Option<Holder> {
    let role = Role::from_number(r.number()?);
    let mut identities = Vec::new();
    for _ in 0..r.varint()? {
        identities.push(UserId::new(std::str::from_utf8(r.bytes()?).ok()?));
    }
    // It is searched as a sorted list.
    identities.sort();
    Some(Holder { role, identities })
}
