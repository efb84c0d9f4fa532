//! What happens in the life of threads without anybody asking: one is opened because somebody has spoken in it, gets an agent when
//! one has room, is closed when nothing is said; an offer runs out; members are told.
//!
//! One replica does so at a time, and soon after a change of its own. If two do, the owner of the partition accepts one.

use std::time::Duration;

use async_trait::async_trait;
use backplane::lease::Fence;
use contract::RpcError;
use model::UnixMillis;
use model::thread::{Refused, Step};
use runtime::lifecycle::Stop;
use store::StoredThread;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::LIMIT;
use super::change::{Changed, Decide, Only, Plan, Planned};
use super::queue::Told;
use super::say::Said;
use crate::Error;
use crate::core::{Core, TICK};

/// How often threads are looked for that wait for an agent.
const QUEUE: Duration = Duration::from_millis(500);
/// How often threads are looked for in which nothing is said.
const IDLE: Duration = Duration::from_secs(5);
/// After this a place that was taken for a thread and not used is given back.
const UNUSED: Duration = Duration::from_secs(60);

/// Keeps threads until told to stop, as long as it is this replica's turn.
pub(crate) async fn keep(core: &Core, turn: &Fence, stop: &Stop) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut queue, mut idle) = (Instant::now(), Instant::now());
    let mut told = Told::default();
    let keep = async {
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = core.wake.notified() => {}
            }
            if !turn.holds() {
                // Whoever keeps them next tells everybody; so does this one, should it be its turn again.
                told = Told::default();
                continue;
            }
            core.report("opening conversations", core.open_pending().await);
            core.report("telling members", core.tell().await);
            if queue.elapsed() >= QUEUE {
                queue = Instant::now();
                core.report(
                    "giving conversations to agents",
                    core.serve_queues(&mut told).await,
                );
                core.report("ending offers", core.end_offers().await);
            }
            if idle.elapsed() >= IDLE {
                idle = Instant::now();
                core.report("closing conversations", core.close_idle().await);
                core.report("giving places back", core.release_unused().await);
            }
        }
    };
    tokio::select! {
        biased;
        // What is cut off is found again by whoever keeps threads next.
        () = stop.soft().cancelled() => {}
        () = keep => {}
    }
}

impl Core {
    async fn open_pending(&self) -> Result<(), Error> {
        for thread in self.deps.store.pending_threads(LIMIT).await? {
            let desk = self.desk_of(&thread.org, &thread.row.desk);
            self.log_failure("opened", self.open(thread, desk.as_ref()).await);
        }
        Ok(())
    }

    async fn close_idle(&self) -> Result<(), Error> {
        let after = u64::try_from(self.deps.rules.auto_close.as_millis()).unwrap_or(u64::MAX);
        if after == 0 {
            return Ok(());
        }
        let before = UnixMillis(self.now().0.saturating_sub(after));
        for thread in self.deps.store.idle_threads(before, LIMIT).await? {
            let closed = self.change(thread, None, &mut Idle { before }).await;
            self.log_failure("closed", closed);
        }
        Ok(())
    }

    async fn end_offers(&self) -> Result<(), Error> {
        for thread in self.deps.store.threads_with_due_offers(self.now(), LIMIT).await? {
            let now = self.now();
            let due = thread.life.offers.iter().filter(|offer| offer.expires_at < now);
            let Some((uid, invitation)) = due.map(|offer| (offer.uid.clone(), offer.is_invitation)).next()
            else {
                continue;
            };
            let r#type = if invitation {
                "INVITE_TIMEOUT"
            } else {
                "TRANSFER_TIMEOUT"
            };
            // Deployed clients find their offer by its uid.
            let content = serde_json::json!({ "uid": uid, "status": r#type }).to_string();
            let mut declining = Only {
                step: Step::Decline {
                    offer: uid,
                    by: None,
                    at: now,
                },
                said: Some(Said::new(r#type, content)),
            };
            let ended = self.change(thread, None, &mut declining).await;
            self.log_failure("told that an offer has ended", ended);
        }
        Ok(())
    }

    async fn release_unused(&self) -> Result<(), Error> {
        let unused = u64::try_from(UNUSED.as_millis()).unwrap_or(u64::MAX);
        let before = UnixMillis(self.now().0.saturating_sub(unused));
        let released = self.deps.store.release_places_before(before).await?;
        if released > 0 {
            tracing::info!(
                released,
                "gave back places that were taken for conversations and not used"
            );
        }
        Ok(())
    }

    /// One that cannot be changed now does not hold up the others; it is found again.
    pub(super) fn log_failure(&self, what: &'static str, changed: Result<Changed, RpcError>) {
        if let Err(error) = changed {
            tracing::warn!(%error, "a conversation was not {what}; it will be tried again");
        }
    }
}

/// Closes a thread in which nothing was said since then.
struct Idle {
    before: UnixMillis,
}

#[async_trait]
impl Decide for Idle {
    async fn decide(&mut self, _: &Core, thread: &StoredThread) -> Planned {
        if thread.row.updated_at >= self.before {
            return Ok(Err(Refused::Nothing));
        }
        Ok(thread.life.decide(Step::Close).map(|change| Plan {
            change,
            said: Some(Said::new(
                "AUTO_CLOSED",
                "The conversation has ended, as nothing was said for a while.",
            )),
        }))
    }
}
