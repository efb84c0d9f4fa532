//! What is handed out and not acknowledged, and the packet ids.

use std::collections::VecDeque;

use model::Position;

use crate::Limits;
use crate::lane::LaneId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Must come again and has to be read back first.
    Owed,
    /// Read back, waits in the queue to come again.
    Queued,
    /// Handed out on this connection, waits for PUBACK, PUBREC or ACK.
    Sent,
    /// QoS 2: PUBREL sent, waits for PUBCOMP. Never published again.
    Released,
}

#[derive(Debug, Clone)]
pub(crate) struct Inflight<T> {
    pub position: Position,
    pub lane: LaneId,
    pub packet_id: u16,
    pub exactly_once: bool,
    pub phase: Phase,
    pub cost: u32,
    /// The session's revision when it was sent: tells what was sent before what.
    pub turn: u32,
    pub token: Option<T>,
}

/// In the order of first sending, and therefore by position within each lane. What comes again keeps its place: after
/// the next reconnect it must not come behind what followed it.
#[derive(Debug, Clone)]
pub(crate) struct Window<T> {
    entries: VecDeque<Inflight<T>>,
    /// Bytes of those that are `Sent`.
    bytes: usize,
    /// How many are `Sent` or `Released`: what the peer's Receive Maximum counts.
    active: u16,
    next_id: u16,
    /// How many ids from `next_id` on are known to be free.
    free: u16,
}

