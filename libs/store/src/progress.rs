//! Who applies which log, and how far.

use std::fmt;

use model::{PartitionId, Position};

/// Who applies the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Messages, retained messages, threads.
    Persistence = 1,
    /// How far messages have come.
    Receipts = 2,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Persistence => "persistence",
            Service::Receipts => "receipts",
        })
    }
}

/// Which log it is. Its positions mean nothing in another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// Its epoch, as the journal says it.
    pub epoch: u64,
    /// Over how many partitions it spreads topics.
    pub partitions: u16,
}

impl fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {:x} of {} partitions", self.epoch, self.partitions)
    }
}

/// A step of one partition's progress. Refused when the partition does not stand at `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub partition: PartitionId,
    /// Where it stands.
    pub from: Position,
    /// Where it will stand.
    pub to: Position,
}
