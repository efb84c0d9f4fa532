//! Appending: a frame is stored when the stream's leader says so, and not stored only when it is certain.
//!
//! The place that a frame is to take is checked by the leader, against what it has stored and what it has proposed to the others.
//! Servers that replicate look for the id first, so a repetition is recognised. A stream of one replica is asked for the place
//! first, and refuses a repetition of what it has stored. So a refusal says little by itself: what stands at the place is read.
//! If it is this frame, it is stored; if it is another, this one can never be. If nothing is there, the refusal
//! is certain of the attempt that got it, and of the frame only when there was no other attempt.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Shared;
use crate::journal::{FrameId, JournalError};
use crate::nats::api::{ApiError, code};
use crate::nats::backoff;

/// What the server takes beside the frame (its id and the header's own bytes), and what routing puts around an entry on its way
/// over the bus: an entry that the log takes can be sent on.
const OVERHEAD: usize = 8 * 1024;
/// How long one attempt waits. What is sent to a leader that hangs or has just died is lost, and found by the next attempt; one that
/// was only slow is found as a duplicate.
const ATTEMPT: Duration = Duration::from_millis(2500);
/// Longer than any writer tries, and than the server recognises duplicates.
const FORGET: Duration = Duration::from_secs(900);

/// Frames of which it is not known whether they are stored. For such a frame no refusal is final: an earlier attempt of it may have
/// been stored, or yet be.
#[derive(Default)]
pub(super) struct Doubts(Mutex<HashMap<(PartitionId, FrameId), Doubt>>);

struct Doubt {
    /// How many attempts have been made.
    attempts: u32,
    /// What they were to follow; `None` when not all named the same frame.
    follows: Option<FrameSeq>,
    since: Instant,
}

impl Doubts {
    /// An attempt begins; it is in doubt until settled.
    fn begin(&self, key: &(PartitionId, FrameId), follows: Option<FrameSeq>) {
        let mut doubts = self.0.lock();
        if doubts.len() > 1000 {
            doubts.retain(|_, doubt| doubt.since.elapsed() < FORGET);
        }
        let doubt = doubts.entry(key.clone()).or_insert_with(|| Doubt {
            attempts: 0,
            follows,
            since: Instant::now(),
        });
        doubt.attempts += 1;
        doubt.follows = doubt.follows.filter(|first| follows == Some(*first));
        doubt.since = Instant::now();
    }

    /// An attempt was refused for certain. Whether the frame is certainly not stored: this was the only attempt.
    fn refused(&self, key: &(PartitionId, FrameId)) -> bool {
        match self.0.lock().entry(key.clone()) {
            Entry::Occupied(doubt) if doubt.get().attempts == 1 => {
                doubt.remove();
                true
            }
            Entry::Occupied(_) => false,
            // Stored, by another attempt.
            Entry::Vacant(_) => false,
        }
    }

    /// Another frame stands where every attempt was to go. Whether the frame is certainly not stored.
    fn displaced(&self, key: &(PartitionId, FrameId)) -> bool {
        match self.0.lock().entry(key.clone()) {
            Entry::Occupied(doubt) if doubt.get().follows.is_some() => {
                doubt.remove();
                true
            }
            Entry::Occupied(_) | Entry::Vacant(_) => false,
        }
    }

    fn stored(&self, key: &(PartitionId, FrameId)) {
        self.0.lock().remove(key);
    }
}

/// The outcome of one attempt.
enum Attempt {
    Stored(FrameSeq),
    /// Not stored by this attempt, and it may be different in a moment.
    Later(String),
    /// Not stored by this attempt, and trying again is no use.
    Never(String),
    TooLarge,
    /// Not stored by this attempt, as its place is taken or not reached yet.
    Misplaced,
    /// Not stored by this attempt: another frame stands in its place, for good.
    Displaced,
    Doubtful(String),
}

/// What is known of the frame.
enum Settled {
    Stored(FrameSeq),
    /// No attempt is open any more.
    Never(JournalError),
    Open {
        reason: String,
        /// Whether it is certainly not stored.
        certain: bool,
        /// Whether trying again may help.
        again: bool,
    },
}

