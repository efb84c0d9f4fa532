use backplane::journal::JournalError;
use model::PartitionId;
use thiserror::Error;

/// Why a partition cannot be routed now. The owner lets go and tries again.
#[derive(Debug, Error)]
pub enum Error {
    /// The log cannot be read.
    #[error("reading the journal")]
    Journal(#[from] JournalError),
    /// A newer owner has appended to the log: this one is none any more.
    #[error("partition {partition} has a newer owner, of epoch {epoch}")]
    Superseded {
        /// The partition.
        partition: PartitionId,
        /// The epoch found in the log.
        epoch: u64,
    },
    /// Another has appended where this owner was to, and not as a newer owner would.
    #[error("frame {seq} of partition {partition} is of epoch {epoch}, where ours should be")]
    Diverged {
        /// The partition.
        partition: PartitionId,
        /// The frame.
        seq: u64,
        /// The epoch it was appended under.
        epoch: u64,
    },
    /// The log says that a frame is somewhere else than where it was to be appended.
    #[error(
        "a frame of partition {partition} is at {found}, where {expected} was to be: the log has lost frames"
    )]
    Misplaced {
        /// The partition.
        partition: PartitionId,
        /// Where it was to be.
        expected: u64,
        /// Where it is.
        found: u64,
    },
    /// Neither the lease can be kept nor the log be reached: somebody else may own the partition by now.
    #[error("partition {partition} is without its lease, and the log does not answer")]
    CutOff {
        /// The partition.
        partition: PartitionId,
    },
    /// The log does not give a frame that it has.
    #[error("the log of partition {partition} gives no frames, though it has some")]
    Silent {
        /// The partition.
        partition: PartitionId,
    },
}
