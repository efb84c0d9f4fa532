//! Whether this edge may act for its clients.
//!
//! An edge holds the lease `edge/{id}`. While it is held, the sessions that are marked as connected here belong to this
//! edge; once it has run out, persistence ends them (their wills, their expiry) and others may hold them. An edge that
//! cannot renew (it is cut off, or was paused) notices by its own clock, before anybody else may act: it hands nothing
//! out and takes nobody in. When it holds the lease again it asks, session by session, whether it still has them; when
//! that takes too long it sends its clients away, so that they find an edge that is not cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backplane::lease::{Fence, Lease, LeaseError, Leases};
use model::EdgeId;
use runtime::health::Check;
use runtime::lifecycle::Stop;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::attach::Attachments;
use crate::mailbox::Mail;

/// How long to wait before a lease that cannot be had is asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// The edge's own view of its lease.
pub struct EdgeLease {
    fence: Fence,
    /// Grows each time the lease is held again after it was not.
    term: AtomicU64,
    joined: watch::Sender<bool>,
    check: Check,
}

impl EdgeLease {
    pub(crate) fn new(check: Check) -> Self {
        Self {
            fence: Fence::new(),
            term: AtomicU64::new(0),
            joined: watch::Sender::new(false),
            check,
        }
    }

    /// Whether the lease is held for certain at this moment.
    pub fn is_held(&self) -> bool {
        self.fence.holds()
    }

    /// The time for which the lease has been held without a break. What was opened in an earlier one may be somebody else's by
    /// now: nothing is handed out for it until the store says that it is still held here.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Acquire)
    }

    /// Waits until the lease is held for the first time.
    pub(crate) async fn joined(&self) {
        let mut joined = self.joined.subscribe();
        let _held = joined.wait_for(|joined| *joined).await;
    }

    /// Held for `ttl` from the moment before it was asked for: the granter's time began later.
    fn extend(&self, asked: Instant, ttl: Duration) {
        self.fence.extend(asked + ttl);
        self.check.ok();
        self.joined.send_replace(true);
    }

    fn lose(&self, error: &LeaseError) {
        self.fence.lose();
        self.check.fail(error);
    }
}

/// Keeps the lease until the hard stop, then gives it back.
pub(crate) async fn keep(with: With, stop: Stop) {
    let mut keeper = Keeper {
        name: contract::persistence::edge_lease(&with.edge),
        with,
        held: None,
        away_since: None,
        sent_away: false,
    };
    loop {
        let pause = keeper.turn().await;
        tokio::select! {
            () = stop.hard().cancelled() => break,
            () = sleep(pause) => {}
        }
    }
    keeper.give_back().await;
}

/// What keeping the lease takes.
pub(crate) struct With {
    pub edge: EdgeId,
    pub lease: Arc<EdgeLease>,
    pub leases: Arc<dyn Leases>,
    /// The connections, who are told.
    pub attachments: Arc<Attachments>,
    pub ttl: Duration,
    /// The clients of an edge that is without its lease for so long are sent away.
    pub fence_after: Duration,
}

struct Keeper {
    with: With,
    name: String,
    held: Option<Lease>,
    /// Since when the lease has not been held.
    away_since: Option<Instant>,
    sent_away: bool,
}

impl Keeper {
    /// Asks for the lease; says when to ask again.
    async fn turn(&mut self) -> Duration {
        let asked = Instant::now();
        match self.ask().await {
            Ok(lease) => {
                let same = self.held.as_ref().is_none_or(|held| held.epoch == lease.epoch);
                let returned = self.away_since.take().is_some() || !same || self.has_lapsed(asked);
                self.held = Some(lease);
                if returned {
                    // Before it is held again, so that nobody takes the new term for his own.
                    self.with.lease.term.fetch_add(1, Ordering::AcqRel);
                }
                self.with.lease.extend(asked, self.with.ttl);
                if returned {
                    info!(edge = %self.with.edge, "the edge holds its lease again");
                    self.with.attachments.tell_all(|| Mail::Verify);
                }
                self.sent_away = false;
                self.with.ttl / 3
            }
            Err(error) => {
                self.missed(&error);
                PAUSE
            }
        }
    }

    /// Joined before, and between two renewals the lease ran out by our clock: this process was paused.
    fn has_lapsed(&self, asked: Instant) -> bool {
        self.held.is_some() && asked >= self.with.lease.fence.until()
    }

    async fn ask(&self) -> Result<Lease, LeaseError> {
        let asking = async {
            match &self.held {
                Some(lease) => self
                    .with
                    .leases
                    .renew(lease, self.with.ttl)
                    .await
                    .map(|()| lease.clone()),
                None => {
                    self.with
                        .leases
                        .acquire(&self.name, &self.with.edge, self.with.ttl)
                        .await
                }
            }
        };
        let limit = self.with.ttl / 3;
        timeout(limit, asking)
            .await
            .unwrap_or_else(|_| Err(LeaseError::Unavailable(format!("no answer within {limit:?}"))))
    }

    fn missed(&mut self, error: &LeaseError) {
        let lease = &self.with.lease;
        if !matches!(error, LeaseError::Unavailable(_)) {
            self.held = None;
            lease.lose(error);
        }
        if lease.is_held() {
            return;
        }
        lease.check.fail(error);
        if !*lease.joined.borrow() {
            return;
        }
        let since = *self.away_since.get_or_insert_with(|| {
            warn!(edge = %self.with.edge, %error, "the edge has lost its lease; it hands nothing out until it has it again");
            Instant::now()
        });
        if since.elapsed() >= self.with.fence_after && !self.sent_away {
            warn!(edge = %self.with.edge, "the edge is cut off; its clients are sent to others");
            self.sent_away = true;
            self.with.attachments.tell_all(|| Mail::Leave);
        }
    }

    async fn give_back(&self) {
        if let Some(lease) = &self.held {
            let released = timeout(PAUSE, self.with.leases.release(lease)).await;
            if !matches!(released, Ok(Ok(()))) {
                info!(edge = %self.with.edge, "the lease of the edge is left to run out");
            }
        }
    }
}