impl<T> Window<T> {
    pub fn new(next_id: u16) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            active: 0,
            next_id: next_id.max(1),
            free: 0,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Inflight<T>> {
        self.entries.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Inflight<T>> {
        self.entries.iter_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn next_id(&self) -> u16 {
        self.next_id
    }

    pub fn has_room(&self, limits: &Limits) -> bool {
        self.active < limits.window.max(1)
            && self.bytes < (limits.window_bytes as usize).max(1)
            && self.entries.len() < usize::from(u16::MAX)
    }

    /// The oldest unacknowledged position of a lane.
    pub fn oldest(&self, lane: LaneId) -> Option<Position> {
        self.entries.iter().find(|e| e.lane == lane).map(|e| e.position)
    }

    pub fn find(&self, packet_id: u16) -> Option<usize> {
        self.entries.iter().position(|e| e.packet_id == packet_id)
    }

    pub fn find_position(&self, lane: LaneId, position: Position) -> Option<usize> {
        self.entries
            .iter()
            .position(|e| e.position == position && e.lane == lane)
    }

    pub fn get(&self, index: usize) -> &Inflight<T> {
        &self.entries[index]
    }

    pub fn get_mut(&mut self, index: usize) -> &mut Inflight<T> {
        &mut self.entries[index]
    }

    /// Adds an entry from a saved state.
    pub fn restore(&mut self, entry: Inflight<T>) {
        if entry.phase == Phase::Released {
            self.active = self.active.saturating_add(1);
        }
        self.entries.push_back(entry);
    }

    /// Adds what is being handed out for the first time. There must be room.
    pub fn push(&mut self, mut entry: Inflight<T>) -> u16 {
        let packet_id = self.allocate();
        entry.packet_id = packet_id;
        self.active += 1;
        self.bytes += entry.cost as usize;
        self.entries.push_back(entry);
        packet_id
    }

    /// Marks what is being handed out again.
    pub fn resend(&mut self, index: usize, cost: u32, turn: u32, token: T) -> &Inflight<T> {
        self.active += 1;
        self.bytes += cost as usize;
        let entry = &mut self.entries[index];
        (entry.phase, entry.cost, entry.token) = (Phase::Sent, cost, Some(token));
        entry.turn = turn;
        entry
    }

    /// Whether an entry was sent on this connection, and not after another one.
    pub fn was_sent_by(&self, index: usize, other: usize) -> bool {
        let (entry, other) = (&self.entries[index], &self.entries[other]);
        entry.phase == Phase::Sent && other.turn.wrapping_sub(entry.turn) < 1 << 31
    }

    /// Takes back what was handed out: it must come again.
    pub fn owe(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        if entry.phase == Phase::Sent {
            self.active -= 1;
            self.bytes -= entry.cost as usize;
        }
        entry.phase = Phase::Owed;
    }

    /// PUBREC arrived: the item will not be published again.
    pub fn release(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        match entry.phase {
            Phase::Sent => self.bytes -= entry.cost as usize,
            Phase::Owed | Phase::Queued => self.active += 1,
            Phase::Released => {}
        }
        entry.phase = Phase::Released;
    }

    /// Ends an entry; its packet id is free.
    pub fn remove(&mut self, index: usize) -> Inflight<T> {
        let entry = self.entries.remove(index).expect("the index was just found");
        match entry.phase {
            Phase::Sent => {
                self.active -= 1;
                self.bytes -= entry.cost as usize;
            }
            Phase::Released => self.active -= 1,
            Phase::Owed | Phase::Queued => {}
        }
        entry
    }

    /// Gives up what is owed by a lane at or below `read`: persistence does not have it any more. The packet id of one
    /// with QoS 2 may still be in the client's handshake and would hide another message from it, so that is released
    /// and kept until PUBCOMP; says which.
    pub fn give_up(&mut self, lane: LaneId, read: Position) -> Vec<u16> {
        let gone = |e: &Inflight<T>| e.lane == lane && e.phase == Phase::Owed && e.position <= read;
        self.entries.retain(|e| !gone(e) || e.exactly_once);
        let mut released = Vec::new();
        for entry in self.entries.iter_mut().filter(|e| gone(e)) {
            entry.phase = Phase::Released;
            self.active = self.active.saturating_add(1);
            released.push(entry.packet_id);
        }
        released
    }

    pub fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// The next id in turn that is not in use. The run of free ids ahead is remembered, so that looking through the
    /// window is needed once in many allocations.
    fn allocate(&mut self) -> u16 {
        while self.free == 0 {
            let from = self.next_id;
            self.free = (self.entries.iter().map(|e| distance(from, e.packet_id)).min()).unwrap_or(u16::MAX);
            if self.free == 0 {
                self.next_id = following(from);
            }
        }
        let id = self.next_id;
        self.free -= 1;
        self.next_id = following(id);
        id
    }
}

/// Packet ids are 1..=65535, in a ring.
fn following(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}

fn distance(from: u16, to: u16) -> u16 {
    to.checked_sub(from).unwrap_or_else(|| u16::MAX - (from - to))
}

#[cfg(test)]
mod tests {
    use model::PartitionId;

    use super::*;

    fn entry() -> Inflight<()> {
        Inflight {
            position: Position(1),
            lane: LaneId::main(PartitionId(0)),
            packet_id: 0,
            exactly_once: false,
            phase: Phase::Sent,
            cost: 1,
            turn: 0,
            token: None,
        }
    }

    #[test]
    fn packet_ids_go_round_and_pass_over_those_in_use() {
        let mut w = Window::new(65_534);
        let ids: Vec<_> = (0..3).map(|_| w.push(entry())).collect();
        assert_eq!(ids, [65_534, 65_535, 1]);
        w.remove(w.find(65_535).unwrap());
        for _ in 0..65_532 {
            let id = w.push(entry());
            assert!(!ids.contains(&id));
            w.remove(w.find(id).unwrap());
        }
        assert_eq!([w.push(entry()), w.push(entry())], [65_535, 2]);
    }

    #[test]
    fn every_id_can_be_in_use_at_once() {
        let mut w = Window::new(1);
        let mut seen = vec![false; 65_536];
        for _ in 0..65_535 {
            let id = usize::from(w.push(entry()));
            assert!(id != 0 && !std::mem::replace(&mut seen[id], true));
        }
        let limits = Limits {
            window: u16::MAX,
            ..Limits::default()
        };
        assert!(!w.has_room(&limits));
        w.remove(700);
        assert_eq!(w.push(entry()), 701);
    }
}
