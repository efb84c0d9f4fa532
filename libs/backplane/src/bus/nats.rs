//! The bus of a cluster: core NATS, which forgets.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, PublishErrorKind, Request as NatsRequest, RequestErrorKind, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::queue::{BusLimits, Queue};
use super::{Bus, BusError, BusMessage, Reply, Request, Server, Subscription};
use crate::nats::{Nats, PATIENCE};

/// [`Bus`] over core NATS. Messages travel on `{name}.bus.{subject}`, requests on `{name}.ask.{subject}`.
///
/// While there is no connection nothing is queued: publishing fails with [`BusError::Disconnected`].
#[derive(Clone)]
pub struct NatsBus {
    nats: Nats,
    limits: BusLimits,
}

/// How long a message may wait for the connection to take it.
const STUCK: Duration = Duration::from_secs(2);

impl NatsBus {
    /// The bus of an installation.
    pub fn new(nats: &Nats) -> Self {
        Self::with_limits(nats, BusLimits::default())
    }

    /// With other limits to what a subscription or server holds.
    pub fn with_limits(nats: &Nats, limits: BusLimits) -> Self {
        let nats = nats.clone();
        Self { nats, limits }
    }

    fn message(&self, subject: &str) -> String {
        format!("{}.bus.{subject}", self.nats.name())
    }

    fn question(&self, subject: &str) -> String {
        format!("{}.ask.{subject}", self.nats.name())
    }

    fn check(&self, payload: &Bytes) -> Result<(), BusError> {
        if !self.nats.is_connected() {
            return Err(disconnected("waiting for a server"));
        }
        let (size, limit) = (payload.len(), self.nats.max_payload());
        if size > limit {
            return Err(BusError::TooLarge { size, limit });
        }
        Ok(())
    }

    /// Subscribes; resolves when the server has taken it.
    async fn listen(&self, subject: String) -> Result<Subscriber, BusError> {
        let subscribed = async {
            let subscriber = self.nats.client().subscribe(subject).await;
            let subscriber = subscriber.map_err(|error| disconnected(&error.to_string()))?;
            self.round_trip().await?;
            Ok(subscriber)
        };
        if !self.nats.is_connected() {
            return Err(disconnected("waiting for a server"));
        }
        let late = |_| disconnected("the server does not answer");
        timeout(PATIENCE, subscribed).await.map_err(late)?
    }

    /// The server takes what one connection sends in order, so when it has answered this, it has taken what was sent before.
    async fn round_trip(&self) -> Result<(), BusError> {
        let nobody = format!("{}.ask.-", self.nats.name());
        match self.nats.client().request(nobody, Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(disconnected(&error.to_string())),
        }
    }
}

fn disconnected(reason: &str) -> BusError {
    BusError::Disconnected(reason.to_owned())
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.check(&payload)?;
        let size = payload.len();
        let sent = self.nats.client().publish(self.message(subject), payload);
        match timeout(STUCK, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(BusError::TooLarge {
                    size,
                    limit: self.nats.max_payload(),
                })
            }
            Ok(Err(error)) => Err(disconnected(&error.to_string())),
            Err(_) => Err(disconnected("the connection takes nothing")),
        }
    }

    async fn subscribe(&self, subject: &str) -> Result<Box<dyn Subscription>, BusError> {
        let losses = self.nats.losses();
        let subscriber = self.listen(self.message(subject)).await?;
        let queue = Arc::new(Queue::new(self.limits));
        let subject: Arc<str> = subject.into();
        let make = move |message: async_nats::Message| BusMessage {
            subject: subject.clone(),
            payload: message.payload,
        };
        Ok(Box::new(NatsSubscription {
            pump: pump(self.nats.clone(), subscriber, queue.clone(), make),
            queue,
            nats: self.nats.clone(),
            losses,
            told: 0,
        }))
    }

    async fn request(&self, subject: &str, payload: Bytes, wait: Duration) -> Result<Bytes, BusError> {
        self.check(&payload)?;
        let disconnects = self.nats.disconnects();
        let request = NatsRequest::new().payload(payload).timeout(Some(wait));
        let asked = self.nats.client().send_request(self.question(subject), request);
        let late = || BusError::Timeout {
            subject: subject.to_owned(),
            after: wait,
        };
        let answer = tokio::select! {
            answer = timeout(wait, asked) => answer.map_err(|_| late())?,
            () = self.nats.lost_since(disconnects) => return Err(disconnected("the connection was lost")),
        };
        match answer {
            Ok(message) => Ok(message.payload),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => BusError::NoResponder(subject.to_owned()),
                RequestErrorKind::TimedOut => late(),
                _ => disconnected(&error.to_string()),
            }),
        }
    }

    async fn serve(&self, subject: &str) -> Result<Box<dyn Server>, BusError> {
        let subscriber = self.listen(self.question(subject)).await?;
        let queue = Arc::new(Queue::new(self.limits));
        let client = self.nats.client().clone();
        let make = move |message: async_nats::Message| Request {
            payload: message.payload,
            reply: reply(client.clone(), message.reply),
        };
        Ok(Box::new(NatsServer {
            pump: pump(self.nats.clone(), subscriber, queue.clone(), make),
            queue,
            taken: Vec::new().into_iter(),
        }))
    }
}

fn reply(client: Client, to: Option<async_nats::Subject>) -> Reply {
    Reply::new(move |payload| {
        let Some(to) = to else { return };
        let mut sending = Box::pin(async move {
            if let Err(error) = client.publish(to, payload).await {
                tracing::warn!(%error, "an answer could not be sent");
            }
        });
        // There is nearly always room in the client; else somebody must wait, and it is not who answers.
        if sending.as_mut().now_or_never().is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(sending);
        }
    })
}

/// Moves what arrives to a queue that is bounded in bytes too. The client's own is bounded in messages only.
fn pump<T: Send + 'static>(
    nats: Nats,
    mut subscriber: Subscriber,
    queue: Arc<Queue<T>>,
    make: impl Fn(async_nats::Message) -> T + Send + 'static,
) -> Pump {
    Pump(tokio::spawn(async move {
        let mut events = nats.events();
        loop {
            tokio::select! {
                message = subscriber.next() => match message {
                    Some(message) => {
                        let size = message.payload.len();
                        queue.push(make(message), size);
                    }
                    None => break,
                },
                changed = events.changed() => {
                    queue.nudge();
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        queue.close();
    }))
}

/// Ends with its subscription.
struct Pump(JoinHandle<()>);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct NatsSubscription {
    #[expect(dead_code, reason = "ends when dropped")]
    pump: Pump,
    queue: Arc<Queue<BusMessage>>,
    nats: Nats,
    /// Of the connection, when we subscribed.
    losses: u64,
    /// What the caller can know of our losses.
    told: u64,
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Vec<BusMessage>> {
        let told = self.told;
        let batch = self.queue.take_unless(|| self.lost() > told).await;
        self.told = self.lost();
        batch
    }

    fn lost(&self) -> u64 {
        self.queue.lost() + (self.nats.losses() - self.losses)
    }
}

struct NatsServer {
    #[expect(dead_code, reason = "ends when dropped")]
    pump: Pump,
    queue: Arc<Queue<Request>>,
    taken: std::vec::IntoIter<Request>,
}

#[async_trait]
impl Server for NatsServer {
    async fn next(&mut self) -> Option<Request> {
        if self.taken.as_slice().is_empty() {
            self.taken = self.queue.take().await?.into_iter();
        }
        self.taken.next()
    }
}
