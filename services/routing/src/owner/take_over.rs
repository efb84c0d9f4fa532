//! Taking over a partition, and finding out what the log holds where an append met another frame.
//!
//! The lease says who may try, the log who succeeds. A new owner reads the end of the log and appends a frame of its own behind
//! it: after that an older one can append nothing, however long it slept, since whatever it appends must follow the last frame
//! that it knows. One that finds a frame of a newer owner appends nothing: so epochs never fall along the log. Only when its own
//! frame is there is anything judged.

use std::time::Duration;

use backplane::journal::{Journal, JournalError, Reader, StoredFrame};
use dedupe::{Filter, Join, Manifest};
use model::{EdgeId, FrameSeq, PartitionId, Position};
use tokio::time::{sleep, timeout};
use tracing::warn;
use wire::FrameBuilder;

use super::sequence::{Appended, Frame};
use super::state::{Begun, Owner, Tenancy};
use crate::checkpoint;
use crate::deps::With;
use crate::{Config, Error};

/// How long reading the checkpoint may hold up the taking over.
const CLAIM: Duration = Duration::from_secs(2);
/// So many of the last frames say how large a frame is.
const SAMPLE: u64 = 32;
/// How long to wait before the log is looked at again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long the log may take to give a frame that must be there.
const READ: Duration = Duration::from_secs(10);

impl Owner {
    /// Takes over: reads the end of the log, then appends a frame of its own behind it.
    pub async fn take_over(tenancy: Tenancy, config: &Config, deps: With) -> Result<Self, Error> {
        let (partition, journal) = (tenancy.partition, deps.journal.clone());
        let claimed = claim(&tenancy, &deps).await;
        let is_claimed = claimed.is_some();
        let manifest = claimed.flatten();
        let head = journal.head(partition).await?;
        let back = frames_back(&*journal, partition, head, config).await?;
        let needed = manifest.as_ref().map_or(back, |m| m.position.seq().min(back));
        let (mut reader, start) = open_reader(&*journal, partition, needed.min(head)).await?;
        let (filter, known) = filter(manifest, start, head, &deps, partition);
        let mut owner = Owner::new(tenancy, start, filter, config, deps);
        owner.checkpointed = known;
        owner.upkeep.begun = Begun {
            after: start,
            is_claimed,
        };
        owner.read_to(head, &mut *reader).await?;
        while !owner.fence_off().await? {
            // Somebody was faster: an older owner that does not know yet, or a newer one, which the log tells.
            sleep(AGAIN).await;
            let head = journal.head(partition).await?;
            owner.read_to(head, &mut *reader).await?;
        }
        Ok(owner)
    }

    /// Takes in the log up to a frame that is there.
    async fn read_to(&mut self, head: FrameSeq, reader: &mut dyn Reader) -> Result<(), Error> {
        let partition = self.partition;
        while self.head < head {
            for frame in next(reader, partition).await? {
                self.take_in(frame)?;
            }
        }
        Ok(())
    }

    /// Appends an empty frame behind the last one that was read, under which no newer owner has appended. Whether it is there.
    async fn fence_off(&mut self) -> Result<bool, Error> {
        let number = self.next_number;
        self.next_number += 1;
        let (bytes, _) = FrameBuilder::new(self.epoch, number).finish();
        match self.append(number, self.head, bytes).await {
            Appended::Stored(seq) => {
                self.follow(self.head, seq)?;
                self.last_epoch = self.epoch;
                self.proven = number;
                self.tail.push(seq, Vec::new());
                Ok(true)
            }
            Appended::Refused(error) => Err(error.into()),
            Appended::Mismatch => Ok(false),
        }
    }

    /// Takes in a frame of the log.
    fn take_in(&mut self, stored: StoredFrame) -> Result<(), Error> {
        let (partition, seq) = (self.partition, stored.seq);
        self.head = seq;
        let frame: wire::Frame = match wire::frame::decode(stored.bytes) {
            Ok(frame) => frame,
            Err(error) => {
                // It keeps its place in the order, so that everything after it is still read.
                warn!(%partition, seq = seq.0, %error, "passing over an unreadable frame of the log");
                self.deps.metrics.drop("unreadable");
                return Ok(());
            }
        };
        if frame.epoch > self.epoch {
            return Err(Error::Superseded {
                partition,
                epoch: frame.epoch,
            });
        }
        if frame.epoch < self.last_epoch {
            warn!(%partition, seq = seq.0, epoch = frame.epoch, after = self.last_epoch, "an older owner has appended after a newer one");
            self.deps.metrics.drop("epoch_fell");
        }
        self.last_epoch = frame.epoch;
        let mut entries = Vec::with_capacity(frame.entries.len());
        for (index, (position, bytes, entry)) in frame.positioned(seq).enumerate() {
            let Ok(entry) = entry else {
                self.deps.metrics.drop("unreadable");
                continue;
            };
            match position > self.checkpointed {
                true => self.remember(&entry, position),
                // The filter has it.
                false => self.remember_exactly(&entry, position),
            }
            let origin = frame
                .origin(index)
                .map(|(edge, number)| (EdgeId::new(edge), number));
            entries.push(self.logged(position, entry.into(), bytes.clone(), origin));
        }
        self.tail.push(seq, entries);
        self.known.settle();
        self.changes.settle();
        Ok(())
    }

