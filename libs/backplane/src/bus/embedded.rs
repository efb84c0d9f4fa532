//! The bus of one process: a table of subjects, and a bounded queue for each who listens.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::queue::{BusLimits, Queue};
use super::{Bus, BusError, BusMessage, Reply, Request, Server, Subscription};

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
        let servers = table.get(subject).map_or(&[][..], |listeners| &listeners.servers);
        if servers.is_empty() {
            return Err(BusError::NoResponder(subject.to_owned()));
        }
        let answer = Arc::new(Mutex::new(Some(answer)));
        for server in servers {
            let answer = answer.clone();
            let reply = Reply::new(move |bytes| {
                // The first answer counts, and the asker may have given up.
                if let Some(answer) = answer.lock().take() {
                    let _ = answer.send(bytes);
                }
            });
            let payload = payload.clone();
            let size = payload.len();
            server.push(Request { payload, reply }, size);
        }
        Ok(())
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
        self.queue.lost()
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
