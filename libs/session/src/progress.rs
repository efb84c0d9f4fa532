//! What the client acknowledges, what it subscribes to, and what is saved of it.

use model::{PartitionId, Position, TopicFilter};

use crate::lane::{Lane, LaneId, Mode};
use crate::saved::{SavedCatchUp, SavedInflight, SavedLane, SavedPhase, SavedState, Subscription};
use crate::window::{Inflight, Phase};
use crate::{Item, Output, Session};

/// What an acknowledgement met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack<T> {
    /// It was waited for. The token comes once for each item, with the acknowledgement that says that the client has it
    /// (PUBACK, PUBREC, ACK); not for an item that an earlier connection sent and this one did not send again.
    Done(Option<T>),
    /// No item in flight has this packet id (MQTT 5: reason 0x92).
    Unknown,
    /// The item in flight under this packet id has another QoS or stands elsewhere in its handshake: a protocol error.
    Mismatch,
}

/// What an inbound QoS 2 PUBLISH is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// Not seen yet; it is now.
    New,
    /// Seen, and not released: answered with PUBREC and not published again.
    Again,
    /// More unreleased ones than we announced to receive (MQTT 5: reason 0x93).
    TooMany,
}

impl<E: Item> Session<E> {
    /// PUBACK, or an ACK of STOMP's `client-individual`.
    pub fn ack(&mut self, packet_id: u16, out: &mut Vec<Output<E>>) -> Ack<E::Token> {
        match self.window.find(packet_id) {
            None => Ack::Unknown,
            Some(i) if self.window.get(i).exactly_once => Ack::Mismatch,
            Some(i) => {
                let entry = self.finish(i);
                self.pump(out);
                Ack::Done(entry.token)
            }
        }
    }

    /// An ACK of STOMP's `client`: the item and everything that was sent before it on this connection. The tokens are
    /// appended in the order of first sending.
    pub fn ack_through(
        &mut self,
        packet_id: u16,
        tokens: &mut Vec<E::Token>,
        out: &mut Vec<Output<E>>,
    ) -> Ack<()> {
        let Some(last) = self.window.find(packet_id) else {
            return Ack::Unknown;
        };
        let window = &self.window;
        let covered = |i: &usize| *i == last || window.was_sent_by(*i, last);
        let covered: Vec<_> = (0..window.len()).rev().filter(covered).collect();
        let from = tokens.len();
        tokens.extend(covered.into_iter().filter_map(|i| self.finish(i).token));
        tokens[from..].reverse();
        self.pump(out);
        Ack::Done(None)
    }

    /// PUBREC. With `accepted` the PUBREL goes out (again, if it went before) and the item is never published again;
    /// without (a reason of 0x80 or more) its delivery ends here.
    pub fn rec(&mut self, packet_id: u16, accepted: bool, out: &mut Vec<Output<E>>) -> Ack<E::Token> {
        let Some(i) = self.window.find(packet_id) else {
            return Ack::Unknown;
        };
        if !self.window.get(i).exactly_once {
            return Ack::Mismatch;
        }
        let token = if accepted {
            self.no_longer_owed(i);
            self.window.release(i);
            out.push(Output::Release(packet_id));
            self.window.get_mut(i).token.take()
        } else {
            self.finish(i).token
        };
        self.touch();
        self.pump(out);
        Ack::Done(token)
    }

    /// PUBCOMP.
    pub fn comp(&mut self, packet_id: u16, out: &mut Vec<Output<E>>) -> Ack<E::Token> {
        match self.window.find(packet_id) {
            None => Ack::Unknown,
            Some(i) if self.window.get(i).phase != Phase::Released => Ack::Mismatch,
            Some(i) => {
                self.finish(i);
                self.pump(out);
                Ack::Done(None)
            }
        }
    }

    /// STOMP NACK: the item comes again, under the same packet id, once it has been read back from persistence. Nothing
    /// bounds how often, so the edge should count.
    pub fn nack(&mut self, packet_id: u16, out: &mut Vec<Output<E>>) -> Ack<E::Token> {
        let Some(i) = self.window.find(packet_id) else {
            return Ack::Unknown;
        };
        let (lane, position) = (self.window.get(i).lane, self.window.get(i).position);
        match self.window.get(i).phase {
            Phase::Released => return Ack::Mismatch,
            Phase::Owed | Phase::Queued => return Ack::Done(None),
            Phase::Sent => self.window.owe(i),
        }
        if let Some(l) = self.lane_index(lane) {
            self.buffer.drop_held(lane);
            self.lanes[l].owed += 1;
            self.lanes[l].rewind(position);
        }
        self.pump(out);
        Ack::Done(None)
    }

    fn finish(&mut self, i: usize) -> Inflight<E::Token> {
        self.no_longer_owed(i);
        self.touch();
        self.window.remove(i)
    }

    fn no_longer_owed(&mut self, i: usize) {
        let entry = self.window.get(i);
        if entry.phase == Phase::Owed
            && let Some(l) = self.lane_index(entry.lane)
        {
            self.lanes[l].owed = self.lanes[l].owed.saturating_sub(1);
        }
    }

    /// An inbound QoS 2 PUBLISH. Its PUBREC leaves when the message is stored.
    pub fn receive(&mut self, packet_id: u16) -> Inbound {
        match self.received.binary_search(&packet_id) {
            Ok(_) => Inbound::Again,
            Err(_) if self.received.len() >= usize::from(self.limits.received) => Inbound::TooMany,
            Err(at) => {
                self.received.insert(at, packet_id);
                self.touch();
                Inbound::New
            }
        }
    }

