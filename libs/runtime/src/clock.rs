//! The time, real or made by a test.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells the time. Clones tell the same one.
///
/// Wall time is for what people and other processes see; it may jump. Monotonic time is for durations; it never goes
/// back, and under tokio's paused time it stands still with it.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System { start: Instant },
    Manual(Arc<Manual>),
}

struct Manual {
    unix_millis: AtomicU64,
    monotonic_millis: AtomicU64,
}

impl Clock {
    /// The machine's clocks. Monotonic time starts at 0 now.
    pub fn system() -> Self {
        Self(Source::System {
            start: Instant::now(),
        })
    }

    /// One that moves only when told to, and the hand that moves it. Monotonic time starts at 0.
    pub fn manual(unix_millis: u64) -> (Self, ManualClock) {
        let manual = Arc::new(Manual {
            unix_millis: unix_millis.into(),
            monotonic_millis: AtomicU64::new(0),
        });
        (Self(Source::Manual(manual.clone())), ManualClock(manual))
    }

    /// Wall time in milliseconds since 1970; 0 if the machine believes in an earlier year.
    pub fn unix_millis(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual(manual) => manual.unix_millis.load(Ordering::Acquire),
        }
    }

    /// Time since this clock was made.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(manual) => Duration::from_millis(manual.monotonic_millis.load(Ordering::Acquire)),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Source::System { .. } => "system",
            Source::Manual(_) => "manual",
        };
        f.debug_struct("Clock")
            .field("kind", &kind)
            .field("unix_millis", &self.unix_millis())
            .finish()
    }
}

/// Moves the clock it came with, in whole milliseconds.
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

impl ManualClock {
    /// Lets time pass on both scales.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.unix_millis.fetch_add(millis, Ordering::AcqRel);
        self.0.monotonic_millis.fetch_add(millis, Ordering::AcqRel);
    }

    /// Makes the wall clock jump, as after a correction; monotonic time does not notice.
    pub fn set_unix_millis(&self, to: u64) {
        self.0.unix_millis.store(to, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let (clock, hand) = Clock::manual(1_000);
        let other = clock.clone();
        hand.advance(Duration::from_millis(250));
        assert_eq!(
            (clock.unix_millis(), other.monotonic()),
            (1_250, Duration::from_millis(250))
        );
        hand.set_unix_millis(7);
        assert_eq!(
            (clock.unix_millis(), other.monotonic()),
            (7, Duration::from_millis(250))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_system_clock_counts_by_the_time_of_the_executor() {
        let clock = Clock::system();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.monotonic(), Duration::from_secs(3));
        assert!(clock.unix_millis() > 1_700_000_000_000);
    }
}
