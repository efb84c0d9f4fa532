use bytes::Bytes;
use model::{OrgId, PartitionId, Position, TopicFilter, TopicName};

/// What a session missed, a page at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogRequest {
    /// The tenant.
    pub org: OrgId,
    /// The partitions concerned, with where the session stands in each and how far to go.
    pub lanes: Vec<BacklogLane>,
    /// What the session receives: the union of these.
    pub filters: Vec<BacklogFilter>,
    /// At most this many entries (at least one is given if there is one) …
    pub max_entries: usize,
    /// … and about this many bytes.
    pub max_bytes: usize,
}

/// A stretch of one partition: (after, upto].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogLane {
    /// The partition.
    pub partition: PartitionId,
    /// Exclusive start.
    pub after: Position,
    /// Inclusive end. The answer waits until the log is applied up to here.
    pub upto: Position,
}

/// A part of what a session receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogFilter {
    /// The topics.
    pub filter: TopicFilter,
    /// Where this part begins, for partitions in which it is newer than the lane's `after`.
    pub start: Vec<(PartitionId, Position)>,
}

/// One entry of a backlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacklogEntry {
    /// Its partition.
    pub partition: PartitionId,
    /// Its position. Ascending within a partition.
    pub position: Position,
    /// The position before it in its topic.
    pub prev: Option<Position>,
    /// The encoded log entry. Recalled messages are left out (their RECALL is there); receipts come coalesced, one per
    /// message, at the position of the latest.
    pub entry: Bytes,
}

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BacklogPage {
    /// In order within each partition.
    pub entries: Vec<BacklogEntry>,
    /// For each lane asked for: everything in (after, covered] is in `entries`. The lane is done when it equals `upto`.
    pub covered: Vec<(PartitionId, Position)>,
}

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// Its topic.
    pub topic: TopicName,
    /// Where it was published.
    pub position: Position,
    /// The encoded log entry.
    pub entry: Bytes,
}
