use model::ReceiptKind;

use super::{Malformed, Wire, read};
use crate::pb;
use crate::pb::history_request::{Bound, Page, Range};
use contract::persistence::{HistoryEntry, HistoryPage, HistoryRange, HistoryRequest};

impl Wire for HistoryRange {
    type Message = Option<Range>;

    fn to_wire(self) -> Option<Range> {
        let from = |position: model::Position, limit| Bound {
            position: position.to_wire(),
            limit,
        };
        Some(match self {
            HistoryRange::After { position, limit } => Range::After(from(position, limit)),
            HistoryRange::Before { position, limit } => Range::Before(from(position, limit)),
            HistoryRange::Page { number, size } => Range::Page(Page { number, size }),
        })
    }

    fn from_wire(m: Option<Range>) -> Result<Self, Malformed> {
        Ok(match m {
            Some(Range::After(Bound { position, limit })) => HistoryRange::After {
                position: read(position)?,
                limit,
            },
            Some(Range::Before(Bound { position, limit })) => HistoryRange::Before {
                position: read(position)?,
                limit,
            },
            Some(Range::Page(Page { number, size })) => HistoryRange::Page { number, size },
            None => return Err(Malformed::new("which part of a history", "none that is known")),
        })
    }
}

impl Wire for HistoryRequest {
    type Message = pb::HistoryRequest;

    fn to_wire(self) -> pb::HistoryRequest {
        pb::HistoryRequest {
            org: self.org.to_wire(),
            topic: self.topic.to_wire(),
            range: self.range.to_wire(),
        }
    }

    fn from_wire(m: pb::HistoryRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            topic: read(m.topic)?,
            range: read(m.range)?,
        })
    }
}

/// How far a message came; `None` = sent.
impl Wire for Option<ReceiptKind> {
    type Message = i32;

    fn to_wire(self) -> i32 {
        let state = match self {
            None => pb::ReceiptKind::None,
            Some(ReceiptKind::Delivered) => pb::ReceiptKind::Delivered,
            Some(ReceiptKind::Read) => pb::ReceiptKind::Read,
        };
        state.into()
    }

    fn from_wire(m: i32) -> Result<Self, Malformed> {
        let known = pb::ReceiptKind::try_from(m);
        Ok(
            match known.map_err(|error| Malformed::new("the state of a message", error))? {
                pb::ReceiptKind::None => None,
                pb::ReceiptKind::Delivered => Some(ReceiptKind::Delivered),
                pb::ReceiptKind::Read => Some(ReceiptKind::Read),
            },
        )
    }
}

impl Wire for HistoryEntry {
    type Message = pb::HistoryEntry;

    fn to_wire(self) -> pb::HistoryEntry {
        pb::HistoryEntry {
            position: self.position.to_wire(),
            prev: self.prev.to_wire(),
            entry: self.entry,
            state: self.state.to_wire(),
            recalled: self.recalled,
        }
    }

    fn from_wire(m: pb::HistoryEntry) -> Result<Self, Malformed> {
        Ok(Self {
            position: read(m.position)?,
            prev: read(m.prev)?,
            entry: m.entry,
            state: read(m.state)?,
            recalled: m.recalled,
        })
    }
}

impl Wire for HistoryPage {
    type Message = pb::HistoryPage;

    fn to_wire(self) -> pb::HistoryPage {
        pb::HistoryPage {
            entries: self.entries.to_wire(),
            total: self.total,
            head: self.head.to_wire(),
            more: self.more,
        }
    }

    fn from_wire(m: pb::HistoryPage) -> Result<Self, Malformed> {
        Ok(Self {
            entries: read(m.entries)?,
            total: m.total,
            head: read(m.head)?,
            more: m.more,
        })
    }
}
