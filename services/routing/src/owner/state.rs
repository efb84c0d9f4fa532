//! The soft state of a partition while this process owns it: what is taken in, known, asked, in flight and given out. What is
//! done with it stands in the files beside this one, each with its invariants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backplane::lease::Fence;
use dedupe::{Filter, Limits};
use model::{EdgeId, FrameSeq, PartitionId, Position};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::gather::Gather;
use super::lines::Lines;
use super::lookups::Lookups;
use super::queue::Queue;
use super::tail::Tail;
use crate::Config;
use crate::changes::Changes;
use crate::deps::With;
use crate::inbox::Late;
use crate::known::Known;
use crate::pulse::Pulse;

/// What a record of a message takes at most, with its sender.
const RECORD_BYTES: usize = 160;

/// Under which right a partition is owned.
#[derive(Clone)]
pub(crate) struct Tenancy {
    pub partition: PartitionId,
    /// Of the lease: what is appended carries it.
    pub epoch: u64,
    /// Whether the lease is held.
    pub fence: Fence,
    /// Whether the log answers.
    pub log: Arc<Pulse>,
}

/// The soft state of a partition while this process owns it.
pub(crate) struct Owner {
    pub(super) partition: PartitionId,
    pub(super) epoch: u64,
    pub(super) fence: Fence,
    pub(super) log: Arc<Pulse>,
    pub(super) writer: EdgeId,
    pub(super) deps: With,
    pub(super) lines: Lines,
    pub(super) queue: Queue,
    pub(super) known: Known,
    /// The latest change of each thread.
    pub(super) changes: Changes,
    pub(super) upkeep: Upkeep,
    pub(super) tail: Tail,
    /// The last position of each topic.
    pub(super) heads: HashMap<u128, Position, ahash::RandomState>,
    pub(super) lookups: Lookups,
    /// The last frame of the log: confirmed, and given out.
    pub(super) head: FrameSeq,
    pub(super) last_epoch: u64,
    /// What was accepted up to here the filter had from the checkpoint.
    pub(super) checkpointed: Position,
    pub(super) next_number: u64,
    /// The last frame of ours that is in the log.
    pub(super) proven: u64,
    pub(super) waits_for_proof: bool,
    /// The lease is not held: an append is to tell whether somebody else owns the partition.
    pub(super) probe: bool,
    /// Not before this is an empty frame appended again that the log did not take.
    pub(super) proof_at: Instant,
    pub(super) gather: Option<Gather>,
    pub(super) max_frame: usize,
    pub(super) hold: Duration,
}

/// How an owner began.
pub(super) struct Begun {
    /// What the log has after this it has seen itself.
    pub after: FrameSeq,
    /// It is known what the last owner has stored: from then on that may be replaced.
    pub is_claimed: bool,
}

/// What is under way.
pub(super) struct Upkeep {
    pub begun: Begun,
    pub(super) interval: Duration,
    pub(super) due: Instant,
    /// The log went so far at the last checkpoint.
    pub(super) stored: FrameSeq,
    pub(super) storing: bool,
    /// Blobs of former owners were looked for.
    pub(super) tidied: bool,
    /// A checkpoint that came late, and waits until no frame is in flight.
    pub(super) late: Option<Box<Late>>,
    /// What is missing is being made anew.
    pub(super) rebuild: Option<AbortOnDropHandle<()>>,
    pub(super) tasks: Vec<AbortOnDropHandle<()>>,
}

impl Upkeep {
    pub fn new(interval: Duration) -> Self {
        Self {
            begun: Begun {
                after: FrameSeq(0),
                is_claimed: false,
            },
            interval,
            due: Instant::now() + interval,
            stored: FrameSeq(0),
            storing: false,
            tidied: false,
            late: None,
            rebuild: None,
            tasks: Vec::new(),
        }
    }

    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// When the next checkpoint is due.
    pub fn due(&self) -> Option<Instant> {
        (!self.storing).then_some(self.due)
    }
}

/// Under which name the owner of an epoch appends.
fn writer(partition: PartitionId, epoch: u64) -> EdgeId {
    EdgeId::new(format!("routing/{partition}/{epoch}"))
}

impl Owner {
    /// One that has read the log up to `after`.
    pub(super) fn new(
        tenancy: Tenancy,
        after: FrameSeq,
        filter: Filter,
        config: &Config,
        deps: With,
    ) -> Self {
        let Tenancy {
            partition,
            epoch,
            fence,
            log,
        } = tenancy;
        let records = config.remembered_messages / usize::from(deps.partitioning.count());
        let limits = Limits {
            records: records.max(1),
            bytes: records.max(1) * RECORD_BYTES,
        };
        let since = Position::end_of(after);
        Self {
            partition,
            epoch,
            fence,
            log,
            writer: writer(partition, epoch),
            deps,
            lines: Lines::new(epoch),
            queue: Queue::default(),
            known: Known::new(limits, since, filter),
            changes: Changes::new(since),
            upkeep: Upkeep::new(config.checkpoint_interval.get()),
            tail: Tail::new(since, config.tail.as_usize()),
            heads: HashMap::default(),
            lookups: Lookups::default(),
            head: after,
            last_epoch: 0,
            checkpointed: Position::START,
            next_number: 1,
            proven: 0,
            waits_for_proof: false,
            probe: false,
            proof_at: Instant::now(),
            gather: None,
            max_frame: config.max_frame.as_usize(),
            hold: config.hold.get(),
        }
    }
}
