//! Parts of a whole (the partitions of the log), shared between the replicas of a service: each part has one holder, each
//! replica as many parts as the others, give or take one.
//!
//! ```text
//!  seats   {group}/replica/0   {group}/replica/1   …      how many replicas there are, and which of them this one is
//!  parts   {group}/0  {group}/1  {group}/2  …             who holds which
//! ```
//!
//! Every replica keeps a *seat*, the lowest that is free, and counts those that are taken: from both follows its share.
//! Below its share it asks for parts; above it, because a replica has come, it gives some back. A replica that leaves
//! gives back its seat and its parts at once; of one that has died both run out. Nobody decides for the others, and while
//! they count differently a part is at worst held by nobody for a moment, never by two: that is up to its lease.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::{Fence, Lease, LeaseError, Leases};

/// How long to wait before a part that somebody else holds is asked for again, at most.
const RETRY: Duration = Duration::from_millis(250);
/// How long giving back may take; past that the lease is left to run out.
const RELEASE: Duration = Duration::from_millis(500);
/// So many free seats behind the last taken one end the count: those behind them move up.
const FREE_SEATS: usize = 2;

/// This replica's share of the parts. Clones are the same.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    leases: Arc<dyn Leases>,
    group: String,
    holder: String,
    parts: u16,
    ttl: Duration,
    state: Mutex<State>,
    changed: Notify,
    /// A part may be free.
    vacant: Notify,
    /// A replica may have left.
    recount: Notify,
    /// The last epoch under which each part was held here.
    epochs: Mutex<BTreeMap<u16, u64>>,
}

#[derive(Debug, Default)]
struct State {
    replicas: usize,
    share: usize,
    /// Parts held or being asked for.
    taken: usize,
    /// Of these, those that are about to be given back.
    leaving: usize,
}

/// Why a part is not to be held any longer.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It was lost, or could not be kept.
    #[error(transparent)]
    Lost(#[from] LeaseError),
    /// Another replica is to have it.
    #[error("another replica is to have it")]
    Surplus,
}

impl Shares {
    /// `group` begins the names of the leases; `holder` must name this process and no other, nor one that ran before it.
    /// A replica that dies is missed after `ttl`.
    pub fn new(leases: Arc<dyn Leases>, group: &str, holder: &str, parts: u16, ttl: Duration) -> Self {
        Self(Arc::new(Inner {
            leases,
            group: group.to_owned(),
            holder: holder.to_owned(),
            parts,
            ttl,
            state: Mutex::default(),
            changed: Notify::new(),
            vacant: Notify::new(),
            recount: Notify::new(),
            epochs: Mutex::default(),
        }))
    }

    /// How many replicas were there when they were last counted, this one included.
    pub fn replicas(&self) -> usize {
        self.0.state.lock().replicas
    }

    /// Keeps this replica's seat and its share up to date until `leave` resolves, then gives the seat back. Nothing is
    /// taken before this runs.
    pub async fn run(&self, leave: impl Future<Output = ()>) {
        let mut leave = pin!(leave);
        let mut seat = None;
        loop {
            let turn = async {
                if let Err(error) = self.0.count(&mut seat).await {
                    warn!(group = self.0.group, %error, "the replicas of a service cannot be counted");
                }
                tokio::select! {
                    () = self.0.recount.notified() => {}
                    () = sleep(self.0.ttl / 10) => {}
                }
            };
            tokio::select! {
                biased;
                () = &mut leave => break,
                () = turn => {}
            }
        }
        if let Some(Seat { lease, .. }) = seat {
            self.0.give_back(&lease).await;
        }
    }