    /// An inbound PUBREL, or a QoS 2 PUBLISH that was refused. Whether the id was known; PUBCOMP is due either way.
    pub fn release(&mut self, packet_id: u16) -> bool {
        let found = self.received.binary_search(&packet_id);
        if let Ok(at) = found {
            self.received.remove(at);
            self.touch();
        }
        found.is_ok()
    }

    /// Adds a subscription, or gives the one with the same filter new options; says whether there was one. A new one
    /// begins at `start`: the boundaries at which its filter was attached. A partition without a lane gets one that is
    /// live from there; lanes that exist are not touched, and if they have got further, it begins there. One that exists
    /// keeps its start: nothing is replayed.
    pub fn subscribe(&mut self, mut subscription: Subscription) -> bool {
        self.touch();
        for (partition, at) in &mut subscription.start {
            match self.lane_index(LaneId::main(*partition)) {
                None => self.insert(Lane::new(LaneId::main(*partition), Mode::Live, *at)),
                Some(i) => *at = (*at).max(self.lanes[i].read).max(self.lanes[i].sent),
            }
        }
        let existing = self
            .subscriptions
            .iter()
            .position(|s| s.filter == subscription.filter);
        match existing {
            Some(i) => {
                subscription.start = std::mem::take(&mut self.subscriptions[i].start);
                self.subscriptions[i] = subscription;
            }
            None => self.subscriptions.push(subscription),
        }
        existing.is_some()
    }

    /// A subscription that was just made begins at `start` and no earlier: its filter has been attached there.
    pub fn subscribed_at(&mut self, filter: &TopicFilter, start: Vec<(PartitionId, Position)>) {
        if let Some(subscription) = self.subscriptions.iter_mut().find(|s| s.filter == *filter) {
            subscription.start = start;
            self.touch();
        }
    }

    /// Ends a subscription; says whether there was one. What is in flight is completed.
    pub fn unsubscribe(&mut self, filter: &TopicFilter) -> bool {
        let found = self.subscriptions.iter().position(|s| s.filter == *filter);
        if let Some(i) = found {
            self.subscriptions.remove(i);
            self.touch();
        }
        found.is_some()
    }

    /// The subscriptions, in the order in which they were made.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// The partitions that the session has a lane in.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.lanes
            .iter()
            .filter(|l| !l.id.is_side())
            .map(|l| l.id.partition)
    }

    /// The position up to which everything is acknowledged.
    pub fn cursor(&self, partition: PartitionId) -> Option<Position> {
        let lane = &self.lanes[self.lane_index(LaneId::main(partition))?];
        Some(self.cursor_of(lane))
    }

    fn cursor_of(&self, lane: &Lane) -> Position {
        let oldest = self.window.oldest(lane.id);
        oldest.map_or(lane.sent, |p| p.before().min(lane.sent))
    }

    /// Changes whenever there is something new that is worth saving.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// Whether nothing is in flight, buffered or being read: nothing happens until the next input.
    pub fn is_idle(&self) -> bool {
        let quiet = |l: &Lane| matches!(l.mode, Mode::Live | Mode::Detached);
        self.window.is_empty()
            && self.buffer.len() == 0
            && self.received.is_empty()
            && self.lanes.iter().all(quiet)
    }

    /// How many items are in flight.
    pub fn inflight(&self) -> usize {
        self.window.len()
    }

    /// How many items and bytes are buffered.
    pub fn buffered(&self) -> (usize, usize) {
        (self.buffer.len(), self.buffer.bytes())
    }

    /// What outlives the connection, as of now. As whom it is held is not known here. Starts of subscriptions that the cursors have
    /// passed are left out.
    pub fn save(&self) -> SavedState {
        let (mut lanes, mut catch_ups) = (Vec::new(), Vec::new());
        for lane in &self.lanes {
            let saved = SavedLane {
                partition: lane.id.partition,
                cursor: self.cursor_of(lane),
                sent: lane.sent,
            };
            match self.sides.iter().find(|s| s.0 == lane.id) {
                None => lanes.push(saved),
                Some((id, filter)) => catch_ups.push(SavedCatchUp {
                    side: id.side,
                    filter: filter.clone(),
                    lane: saved,
                    upto: lane.upto,
                }),
            }
        }
        let mut subscriptions = self.subscriptions.clone();
        for s in &mut subscriptions {
            s.start.retain(|(p, at)| self.cursor(*p).is_none_or(|c| c < *at));
        }
        let in_the_log = self.window.iter().filter(|e| e.lane != LaneId::OUTSIDE);
        SavedState {
            lanes,
            catch_ups,
            inflight: in_the_log.map(saved_inflight).collect(),
            received: self.received.clone(),
            subscriptions,
            next_id: self.window.next_id(),
            memberships: None,
            elsewhere: Vec::new(),
            holder: None,
            aside: None,
        }
    }
}

fn saved_inflight<T>(entry: &Inflight<T>) -> SavedInflight {
    SavedInflight {
        packet_id: entry.packet_id,
        partition: entry.lane.partition,
        side: entry.lane.side,
        position: entry.position,
        phase: match (entry.phase, entry.exactly_once) {
            (Phase::Released, _) => SavedPhase::Released,
            (_, true) => SavedPhase::ExactlyOnce,
            (_, false) => SavedPhase::AtLeastOnce,
        },
    }
}
