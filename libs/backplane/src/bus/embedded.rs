//! The bus of one process: a table of subjects, and a bounded queue for each who listens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};

use super::{Bus, BusError, BusMessage, Reply, Request, Server, Subscription};

/// How much one subscription or server may hold before it loses messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusLimits {
    /// Messages that wait. Default 65,536.
    pub messages: usize,
    /// Bytes of payload that wait. One message is taken whatever its size. Default 64 MiB.
    pub bytes: usize,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self {
            messages: 64 << 10,
            bytes: 64 << 20,
        }
    }
}

/// [`Bus`] within one process. Dropping it closes every subscription and server, once they have taken what waits.
pub struct EmbeddedBus {
    subjects: Arc<Subjects>,
    limits: BusLimits,
}

impl EmbeddedBus {
    /// A bus of its own: whoever shall talk to each other shares it.
    pub fn new(limits: BusLimits) -> Self {
        Self {
            subjects: Arc::default(),
            limits,
        }
    }
}

impl Default for EmbeddedBus {
    fn default() -> Self {
        Self::new(BusLimits::default())
    }
}

/// Who listens where.
#[derive(Default)]
struct Subjects(RwLock<AHashMap<Arc<str>, Listeners>>);

#[derive(Default)]
struct Listeners {
    subscribers: Vec<Arc<Queue<BusMessage>>>,
    /// The last one answers.
    servers: Vec<Arc<Queue<Request>>>,
}

impl Listeners {
    fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.servers.is_empty()
    }
}

impl Drop for Subjects {
    fn drop(&mut self) {
        for listeners in self.0.get_mut().values() {
            listeners.subscribers.iter().for_each(|q| q.close());
            listeners.servers.iter().for_each(|q| q.close());
        }
    }
}

impl Subjects {
    /// Adds to the listeners of a subject; answers with the shared name of the subject.
    fn listen(&self, subject: &str, add: impl FnOnce(&mut Listeners)) -> Arc<str> {
        let mut table = self.0.write();
        let name = match table.get_key_value(subject) {
            Some((name, _)) => name.clone(),
            None => Arc::from(subject),
        };
        add(table.entry(name.clone()).or_default());
        name
    }

    fn leave(&self, subject: &str, remove: impl FnOnce(&mut Listeners)) {
        let mut table = self.0.write();
        let Some(listeners) = table.get_mut(subject) else {
            return;
        };
        remove(listeners);
        if listeners.is_empty() {
            table.remove(subject);
        }
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        let table = self.subjects.0.read();
        if let Some((name, listeners)) = table.get_key_value(subject) {
            for queue in &listeners.subscribers {
                let message = BusMessage {
                    subject: name.clone(),
                    payload: payload.clone(),
                };
                queue.push(message, payload.len());
            }
        }
        Ok(())
    }

    async fn subscribe(&self, subject: &str) -> Result<Box<dyn Subscription>, BusError> {
        let queue = Arc::new(Queue::new(self.limits));
        let subject = self
            .subjects
            .listen(subject, |l| l.subscribers.push(queue.clone()));
        Ok(Box::new(EmbeddedSubscription {
            subject,
            queue,
            subjects: Arc::downgrade(&self.subjects),
        }))
    }

    async fn request(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, BusError> {
        let (tx, rx) = oneshot::channel();
        self.ask(subject, payload, tx)?;
        let answer = async {
            match rx.await {
                Ok(answer) => answer,
                // Dropped unanswered: the asker cannot know, and waits as it would across a network.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::time::timeout(timeout, answer)
            .await
            .map_err(|_| BusError::Timeout {
                subject: subject.to_owned(),
                after: timeout,
            })
    }

    async fn serve(&self, subject: &str) -> Result<Box<dyn Server>, BusError> {
        let queue = Arc::new(Queue::new(self.limits));
        let subject = self.subjects.listen(subject, |l| l.servers.push(queue.clone()));
        Ok(Box::new(EmbeddedServer {
            subject,
            queue,
            subjects: Arc::downgrade(&self.subjects),
            taken: Vec::new().into_iter(),
        }))
    }
}

impl EmbeddedBus {
    fn ask(&self, subject: &str, payload: Bytes, answer: oneshot::Sender<Bytes>) -> Result<(), BusError> {
        let table = self.subjects.0.read();
        let server = table
            .get(subject)
            .and_then(|listeners| listeners.servers.last())
            .ok_or_else(|| BusError::NoResponder(subject.to_owned()))?;
        let size = payload.len();
        let reply = Reply::new(move |bytes| {
            // The asker may have given up; then nobody needs the answer.
            let _ = answer.send(bytes);
        });
        server.push(Request { payload, reply }, size);
        Ok(())
    }
}

/// A bounded queue with one taker. Full, it refuses what comes rather than what waits, so that what waits keeps its order.
struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    wake: Notify,
    lost: AtomicU64,
    limits: BusLimits,
}

struct Waiting<T> {
    items: Vec<T>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    fn new(limits: BusLimits) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                items: Vec::new(),
                bytes: 0,
                closed: false,
            }),
            wake: Notify::new(),
            lost: AtomicU64::new(0),
            limits,
        }
    }

    fn push(&self, item: T, bytes: usize) {
        let mut waiting = self.waiting.lock();
        let first = waiting.items.is_empty();
        let full = waiting.items.len() >= self.limits.messages || waiting.bytes + bytes > self.limits.bytes;
        if full && !first {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += bytes;
        waiting.items.push(item);
        drop(waiting);
        // Only the first needs to wake the taker: it takes everything that has come until then.
        if first {
            self.wake.notify_one();
        }
    }

    fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// Everything that waits, at least one; `None` when closed and empty. Cancel safe: nothing is taken before the
    /// moment of return.
    async fn take(&self) -> Option<Vec<T>> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.items.is_empty() {
                    waiting.bytes = 0;
                    return Some(std::mem::take(&mut waiting.items));
                }
                if waiting.closed {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }
}

struct EmbeddedSubscription {
    subject: Arc<str>,
    queue: Arc<Queue<BusMessage>>,
    subjects: Weak<Subjects>,
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Option<Vec<BusMessage>> {
        self.queue.take().await
    }

    fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        if let Some(subjects) = self.subjects.upgrade() {
            subjects.leave(&self.subject, |l| {
                l.subscribers.retain(|q| !Arc::ptr_eq(q, &self.queue))
            });
        }
    }
}

struct EmbeddedServer {
    subject: Arc<str>,
    queue: Arc<Queue<Request>>,
    subjects: Weak<Subjects>,
    taken: std::vec::IntoIter<Request>,
}

#[async_trait]
impl Server for EmbeddedServer {
    async fn next(&mut self) -> Option<Request> {
        if self.taken.as_slice().is_empty() {
            self.taken = self.queue.take().await?.into_iter();
        }
        self.taken.next()
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        if let Some(subjects) = self.subjects.upgrade() {
            subjects.leave(&self.subject, |l| {
                l.servers.retain(|q| !Arc::ptr_eq(q, &self.queue))
            });
        }
    }
}
