//! How what is known of uids outlives its owner: loaded by the next one while it serves, stored every few seconds, and made anew
//! from the store where it is missing. Everything here runs beside the owner, which gets what comes of it through its inbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backplane::checkpoint::{CheckpointError, Checkpoints};
use contract::persistence::{Persistence, SeenUid, UidPage};
use dedupe::{Checkpoint, Manifest, Rebuild, Sealed, Sealing, Wanted};
use model::{PartitionId, Position};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::inbox::{Done, Inbox, Item};

/// Fewer bytes than this are dealt with at once, not on a thread of their own.
const SMALL: usize = 256 * 1024;
/// What a uid of the store takes.
const UID: usize = size_of::<SeenUid>();
/// How long to wait before the store, or where checkpoints are, is asked again.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Claims the manifest, so that no older owner can replace it any more, and reads it. `None` when there is none, or it
/// is damaged. An error says nothing about what is there.
pub(crate) async fn claim(
    checkpoints: &dyn Checkpoints,
    partition: PartitionId,
    epoch: u64,
) -> Result<Option<Manifest>, CheckpointError> {
    let Some(stored) = checkpoints.claim(partition, epoch).await? else {
        return Ok(None);
    };
    let read = Manifest::decode(&stored);
    Ok(read
        .inspect_err(
            |error| warn!(%partition, %error, "the checkpoint is damaged; what is known of uids is made anew"),
        )
        .ok())
}

/// Reads the blobs that a filter lacks, in the order in which it wants them. What cannot be read now is tried again,
/// for as long as it takes: it is not lost.
pub(crate) async fn load(
    checkpoints: Arc<dyn Checkpoints>,
    partition: PartitionId,
    wanted: Vec<Wanted>,
    inbox: Arc<Inbox>,
) {
    let mut wanted = VecDeque::from(wanted);
    while let Some(one) = wanted.pop_front() {
        let part = match checkpoints.get(partition, &one.name()).await {
            Ok(Some(bytes)) if bytes.len() < SMALL => Some(one.open(&bytes)),
            Ok(Some(bytes)) => tokio::task::spawn_blocking(move || one.open(&bytes)).await.ok(),
            Ok(None) => None,
            Err(error @ CheckpointError::Unavailable(_)) => {
                warn!(%partition, %error, "a part of the checkpoint cannot be read now; it will be tried again");
                wanted.push_back(one);
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => {
                warn!(%partition, %error, "a part of the checkpoint cannot be read");
                None
            }
        };
        let done = match part {
            Some(Ok(part)) => Done::Loaded(Box::new(part)),
            _ => Done::Lost(one),
        };
        if !inbox.push(Item::Done(done)) {
            return;
        }
    }
}

/// Builds the filter of a full generation.
pub(crate) async fn seal(sealing: Sealing, inbox: Arc<Inbox>) {
    if let Ok(sealed) = tokio::task::spawn_blocking(move || sealing.build()).await {
        inbox.push(Item::Done(Done::Sealed(Box::new(sealed))));
    }
}

/// Stores a checkpoint: first its blobs, then the manifest in place of the one before.
pub(crate) async fn store(
    checkpoints: Arc<dyn Checkpoints>,
    partition: PartitionId,
    epoch: u64,
    checkpoint: Checkpoint,
    inbox: Arc<Inbox>,
) {
    let storing = async {
        for (name, bytes) in &checkpoint.blobs {
            checkpoints.put(partition, name, bytes.clone()).await?;
        }
        checkpoints
            .put_manifest(partition, epoch, checkpoint.manifest.clone())
            .await
    };
    let stored = storing.await;
    inbox.push(Item::Done(Done::Stored(Box::new(checkpoint), stored)));
}

/// Deletes blobs that no checkpoint needs. `garbage_of`: also those that were left by owners before.
pub(crate) async fn tidy(
    checkpoints: Arc<dyn Checkpoints>,
    partition: PartitionId,
    epoch: u64,
    mut names: Vec<String>,
    garbage_of: Option<Manifest>,
) {
    if let Some(manifest) = garbage_of
        && let Ok(stored) = checkpoints.list(partition).await
    {
        names.extend(manifest.garbage(stored.iter().map(String::as_str), epoch));
    }
    for name in names {
        if let Err(error) = checkpoints.delete(partition, &name).await {
            debug!(%partition, name, %error, "a part of an old checkpoint stays");
        }
    }
}

fn take_in(rebuild: &mut Rebuild, uids: Vec<SeenUid>) -> Vec<Sealed> {
    let sealed = uids
        .into_iter()
        .filter_map(|uid| rebuild.insert(uid.key, uid.accepted_at.0));
    sealed.collect()
}

/// What is needed to make a filter anew.
pub(crate) struct Missing {
    pub partition: PartitionId,
    /// What was accepted up to this time is missing.
    pub at: u64,
    /// The owner has seen the log after this itself.
    pub upto: Position,
    pub capacity: usize,
    pub salt: u64,
    /// By the owner's clock, in milliseconds since 1970.
    pub now: u64,
}

/// Makes what is missing anew from the store, as soon as that has applied what the owner has not seen.
pub(crate) async fn rebuild(persistence: Arc<dyn Persistence>, missing: Missing, inbox: Arc<Inbox>) {
    let Missing {
        partition,
        at,
        upto,
        capacity,
        salt,
        now,
    } = missing;
    let mut rebuild = Rebuild::new(capacity, salt, now);
    let mut after = Position::START;
    let mut count = 0u64;
    loop {
        let page = match persistence.uids_since(partition, after, UidPage::LIMIT).await {
            Ok(page) => page,
            Err(error) => {
                debug!(%partition, %error, "which uids were accepted is not known yet");
                sleep(PAUSE).await;
                continue;
            }
        };
        let more = page.more;
        (after, count) = (page.next, count + page.uids.len() as u64);
        let sealed = match page.uids.len() * UID < SMALL {
            true => take_in(&mut rebuild, page.uids),
            false => {
                let work = tokio::task::spawn_blocking(move || {
                    let sealed = take_in(&mut rebuild, page.uids);
                    (rebuild, sealed)
                });
                let Ok((back, sealed)) = work.await else { return };
                rebuild = back;
                sealed
            }
        };
        for one in sealed {
            inbox.push(Item::Done(Done::Sealed(Box::new(one))));
        }
        match more {
            true => {}
            false if after >= upto => break,
            // The store has not applied so much yet.
            false => sleep(PAUSE).await,
        }
    }
    if let Some(sealed) = rebuild.finish() {
        inbox.push(Item::Done(Done::Sealed(Box::new(sealed))));
    }
    info!(%partition, uids = count, "which uids were accepted is known again, from the store");
    inbox.push(Item::Done(Done::Rebuilt(at)));
}
