//! The bus: it keeps the order of one sender on one subject, and else loses, repeats and delays as it pleases.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use backplane::bus::{Bus, BusError, BusMessage, Reply, Request, Server, Subscription};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::chance::Chance;
use crate::process::Process;

/// What one subscription or server holds.
struct Inbox<T> {
    number: u64,
    process: Arc<Process>,
    items: Mutex<VecDeque<T>>,
    lost: AtomicU64,
    filled: Notify,
}

impl<T> Inbox<T> {
    fn put(&self, item: T) {
        if self.process.is_cut() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.items.lock().push_back(item);
        self.filled.notify_one();
    }

    async fn filled(&self) {
        loop {
            self.process.pass().await;
            if !self.items.lock().is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }
}

/// Something on its way.
enum Parcel {
    Message(Weak<Inbox<BusMessage>>, BusMessage),
    Request(Weak<Inbox<Request>>, Request),
    Answer(oneshot::Sender<Bytes>, Bytes),
}

#[derive(Default)]
struct Subject {
    subscribers: Vec<Weak<Inbox<BusMessage>>>,
    servers: Vec<Weak<Inbox<Request>>>,
}

#[derive(Default)]
struct State {
    subjects: BTreeMap<String, Subject>,
    under_way: BTreeMap<(Instant, u64), Parcel>,
    /// When the last parcel of a sender for a receiver arrives: none overtakes it.
    last: BTreeMap<(u64, u64), Instant>,
    next: u64,
}

/// The network under the bus.
pub struct Net {
    chance: Arc<Chance>,
    state: Mutex<State>,
    sent: Notify,
}

impl Net {
    pub fn new(chance: Arc<Chance>) -> Arc<Self> {
        Arc::new(Self {
            chance,
            state: Mutex::default(),
            sent: Notify::new(),
        })
    }

    /// Brings what is under way. Never returns.
    pub async fn run(self: Arc<Self>) {
        loop {
            let first = self.state.lock().under_way.first_entry().map(|e| e.key().0);
            match first {
                Some(at) if at <= Instant::now() => {
                    let parcel = self.state.lock().under_way.pop_first();
                    if let Some((_, parcel)) = parcel {
                        bring(parcel);
                    }
                }
                Some(at) => tokio::select! {
                    biased;
                    () = self.sent.notified() => {}
                    () = sleep_until(at) => {}
                },
                None => self.sent.notified().await,
            }
        }
    }

    fn send(&self, from: u64, to: u64, parcel: Parcel) {
        let at = Instant::now() + self.chance.delay();
        let mut state = self.state.lock();
        let last = state.last.entry((from, to)).or_insert(at);
        let at = at.max(*last);
        *last = at;
        state.next += 1;
        let number = state.next;
        state.under_way.insert((at, number), parcel);
        drop(state);
        self.sent.notify_one();
    }

    fn inbox<T>(&self, process: &Arc<Process>) -> Arc<Inbox<T>> {
        let mut state = self.state.lock();
        state.next += 1;
        Arc::new(Inbox {
            number: state.next,
            process: process.clone(),
            items: Mutex::default(),
            lost: AtomicU64::new(0),
            filled: Notify::new(),
        })
    }