    /// Where a frame is whose append met another in its place: it is that itself, or we are the owner no more.
    pub(super) async fn find(&self, frame: &Frame) -> Result<FrameSeq, Error> {
        let (partition, follows) = (self.partition, self.head);
        let mut reader = self.deps.journal.read(partition, follows).await?;
        let frames = next(&mut *reader, partition).await?;
        let there = frames.into_iter().next().ok_or(Error::Silent { partition })?;
        let found: wire::Frame = wire::frame::decode(there.bytes).unwrap_or_default();
        if found.epoch == self.epoch && found.number == frame.number {
            return Ok(there.seq);
        }
        if found.epoch > self.epoch {
            return Err(Error::Superseded {
                partition,
                epoch: found.epoch,
            });
        }
        // A serving owner never goes on behind what another has appended.
        Err(Error::Diverged {
            partition,
            seq: there.seq.0,
            epoch: found.epoch,
        })
    }
}

/// What the last owner has stored of what it knew; from now on no older one can. `None`: that is not known yet, and the
/// next owner does not wait for it.
async fn claim(tenancy: &Tenancy, deps: &With) -> Option<Option<Manifest>> {
    let partition = tenancy.partition;
    let claiming = checkpoint::claim(&*deps.checkpoints, partition, tenancy.epoch);
    let why = match timeout(CLAIM, claiming).await {
        Ok(Ok(manifest)) => return Some(manifest),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    warn!(%partition, why, "the checkpoint cannot be read now; until it can, messages are looked up in the store");
    None
}

/// What is known of uids before anything is read, and up to where.
fn filter(
    manifest: Option<Manifest>,
    start: FrameSeq,
    head: FrameSeq,
    deps: &With,
    partition: PartitionId,
) -> (Filter, Position) {
    let (config, now) = (dedupe::Config::new(deps.salt), deps.clock.unix_millis());
    let first = FrameSeq(start.0 + 1);
    if let Some(manifest) = manifest {
        match manifest.joins(deps.journal.epoch(), partition, first, head) {
            Join::Joins => return (Filter::restore(config, &manifest), manifest.position),
            Join::Trimmed => {
                let mut filter = Filter::restore(config, &manifest);
                filter.miss(now);
                return (filter, manifest.position);
            }
            join => warn!(%partition, ?join, "the checkpoint does not belong to this log"),
        }
    }
    match start {
        FrameSeq(0) => (Filter::new(config), Position::START),
        _ => (Filter::ignorant(config, now), Position::START),
    }
}

/// From where on the log is read so that the end of it is in memory: by the size of its last frames.
async fn frames_back(
    journal: &dyn Journal,
    partition: PartitionId,
    head: FrameSeq,
    config: &Config,
) -> Result<FrameSeq, Error> {
    let least = FrameSeq(head.0.saturating_sub(SAMPLE.min(config.replayed_frames)));
    let (mut reader, start) = open_reader(journal, partition, least).await?;
    let (mut frames, mut bytes) = (0u64, 0u64);
    while start.0 + frames < head.0 {
        let read = next(&mut *reader, partition).await?;
        frames += read.len() as u64;
        bytes += read.iter().map(|f| f.bytes.len() as u64).sum::<u64>();
    }
    let each = (bytes / frames.max(1)).max(64);
    let fits = config.tail.get() / each;
    Ok(FrameSeq(
        head.0
            .saturating_sub(fits.clamp(1, config.replayed_frames.max(1))),
    )
    .min(least))
}

/// The next frames of the log, which must be there.
pub(super) async fn next(reader: &mut dyn Reader, partition: PartitionId) -> Result<Vec<StoredFrame>, Error> {
    let read = timeout(READ, reader.next()).await;
    Ok(read.map_err(|_| Error::Silent { partition })??)
}

/// A reader that stands after `back`, or before the oldest frame that is left.
pub(super) async fn open_reader(
    journal: &dyn Journal,
    partition: PartitionId,
    back: FrameSeq,
) -> Result<(Box<dyn Reader>, FrameSeq), Error> {
    match journal.read(partition, back).await {
        Ok(reader) => Ok((reader, back)),
        Err(JournalError::Trimmed { first, .. }) => {
            let start = FrameSeq(first.saturating_sub(1));
            Ok((journal.read(partition, start).await?, start))
        }
        Err(error) => Err(error.into()),
    }
}
