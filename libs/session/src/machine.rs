//! The state, what comes live, and what goes out.

use model::{PartitionId, Position, TopicFilter};
use smallvec::SmallVec;

use crate::buffer::{Buffer, Queued};
use crate::fetch::Asked;
use crate::lane::{Lane, LaneId, Mode};
use crate::saved::{SavedPhase, SavedState, Subscription};
use crate::window::{Inflight, Phase, Window};
use crate::{Item, Limits, Output};

/// The delivery state of one connection of a session. Every method that may cause output appends it to `out`, in the
/// order in which it is to be done.
#[derive(Debug)]
pub struct Session<E: Item> {
    pub(crate) limits: Limits,
    /// By side, then partition: that of partition p of a session that has them all is at index p.
    pub(crate) lanes: SmallVec<[Lane; 1]>,
    /// What the side lanes look for.
    pub(crate) sides: Vec<(LaneId, TopicFilter)>,
    pub(crate) window: Window<E::Token>,
    pub(crate) buffer: Buffer<E>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) received: Vec<u16>,
    pub(crate) asked: Asked,
    pub(crate) fetches: u32,
    pub(crate) revision: u32,
    throttled: bool,
}

impl<E: Item> Session<E> {
    /// A session that begins now.
    pub fn new(limits: Limits) -> Self {
        Self::with_window(limits, Window::new(1))
    }

    /// Goes on from a saved state. `epoch` is that of this opening of the session: it moves the packet ids away from
    /// those that a crashed connection may have used after it last saved. (A client that has such an id still in a
    /// QoS 2 handshake would take another message under that id for the same one, and drop it.)
    pub fn resume(saved: SavedState, limits: Limits, epoch: u64) -> Self {
        let mut session = Self::with_window(limits, Window::new(first_id(saved.next_id, epoch)));
        for lane in saved.lanes {
            session.insert(Lane::resumed(
                LaneId::main(lane.partition),
                Mode::Detached,
                lane.sent,
                lane.sent,
            ));
        }
        for c in saved.catch_ups {
            let id = LaneId {
                partition: c.lane.partition,
                side: c.side,
            };
            let mode = if c.lane.sent < c.upto {
                Mode::Behind
            } else {
                Mode::Live
            };
            session.insert(Lane::resumed(id, mode, c.lane.sent, c.upto));
            session.sides.push((id, c.filter));
        }
        for entry in saved.inflight {
            let lane = LaneId {
                partition: entry.partition,
                side: entry.side,
            };
            let released = entry.phase == SavedPhase::Released;
            if let (false, Some(i)) = (released, session.lane_index(lane)) {
                session.lanes[i].owed += 1;
                session.lanes[i].rewind(entry.position);
            }
            session.window.restore(Inflight {
                position: entry.position,
                lane,
                packet_id: entry.packet_id,
                exactly_once: entry.phase != SavedPhase::AtLeastOnce,
                phase: if released { Phase::Released } else { Phase::Owed },
                cost: 0,
                turn: 0,
                token: None,
            });
        }
        session.received = saved.received;
        session.subscriptions = saved.subscriptions;
        session
    }

    fn with_window(limits: Limits, window: Window<E::Token>) -> Self {
        Self {
            limits,
            lanes: SmallVec::new(),
            sides: Vec::new(),
            window,
            buffer: Buffer::new(),
            subscriptions: Vec::new(),
            received: Vec::new(),
            asked: Asked::Nothing,
            fetches: 0,
            revision: 0,
            throttled: false,
        }
    }

    /// The connection is ready (CONNACK, CONNECTED is written): what was released comes first, in order.
    pub fn start(&mut self, out: &mut Vec<Output<E>>) {
        let released = self.window.iter().filter(|e| e.phase == Phase::Released);
        out.extend(released.map(|e| Output::Release(e.packet_id)));
        self.pump(out);
    }

    /// The edge is attached to a partition with everything that this session receives of it: what is behind `boundary`
    /// comes by [`Session::live`] without holes. So it is at least what the edge had been given before the session began
    /// to listen, and it answers a request made after the last [`Session::gap`]. An unknown partition begins here, with
    /// no backlog. No effect on a lane that is attached already.
    pub fn boundary(&mut self, partition: PartitionId, boundary: Position, out: &mut Vec<Output<E>>) {
        let Some(i) = self.lane_index(LaneId::main(partition)) else {
            self.insert(Lane::new(LaneId::main(partition), Mode::Live, boundary));
            self.touch();
            return;
        };
        let lane = &mut self.lanes[i];
        if lane.mode == Mode::Detached {
            lane.upto = lane.upto.max(boundary);
            lane.mode = Mode::Behind;
            self.promote(i);
            self.pump(out);
        }
    }