    fn subscribers(&self, subject: &str) -> Vec<Arc<Inbox<BusMessage>>> {
        let mut state = self.state.lock();
        let Some(subject) = state.subjects.get_mut(subject) else {
            return Vec::new();
        };
        subject.subscribers.retain(|s| s.strong_count() > 0);
        subject.subscribers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Any of those who serve the subject, even if it is stopped.
    fn server(&self, subject: &str) -> Option<Arc<Inbox<Request>>> {
        let mut state = self.state.lock();
        let subject = state.subjects.get_mut(subject)?;
        subject.servers.retain(|s| s.strong_count() > 0);
        let all: Vec<_> = subject.servers.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        let n = self.chance.below(all.len() as u64);
        all.into_iter().nth(usize::try_from(n).unwrap_or(0))
    }
}

fn bring(parcel: Parcel) {
    match parcel {
        Parcel::Message(to, message) => drop(to.upgrade().map(|to| to.put(message))),
        Parcel::Request(to, request) => drop(to.upgrade().map(|to| to.put(request))),
        Parcel::Answer(to, bytes) => drop(to.send(bytes)),
    }
}

/// A process on the network.
pub struct NetBus {
    pub net: Arc<Net>,
    pub process: Arc<Process>,
}

impl NetBus {
    fn away(&self) -> BusError {
        BusError::Disconnected("cut off".into())
    }
}

#[async_trait]
impl Bus for NetBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.process.pass().await;
        let chance = &self.net.chance;
        if self.process.is_cut() {
            // It may take a while until the connection is known to be lost.
            return if chance.happens(500) {
                Err(self.away())
            } else {
                Ok(())
            };
        }
        let (faults, name): (_, Arc<str>) = (chance.faults(), subject.into());
        for inbox in self.net.subscribers(subject) {
            let copies = match () {
                () if chance.happens(faults.lost) => 0,
                () if chance.happens(faults.twice) => 2,
                () => 1,
            };
            for _ in 0..copies {
                let (subject, payload) = (name.clone(), payload.clone());
                let message = BusMessage { subject, payload };
                let parcel = Parcel::Message(Arc::downgrade(&inbox), message);
                self.net.send(self.process.number, inbox.number, parcel);
            }
        }
        Ok(())
    }

    async fn subscribe(&self, subject: &str) -> Result<Box<dyn Subscription>, BusError> {
        self.process.connected().await;
        let inbox = self.net.inbox(&self.process);
        let mut state = self.net.state.lock();
        let entry = state.subjects.entry(subject.to_owned()).or_default();
        entry.subscribers.push(Arc::downgrade(&inbox));
        Ok(Box::new(NetSubscription(inbox)))
    }

    async fn request(&self, subject: &str, payload: Bytes, limit: Duration) -> Result<Bytes, BusError> {
        self.process.pass().await;
        let chance = self.net.chance.clone();
        let late = || BusError::Timeout {
            subject: subject.to_owned(),
            after: limit,
        };
        if self.process.is_cut() {
            if chance.happens(500) {
                return Err(self.away());
            }
            sleep(limit).await;
            self.process.pass().await;
            return Err(late());
        }
        let Some(server) = self.net.server(subject) else {
            return Err(BusError::NoResponder(subject.to_owned()));
        };
        let (answer, answered) = oneshot::channel();
        if !chance.happens(chance.faults().lost) {
            let request = Request {
                payload,
                reply: self.reply(&server, answer),
            };
            let parcel = Parcel::Request(Arc::downgrade(&server), request);
            self.net.send(self.process.number, server.number, parcel);
        }
        drop(server);
        let waiting = async {
            match answered.await {
                Ok(bytes) => bytes,
                Err(_) => std::future::pending().await,
            }
        };
        let answer = timeout(limit, waiting).await;
        self.process.pass().await;
        answer.map_err(|_| late())
    }

    async fn serve(&self, subject: &str) -> Result<Box<dyn Server>, BusError> {
        self.process.connected().await;
        let inbox = self.net.inbox(&self.process);
        let mut state = self.net.state.lock();
        let entry = state.subjects.entry(subject.to_owned()).or_default();
        entry.servers.push(Arc::downgrade(&inbox));
        Ok(Box::new(NetServer(inbox)))
    }
}

impl NetBus {
    /// The way back is as bad as the way there.
    fn reply(&self, server: &Inbox<Request>, answer: oneshot::Sender<Bytes>) -> Reply {
        let (net, asker, from) = (self.net.clone(), self.process.clone(), server.process.clone());
        Reply::new(move |bytes| {
            let lost = net.chance.happens(net.chance.faults().lost);
            if !lost && !from.is_cut() && !asker.is_cut() {
                // An inbox of its own: answers overtake frames.
                net.send(
                    from.number,
                    u64::MAX - asker.number,
                    Parcel::Answer(answer, bytes),
                );
            }
        })
    }
}

struct NetSubscription(Arc<Inbox<BusMessage>>);

#[async_trait]
impl Subscription for NetSubscription {
    async fn next(&mut self) -> Option<Vec<BusMessage>> {
        self.0.filled().await;
        Some(self.0.items.lock().drain(..).collect())
    }

    fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

struct NetServer(Arc<Inbox<Request>>);

#[async_trait]
impl Server for NetServer {
    async fn next(&mut self) -> Option<Request> {
        self.0.filled().await;
        self.0.items.lock().pop_front()
    }
}
