//! Reading from persistence: what was missed, what must come again, and catching up on single topics.

use model::{PartitionId, Position, TopicFilter};

use crate::lane::{Lane, LaneId, Mode};
use crate::window::Phase;
use crate::{Fetch, FetchLane, Item, Output, Page, Session};

/// The fetch under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Partitions,
    Side(LaneId),
}

impl<E: Item> Session<E> {
    /// The session has become entitled to `filter` from `after` on, but its lane in that partition may have got further
    /// without it: what was passed is read on the side and handed out before anything newer of the partition.
    ///
    /// The lane is detached by this, as by [`Session::gap`]: from now on the filter belongs to what the edge gives to
    /// [`Session::live`] and asks persistence for; it attaches, then calls [`Session::boundary`].
    ///
    /// The entry that grants the membership is given to the session like any other (at QoS 0 if the client is not to see
    /// it), and this is called when it is handed out, before the next save. Then the grants at or below the saved `sent`
    /// of its partition are exactly those that the session knows, and no crash loses or repeats a catch-up.
    pub fn catch_up(&mut self, partition: PartitionId, filter: TopicFilter, after: Position) {
        self.catch_up_to(partition, filter, after, Position::END);
    }

    /// The same for a filter with which the lane has read on from `upto`: what comes after that has been handed out, or
    /// will be.
    pub fn catch_up_to(
        &mut self,
        partition: PartitionId,
        filter: TopicFilter,
        after: Position,
        upto: Position,
    ) {
        self.touch();
        let Some(i) = self.lane_index(LaneId::main(partition)) else {
            self.insert(Lane::new(LaneId::main(partition), Mode::Detached, after));
            return;
        };
        self.detach(i);
        // What is queued is not saved: it has to be read again, now with the filter. So the catch-up ends at `sent`.
        self.buffer.drop_new(LaneId::main(partition));
        self.lanes[i].unqueue();
        let end = self.lanes[i].sent.min(upto);
        if after < end {
            let sides = self.lanes.iter().filter(|l| l.id.partition == partition);
            let side = sides.map(|l| l.id.side).max().unwrap_or(0).saturating_add(1);
            let id = LaneId { partition, side };
            let mut lane = Lane::new(id, Mode::Behind, after);
            lane.upto = end;
            self.insert(lane);
            self.sides.push((id, filter));
        }
    }

    /// Whether something that a filter missed is being read, or not acknowledged.
    pub fn is_catching_up(&self, filter: &TopicFilter) -> bool {
        self.sides.iter().any(|(_, of)| of == filter)
    }