impl Shared {
    /// Appends, trying again for `append_timeout` while servers are away or choose a leader.
    pub(super) async fn append(
        &self,
        partition: PartitionId,
        follows: Option<FrameSeq>,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        let limit = self.limit();
        let size = frame.len() + id.writer.len().saturating_sub(OVERHEAD / 2);
        if size > limit {
            return Err(JournalError::TooLarge { size, limit });
        }
        let deadline = Instant::now() + self.nats.config().append_timeout.get();
        let key = (partition, id);
        for attempt in 1.. {
            let connected = self.nats.connected_by(deadline).await;
            self.doubts.begin(&key, follows);
            let outcome = if connected {
                self.attempt(&key, follows, frame.clone(), deadline).await
            } else {
                Attempt::Later("no connection to NATS".to_owned())
            };
            let (reason, certain, again) = match self.settle(&key, follows, size, outcome) {
                Settled::Stored(seq) => return Ok(seq),
                Settled::Never(error) => return Err(error),
                Settled::Open {
                    reason,
                    certain,
                    again,
                } => (reason, certain, again),
            };
            let pause = backoff(attempt, Duration::from_millis(500));
            if again && Instant::now() + pause < deadline {
                tracing::debug!(%partition, reason, "appending a frame again");
                sleep(pause).await;
                continue;
            }
            return Err(match certain {
                true => JournalError::Unavailable { reason },
                false => self.unknown(),
            });
        }
        unreachable!("the loop has no end")
    }

    /// Bytes of the largest frame.
    fn limit(&self) -> usize {
        self.nats.max_payload().saturating_sub(OVERHEAD)
    }

    fn unknown(&self) -> JournalError {
        self.stats.unknown.fetch_add(1, Ordering::Relaxed);
        JournalError::Unknown
    }

    /// What the outcome of an attempt says of the frame, with the attempts before it.
    fn settle(
        &self,
        key: &(PartitionId, FrameId),
        follows: Option<FrameSeq>,
        size: usize,
        outcome: Attempt,
    ) -> Settled {
        let mismatch = JournalError::Mismatch {
            partition: key.0,
            follows: follows.unwrap_or_default(),
        };
        let open = |reason: String, certain, again| {
            self.trouble.set(&reason);
            Settled::Open {
                reason,
                certain,
                again,
            }
        };
        match outcome {
            Attempt::Stored(seq) => {
                self.doubts.stored(key);
                self.stored(key.0, seq);
                Settled::Stored(seq)
            }
            Attempt::Displaced if self.doubts.displaced(key) => Settled::Never(mismatch),
            Attempt::Misplaced if self.doubts.refused(key) => Settled::Never(mismatch),
            // What was sent before is lost, or on its way to the place: then the next attempt finds it.
            Attempt::Misplaced => Settled::Open {
                reason: "an earlier attempt is in doubt".to_owned(),
                certain: false,
                again: true,
            },
            Attempt::Displaced => Settled::Never(self.unknown()),
            Attempt::TooLarge if self.doubts.refused(key) => Settled::Never(JournalError::TooLarge {
                size,
                limit: self.limit(),
            }),
            Attempt::TooLarge => Settled::Never(self.unknown()),
            Attempt::Later(reason) => open(reason, self.doubts.refused(key), true),
            Attempt::Never(reason) => open(reason, self.doubts.refused(key), false),
            Attempt::Doubtful(reason) => open(reason, false, true),
        }
    }

