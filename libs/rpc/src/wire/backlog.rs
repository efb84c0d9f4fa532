use model::{PartitionId, Position};

use super::{Malformed, Wire, read};
use crate::pb;
use contract::persistence::{
    BacklogEntry, BacklogFilter, BacklogLane, BacklogPage, BacklogRequest, Retained,
};

impl Wire for (PartitionId, Position) {
    type Message = pb::Place;

    fn to_wire(self) -> pb::Place {
        pb::Place {
            partition: self.0.to_wire(),
            position: self.1.to_wire(),
        }
    }

    fn from_wire(m: pb::Place) -> Result<Self, Malformed> {
        Ok((read(m.partition)?, read(m.position)?))
    }
}

impl Wire for BacklogLane {
    type Message = pb::BacklogLane;

    fn to_wire(self) -> pb::BacklogLane {
        pb::BacklogLane {
            partition: self.partition.to_wire(),
            after: self.after.to_wire(),
            upto: self.upto.to_wire(),
        }
    }

    fn from_wire(m: pb::BacklogLane) -> Result<Self, Malformed> {
        Ok(Self {
            partition: read(m.partition)?,
            after: read(m.after)?,
            upto: read(m.upto)?,
        })
    }
}

impl Wire for BacklogFilter {
    type Message = pb::BacklogFilter;

    fn to_wire(self) -> pb::BacklogFilter {
        pb::BacklogFilter {
            filter: self.filter.to_wire(),
            start: self.start.to_wire(),
        }
    }

    fn from_wire(m: pb::BacklogFilter) -> Result<Self, Malformed> {
        Ok(Self {
            filter: read(m.filter)?,
            start: read(m.start)?,
        })
    }
}

impl Wire for BacklogRequest {
    type Message = pb::BacklogRequest;

    fn to_wire(self) -> pb::BacklogRequest {
        pb::BacklogRequest {
            org: self.org.to_wire(),
            lanes: self.lanes.to_wire(),
            filters: self.filters.to_wire(),
            max_entries: self.max_entries as u64,
            max_bytes: self.max_bytes as u64,
        }
    }

    fn from_wire(m: pb::BacklogRequest) -> Result<Self, Malformed> {
        Ok(Self {
            org: read(m.org)?,
            lanes: read(m.lanes)?,
            filters: read(m.filters)?,
            // More than there is room for is as much as there is.
            max_entries: usize::try_from(m.max_entries).unwrap_or(usize::MAX),
            max_bytes: usize::try_from(m.max_bytes).unwrap_or(usize::MAX),
        })
    }
}

impl Wire for BacklogEntry {
    type Message = pb::BacklogEntry;

    fn to_wire(self) -> pb::BacklogEntry {
        pb::BacklogEntry {
            partition: self.partition.to_wire(),
            position: self.position.to_wire(),
            prev: self.prev.to_wire(),
            entry: self.entry,
        }
    }

    fn from_wire(m: pb::BacklogEntry) -> Result<Self, Malformed> {
        Ok(Self {
            partition: read(m.partition)?,
            position: read(m.position)?,
            prev: read(m.prev)?,
            entry: m.entry,
        })
    }
}

impl Wire for BacklogPage {
    type Message = pb::BacklogPage;

    fn to_wire(self) -> pb::BacklogPage {
        pb::BacklogPage {
            entries: self.entries.to_wire(),
            covered: self.covered.to_wire(),
        }
    }

    fn from_wire(m: pb::BacklogPage) -> Result<Self, Malformed> {
        Ok(Self {
            entries: read(m.entries)?,
            covered: read(m.covered)?,
        })
    }
}

impl Wire for Retained {
    type Message = pb::Retained;

    fn to_wire(self) -> pb::Retained {
        pb::Retained {
            topic: self.topic.to_wire(),
            position: self.position.to_wire(),
            entry: self.entry,
        }
    }

    fn from_wire(m: pb::Retained) -> Result<Self, Malformed> {
        Ok(Self {
            topic: read(m.topic)?,
            position: read(m.position)?,
            entry: m.entry,
        })
    }
}
