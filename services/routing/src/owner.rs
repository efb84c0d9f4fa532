//! The owner of one partition: everything that happens to it happens here, in the order of the journal.

mod judge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use backplane::bus::{Bus, Request};
use backplane::journal::{Journal, JournalError, Reader, StoredFrame};
use backplane::lease::Fence;
use backplane::lease::share::Held;
use model::{EdgeId, FrameSeq, PartitionId, Position};
use tracing::warn;
use wire::{Exception, Frame, Kind, RouteReply, RouteRequest, Routed, Settled};

use crate::memory::{Memory, topic_key};
use crate::routes::{FRAME_BYTES, Routes, routed_entry, settled_bytes, subject};
use crate::service::{With, fenced};
use crate::{Config, Error};

/// How many frames with refused entries are remembered for edges that ask again.
const REMEMBERED_EXCEPTIONS: usize = 4096;
/// How many topics' last positions are remembered.
const REMEMBERED_HEADS: usize = 200_000;

/// The soft state of a partition while this process owns it.
pub(crate) struct Owner {
    pub partition: PartitionId,
    epoch: u64,
    fence: Fence,
    deps: With,
    pub routes: Routes,
    memory: Memory,
    heads: HashMap<u128, Position, ahash::RandomState>,
    routed: FrameSeq,
    exceptions: BTreeMap<u64, Vec<Exception>>,
    /// What became of the frames up to this one is not known here.
    unjudged: FrameSeq,
    /// Monotonic: the store has not answered in time and is not asked before.
    store_away_until: Duration,
}

impl Owner {
    /// Takes over: reads the latest frames again to remember their uids. Returns the owner and a reader that stands
    /// after the last frame that was there; what comes after it is routed live.
    pub async fn take_over(
        partition: PartitionId,
        held: &Held,
        config: &Config,
        deps: With,
    ) -> Result<(Self, Box<dyn Reader>), Error> {
        let head = deps.journal.head(partition).await?;
        let (mut reader, start) =
            open_reader(&*deps.journal, partition, head, config.replayed_frames).await?;
        let capacity = config.remembered_messages / usize::from(deps.partitioning.count());
        let mut owner = Owner {
            partition,
            epoch: held.epoch(),
            fence: held.fence(),
            deps,
            routes: Routes::new(partition.0, held.epoch()),
            memory: Memory::new(capacity, start == FrameSeq(0)),
            heads: HashMap::default(),
            routed: start,
            exceptions: BTreeMap::new(),
            unjudged: start,
            store_away_until: Duration::ZERO,
        };
        while owner.routed < head {
            let frames = reader.next().await?;
            owner.route(frames).await?;
        }
        Ok((owner, reader))
    }

    /// Judges and fans out frames, in order, and sends each edge what concerns it.
    pub async fn route(&mut self, frames: Vec<StoredFrame>) -> Result<(), Error> {
        let mut decoded = Vec::with_capacity(frames.len());
        for stored in frames {
            match wire::frame::decode::<Frame>(stored.bytes) {
                Ok(frame) => decoded.push((stored.seq, frame)),
                Err(error) => {
                    // It keeps its place in the order, so that everything after it is still routed.
                    warn!(partition = %self.partition, seq = stored.seq.0, %error, "skipping an unreadable frame");
                    self.deps.metrics.drop("unreadable");
                    decoded.push((stored.seq, Frame::default()));
                }
            }
        }
        let known = self.look_up_old(&decoded).await;
        for (seq, frame) in &decoded {
            let exceptions = self.route_frame(*seq, frame, &known);
            self.remember_exceptions(*seq, &exceptions);
            self.routes.settle(&frame.edge, frame.id, *seq, exceptions);
            self.routed = *seq;
            self.flush(None).await?;
        }
        self.memory.forget_surplus();
        self.flush(Some(Position::end_of(self.routed))).await
    }

    /// Whoever has lost its partition must not act: somebody else may.
    fn check_fence(&self) -> Result<(), Error> {
        match self.fence.holds() {
            true => Ok(()),
            false => Err(fenced(self.partition)),
        }
    }

    fn route_frame(&mut self, seq: FrameSeq, frame: &Frame, known: &judge::Known) -> Vec<Exception> {
        let mut exceptions = Vec::new();
        for (position, bytes, entry) in frame.positioned(seq) {
            let Ok(entry) = entry else {
                self.deps.metrics.drop("unreadable");
                continue;
            };
            match self.judge(&entry, position, known) {
                judge::Judgement::Accept { fan_out } => {
                    self.deps.metrics.entries.inc();
                    let prev = self.advance_head(&entry, position);
                    if fan_out {
                        let routed = routed_entry(position, prev, bytes.clone());
                        self.routes.fan_out(&entry.org, &entry.topic, &routed);
                    }
                }
                judge::Judgement::Refuse { verdict, first } => {
                    self.deps.metrics.drop(judge::reason(verdict));
                    let index = u32::from(position.index());
                    exceptions.push(Exception {
                        index,
                        verdict: verdict.into(),
                        position: first.0,
                    });
                }
            }
        }
        exceptions
    }

    /// The position before this one in its topic, counting what the store gives a backlog (receipts come coalesced there,
    /// so they do not count), and this one in its place.
    fn advance_head(&mut self, entry: &wire::Entry, position: Position) -> Option<Position> {
        let counts = match entry.known_kind() {
            Kind::Generic => entry.qos > 0,
            Kind::Membership => true,
            _ => entry.is_history(),
        };
        if !counts {
            return None;
        }
        if self.heads.len() >= REMEMBERED_HEADS {
            self.heads.clear();
        }
        self.heads.insert(topic_key(&entry.org, &entry.topic), position)
    }

