//! Routing's owners, the edges' side of their numbered frames, and the connections that edges hold.

use std::collections::VecDeque;

use model::Position;
use session::{Fetch, Limits, Output, Session};

use crate::ledger::Ledger;
use crate::log::{Audience, PARTITIONS, Thing};

pub const EDGES: usize = 2;

pub fn limits(a: usize) -> Limits {
    Limits {
        window: [1, 2, 3, 8][a % 4],
        window_bytes: [350, 100_000][a / 4 % 2],
        received: 4,
        buffer_items: 8,
        buffer_bytes: 2000,
        page_entries: [1, 4, 6][a / 8 % 3],
        page_bytes: 100_000,
    }
}

/// A frame: entries `from..to` of the partition's log.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub owner: u32,
    pub number: u64,
    pub from: usize,
    pub to: usize,
}

/// The answer to an attach.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    pub request: u32,
    pub owner: u32,
    pub boundary: Position,
    /// The number of the first frame behind it.
    pub number: u64,
}

/// The owner of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owner {
    pub epoch: u32,
    pub routed: usize,
    pub attached: [bool; EDGES],
    pub numbers: [u64; EDGES],
}

/// One partition's line from its owner to an edge.
#[derive(Debug)]
pub struct Line {
    /// Which frame must come next; none while it is not attached.
    pub expected: Option<(u32, u64)>,
    /// What has come since it asked.
    pub seen: Vec<(u32, u64, Position)>,
    pub asking: bool,
    /// Answers to what was asked before the line was last lost do not count.
    pub request: u32,
    pub frames: VecDeque<Frame>,
    pub replies: VecDeque<Reply>,
    /// Everything up to here has come, or lies before the boundary: what a session that joins now will not get live.
    pub last: Position,
}

impl Line {
    pub fn new() -> Self {
        Self {
            expected: None,
            seen: Vec::new(),
            asking: true,
            request: 0,
            frames: VecDeque::new(),
            replies: VecDeque::new(),
            last: Position::START,
        }
    }

    /// Whether the frame is the next. What comes too early is a gap: the line is lost and must be attached anew.
    pub fn accept(&mut self, frame: &Frame, upto: Position) -> Accepted {
        match self.expected {
            None => {
                self.seen.push((frame.owner, frame.number, upto));
                Accepted::Early
            }
            Some((owner, _)) if owner != frame.owner => Accepted::Stale,
            Some((_, number)) if frame.number < number => Accepted::Again,
            Some((owner, number)) if frame.number == number => {
                self.expected = Some((owner, number + 1));
                self.last = self.last.max(upto);
                Accepted::Next
            }
            Some(_) => {
                self.lose();
                self.seen.push((frame.owner, frame.number, upto));
                Accepted::Gap
            }
        }
    }

    pub fn lose(&mut self) {
        self.expected = None;
        self.asking = true;
        self.request += 1;
        self.seen.clear();
    }

    /// Whether the answer holds: nothing behind its boundary was lost before it came.
    pub fn attach(&mut self, reply: &Reply, owner_now: u32) -> bool {
        if reply.request != self.request {
            return false;
        }
        if reply.owner != owner_now {
            self.asking = true;
            return false;
        }
        self.last = self.last.max(reply.boundary);
        if self.expected.is_some() {
            return true;
        }
        let mut next = reply.number;
        for (owner, number, upto) in std::mem::take(&mut self.seen) {
            if owner == reply.owner && number > next {
                self.lose();
                return false;
            }
            if owner == reply.owner && number == next {
                next += 1;
                self.last = self.last.max(upto);
            }
        }
        self.expected = Some((reply.owner, next));
        true
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    Next,
    Early,
    Again,
    Gap,
    Stale,
}

pub struct Edge {
    pub lines: [Line; PARTITIONS],
}

impl Edge {
    pub fn new() -> Self {
        Self {
            lines: std::array::from_fn(|_| Line::new()),
        }
    }
}

/// A connection of a client's session, as the edge that holds it sees it. It may be the latest or a zombie.
pub struct Holder {
    pub client: usize,
    pub edge: usize,
    pub epoch: u64,
    pub session: Session<Thing>,
    pub out: Vec<Output<Thing>>,
    pub audience: Audience,
    /// The fetch under way, with the audience as it was when it was asked.
    pub fetch: Option<(Fetch, Audience)>,
    pub ledger: Ledger,
    pub limits: Limits,
}
