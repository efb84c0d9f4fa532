//! What a session has told its client and heard from it: the book that its outputs are checked against. It is kept
//! beside the session and stored with it, so it knows exactly what the session may have forgotten.

use std::collections::BTreeMap;

use model::Position;

use crate::log::{TOPICS, Thing};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    #[default]
    New,
    Sent,
    Released,
    Acked,
}

#[derive(Debug, Clone, Default)]
pub struct Ledger {
    status: Vec<Status>,
    /// Packet ids in use.
    pub ids: BTreeMap<u16, usize>,
    last: [Position; TOPICS],
    /// Sent on an earlier connection, not acknowledged, not sent again on this one.
    owed: Vec<Thing>,
    /// Packet ids used on this connection and not acknowledged.
    active: Vec<u16>,
    /// What is unacknowledged.
    sent: Vec<Thing>,
}

impl Ledger {
    pub fn status(&self, uid: usize) -> Status {
        self.status.get(uid).copied().unwrap_or_default()
    }

    fn set(&mut self, uid: usize, status: Status) {
        if self.status.len() <= uid {
            self.status.resize(uid + 1, Status::New);
        }
        self.status[uid] = status;
    }

    /// A new connection goes on from here.
    pub fn reconnect(&mut self) {
        self.active.clear();
        self.owed = (self.sent.iter())
            .filter(|t| self.status(t.uid) == Status::Sent)
            .copied()
            .collect();
    }

    pub fn on_send(
        &mut self,
        id: Option<u16>,
        qos: u8,
        dup: bool,
        thing: &Thing,
        window: usize,
    ) -> Result<(), String> {
        let told = || format!("{thing:?} as {id:?} dup {dup}");
        if let Some(id) = id.filter(|id| self.is_given_up(*id)) {
            self.on_end(id);
        }
        let status = self.status(thing.uid);
        match status {
            Status::Acked => return Err(format!("acknowledged, but sent again: {}", told())),
            Status::Released => return Err(format!("released, but published again: {}", told())),
            Status::Sent if !dup => return Err(format!("sent again without dup: {}", told())),
            Status::Sent if id.is_none_or(|id| self.ids.get(&id) != Some(&thing.uid)) => {
                return Err(format!("sent again under another packet id: {}", told()));
            }
            Status::New if dup => return Err(format!("dup, but never sent: {}", told())),
            Status::New if id.is_some_and(|id| self.ids.contains_key(&id)) => {
                return Err(format!("the packet id is in use: {}", told()));
            }
            Status::New if thing.position <= self.last[thing.topic] => {
                return Err(format!("out of order: {}", told()));
            }
            Status::New
                if self
                    .owed
                    .iter()
                    .any(|o| o.topic == thing.topic && self.is_unsent(o)) =>
            {
                return Err(format!("something older must come again first: {}", told()));
            }
            Status::Sent | Status::New => {}
        }
        if qos != thing.qos || id.is_some() != (qos > 0) {
            return Err(format!("sent with QoS {qos}: {}", told()));
        }
        self.owed.retain(|o| o.uid != thing.uid);
        self.last[thing.topic] = self.last[thing.topic].max(thing.position);
        self.set(thing.uid, if qos == 0 { Status::Acked } else { Status::Sent });
        if let Some(id) = id {
            self.ids.insert(id, thing.uid);
            self.activate(id);
            self.sent.retain(|t| t.uid != thing.uid);
            self.sent.push(*thing);
        }
        if self.active.len() > window {
            return Err(format!("more in flight than the peer receives: {}", told()));
        }
        Ok(())
    }

    fn is_unsent(&self, owed: &Thing) -> bool {
        !owed.recalled && self.status(owed.uid) == Status::Sent
    }

    fn activate(&mut self, id: u16) {
        if !self.active.contains(&id) {
            self.active.push(id);
        }
    }

    /// Whether the packet id belongs to something that was recalled before it could come again.
    fn is_given_up(&self, id: u16) -> bool {
        let uid = self.ids.get(&id);
        uid.is_some_and(|uid| {
            self.sent
                .iter()
                .any(|t| t.uid == *uid && t.recalled && t.qos == 1)
        })
    }

    pub fn on_release(&mut self, id: u16) -> Result<(), String> {
        let uid = *self
            .ids
            .get(&id)
            .ok_or(format!("released {id}, which is not in use"))?;
        match self.status(uid) {
            Status::Released => Ok(()),
            // Given up: it can be ended, and cannot be published.
            Status::Sent if self.sent.iter().any(|t| t.uid == uid && t.recalled) => {
                self.set(uid, Status::Released);
                Ok(())
            }
            other => Err(format!("released {id}, which is {other:?}")),
        }
    }

    /// The session is being told of a PUBREC.
    pub fn on_rec(&mut self, id: u16) {
        if let Some(uid) = self.ids.get(&id) {
            self.set(*uid, Status::Released);
        }
    }

    pub fn on_nack(&mut self, id: u16) {
        self.active.retain(|a| *a != id);
    }

    /// The last acknowledgement of a packet id.
    pub fn on_end(&mut self, id: u16) {
        self.active.retain(|a| *a != id);
        if let Some(uid) = self.ids.remove(&id) {
            self.set(uid, Status::Acked);
            self.sent.retain(|t| t.uid != uid);
        }
    }

    /// Persistence no longer has it: the session gives it up, and its packet id with it.
    pub fn on_recall(&mut self, uid: usize) {
        self.owed
            .iter_mut()
            .filter(|t| t.uid == uid)
            .for_each(|t| t.recalled = true);
        self.sent
            .iter_mut()
            .filter(|t| t.uid == uid)
            .for_each(|t| t.recalled = true);
    }

    /// Uids of which this book knows more than `saved`: their story may be told again.
    pub fn forgotten_in(&self, saved: &Ledger) -> Vec<usize> {
        (0..self.status.len())
            .filter(|uid| self.status(*uid) != saved.status(*uid))
            .collect()
    }
}
