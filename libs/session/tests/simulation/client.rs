//! A client: what it has got, and what it answers.

use std::collections::{BTreeSet, VecDeque};

use model::Position;

use crate::ledger::Ledger;
use crate::log::{Audience, TOPICS, Thing};

/// From the edge to the client.
#[derive(Debug, Clone, Copy)]
pub enum Down {
    Publish { id: Option<u16>, qos: u8, thing: Thing },
    Release(u16),
}

/// From the client to the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    Ack(u16),
    Nack(u16),
    Rec(u16),
    Comp(u16),
}

/// What persistence stores of the session.
#[derive(Default)]
pub struct Stored {
    pub epoch: u64,
    pub state: Vec<u8>,
    pub ledger: Ledger,
}

#[derive(Default)]
pub struct Client {
    /// The epoch of the connection that it holds, if any.
    pub link: Option<u64>,
    pub down: VecDeque<Down>,
    pub up: VecDeque<Up>,
    /// What it will answer.
    pub pending: Vec<Up>,
    pub paused: bool,
    pub stored: Stored,
    /// What it must have got in the end.
    pub entitled: Audience,
    times: Vec<u32>,
    last: [Position; TOPICS],
    /// QoS 2 packet ids received and not released.
    handshakes: BTreeSet<u16>,
    /// Uids of which an edge forgot what had happened to them: it crashed before it saved.
    pub forgiven: BTreeSet<usize>,
}

impl Client {
    pub fn has(&self, uid: usize) -> bool {
        self.times.get(uid).is_some_and(|n| *n > 0)
    }

    pub fn lose_link(&mut self) {
        self.link = None;
        self.down.clear();
        self.up.clear();
        self.pending.clear();
    }

    pub fn read(&mut self) -> Result<(), String> {
        match self.down.pop_front() {
            None => {}
            Some(Down::Release(id)) => {
                self.handshakes.remove(&id);
                self.pending.push(Up::Comp(id));
            }
            Some(Down::Publish { id, qos, thing }) => {
                // A receiver in a QoS 2 handshake takes the same packet id for the same message.
                if qos < 2 || id.is_some_and(|id| self.handshakes.insert(id)) {
                    self.deliver(qos, &thing)?;
                }
                self.pending
                    .extend(id.map(if qos == 2 { Up::Rec } else { Up::Ack }));
            }
        }
        Ok(())
    }

    fn deliver(&mut self, qos: u8, thing: &Thing) -> Result<(), String> {
        if self.times.len() <= thing.uid {
            self.times.resize(thing.uid + 1, 0);
        }
        if self.times[thing.uid] == 0 && thing.position <= self.last[thing.topic] {
            return Err(format!("came out of order: {thing:?}"));
        }
        self.times[thing.uid] += 1;
        self.last[thing.topic] = self.last[thing.topic].max(thing.position);
        if qos == 2 && self.times[thing.uid] > 1 && !self.forgiven.contains(&thing.uid) {
            return Err(format!("came twice with QoS 2: {thing:?}"));
        }
        Ok(())
    }

    /// Sends one of the answers that are due. MQTT answers in order; STOMP need not.
    pub fn answer(&mut self, which: usize, refuse: bool) {
        if self.pending.is_empty() {
            return;
        }
        let mut up = self.pending.remove(which % self.pending.len());
        if let (true, Up::Ack(id)) = (refuse, up) {
            up = Up::Nack(id);
        }
        self.up.push_back(up);
    }
}
