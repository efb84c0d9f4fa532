//! Whether a lease is held, as its holder alone can know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

/// Tells whether a lease is held, by the clock of its holder: a process that was paused, or is cut off, knows at once when it wakes
/// up that somebody else may hold the lease. Clones are the same fence.
#[derive(Debug, Clone)]
pub struct Fence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    /// Milliseconds after `began` up to which the lease is held for certain; 0 = it is not.
    until: AtomicU64,
}

impl Fence {
    /// The fence of a lease that is not held.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            until: AtomicU64::new(0),
        }))
    }

    /// The lease is held until then. Count from the moment before it was asked for: the granter's time began later.
    pub fn extend(&self, until: Instant) {
        let held = until.saturating_duration_since(self.0.began).as_millis();
        self.0
            .until
            .store(u64::try_from(held).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// The lease is not held any more.
    pub fn lose(&self) {
        self.0.until.store(0, Ordering::Release);
    }

    /// Whether the lease is held for certain at this moment.
    pub fn holds(&self) -> bool {
        Instant::now() < self.until()
    }

    /// Until when it is held; past when it is not.
    pub fn until(&self) -> Instant {
        self.0.began + Duration::from_millis(self.0.until.load(Ordering::Acquire))
    }
}

impl Default for Fence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_holds_as_long_as_it_was_said_to_and_not_after_it_was_lost() {
        let fence = Fence::new();
        assert!(!fence.holds());
        fence.extend(Instant::now() + Duration::from_secs(5));
        tokio::time::advance(Duration::from_millis(4999)).await;
        assert!(fence.holds());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!fence.holds());
        fence.extend(Instant::now() + Duration::from_secs(5));
        assert!(fence.clone().holds());
        fence.lose();
        assert!(!fence.holds() && fence.until() <= Instant::now());
    }
}
