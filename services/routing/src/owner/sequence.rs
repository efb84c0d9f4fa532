//! From what is submitted to frames of the log: one append in flight, the next frame collected meanwhile from everybody. No
//! added latency when idle, large frames under load, and the order of each edge by construction.

use std::sync::Arc;
use std::time::Duration;

use backplane::journal::{FrameId, Journal, JournalError};
use bytes::Bytes;
use contract::routing::{Outcome, RoutedEntry};
use model::{EdgeId, FrameSeq, PartitionId, Position};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};
use wire::{Entry, FrameBuilder, Kind};

use super::gather::{Gather, Last, is_message};
use super::judge::{Judgement, reason};
use super::queue::Queued;
use super::state::Owner;
use super::tail::Stored;
use crate::Error;
use crate::inbox::LineId;
use crate::known::{edit_key, key_of, recall_key, record_of};
use crate::pulse::Pulse;

/// How long to wait before an append of unknown outcome is repeated.
const AGAIN: Duration = Duration::from_millis(50);

/// How much may be held while the store is asked.
const HELD_BYTES: usize = 8 << 20;

/// A submission that was accepted into the frame in flight.
struct Accepted {
    line: LineId,
    edge: EdgeId,
    number: u64,
    entry: Arc<Entry>,
}

/// A frame on its way into the log.
pub(super) struct Frame {
    /// Ours, under our epoch.
    pub number: u64,
    /// The frame that it follows.
    follows: FrameSeq,
    bytes: Bytes,
    encoded: Vec<Bytes>,
    accepted: Vec<Accepted>,
    /// What was decided in view of these: said when they are in the log, and decided anew if they are not.
    decided: Vec<(Queued, Outcome)>,
    /// What comes next had no room in it.
    is_full: bool,
    begun: Instant,
}

/// What the log said of a frame.
pub(super) enum Appended {
    /// It is there.
    Stored(FrameSeq),
    /// It is not there, and will not be.
    Refused(JournalError),
    /// Another is there in its place, perhaps itself: only the log can tell.
    Mismatch,
}

/// Appends a frame, and again with the same id, bytes and expectation as long as its outcome is unknown: what may be stored
/// is not said to be refused because a later try was.
async fn append(
    journal: Arc<dyn Journal>,
    log: Arc<Pulse>,
    partition: PartitionId,
    id: FrameId,
    follows: FrameSeq,
    bytes: Bytes,
) -> Appended {
    let mut unknown = false;
    loop {
        let appended = journal.append(partition, Some(follows), id.clone(), bytes.clone());
        match log.of(appended).await {
            Ok(seq) => return Appended::Stored(seq),
            Err(JournalError::Mismatch { .. }) => return Appended::Mismatch,
            Err(error) if !unknown && !matches!(error, JournalError::Unknown) => {
                return Appended::Refused(error);
            }
            Err(error @ (JournalError::Closed | JournalError::Recreated { .. })) => {
                return Appended::Refused(error);
            }
            Err(error) => {
                debug!(%partition, number = id.number, %error, "appending a frame again");
                unknown = true;
                sleep(AGAIN).await;
            }
        }
    }
}

/// The key under which an accepted entry is remembered, if its uid means something.
pub(super) fn remembered_as(entry: &Entry) -> Option<u128> {
    match entry.known_kind() {
        Kind::Edit => Some(edit_key(entry)),
        Kind::StreamPart if !entry.uid.is_empty() => Some(key_of(entry)),
        _ => entry.is_unique().then(|| key_of(entry)),
    }
}

