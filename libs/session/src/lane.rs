//! One partition, or a catch-up on one topic of it, as a session sees it.

use model::{PartitionId, Position};

/// Names a lane of a session: the partition's own lane has side 0, catch-ups have the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LaneId {
    pub partition: PartitionId,
    pub side: u16,
}

impl LaneId {
    pub fn main(partition: PartitionId) -> Self {
        Self { partition, side: 0 }
    }

    /// Stands for no lane: what is handed out under it has no place in the log, is never owed and never saved.
    pub const OUTSIDE: LaneId = LaneId {
        partition: PartitionId(u16::MAX),
        side: u16::MAX,
    };

    pub fn is_side(self) -> bool {
        self.side != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What comes live may have holes: waits for a boundary.
    Detached,
    /// Has to read (read, upto]; what comes live is dropped and raises `upto`.
    Behind,
    /// Is being read up to `upto`; what comes live behind that is held.
    Fetching,
    /// Like `Fetching`, but something that came live was dropped.
    Overflowed,
    /// Everything up to `read` is here and what follows comes live. Of a side lane: it has been read to its end.
    Live,
}

#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub id: LaneId,
    pub mode: Mode,
    /// Entries in flight that must come again and have not been read back yet.
    pub owed: u16,
    /// Items of this lane in the ready queue.
    pub queued: u32,
    /// Everything up to here has been handed out at least once, or is not for this session.
    pub sent: Position,
    /// Everything up to here has been read or has come: it is queued, handed out, or not for this session. Below
    /// `sent` while something is owed.
    pub read: Position,
    /// How far persistence must be read before the lane is live.
    pub upto: Position,
    /// The highest position that came live.
    pub seen: Position,
}

impl Lane {
    pub fn new(id: LaneId, mode: Mode, at: Position) -> Self {
        Self {
            id,
            mode,
            owed: 0,
            queued: 0,
            sent: at,
            read: at,
            upto: at,
            seen: at,
        }
    }

    /// A lane of a saved session. What is owed is told by [`Lane::rewind`].
    pub fn resumed(id: LaneId, mode: Mode, sent: Position, upto: Position) -> Self {
        Self {
            upto,
            ..Self::new(id, mode, sent)
        }
    }

    pub fn is_fetching(&self) -> bool {
        matches!(self.mode, Mode::Fetching | Mode::Overflowed)
    }

    /// Reads on from `read` (or further back), once the boundary is known. A page under way no longer concerns it.
    pub fn fall_behind(&mut self) {
        self.upto = self.upto.max(self.read).max(self.seen);
        if self.mode != Mode::Detached {
            self.mode = Mode::Behind;
        }
    }

    /// Reads `position` again.
    pub fn rewind(&mut self, position: Position) {
        self.fall_behind();
        self.read = self.read.min(position.before());
    }

    /// Reads again what was queued: it is not any more.
    pub fn unqueue(&mut self) {
        if self.queued > 0 {
            self.fall_behind();
            self.read = self.read.min(self.sent);
            self.queued = 0;
        }
    }

    /// With nothing queued, all that was read has been handed out.
    pub fn settle(&mut self) {
        if self.queued == 0 {
            self.sent = self.sent.max(self.read);
        }
    }
}