    async fn attempt(
        &self,
        (partition, id): &(PartitionId, FrameId),
        follows: Option<FrameSeq>,
        frame: Bytes,
        deadline: Instant,
    ) -> Attempt {
        let name = format!("{}:{}", id.writer, id.number);
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, name.as_str());
        if let Some(follows) = follows {
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, follows.0.to_string().as_str());
        }
        let patience = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT);
        let subject = self.names.subject(*partition);
        match (self.nats.store(subject, headers, frame, patience).await, follows) {
            (Ok(ack), _) => {
                if ack.duplicate {
                    self.stats.duplicates.fetch_add(1, Ordering::Relaxed);
                }
                Attempt::Stored(FrameSeq(ack.seq))
            }
            (Err(error), Some(follows)) if error.is_conflict() => self.look(*partition, &name, follows).await,
            (Err(ApiError::NoResponder), _) => {
                Attempt::Later(format!("partition {partition} has no leader now"))
            }
            (Err(ApiError::Unknown(reason)), _) => Attempt::Doubtful(reason),
            (Err(ApiError::Refused { number, text }), _) => refusal(number, text),
        }
    }

    /// Why a frame could not follow another: looks at what the leader has behind it. What it has there is committed, and stays.
    async fn look(&self, partition: PartitionId, name: &str, follows: FrameSeq) -> Attempt {
        let place = follows.0.saturating_add(1);
        let stream = self.names.stream(partition);
        match self.nats.stored(&stream, &json!({ "seq": place })).await {
            Ok(Some(found)) if found.subject != self.names.subject(partition) => {
                Attempt::Never(format!("stream {stream} was created anew"))
            }
            Ok(Some(found)) if found.id.as_deref() == Some(name) => {
                self.stats.duplicates.fetch_add(1, Ordering::Relaxed);
                Attempt::Stored(FrameSeq(found.seq))
            }
            Ok(Some(_)) => Attempt::Displaced,
            // Nothing is there yet or any more, or nobody says: the refusal stands by itself.
            Ok(None) | Err(_) => Attempt::Misplaced,
        }
    }
}

/// Only what the leader refuses before it proposes the frame to the others is certain. After that, others may have stored what
/// it could not.
fn refusal(number: u32, text: String) -> Attempt {
    let full = text.contains("maximum bytes") || text.contains("maximum messages");
    match number {
        code::NOT_AVAILABLE => Attempt::Later(text),
        code::MESSAGE_TOO_LARGE => Attempt::TooLarge,
        code::ACCOUNT_RESOURCES | code::INSUFFICIENT_RESOURCES | code::STORAGE_EXCEEDED => {
            Attempt::Never(text)
        }
        code::STORE_FAILED if full => Attempt::Never(text),
        _ => Attempt::Doubtful(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> (PartitionId, FrameId) {
        let writer = "w".into();
        (PartitionId(0), FrameId { writer, number })
    }

    #[test]
    fn only_the_refusal_of_a_single_attempt_is_certain() {
        let doubts = Doubts::default();
        let begin = |number| doubts.begin(&key(number), Some(FrameSeq(7)));
        begin(1);
        assert!(doubts.refused(&key(1)), "it was the only one");
        begin(1);
        begin(1);
        assert!(!doubts.refused(&key(1)), "the one before may have been stored");
        begin(2);
        assert!(doubts.refused(&key(2)), "another frame");
        doubts.stored(&key(1));
        begin(1);
        assert!(doubts.refused(&key(1)));
    }

    #[test]
    fn another_frame_in_its_place_settles_every_attempt_that_was_to_go_there() {
        let doubts = Doubts::default();
        for _ in 0..2 {
            doubts.begin(&key(1), Some(FrameSeq(7)));
        }
        assert!(doubts.displaced(&key(1)));
        for follows in [None, Some(FrameSeq(8))] {
            doubts.begin(&key(1), Some(FrameSeq(7)));
            doubts.begin(&key(1), follows);
            assert!(!doubts.displaced(&key(1)), "one may be stored elsewhere");
            doubts.stored(&key(1));
        }
    }

    #[test]
    fn a_leader_that_could_not_write_leaves_it_open_whether_the_others_did() {
        assert!(matches!(
            refusal(10077, "no space left on device".into()),
            Attempt::Doubtful(_)
        ));
        assert!(matches!(
            refusal(10077, "maximum bytes exceeded".into()),
            Attempt::Never(_)
        ));
        assert!(matches!(
            refusal(10158, "duplicate message id is in process".into()),
            Attempt::Doubtful(_)
        ));
        assert!(matches!(
            refusal(10008, "temporarily unavailable".into()),
            Attempt::Later(_)
        ));
    }
}
