//! Up to where everything had been given out when the threads of a user were asked for.

use model::{PartitionId, Position};
use smallvec::SmallVec;

use crate::Core;

/// Up to where each partition had been given out.
#[derive(Debug, Clone, Default)]
pub struct Asked(SmallVec<[Position; 8]>);

impl Asked {
    pub(super) fn of(&self, partition: PartitionId) -> Position {
        let asked = self.0.get(usize::from(partition.0));
        asked.copied().unwrap_or_default()
    }
}

/// For [`Receiver::begin`](super::Receiver::begin); to be asked before the session is opened, which names the threads:
/// who became a member of one since then is told so, and what was sent there since is read.
pub fn asked_for_threads(core: &Core) -> Asked {
    let given_out = |p| core.attachments.given_out(p);
    Asked(core.partitioning.all().map(given_out).collect())
}
