//! Which replicas there are and how each does: written by those who keep the connections, read by every call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use runtime::health::Check;
use tokio::sync::{Notify, watch};

use super::connection::Connection;
use crate::method::Service;
use crate::metrics::Metrics;

/// How a replica does.
pub(super) enum State {
    /// It is being tried for the first time since it was found or lost: worth a short wait.
    Connecting,
    /// It says that it serves.
    Ready(Arc<Connection>),
    /// It could not be reached, and why. It is tried again and again.
    Away(String),
}

/// The replicas of one service.
pub(super) struct Board {
    pub(super) service: Service,
    table: watch::Sender<Table>,
    metrics: Metrics,
    check: Check,
    /// Where the next look begins, so that equals take turns.
    turn: AtomicUsize,
    /// Someone was lost or cannot be reached: the names may mean others by now.
    pub(super) lost: Notify,
}

#[derive(Default)]
struct Table {
    /// The names were looked up.
    is_looked_up: bool,
    /// Why a name has no address.
    unknown: Option<String>,
    replicas: BTreeMap<SocketAddr, State>,
}

impl Board {
    pub(super) fn new(service: Service, metrics: &Metrics, check: Check) -> Self {
        Self {
            service,
            table: watch::Sender::default(),
            metrics: metrics.clone(),
            check,
            turn: AtomicUsize::new(0),
            lost: Notify::new(),
        }
    }

    /// A look-up is over; `unknown` is what it could not find.
    pub(super) fn looked_up(&self, unknown: Option<String>) {
        self.change(|table| {
            table.is_looked_up = true;
            table.unknown = unknown;
        });
    }

    pub(super) fn set(&self, address: SocketAddr, state: State) {
        self.change(|table| {
            table.replicas.insert(address, state);
        });
    }

    pub(super) fn remove(&self, address: &SocketAddr) {
        self.change(|table| {
            table.replicas.remove(address);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        self.table.send_modify(change);
        let table = self.table.borrow();
        let ready = table.ready().count();
        self.metrics.replicas(self.service, ready, table.replicas.len());
        if ready > 0 {
            self.check.ok();
        } else if !table.has_hope() {
            self.check.fail(table.reason());
        }
    }

    /// The replica for the next call: one that was not tried yet, that did not just say it is unavailable, with the
    /// fewest calls under way. Waits only while one is being connected; the error says why there is none.
    pub(super) async fn pick(&self, tried: &[SocketAddr]) -> Result<Arc<Connection>, String> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(best) = self.table.borrow().best(tried, turn) {
            return Ok(best);
        }
        let mut table = self.table.subscribe();
        loop {
            {
                let table = table.borrow_and_update();
                if let Some(best) = table.best(tried, turn) {
                    return Ok(best);
                }
                if !table.has_hope() {
                    return Err(table.reason());
                }
            }
            if table.changed().await.is_err() {
                return Err("it is no longer called".to_owned());
            }
        }
    }

    /// Those that are ready, by address.
    pub(super) fn ready(&self) -> Vec<Arc<Connection>> {
        self.table.borrow().ready().cloned().collect()
    }

    /// Whether one that was not tried is ready.
    pub(super) fn has_other(&self, tried: &[SocketAddr]) -> bool {
        self.table.borrow().ready().any(|c| !tried.contains(&c.address))
    }

    /// Why none is ready.
    pub(super) fn reason(&self) -> String {
        self.table.borrow().reason()
    }
}

impl Table {
    fn ready(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.replicas.values().filter_map(|state| match state {
            State::Ready(connection) if !connection.closed.is_cancelled() => Some(connection),
            _ => None,
        })
    }

    fn best(&self, tried: &[SocketAddr], turn: usize) -> Option<Arc<Connection>> {
        let count = self.ready().count();
        let first = turn % count.max(1);
        let in_turn = self.ready().skip(first).chain(self.ready().take(first));
        let now = Instant::now();
        let best = in_turn.min_by_key(|c| (tried.contains(&c.address), c.is_shunned(now), c.under_way()));
        best.cloned()
    }

    fn has_hope(&self) -> bool {
        let soon = |state: &State| match state {
            State::Connecting => true,
            State::Ready(_) => true,
            State::Away(_) => false,
        };
        !self.is_looked_up || self.replicas.values().any(soon)
    }

    fn reason(&self) -> String {
        let mut reasons: Vec<String> = self.unknown.iter().cloned().collect();
        for (address, state) in &self.replicas {
            match state {
                State::Away(why) => reasons.push(format!("{address}: {why}")),
                State::Connecting | State::Ready(_) => reasons.push(format!("{address}: no answer yet")),
            }
        }
        if reasons.is_empty() {
            return "no address of it is known".to_owned();
        }
        reasons.join(", ")
    }
}
