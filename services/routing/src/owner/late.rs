//! A checkpoint that could not be claimed at the take-over. Its partition is served without it, everything that is not
//! remembered exactly being a likely repetition; and nothing is stored in its place before it is known what it is.

use std::sync::Arc;

use backplane::checkpoint::CheckpointError;
use dedupe::{Join, Manifest};
use model::{FrameSeq, PartitionId};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::sequence::remembered_as;
use super::state::Owner;
use super::take_over::{next, open_reader};
use crate::Error;
use crate::checkpoint::{self, PAUSE};
use crate::deps::With;
use crate::inbox::{Done, Inbox, Item, Late};

/// Claims it as soon as that is possible. `begun`: what the log has after that the owner has seen itself.
pub(super) async fn claim(
    partition: PartitionId,
    epoch: u64,
    begun: FrameSeq,
    deps: With,
    inbox: Arc<Inbox>,
) {
    let manifest = loop {
        match checkpoint::claim(&*deps.checkpoints, partition, epoch).await {
            Ok(manifest) => break manifest,
            // The log tells this owner as well.
            Err(CheckpointError::Fenced { .. }) => return,
            Err(error) => debug!(%partition, %error, "the checkpoint cannot be claimed yet"),
        }
        sleep(PAUSE).await;
    };
    let late = match manifest {
        Some(manifest) => loop {
            match read(&manifest, partition, begun, &deps).await {
                Ok(late) => break late,
                Err(error) => debug!(%partition, %error, "the log after the checkpoint cannot be read yet"),
            }
            sleep(PAUSE).await;
        },
        None => None,
    };
    inbox.push(Item::Done(Done::Claimed(late.map(Box::new))));
}

/// What the log has between a checkpoint and what the owner has seen. `None` if they do not belong together.
async fn read(
    manifest: &Manifest,
    partition: PartitionId,
    begun: FrameSeq,
    deps: &With,
) -> Result<Option<Late>, Error> {
    let head = deps.journal.head(partition).await?;
    let back = manifest.position.seq().min(head);
    let (mut reader, start) = open_reader(&*deps.journal, partition, back).await?;
    let join = manifest.joins(deps.journal.epoch(), partition, FrameSeq(start.0 + 1), head);
    if !matches!(join, Join::Joins | Join::Trimmed) {
        warn!(%partition, ?join, "the checkpoint does not belong to this log");
        return Ok(None);
    }
    let (mut between, mut at) = (Vec::new(), start);
    while at < begun {
        for stored in next(&mut *reader, partition).await? {
            at = stored.seq;
            // One that cannot be read was passed over by whoever has applied the log as well.
            let frame: wire::Frame = wire::frame::decode(stored.bytes).unwrap_or_default();
            let entries = frame.positioned(stored.seq).filter_map(|(.., entry)| entry.ok());
            between.extend(entries.filter_map(|entry| remembered_as(&entry)));
        }
    }
    Ok(Some(Late {
        manifest: manifest.clone(),
        between,
        is_trimmed: join == Join::Trimmed,
    }))
}

impl Owner {
    /// Goes on as if the checkpoint had been there from the beginning. While no frame is in flight: of what is inserted
    /// now nothing may be taken back.
    pub(super) fn take_up(&mut self, late: Late, inbox: &Arc<Inbox>) {
        let (filter, now) = (&mut self.known.filter, self.deps.clock.unix_millis());
        let missing = filter.missing();
        filter.join(&late.manifest);
        if let Some(missing) = missing.filter(|_| late.is_trimmed) {
            filter.miss(missing);
        }
        for key in late.between {
            filter.insert(key, now);
        }
        filter.settle();
        info!(partition = %self.partition, "the checkpoint is there; what is known of uids is loaded");
        self.load(inbox);
    }
}