    /// Entries of a partition may have been lost on the way to the edge. What comes live is not handed out until the
    /// next [`Session::boundary`].
    pub fn gap(&mut self, partition: PartitionId) {
        if let Some(i) = self.lane_index(LaneId::main(partition)) {
            self.detach(i);
        }
    }

    pub(crate) fn detach(&mut self, i: usize) {
        let lane = &mut self.lanes[i];
        lane.fall_behind();
        lane.mode = Mode::Detached;
        self.buffer.drop_held(lane.id);
    }

    /// Everything up to `position` has been routed, and what of it is for this session has been given to
    /// [`Session::live`]. Lets the cursor of a quiet session move. Not worth a save by itself, so it leaves
    /// [`Session::revision`] alone.
    pub fn upto(&mut self, partition: PartitionId, position: Position) {
        if let Some(i) = self.lane_index(LaneId::main(partition)) {
            let lane = &mut self.lanes[i];
            if lane.mode == Mode::Live {
                lane.read = lane.read.max(position);
                lane.settle();
            }
        }
    }

    /// An entry for this session has been routed to the edge. One whose partition has no lane is dropped, and so is one
    /// without a place in the log while the connection is throttled or the window is full.
    pub fn live(&mut self, item: E, out: &mut Vec<Output<E>>) {
        let position = item.position();
        if position == Position::START {
            self.send_outside(item, out);
            return;
        }
        let Some(i) = self.lane_index(LaneId::main(item.partition())) else {
            return;
        };
        let lane = &mut self.lanes[i];
        match lane.mode {
            Mode::Live if position > lane.read => self.live_in_order(i, item, out),
            Mode::Live => {}
            Mode::Detached | Mode::Behind => lane.upto = lane.upto.max(position),
            Mode::Overflowed => lane.seen = lane.seen.max(position),
            Mode::Fetching if position > lane.upto.max(lane.seen) => {
                lane.seen = position;
                if self.buffer.has_room(&self.limits) {
                    self.buffer.hold(lane.id, item);
                } else {
                    lane.mode = Mode::Overflowed;
                    self.buffer.drop_held(lane.id);
                }
            }
            Mode::Fetching => {}
        }
    }

    fn live_in_order(&mut self, i: usize, item: E, out: &mut Vec<Output<E>>) {
        let lane = &mut self.lanes[i];
        let position = item.position();
        if self.buffer.is_ready_empty()
            && !self.throttled
            && (item.qos() == 0 || self.window.has_room(&self.limits))
        {
            lane.read = position;
            self.send(i, item, out);
        } else if self.buffer.has_room(&self.limits) {
            lane.read = position;
            lane.queued += 1;
            self.buffer.push(lane.id, item);
        } else {
            lane.upto = position;
            lane.mode = Mode::Behind;
        }
    }

    /// Whether the connection takes no more for now (its write buffer is over its mark). Nothing is handed out or asked
    /// for while it is so.
    pub fn throttle(&mut self, on: bool, out: &mut Vec<Output<E>>) {
        self.throttled = on;
        self.pump(out);
    }

    /// Forgets everything that is buffered; it is read again from persistence when the window opens. For a connection
    /// that has not moved for a while, or when memory is short.
    pub fn shed(&mut self) {
        self.buffer.clear();
        for entry in self.window.iter_mut().filter(|e| e.phase == Phase::Queued) {
            entry.phase = Phase::Owed;
            if let Some(lane) = self.lanes.iter_mut().find(|l| l.id == entry.lane) {
                lane.owed += 1;
                lane.rewind(entry.position);
            }
        }
        for lane in &mut self.lanes {
            lane.unqueue();
            if lane.is_fetching() {
                lane.fall_behind();
            }
        }
        self.buffer.shrink();
    }

    /// Gives back memory that a busy time has left behind. Worth calling when [`Session::is_idle`].
    pub fn shrink(&mut self) {
        self.buffer.shrink();
        self.window.shrink();
        self.received.shrink_to_fit();
        self.subscriptions.shrink_to_fit();
        self.sides.shrink_to_fit();
    }