    /// Waits until this replica is to have one more part and `part` is free, and takes it. Cancel safe.
    pub async fn take(&self, part: u16) -> Held {
        let inner = &self.0;
        let name = format!("{}/{part}", inner.group);
        let mut failing = false;
        loop {
            let turn = Turn::wait(inner).await;
            let asked = Instant::now();
            let answer = timeout(inner.ttl, inner.leases.acquire(&name, &inner.holder, inner.ttl)).await;
            match answer {
                Ok(Ok(lease)) if inner.is_new(part, lease.epoch) => {
                    let fence = Fence::new();
                    fence.extend(asked + inner.ttl);
                    return Held { lease, fence, turn };
                }
                // It could not be given back the last time: whoever knows the epoch would take this holding for that one.
                Ok(Ok(lease)) => inner.give_back(&lease).await,
                Ok(Err(LeaseError::Held { .. })) => failing = false,
                Ok(Err(error)) if !failing => {
                    failing = true;
                    warn!(name, %error, "a part cannot be taken; trying again");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            drop(turn);
            tokio::select! {
                () = inner.vacant.notified() => {}
                () = sleep(RETRY.min(inner.ttl / 4)) => {}
            }
        }
    }

    /// Somebody has given a part back, and may be leaving: the replicas are counted at once, and whoever waits for a part asks.
    pub fn look_again(&self) {
        self.0.recount.notify_one();
        self.0.vacant.notify_waiters();
    }
}

/// A place among the replicas.
struct Seat {
    number: usize,
    lease: Lease,
    renewed: Instant,
}

impl Inner {
    fn seat_name(&self, number: usize) -> String {
        format!("{}/replica/{number}", self.group)
    }

    fn is_new(&self, part: u16, epoch: u64) -> bool {
        self.epochs.lock().insert(part, epoch) != Some(epoch)
    }

    /// Keeps or takes a seat, counts the others, and sets the share.
    async fn count(&self, seat: &mut Option<Seat>) -> Result<(), LeaseError> {
        self.keep(seat).await?;
        let (mut before, mut behind, mut free) = (0, 0, 0);
        for number in 0..usize::from(self.parts) {
            let own = seat.as_ref().map(|s| s.number);
            if own == Some(number) {
                free = 0;
                continue;
            }
            let name = self.seat_name(number);
            if self.leases.holder(&name).await?.is_some() {
                *(if own.is_some_and(|own| own < number) {
                    &mut behind
                } else {
                    &mut before
                }) += 1;
                free = 0;
            } else if own.is_none_or(|own| number < own) {
                // The old one first: counted twice, others would give back what nobody is to take.
                if let Some(left) = seat.take() {
                    self.give_back(&left.lease).await;
                }
                self.sit_down(number, seat).await?;
                before += usize::from(seat.is_none());
            } else {
                free += 1;
                if free == FREE_SEATS {
                    break;
                }
            }
        }
        self.set_share(seat.is_some(), before, behind);
        Ok(())
    }

    async fn keep(&self, seat: &mut Option<Seat>) -> Result<(), LeaseError> {
        let Some(kept) = seat.as_mut().filter(|s| s.renewed.elapsed() >= self.ttl / 3) else {
            return Ok(());
        };
        let asked = Instant::now();
        match self.leases.renew(&kept.lease, self.ttl).await {
            Ok(()) => kept.renewed = asked,
            Err(LeaseError::Lost(_)) => *seat = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn sit_down(&self, number: usize, seat: &mut Option<Seat>) -> Result<(), LeaseError> {
        let renewed = Instant::now();
        match self
            .leases
            .acquire(&self.seat_name(number), &self.holder, self.ttl)
            .await
        {
            Ok(lease) => {
                *seat = Some(Seat {
                    number,
                    lease,
                    renewed,
                });
                Ok(())
            }
            Err(LeaseError::Held { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn set_share(&self, seated: bool, before: usize, behind: usize) {
        let (parts, replicas) = (usize::from(self.parts), before + behind + usize::from(seated));
        // With more replicas than parts there are not enough seats, and nothing for those who stand.
        let share = match seated {
            true => parts / replicas + usize::from(before < parts % replicas),
            false => 0,
        };
        let mut state = self.state.lock();
        if (state.replicas, state.share) != (replicas, share) {
            info!(group = self.group, replicas, share, "the parts are shared anew");
            (state.replicas, state.share) = (replicas, share);
            self.changed.notify_waiters();
        }
    }

    async fn give_back(&self, lease: &Lease) {
        if !matches!(timeout(RELEASE, self.leases.release(lease)).await, Ok(Ok(()))) {
            info!(
                name = lease.name,
                "a lease was not given back; it is left to run out"
            );
        }
    }

    /// Waits until `decide` says so of the state.
    async fn wait_for(&self, mut decide: impl FnMut(&mut State) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on a change is noticed.
            changed.as_mut().enable();
            if decide(&mut self.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

/// The permission to hold one part, or to ask for one.
struct Turn {
    inner: Arc<Inner>,
    leaving: AtomicBool,
}

impl Turn {
    async fn wait(inner: &Arc<Inner>) -> Self {
        inner
            .wait_for(|state| {
                let below = state.taken < state.share;
                state.taken += usize::from(below);
                below
            })
            .await;
        Self {
            inner: inner.clone(),
            leaving: AtomicBool::new(false),
        }
    }

    /// Waits until there are more than the share, and this is the one to go.
    async fn surplus(&self) {
        self.inner
            .wait_for(|state| {
                let go = self.leaving.load(Ordering::Relaxed) || state.taken - state.leaving > state.share;
                if go && !self.leaving.swap(true, Ordering::Relaxed) {
                    state.leaving += 1;
                }
                go
            })
            .await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        state.taken -= 1;
        state.leaving -= usize::from(*self.leaving.get_mut());
        drop(state);
        self.inner.changed.notify_waiters();
    }
}

/// A part that this replica holds. Call [`Self::ended`] all the while, and [`Self::release`] at the end; dropped, it is
/// left to run out.
pub struct Held {
    lease: Lease,
    fence: Fence,
    turn: Turn,
}

impl Held {
    /// Grows with each change of holder, and with each holding here.
    pub fn epoch(&self) -> u64 {
        self.lease.epoch
    }

    /// What tells whether it is still held.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Keeps it until it is lost or another replica is to have it. Cancel safe.
    pub async fn ended(&self) -> Ended {
        tokio::select! {
            biased;
            error = self.keep() => Ended::Lost(error),
            () = self.turn.surplus() => Ended::Surplus,
        }
    }

    async fn keep(&self) -> LeaseError {
        let inner = &self.turn.inner;
        let mut pause = inner.ttl / 3;
        loop {
            sleep(pause).await;
            let asked = Instant::now();
            match timeout_at(self.fence.until(), inner.leases.renew(&self.lease, inner.ttl)).await {
                Ok(Ok(())) => {
                    self.fence.extend(asked + inner.ttl);
                    pause = inner.ttl / 3;
                }
                // It may work again before the time is over.
                Ok(Err(LeaseError::Unavailable(_))) if self.fence.holds() => pause = inner.ttl / 20,
                Ok(Err(error)) => return error,
                Err(_) => return LeaseError::Lost(self.lease.name.clone()),
            }
        }
    }

    /// Gives it back at once. One that was lost is not disturbed.
    pub async fn release(self) {
        self.turn.inner.give_back(&self.lease).await;
    }
}

#[cfg(test)]
mod tests;