    fn remember_exceptions(&mut self, seq: FrameSeq, exceptions: &[Exception]) {
        if !exceptions.is_empty() {
            self.exceptions.insert(seq.0, exceptions.to_vec());
            if self.exceptions.len() > REMEMBERED_EXCEPTIONS
                && let Some((forgotten, _)) = self.exceptions.pop_first()
            {
                self.unjudged = FrameSeq(forgotten);
            }
        }
    }

    async fn flush(&mut self, all: Option<Position>) -> Result<(), Error> {
        for (edge, routed) in self.routes.take(all) {
            self.check_fence()?;
            self.deps.metrics.sent.inc();
            self.send(&edge, &routed).await?;
        }
        Ok(())
    }

    async fn send(&self, edge: &EdgeId, routed: &Routed) -> Result<(), Error> {
        Ok(self
            .deps
            .bus
            .publish(&subject(edge), wire::frame::encode(routed))
            .await?)
    }

    /// Answers an edge: changes its filters, and says from where on its topics come live.
    pub fn answer(&mut self, request: Request, now: Duration) -> Result<(), Error> {
        self.check_fence()?;
        let asked = match wire::frame::decode::<RouteRequest>(request.payload) {
            Ok(asked) => asked,
            Err(error) => {
                warn!(partition = %self.partition, %error, "ignoring an unreadable route request");
                return Ok(());
            }
        };
        let Some(edge) = self.routes.hear(&asked.edge, asked.stream, now) else {
            return Ok(());
        };
        asked.detach.into_iter().for_each(|f| self.routes.detach(edge, f));
        asked.attach.into_iter().for_each(|f| self.routes.attach(edge, f));
        let reply = RouteReply {
            owner_epoch: self.epoch,
            last_number: self.routes.last_number(edge),
            boundary: Position::end_of(self.routed).0,
            settled: self.settled(asked.pending_ids.into_iter().zip(asked.pending_seqs)),
        };
        request.reply.send(wire::frame::encode(&reply));
        Ok(())
    }

    /// The outcomes of frames that an edge asks for, as many as an answer has room for; it asks for the rest again. Of those
    /// that it cannot tell it says nothing: they are sent again, and recognised.
    fn settled(&self, pending: impl Iterator<Item = (u64, u64)>) -> Vec<Settled> {
        let mut room = FRAME_BYTES;
        pending
            .filter(|(_, seq)| (self.unjudged.0 + 1..=self.routed.0).contains(seq))
            .map(|(id, seq)| Settled {
                id,
                seq,
                exceptions: self.exceptions.get(&seq).cloned().unwrap_or_default(),
            })
            .take_while(|settled| {
                let size = settled_bytes(&settled.exceptions);
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            })
            .collect()
    }

    /// Sends what is not in the log to whoever wants its topic now. Unnumbered: it may be lost.
    pub async fn pass_on(&self, payload: bytes::Bytes) -> Result<(), Error> {
        let Ok(entry) = wire::frame::decode_entry(payload.clone()) else {
            return Ok(());
        };
        if !matches!(entry.known_kind(), Kind::Transient | Kind::Generic) {
            return Ok(());
        }
        let routed = Routed {
            partition: u32::from(self.partition.0),
            owner_epoch: self.epoch,
            entries: vec![routed_entry(Position::START, None, payload)],
            ..Routed::default()
        };
        self.check_fence()?;
        let bytes = wire::frame::encode(&routed);
        for edge in self.routes.wanting(&entry.org, &entry.topic) {
            self.deps.bus.publish(&subject(edge), bytes.clone()).await?;
        }
        Ok(())
    }
}

/// A reader that stands up to `back` frames before the head, or at the oldest frame that is left.
async fn open_reader(
    journal: &dyn Journal,
    partition: PartitionId,
    head: FrameSeq,
    back: u64,
) -> Result<(Box<dyn Reader>, FrameSeq), Error> {
    let start = FrameSeq(head.0.saturating_sub(back));
    match journal.read(partition, start).await {
        Ok(reader) => Ok((reader, start)),
        Err(JournalError::Trimmed { first, .. }) => {
            let start = FrameSeq(first.saturating_sub(1));
            Ok((journal.read(partition, start).await?, start))
        }
        Err(error) => Err(error.into()),
    }
}

/// The subject on which edges ask the owner of a partition.
pub(crate) fn request_subject(partition: PartitionId) -> String {
    format!("routing.{partition}")
}

/// The subject on which edges give the owner what is not in the log.
pub(crate) fn transient_subject(partition: PartitionId) -> String {
    format!("transient.{partition}")
}

/// The subject on which a new owner says that it is there, so that edges attach at once.
pub(crate) const ANNOUNCE_SUBJECT: &str = "owners";

/// Everything an owner listens to.
pub(crate) struct Ears {
    pub requests: Box<dyn backplane::bus::Server>,
    pub transients: Box<dyn backplane::bus::Subscription>,
}

impl Ears {
    /// Begins to listen. From now on edges find this owner.
    pub async fn open(bus: &Arc<dyn Bus>, partition: PartitionId) -> Result<Self, Error> {
        Ok(Self {
            requests: bus.serve(&request_subject(partition)).await?,
            transients: bus.subscribe(&transient_subject(partition)).await?,
        })
    }
}
