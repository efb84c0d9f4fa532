//! Appending: a frame is stored when the stream's leader says so, and not stored only when it is certain.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use parking_lot::Mutex;
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
    since: Instant,
}

impl Doubts {
    /// An attempt begins; it is in doubt until settled.
    fn begin(&self, key: &(PartitionId, FrameId)) {
        let mut doubts = self.0.lock();
        if doubts.len() > 1000 {
            doubts.retain(|_, doubt| doubt.since.elapsed() < FORGET);
        }
        let doubt = doubts.entry(key.clone()).or_insert_with(|| Doubt {
            attempts: 0,
            since: Instant::now(),
        });
        doubt.attempts += 1;
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
    Doubtful(String),
}

impl Shared {
    /// Appends, trying again for `append_timeout` while servers are away or choose a leader.
    pub(super) async fn append(
        &self,
        partition: PartitionId,
        id: FrameId,
        frame: Bytes,
    ) -> Result<FrameSeq, JournalError> {
        let limit = self.nats.max_payload().saturating_sub(OVERHEAD);
        let size = frame.len() + id.writer.len().saturating_sub(OVERHEAD / 2);
        if size > limit {
            return Err(JournalError::TooLarge { size, limit });
        }
        let deadline = Instant::now() + self.nats.config().append_timeout.get();
        let key = (partition, id);
        for attempt in 1.. {
            let connected = self.nats.connected_by(deadline).await;
            self.doubts.begin(&key);
            let outcome = if connected {
                self.attempt(&key, frame.clone(), deadline).await
            } else {
                Attempt::Later("no connection to NATS".to_owned())
            };
            let (reason, certain, again) = match outcome {
                Attempt::Stored(seq) => {
                    self.doubts.stored(&key);
                    self.stored(partition, seq);
                    return Ok(seq);
                }
                Attempt::TooLarge if self.doubts.refused(&key) => {
                    return Err(JournalError::TooLarge { size, limit });
                }
                Attempt::TooLarge => return Err(JournalError::Unknown),
                Attempt::Later(reason) => (reason, self.doubts.refused(&key), true),
                Attempt::Never(reason) => (reason, self.doubts.refused(&key), false),
                Attempt::Doubtful(reason) => (reason, false, true),
            };
            self.trouble.set(&reason);
            let pause = backoff(attempt, Duration::from_millis(500));
            if again && Instant::now() + pause < deadline {
                tracing::debug!(%partition, reason, "appending a frame again");
                sleep(pause).await;
                continue;
            }
            return Err(if certain {
                JournalError::Unavailable { reason }
            } else {
                self.stats.unknown.fetch_add(1, Ordering::Relaxed);
                JournalError::Unknown
            });
        }
        unreachable!("the loop has no end")
    }

    async fn attempt(
        &self,
        (partition, id): &(PartitionId, FrameId),
        frame: Bytes,
        deadline: Instant,
    ) -> Attempt {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{}:{}", id.writer, id.number).as_str());
        let patience = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT);
        let subject = self.names.subject(*partition);
        match self.nats.store(subject, headers, frame, patience).await {
            Ok(ack) => {
                if ack.duplicate {
                    self.stats.duplicates.fetch_add(1, Ordering::Relaxed);
                }
                Attempt::Stored(FrameSeq(ack.seq))
            }
            Err(ApiError::NoResponder) => Attempt::Later(format!("partition {partition} has no leader now")),
            Err(ApiError::Unknown(reason)) => Attempt::Doubtful(reason),
            Err(ApiError::Refused { number, text }) => refusal(number, text),
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
        doubts.begin(&key(1));
        assert!(doubts.refused(&key(1)), "it was the only one");
        doubts.begin(&key(1));
        doubts.begin(&key(1));
        assert!(!doubts.refused(&key(1)), "the one before may have been stored");
        doubts.begin(&key(2));
        assert!(doubts.refused(&key(2)), "another frame");
        doubts.stored(&key(1));
        doubts.begin(&key(1));
        assert!(doubts.refused(&key(1)));
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