    /// Hands out what may go, then asks for more if there is more.
    pub(crate) fn pump(&mut self, out: &mut Vec<Output<E>>) {
        while let (false, Some((front, again))) = (self.throttled, self.buffer.front()) {
            let takes_room = again || front.item.qos() > 0;
            if takes_room && !self.window.has_room(&self.limits) {
                break;
            }
            let Some(queued) = self.buffer.pop() else { break };
            if again {
                self.send_again(queued, out);
            } else {
                self.send_queued(queued, out);
            }
        }
        if !self.sides.is_empty() {
            self.close_finished_sides();
        }
        if !self.throttled {
            self.ask(out);
        }
    }

    fn send_queued(&mut self, queued: Queued<E>, out: &mut Vec<Output<E>>) {
        if let Some(i) = self.lane_index(queued.lane) {
            self.lanes[i].queued -= 1;
            if queued.item.position() > self.lanes[i].sent {
                self.send(i, queued.item, out);
            }
            self.lanes[i].settle();
        }
    }

    fn send(&mut self, i: usize, item: E, out: &mut Vec<Output<E>>) {
        self.touch();
        let lane = &mut self.lanes[i];
        lane.sent = item.position();
        let (id, position) = (lane.id, lane.sent);
        self.hand_out(id, position, item, out);
    }

    /// Hands out what has no place in the log: transient, or retained. It is acknowledged like any other at its QoS, but
    /// belongs to this connection alone: it is never sent again and moves no cursor.
    fn send_outside(&mut self, item: E, out: &mut Vec<Output<E>>) {
        if self.throttled || (item.qos() > 0 && !self.window.has_room(&self.limits)) {
            return;
        }
        self.hand_out(LaneId::OUTSIDE, Position::START, item, out);
    }

    fn hand_out(&mut self, lane: LaneId, position: Position, item: E, out: &mut Vec<Output<E>>) {
        let qos = item.qos().min(2);
        let packet_id = (qos > 0).then(|| {
            self.window.push(Inflight {
                position,
                lane,
                packet_id: 0,
                exactly_once: qos == 2,
                phase: Phase::Sent,
                cost: cost_of(&item),
                turn: self.revision,
                token: Some(item.token()),
            })
        });
        out.push(Output::Send {
            packet_id,
            qos,
            dup: false,
            item,
        });
    }

    fn send_again(&mut self, queued: Queued<E>, out: &mut Vec<Output<E>>) {
        let item = queued.item;
        let found = self.window.find_position(queued.lane, item.position());
        let Some(i) = found.filter(|i| self.window.get(*i).phase == Phase::Queued) else {
            return; // acknowledged meanwhile
        };
        self.touch();
        let entry = self.window.resend(i, cost_of(&item), self.revision, item.token());
        let (packet_id, qos) = (entry.packet_id, if entry.exactly_once { 2 } else { 1 });
        out.push(Output::Send {
            packet_id: Some(packet_id),
            qos,
            dup: true,
            item,
        });
    }

    pub(crate) fn lane_index(&self, id: LaneId) -> Option<usize> {
        let guess = usize::from(id.partition.0);
        match self.lanes.get(guess) {
            Some(lane) if lane.id == id => Some(guess),
            _ => self.lanes.iter().position(|l| l.id == id),
        }
    }

    pub(crate) fn insert(&mut self, lane: Lane) {
        let key = |l: &Lane| (l.id.side, l.id.partition);
        let at = self.lanes.partition_point(|l| key(l) < key(&lane));
        self.lanes.insert(at, lane);
    }

    /// Something changed that is worth saving.
    pub(crate) fn touch(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.throttled
    }
}

fn cost_of<E: Item>(item: &E) -> u32 {
    u32::try_from(item.cost()).unwrap_or(u32::MAX)
}

/// Successive epochs spread over the ring of ids, each far from those before it.
fn first_id(saved: u16, epoch: u64) -> u16 {
    const GOLDEN: u64 = 40_503;
    let ring = u64::from(u16::MAX);
    let id = (u64::from(saved) + (epoch % ring) * GOLDEN) % ring;
    u16::try_from(id).map_or(1, |id| id.max(1))
}
