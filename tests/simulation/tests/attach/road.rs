//! The way between edges and owners: each line keeps its order and loses nothing until it ends, which both sides notice, the
//! one sooner, the other later. Slow, and broken off, as it pleases.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use contract::routing::{Downstream, Hello, Routed, Routing, Up, Upstream};
use contract::{ErrorKind, RpcError};
use parking_lot::Mutex;
use routing::Owners;
use tokio::sync::Notify;
use tokio::time::{Duration, sleep};

use crate::chance::Chance;
use crate::process::Process;

/// How often each side looks whether the other still gives a sign of life.
const LOOK: Duration = Duration::from_millis(500);
/// After so many looks without one the line is given up.
const PATIENCE: u32 = 8;

/// Where the owners are.
pub struct Road {
    chance: Arc<Chance>,
    there: Mutex<Vec<(Arc<Process>, Arc<Owners>)>>,
}

impl Road {
    pub fn new(chance: Arc<Chance>) -> Arc<Self> {
        Arc::new(Self {
            chance,
            there: Mutex::default(),
        })
    }

    /// Owners of another process can be found.
    pub fn add(&self, process: &Arc<Process>, owners: &Arc<Owners>) {
        let mut there = self.there.lock();
        there.retain(|(process, _)| !process.is_dead());
        there.push((process.clone(), owners.clone()));
    }

    /// In any order.
    fn there(&self) -> Vec<(Arc<Process>, Arc<Owners>)> {
        let mut there = self.there.lock().clone();
        let turn = usize::try_from(self.chance.below(there.len() as u64)).unwrap_or(0);
        there.rotate_left(turn);
        there
    }
}

/// A process that opens lines.
pub struct EdgeRoad {
    pub road: Arc<Road>,
    pub process: Arc<Process>,
}

#[async_trait]
impl Routing for EdgeRoad {
    async fn open(&self, hello: Hello, edge: Arc<dyn Downstream>) -> Result<Box<dyn Upstream>, RpcError> {
        let chance = &self.road.chance;
        self.process.pass().await;
        for (process, owners) in self.road.there() {
            if process.is_dead() {
                continue;
            }
            chance.pause().await;
            self.process.pass().await;
            if self.process.is_cut() || process.is_cut() || process.is_stopped() {
                sleep(Duration::from_millis(500)).await;
                continue;
            }
            let line = Arc::new(Line {
                chance: chance.clone(),
                edge: self.process.clone(),
                owner: process,
                is_over: AtomicBool::new(false),
                ups: Queue::default(),
                downs: Queue::default(),
            });
            let Ok(up) = owners
                .open(hello.clone(), Arc::new(OwnersEnd(line.clone())))
                .await
            else {
                continue;
            };
            tokio::spawn(line.clone().bring_up(up));
            tokio::spawn(line.clone().bring_down(edge));
            tokio::spawn(line.clone().look());
            return Ok(Box::new(EdgesEnd(line)));
        }
        Err(RpcError::new(ErrorKind::Unavailable, "nobody owns it"))
    }
}

struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    filled: Notify,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            items: Mutex::default(),
            filled: Notify::new(),
        }
    }
}

impl<T> Queue<T> {
    fn put(&self, item: T) {
        self.items.lock().push_back(item);
        self.filled.notify_one();
    }
}

struct Line {
    chance: Arc<Chance>,
    edge: Arc<Process>,
    owner: Arc<Process>,
    is_over: AtomicBool,
    ups: Queue<Up>,
    downs: Queue<Routed>,
}

impl Line {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.ups.filled.notify_one();
        self.downs.filled.notify_one();
    }

    /// The next of a queue, after its way; `None` when the line has ended.
    async fn next<T>(&self, queue: &Queue<T>) -> Option<T> {
        loop {
            if self.is_over() {
                return None;
            }
            let next = queue.items.lock().pop_front();
            let Some(next) = next else {
                queue.filled.notified().await;
                continue;
            };
            self.chance.pause().await;
            if self.chance.happens(self.chance.faults().lost) {
                self.end();
            }
            return Some(next).filter(|_| !self.is_over());
        }
    }

    async fn bring_up(self: Arc<Self>, up: Box<dyn Upstream>) {
        while let Some(said) = self.next(&self.ups).await {
            self.owner.pass().await;
            if self.is_over() || !up.send(said) {
                break;
            }
        }
        self.end();
        self.owner.pass().await;
        drop(up);
    }

    async fn bring_down(self: Arc<Self>, edge: Arc<dyn Downstream>) {
        while let Some(said) = self.next(&self.downs).await {
            self.edge.pass().await;
            if !edge.routed(said) {
                break;
            }
        }
        self.end();
        self.edge.pass().await;
        edge.ended();
    }

    /// Ends it when one side is gone, cut off, or gives no sign of life.
    async fn look(self: Arc<Self>) {
        let mut silent = 0;
        while !self.is_over() {
            sleep(LOOK).await;
            let both = [&self.edge, &self.owner];
            if both.iter().any(|p| p.is_dead()) {
                break;
            }
            silent = match both.iter().any(|p| p.is_cut() || p.is_stopped()) {
                true => silent + 1,
                false => 0,
            };
            if silent >= PATIENCE {
                break;
            }
        }
        self.end();
    }
}

struct EdgesEnd(Arc<Line>);

impl Upstream for EdgesEnd {
    fn send(&self, up: Up) -> bool {
        self.0.ups.put(up);
        !self.0.is_over()
    }
}

impl Drop for EdgesEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct OwnersEnd(Arc<Line>);

impl Downstream for OwnersEnd {
    fn routed(&self, routed: Routed) -> bool {
        self.0.downs.put(routed);
        !self.0.is_over()
    }

    fn ended(&self) {
        self.0.end();
    }
}
