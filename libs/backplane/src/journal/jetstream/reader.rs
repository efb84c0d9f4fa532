//! Reading: a consumer that may fail at any time, and a position of our own that does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{FrameSeq, PartitionId};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::pull::{BYTES, Delivery, Pull};
use crate::journal::{JournalError, Reader, StoredFrame};
use crate::nats::api::{ApiError, StreamInfo};
use crate::nats::backoff;

/// The log has more and the consumer brings nothing, though it lives: after this it is thrown away.
const STALLED: Duration = Duration::from_secs(10);
/// How long [`super::JetStreamJournal`]'s `read` tries, before it says that the log is away. The servers miss one of them that died
/// only after some seconds, and until then may give it new consumers, about which nobody answers.
const OPENING: Duration = Duration::from_secs(30);

/// Reads a partition and begins anew, from where it stands, whenever anything is wrong.
pub(super) struct JetStreamReader {
    shared: Arc<Shared>,
    partition: PartitionId,
    /// The last frame that was given, or is in `ready`.
    position: u64,
    ready: Vec<StoredFrame>,
    bytes: usize,
    source: Source,
    /// The log has had more than we were given, since then.
    behind: Option<Instant>,
    /// The last consumer jumped over the next frame.
    jumped: bool,
}

enum Source {
    Open(Box<Pull>),
    /// Kept across calls, so that cancelling a call does not begin it anew.
    Opening(BoxFuture<'static, Result<Opened, JournalError>>),
}

enum Opened {
    Pull(Box<Pull>),
    /// The leader has the next frame, which consumers jump over.
    Frame(Bytes),
}

/// Why a consumer could not be had.
enum Refusal {
    Final(JournalError),
    Later(String),
}

impl JetStreamReader {
    pub(super) async fn open(
        shared: Arc<Shared>,
        partition: PartitionId,
        after: FrameSeq,
    ) -> Result<Self, JournalError> {
        let deadline = Instant::now() + OPENING;
        let position = after.0;
        for attempt in 1.. {
            match consume(&shared, partition, position).await {
                Ok(pull) => {
                    return Ok(Self {
                        shared,
                        partition,
                        position,
                        ready: Vec::new(),
                        bytes: 0,
                        source: Source::Open(Box::new(pull)),
                        behind: None,
                        jumped: false,
                    });
                }
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Later(reason)) if Instant::now() >= deadline => {
                    return Err(JournalError::Unavailable { reason });
                }
                Err(Refusal::Later(_)) => sleep(backoff(attempt, Duration::from_secs(1))).await,
            }
        }
        unreachable!("the loop has no end")
    }

    /// Takes one delivery. An error is a reason to begin anew.
    fn take(&mut self, delivery: Delivery) -> Result<(), String> {
        match delivery {
            Delivery::Frame(seq, _) if seq <= self.position => Ok(()),
            Delivery::Frame(seq, bytes) if seq == self.position + 1 => {
                self.push(bytes);
                Ok(())
            }
            Delivery::Frame(seq, _) => {
                self.jumped = true;
                Err(format!("frame {seq} came after {}", self.position))
            }
            Delivery::Alive => self.watch(),
        }
    }

    fn push(&mut self, bytes: Bytes) {
        self.position += 1;
        self.bytes += bytes.len();
        self.behind = None;
        self.jumped = false;
        let seq = FrameSeq(self.position);
        self.ready.push(StoredFrame { seq, bytes });
    }

    /// A consumer that lives and brings nothing, while there is more, is stuck.
    fn watch(&mut self) -> Result<(), String> {
        if self.shared.head(self.partition) <= self.position {
            self.behind = None;
            return Ok(());
        }
        let since = *self.behind.get_or_insert_with(Instant::now);
        if since.elapsed() < STALLED {
            return Ok(());
        }
        Err(format!(
            "it brings nothing after {} though there is more",
            self.position
        ))
    }

    /// Takes what is at hand; waits for something if there is nothing.
    async fn fill(&mut self) -> Result<(), JournalError> {
        match &mut self.source {
            Source::Open(pull) => {
                let wait = self.ready.is_empty();
                let taken = match pull.next(wait).await {
                    Ok(Some(delivery)) => self.take(delivery),
                    Ok(None) => Ok(()),
                    Err(reason) => Err(reason),
                };
                if let Err(reason) = taken {
                    self.begin_anew(&reason);
                }
            }
            Source::Opening(opening) => {
                let opened = opening.await;
                // A failed future must not be asked again; a call after an error tries anew.
                self.source = match opened {
                    Ok(Opened::Pull(pull)) => Source::Open(pull),
                    Ok(Opened::Frame(bytes)) => {
                        self.push(bytes);
                        self.opening()
                    }
                    Err(error) => {
                        self.source = self.opening();
                        return Err(error);
                    }
                };
            }
        }
        Ok(())
    }