    /// The answer to fetch `number`; one to an earlier fetch is ignored.
    pub fn page(&mut self, number: u32, page: Page<E>, out: &mut Vec<Output<E>>) {
        if self.asked == Asked::Nothing || number != self.fetches {
            return;
        }
        let side = match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Side(id) => id.side,
            _ => 0,
        };
        self.take_entries(side, page.entries);
        for (partition, covered) in page.covered {
            if let Some(i) = self.lane_index(LaneId { partition, side }) {
                self.cover(i, covered, out);
            }
        }
        for lane in self.lanes.iter_mut().filter(|l| l.is_fetching()) {
            self.buffer.drop_held(lane.id);
            lane.fall_behind();
        }
        for i in 0..self.lanes.len() {
            self.promote(i);
        }
        self.pump(out);
    }

    /// Fetch `number` brought nothing. Asks again at once: the edge waits as long as it sees fit before it calls this.
    pub fn fetch_failed(&mut self, number: u32, out: &mut Vec<Output<E>>) {
        let nothing = Page {
            entries: Vec::new(),
            covered: Vec::new(),
        };
        self.page(number, nothing, out);
    }

    /// Queues what is new or owed. What is owed goes first, in the order of its first sending.
    fn take_entries(&mut self, side: u16, entries: Vec<E>) {
        let mut again = Vec::new();
        for item in entries {
            let (position, id) = (
                item.position(),
                LaneId {
                    partition: item.partition(),
                    side,
                },
            );
            let Some(i) = self.lane_index(id) else { continue };
            let lane = &mut self.lanes[i];
            if !lane.is_fetching() || position <= lane.read || position > lane.upto {
                continue;
            }
            if position > lane.sent {
                lane.queued += 1;
                self.buffer.push(id, item);
            } else if lane.owed > 0 {
                let found = self.window.find_position(id, position);
                if let Some(w) = found.filter(|w| self.window.get(*w).phase == Phase::Owed) {
                    lane.owed -= 1;
                    again.push((w, id, item));
                }
            }
        }
        again.sort_by_key(|(w, _, _)| *w);
        for (w, id, item) in again {
            self.window.get_mut(w).phase = Phase::Queued;
            self.buffer.push_resend(id, item);
        }
    }

    fn cover(&mut self, i: usize, covered: Position, out: &mut Vec<Output<E>>) {
        let lane = &mut self.lanes[i];
        if !lane.is_fetching() {
            return;
        }
        lane.read = lane.read.max(covered.min(lane.upto));
        if lane.owed > 0 {
            let released = self.window.give_up(lane.id, lane.read);
            out.extend(released.into_iter().map(Output::Release));
            let owed = self
                .window
                .iter()
                .filter(|e| e.lane == lane.id && e.phase == Phase::Owed);
            lane.owed = u16::try_from(owed.count()).unwrap_or(u16::MAX);
        }
        if lane.read >= lane.upto && lane.mode == Mode::Fetching {
            lane.mode = Mode::Live;
            let (count, last) = self.buffer.release_held(lane.id);
            lane.queued += count;
            lane.read = last.unwrap_or(lane.read);
        }
        lane.settle();
    }

    /// A partition's lane that has nothing left to read is live, unless a catch-up of the same partition must be read
    /// first for the sake of its topic's order.
    pub(crate) fn promote(&mut self, i: usize) {
        let lane = &self.lanes[i];
        if lane.mode != Mode::Behind || lane.read < lane.upto {
            return;
        }
        let waits = (self.lanes.iter())
            .any(|l| l.id.is_side() && l.id.partition == lane.id.partition && l.mode != Mode::Live);
        if !waits {
            self.lanes[i].mode = Mode::Live;
        }
    }

    /// Asks for the next page if none is under way and there will be room for it. Catch-ups go first.
    pub(crate) fn ask(&mut self, out: &mut Vec<Output<E>>) {
        let (entries, bytes) = (self.limits.page_entries.max(1), self.limits.page_bytes.max(1));
        // With the window full nothing is asked for but the page after one that the client is halfway through.
        let runs_low =
            self.buffer.ready_len() * 2 < entries as usize && self.buffer.bytes() * 2 < bytes as usize;
        let moves = !self.buffer.is_ready_empty() || self.window.has_room(&self.limits);
        if self.asked != Asked::Nothing || self.is_throttled() || !runs_low || !moves {
            return;
        }
        let side = self
            .lanes
            .iter()
            .find(|l| l.id.is_side() && l.mode == Mode::Behind)
            .map(|l| l.id);
        let mut lanes = Vec::new();
        for lane in self.lanes.iter_mut().filter(|l| l.mode == Mode::Behind) {
            if side.map_or(!lane.id.is_side() && lane.read < lane.upto, |id| lane.id == id) {
                lane.mode = Mode::Fetching;
                lanes.push(FetchLane {
                    partition: lane.id.partition,
                    after: lane.read,
                    upto: lane.upto,
                });
            }
        }
        if lanes.is_empty() {
            return;
        }
        self.asked = side.map_or(Asked::Partitions, Asked::Side);
        self.fetches = self.fetches.wrapping_add(1);
        out.push(Output::Fetch(Fetch {
            number: self.fetches,
            lanes,
            filter: side
                .and_then(|id| self.sides.iter().find(|s| s.0 == id))
                .map(|s| s.1.clone()),
            max_entries: entries as usize,
            max_bytes: bytes as usize,
        }));
    }

    /// Ends the catch-ups of which everything is acknowledged.
    pub(crate) fn close_finished_sides(&mut self) {
        let (window, lanes) = (&self.window, &mut self.lanes);
        let before = lanes.len();
        lanes.retain(|l| {
            !l.id.is_side() || l.mode != Mode::Live || l.queued > 0 || window.iter().any(|e| e.lane == l.id)
        });
        if lanes.len() < before {
            self.sides.retain(|s| lanes.iter().any(|l| l.id == s.0));
            self.touch();
        }
    }
}
