//! Subjects between services. At most once: what is published may be lost when a subscriber is slow or gone, so
//! everything built on it numbers its frames or can be asked again.

mod embedded;
mod nats;
mod queue;
#[cfg(feature = "suite")]
pub mod suite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

pub use embedded::EmbeddedBus;
pub use nats::NatsBus;
pub use queue::BusLimits;

/// Why a message was not sent, or a request had no answer.
#[derive(Debug, Error)]
pub enum BusError {
    /// Nobody serves the subject now.
    #[error("nobody answers on {0}")]
    NoResponder(String),
    /// The answer did not come in time; whether the request arrived is unknown.
    #[error("no answer on {subject} within {after:?}")]
    Timeout {
        /// The subject.
        subject: String,
        /// The deadline.
        after: Duration,
    },
    /// The connection to the bus is lost.
    #[error("the bus is not connected: {0}")]
    Disconnected(String),
    /// The message is larger than the bus takes.
    #[error("a message of {size} bytes exceeds the bus's limit of {limit}")]
    TooLarge {
        /// Bytes of the message.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// A message of a subscription.
#[derive(Debug, Clone)]
pub struct BusMessage {
    /// The subject it was published on, shared: cloning it allocates nothing.
    pub subject: Arc<str>,
    /// Its bytes, shared between the subscribers.
    pub payload: Bytes,
}

/// Publish, subscribe, request. Subjects are dot-separated words; subscriptions name exact subjects.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Gives the payload to everyone subscribed now. Does not wait for anyone: a subscriber whose buffer is full loses
    /// it and sees [`Subscription::lost`] grow. Messages of one publisher on one subject keep their order.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;

    /// Subscribes; messages published after this resolves arrive: those of this process, and those of others that learn over the bus
    /// that it has resolved. Any number may subscribe to one subject, and each gets every message.
    async fn subscribe(&self, subject: &str) -> Result<Box<dyn Subscription>, BusError>;

    /// Asks whoever serves the subject, and waits for at most `timeout`. With nobody there it fails at once; with a
    /// server that drops the request it waits the whole time, as it would across a network.
    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError>;

    /// Serves a subject: requests arrive in order until the server is dropped. One is meant to serve a subject, but an owner that does
    /// not know yet that it has been replaced may still be there: each of several gets the request, and the asker takes the first
    /// answer. So one that hangs does not keep the others from answering.
    async fn serve(&self, subject: &str) -> Result<Box<dyn Server>, BusError>;
}

/// A subscription; ends when dropped.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// The next messages, as many as are at hand; waits when there are none. An empty batch says that [`Subscription::lost`]
    /// has grown and nothing else has come. `None` when the bus is closed. Cancel safe.
    async fn next(&mut self) -> Option<Vec<BusMessage>>;

    /// How many messages this subscription has lost so far, including by a lost connection: at least one for each time it was
    /// lost, as nobody knows how many. It has grown before what came after the loss is given out.
    fn lost(&self) -> u64;
}

/// The serving side of requests.
#[async_trait]
pub trait Server: Send + 'static {
    /// The next request; `None` when the bus is closed. Cancel safe.
    async fn next(&mut self) -> Option<Request>;
}

/// A request that waits for its answer.
pub struct Request {
    /// What is asked.
    pub payload: Bytes,
    /// Where the answer goes. Dropped unanswered, the asker times out.
    pub reply: Reply,
}

/// Answers one request.
pub struct Reply(Box<dyn FnOnce(Bytes) + Send>);

impl Reply {
    /// Wraps the way back.
    pub fn new(send: impl FnOnce(Bytes) + Send + 'static) -> Self {
        Self(Box::new(send))
    }

    /// Answers.
    pub fn send(self, payload: Bytes) {
        (self.0)(payload)
    }
}
