//! One consumer of a stream, and the messages it brings. It is thrown away at the first thing that is not as expected.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::nats::Nats;
use crate::nats::api::ApiError;

/// What one request asks for: the most that waits for a slow reader.
const BATCH: usize = 4096;
pub(super) const BYTES: usize = 4 << 20;
/// How long the servers may take for a new consumer. The next one may be placed on another server, so it is soon given up.
const CREATING: Duration = Duration::from_millis(2500);
/// How long a request stays open at the server.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is there while nothing comes.
const HEARTBEAT: Duration = Duration::from_millis(1500);
/// Longer without a word, and the consumer is taken for dead.
const SILENCE: Duration = Duration::from_millis(3500);
/// A consumer that nobody asks anything is removed by the server after this.
const INACTIVE: Duration = Duration::from_secs(30);

/// What a message was.
pub(super) enum Delivery {
    /// A stored frame and its place.
    Frame(u64, Bytes),
    /// Nothing new, but the server is there.
    Alive,
}

/// A consumer and its open request.
pub(super) struct Pull {
    nats: Nats,
    stream: String,
    subject: String,
    consumer: String,
    inbox: Subject,
    messages: Subscriber,
    /// How many messages the open request may still bring; 0: none is open.
    left: usize,
    /// Whether the open request has brought something.
    fruitful: bool,
    /// Whether a frame is larger than a request usually takes.
    unlimited: bool,
    heard: Instant,
    losses: u64,
}

impl Pull {
    /// Creates a consumer that begins at frame `start`. It lives in the memory of one server, and is gone with it.
    pub(super) async fn create(
        nats: &Nats,
        stream: String,
        subject: String,
        start: u64,
    ) -> Result<Self, ApiError> {
        let losses = nats.losses();
        let consumer = format!("r{:016x}", rand::random::<u64>());
        let inbox = Subject::from(nats.client().new_inbox());
        let messages = nats.client().subscribe(inbox.clone()).await;
        let messages = messages.map_err(|error| ApiError::Unknown(error.to_string()))?;
        // Before the request, so that a consumer of which we are not told is removed too.
        let pull = Self {
            nats: nats.clone(),
            stream,
            subject,
            consumer,
            inbox,
            messages,
            left: 0,
            fruitful: true,
            unlimited: false,
            heard: Instant::now(),
            losses,
        };
        let body = json!({
            "stream_name": pull.stream,
            "action": "create",
            "config": {
                "name": pull.consumer,
                "ack_policy": "none",
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": start,
                "replay_policy": "instant",
                "max_deliver": -1,
                "num_replicas": 1,
                "mem_storage": true,
                "inactive_threshold": nanos(INACTIVE),
            },
        });
        let what = format!("CONSUMER.CREATE.{}.{}", pull.stream, pull.consumer);
        let _created: Value = nats.api(&what, &body, CREATING).await?;
        Ok(pull)
    }

    /// The next message; waits for one if `wait`. `None` when there is none now. An error is a reason to throw the consumer
    /// away. Cancel safe.
    pub(super) async fn next(&mut self, wait: bool) -> Result<Option<Delivery>, String> {
        if self.nats.losses() != self.losses {
            return Err("the connection was lost".to_owned());
        }
        if let Some(message) = self.messages.next().now_or_never() {
            return self.take(message).map(Some);
        }
        if self.left == 0 {
            self.request().await?;
        }
        if !wait {
            return Ok(None);
        }
        match timeout_at(self.heard + SILENCE, self.messages.next()).await {
            Ok(message) => self.take(message).map(Some),
            Err(_) => Err(format!("nothing was heard for {SILENCE:?}")),
        }
    }

    /// Opens the next request.
    async fn request(&mut self) -> Result<(), String> {
        // What is asked for must take the largest frame there can be.
        let bytes = BYTES.max(self.nats.max_payload() + 4096);
        let (batch, bytes) = if self.unlimited { (1, 0) } else { (BATCH, bytes) };
        let body = json!({
            "batch": batch,
            "max_bytes": bytes,
            "expires": nanos(EXPIRES),
            "idle_heartbeat": nanos(HEARTBEAT),
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let asked =
            self.nats
                .client()
                .publish_with_reply(subject, self.inbox.clone(), body.to_string().into());
        timeout_at(Instant::now() + SILENCE, asked)
            .await
            .map_err(|_| "the connection takes nothing".to_owned())?
            .map_err(|error| error.to_string())?;
        self.left = batch;
        self.fruitful = false;
        self.heard = Instant::now();
        Ok(())
    }

    fn take(&mut self, message: Option<Message>) -> Result<Delivery, String> {
        let message = message.ok_or("the client is closed")?;
        self.heard = Instant::now();
        match message.status {
            None | Some(StatusCode::OK) => self.frame(message),
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(Delivery::Alive),
            // The request is over: it has waited long enough, or there is nothing.
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.left = 0;
                Ok(Delivery::Alive)
            }
            Some(status) => self.status(status, message.description.as_deref().unwrap_or_default()),
        }
    }

    /// The server ends a request when its bytes are used up; anything else it says ends the consumer.
    fn status(&mut self, status: StatusCode, text: &str) -> Result<Delivery, String> {
        let used_up = ["Message Size Exceeds MaxBytes", "Batch Completed"];
        if !used_up.iter().any(|known| text.eq_ignore_ascii_case(known)) {
            return Err(format!("{status} {text}"));
        }
        self.left = 0;
        if !self.fruitful {
            self.unlimited = true;
        }
        Ok(Delivery::Alive)
    }

    fn frame(&mut self, message: Message) -> Result<Delivery, String> {
        let reply = message.reply.as_deref().unwrap_or_default();
        let seq = sequence(reply).ok_or_else(|| format!("a message with the reply subject {reply:?}"))?;
        if message.subject.as_str() != self.subject {
            return Err(format!("a message of {}", message.subject));
        }
        self.left = self.left.saturating_sub(1);
        self.fruitful = true;
        self.unlimited = false;
        Ok(Delivery::Frame(seq, message.payload))
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        // As good as can be: the server removes it by itself after a while.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let nats = self.nats.clone();
            let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.consumer);
            runtime.spawn(async move {
                if nats.is_connected() {
                    let _sent = nats.client().publish(subject, Bytes::new()).await;
                }
            });
        }
    }
}

/// The stream sequence in `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.…`, or in the longer form with domain and account
/// before the stream.
fn sequence(reply: &str) -> Option<u64> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let at = if tokens.len() >= 9 { 5 } else { 3 };
    tokens.get(at)?.parse().ok()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_reply_subject_tell_the_sequence() {
        assert_eq!(sequence("$JS.ACK.S.C.1.42.7.1700000000000000000.3"), Some(42));
        assert_eq!(
            sequence("$JS.ACK._.HASH.S.C.1.42.7.1700000000000000000.3"),
            Some(42)
        );
        assert_eq!(
            sequence("$JS.ACK.d.HASH.S.C.1.42.7.1700000000000000000.3.token"),
            Some(42)
        );
        assert_eq!(sequence("_INBOX.x"), None);
    }
}