    fn begin_anew(&mut self, reason: &str) {
        self.shared.stats.rebuilds.fetch_add(1, Ordering::Relaxed);
        self.behind = None;
        tracing::info!(partition = %self.partition, after = self.position, reason, "reading the log through a new consumer");
        self.source = self.opening();
    }

    fn opening(&self) -> Source {
        let (shared, partition, position) = (self.shared.clone(), self.partition, self.position);
        let jumped = self.jumped;
        Source::Opening(Box::pin(async move {
            for attempt in 1.. {
                let refusal = match reopen(&shared, partition, position, jumped).await {
                    Ok(opened) => return Ok(opened),
                    Err(refusal) => refusal,
                };
                match refusal {
                    Refusal::Final(error) => return Err(error),
                    Refusal::Later(reason) => shared.trouble.set(&reason),
                }
                sleep(backoff(attempt, Duration::from_secs(1))).await;
            }
            unreachable!("the loop has no end")
        }))
    }
}

#[async_trait]
impl Reader for JetStreamReader {
    async fn next(&mut self) -> Result<Vec<StoredFrame>, JournalError> {
        loop {
            let before = self.ready.len();
            // With something at hand, only what has already arrived is added.
            if before == 0 {
                self.fill().await?;
            } else if self.bytes < BYTES && matches!(self.source, Source::Open(_)) {
                self.fill().now_or_never().unwrap_or(Ok(()))?;
            }
            if before > 0 && self.ready.len() == before {
                self.bytes = 0;
                return Ok(std::mem::take(&mut self.ready));
            }
        }
    }
}

/// A consumer from `position` on; the missing frame itself, when consumers jump over it and the leader has it.
async fn reopen(
    shared: &Shared,
    partition: PartitionId,
    position: u64,
    jumped: bool,
) -> Result<Opened, Refusal> {
    if jumped {
        shared.stats.gaps.fetch_add(1, Ordering::Relaxed);
        // This tells first whether the frame was trimmed.
        look(shared, partition, position).await?;
        let stream = shared.names.stream(partition);
        let wanted = json!({ "seq": position + 1 });
        match shared.nats.stored(&stream, &wanted).await {
            Ok(Some(found)) if found.seq == position + 1 => return Ok(Opened::Frame(found.bytes)),
            Ok(_) => {
                return Err(Refusal::Final(corrupt(
                    &stream,
                    format!("frame {} is missing", position + 1),
                )));
            }
            Err(error) => return Err(later(&error)),
        }
    }
    let pull = consume(shared, partition, position).await?;
    Ok(Opened::Pull(Box::new(pull)))
}

async fn consume(shared: &Shared, partition: PartitionId, position: u64) -> Result<Pull, Refusal> {
    look(shared, partition, position).await?;
    let (stream, subject) = (shared.names.stream(partition), shared.names.subject(partition));
    Pull::create(&shared.nats, stream, subject, position + 1)
        .await
        .map_err(|error| later(&error))
}

/// Whether the leader has what comes after `position`.
async fn look(shared: &Shared, partition: PartitionId, position: u64) -> Result<StreamInfo, Refusal> {
    let stream = shared.names.stream(partition);
    let info = shared
        .nats
        .stream_info(&stream)
        .await
        .map_err(|error| later(&error))?;
    if !shared.names.owns(&info) {
        return Err(Refusal::Final(JournalError::Recreated { partition }));
    }
    let (first, last) = (info.first(), info.state.last_seq);
    if position + 1 < first {
        return Err(Refusal::Final(JournalError::Trimmed { partition, first }));
    }
    if position > last {
        // Only what is durable has been given out, so the servers have lost what they acknowledged. To go on would give
        // old positions to new frames.
        let what = format!("it ends at frame {last}, but frame {position} has been read of it");
        return Err(Refusal::Final(corrupt(&stream, what)));
    }
    shared.seen(partition, last);
    Ok(info)
}

fn corrupt(stream: &str, what: String) -> JournalError {
    JournalError::Corrupt {
        place: format!("stream {stream}"),
        what,
    }
}

fn later(error: &ApiError) -> Refusal {
    Refusal::Later(error.to_string())
}