impl Owner {
    /// The next frame of what waits; `None` when nothing is to be appended.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        let number = self.next_number;
        let mut builder = FrameBuilder::new(self.epoch, number);
        let (mut accepted, mut decided) = (Vec::new(), Vec::new());
        let mut is_full = false;
        while let Some(mut queued) = self.queue.pop() {
            if self.lines.edge(queued.line).is_none() {
                // Its edge has gone, or sends it again on another line.
                continue;
            }
            if let Some(outcome) = self.recognise(&queued) {
                self.answer(queued.line, queued.submission.number, outcome);
                continue;
            }
            if self.queue.must_wait(&queued.submission.entry) {
                self.hold(queued);
                continue;
            }
            match self.judge(&queued) {
                Judgement::Answer(outcome) if accepted.is_empty() => {
                    self.answer(queued.line, queued.submission.number, outcome);
                }
                Judgement::Answer(outcome) => decided.push((queued, outcome)),
                Judgement::Ask(questions) => {
                    queued.asks.extend(self.lookups.want(questions));
                    self.hold(queued);
                }
                Judgement::Accept => {
                    let fits = builder.size_with(&queued.submission.entry, &queued.edge) <= self.max_frame;
                    is_full = !accepted.is_empty() && (!fits || accepted.len() + 1 >= Position::FRAME_LIMIT);
                    if is_full {
                        self.queue.push_back_to_front(queued);
                        break;
                    }
                    let entry = queued.submission.entry.clone();
                    let position = self.place(accepted.len());
                    self.remember(&entry, position);
                    builder.push(&entry, &queued.edge, queued.submission.number);
                    accepted.push(Accepted {
                        line: queued.line,
                        edge: queued.edge,
                        number: queued.submission.number,
                        entry,
                    });
                }
            }
        }
        // Without entries it only proves that nobody else owns the partition.
        if accepted.is_empty() && !self.wants_proof() {
            return None;
        }
        self.next_number += 1;
        self.probe = false;
        let (bytes, encoded) = builder.finish();
        Some(Frame {
            number,
            follows: self.head,
            bytes,
            encoded,
            accepted,
            decided,
            is_full,
            begun: Instant::now(),
        })
    }

    /// Where the entry of this index in the next frame will stand.
    fn place(&self, index: usize) -> Position {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        Position::new(FrameSeq(self.head.0 + 1), index)
    }

    /// Remembers an accepted entry, if its uid makes it one of its topic, or the first part of a stream.
    pub(super) fn remember(&mut self, entry: &Entry, position: Position) {
        if let Some(key) = remembered_as(entry)
            && !self.known.remembers(key)
        {
            let now = self.deps.clock.unix_millis();
            self.known.remember(key, &record_of(entry, position), now);
        }
        self.remember_more(entry, position);
    }

    /// The same for one that the filter has already.
    pub(super) fn remember_exactly(&mut self, entry: &Entry, position: Position) {
        if let Some(key) = remembered_as(entry) {
            self.known.remember_exactly(key, &record_of(entry, position));
        }
        self.remember_more(entry, position);
    }

    /// What an entry does to another, or to its thread.
    ///
    /// A recall is younger than its message: as long as that is remembered exactly, so is that it was taken back. Of what is
    /// older the store tells.
    fn remember_more(&mut self, entry: &Entry, position: Position) {
        self.changes.remember(entry, position);
        let taken = recall_key(&entry.org, &entry.topic, &entry.target);
        if entry.known_kind() == Kind::Recall && !self.known.remembers(taken) {
            self.known.remember_exactly(taken, &record_of(entry, position));
        }
    }

    fn hold(&mut self, queued: Queued) {
        if queued.held.is_none() {
            self.deps.metrics.held.inc();
        }
        if let Some(refused) = self.queue.hold(queued, HELD_BYTES) {
            self.retry(&refused);
        }
    }

    /// Nobody can say whether it was accepted before.
    pub(super) fn retry(&mut self, queued: &Queued) {
        let why = "whether this message was stored before is not known now; send it again with the same uid";
        let submission = &queued.submission;
        let outcome = match self.recognise(queued) {
            Some(stored) => stored,
            // An earlier owner may have appended it.
            None if submission.again && !self.tail.reaches(submission.seen) => Outcome::Unknown,
            None => Outcome::Unavailable(why.to_owned()),
        };
        self.answer(queued.line, queued.submission.number, outcome);
    }

    fn answer(&mut self, line: LineId, number: u64, outcome: Outcome) {
        self.deps.metrics.drop(reason(&outcome));
        self.lines.answer(line, number, outcome, self.next_number);
    }

    /// Begins to append a frame.
    pub(super) fn appending(&self, frame: &Frame) -> impl Future<Output = Appended> + Send + use<> {
        self.append(frame.number, frame.follows, frame.bytes.clone())
    }

    /// Appends the frame of ours that has this number.
    pub(super) fn append(
        &self,
        number: u64,
        follows: FrameSeq,
        bytes: Bytes,
    ) -> impl Future<Output = Appended> + Send + use<> {
        let id = FrameId {
            writer: self.writer.clone(),
            number,
        };
        let (journal, log) = (self.deps.journal.clone(), self.log.clone());
        append(journal, log, self.partition, id, follows, bytes)
    }

    /// What the log said of the frame in flight: the edges are told.
    pub(super) async fn appended(&mut self, frame: Frame, said: Appended) -> Result<(), Error> {
        match said {
            Appended::Stored(seq) => self.stored(frame, seq),
            Appended::Mismatch => {
                let seq = self.find(&frame).await?;
                self.stored(frame, seq)
            }
            Appended::Refused(error @ (JournalError::Closed | JournalError::Recreated { .. })) => {
                Err(error.into())
            }
            Appended::Refused(error) => {
                self.refused(frame, &error);
                Ok(())
            }
        }
    }

    fn stored(&mut self, frame: Frame, seq: FrameSeq) -> Result<(), Error> {
        self.follow(frame.follows, seq)?;
        let metrics = &self.deps.metrics;
        metrics.appended_frames.inc();
        metrics.appended_entries.inc_by(frame.accepted.len() as u64);
        self.proven = frame.number;
        let messages = frame.accepted.iter().filter(|a| is_message(&a.entry));
        let last = Last {
            messages: messages.count(),
            was_full: frame.is_full,
            took: frame.begun.elapsed(),
            shared_write: self.deps.journal.shares_writes(),
        };
        let mut entries = Vec::with_capacity(frame.accepted.len());
        for (index, (accepted, bytes)) in (0u16..).zip(frame.accepted.into_iter().zip(frame.encoded)) {
            let position = Position::new(seq, index);
            let origin = Some((accepted.edge, accepted.number));
            let stored = self.logged(position, accepted.entry, bytes, origin);
            if stored.fan_out {
                self.lines.fan_out(&stored.routed);
            }
            let outcome = Outcome::Stored {
                position,
                duplicate: false,
            };
            self.lines
                .answer(accepted.line, accepted.number, outcome, frame.number);
            entries.push(stored);
        }
        for (queued, outcome) in frame.decided {
            self.deps.metrics.drop(reason(&outcome));
            self.lines
                .answer(queued.line, queued.submission.number, outcome, frame.number);
        }
        self.tail.push(seq, entries);
        self.known.settle();
        self.changes.settle();
        self.gather = Gather::after(&last, self.queue.has_message());
        Ok(())
    }

    /// A frame of ours is in the log: that ends there now.
    pub(super) fn follow(&mut self, follows: FrameSeq, seq: FrameSeq) -> Result<(), Error> {
        if seq.0 != follows.0 + 1 {
            // An acknowledged append cannot be anywhere else.
            return Err(Error::Misplaced {
                partition: self.partition,
                expected: follows.0 + 1,
                found: seq.0,
            });
        }
        self.head = seq;
        Ok(())
    }

    /// An entry of the log, as the tail keeps it and edges are given it.
    pub(super) fn logged(
        &mut self,
        position: Position,
        entry: Arc<Entry>,
        bytes: Bytes,
        origin: Option<(EdgeId, u64)>,
    ) -> Stored {
        let fan_out = self.is_news(&entry);
        let routed = RoutedEntry {
            position,
            prev: self.advance_head(&entry, position),
            entry,
            bytes,
        };
        Stored {
            routed,
            fan_out,
            origin,
        }
    }

    /// It is certain that the frame is not stored: what was decided for it is undone.
    fn refused(&mut self, mut frame: Frame, error: &JournalError) {
        self.known.undo();
        self.changes.undo();
        for (queued, _) in frame.decided.drain(..).rev() {
            self.queue.push_back_to_front(queued);
        }
        if let JournalError::TooLarge { limit, .. } = error
            && frame.accepted.len() > 1
        {
            // The log takes less at once than we thought; whatever it counts besides, less than this.
            let less = frame.bytes.len().saturating_sub(1);
            self.max_frame = self.max_frame.min(*limit).min(less);
            return self.again(frame);
        }
        warn!(partition = %self.partition, %error, "the log did not take a frame");
        self.proof_at = Instant::now() + AGAIN * 2;
        let outcome = match error {
            JournalError::TooLarge { .. } => Outcome::TooLarge,
            error => Outcome::Unavailable(error.to_string()),
        };
        for accepted in frame.accepted {
            self.answer(accepted.line, accepted.number, outcome.clone());
        }
    }

    /// Judges everything in the frame anew, for smaller ones.
    fn again(&mut self, frame: Frame) {
        for accepted in frame.accepted.into_iter().rev() {
            self.queue.push_back_to_front(Queued {
                line: accepted.line,
                edge: accepted.edge,
                submission: contract::routing::Submission {
                    number: accepted.number,
                    entry: accepted.entry,
                    seen: Position::end_of(self.head),
                    again: false,
                },
                held: None,
                asks: Vec::new(),
            });
        }
    }
}
