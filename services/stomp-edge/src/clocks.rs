//! What is due on a connection, and when.

use std::time::Duration;

use model::UnixMillis;
use tokio::time::Instant;

/// How long an identity may be used after its end.
const EXPIRY_GRACE: Duration = Duration::from_secs(1);
/// An `Instant` need not hold the end of a token that is valid for ages.
const LONGEST: u64 = 365 * 24 * 3600 * 1000;

/// The clocks of a connection.
pub(crate) struct Clocks {
    beat_out: Option<Duration>,
    beat_in: Option<Duration>,
    last_out: Instant,
    last_in: Instant,
    expiry: Option<Instant>,
    /// When progress is to be reported, if there is any.
    pub report: Option<Instant>,
    /// When a server that leaves takes no more from this client.
    pub drain: Option<Instant>,
}

impl Clocks {
    /// Clocks that start now. `beats`: milliseconds between those that we send and that we expect, 0 = none;
    /// `expires_at`: the end of the identity in Unix seconds.
    pub fn new(beats: (u32, u32), expires_at: Option<u64>, wall: UnixMillis) -> Self {
        let now = Instant::now();
        let beat = |ms: u32| (ms > 0).then(|| Duration::from_millis(ms.into()));
        let expiry = expires_at.map(|at| {
            let left = at.saturating_mul(1000).saturating_sub(wall.0);
            now + Duration::from_millis(left.min(LONGEST)) + EXPIRY_GRACE
        });
        Self {
            beat_out: beat(beats.0),
            beat_in: beat(beats.1),
            last_out: now,
            last_in: now,
            report: None,
            drain: None,
            expiry,
        }
    }

    /// Something was written.
    pub fn wrote(&mut self) {
        self.last_out = Instant::now();
    }

    /// Something was read, or it is we who do not read.
    pub fn read(&mut self) {
        self.last_in = Instant::now();
    }

    /// When to look again.
    pub fn due(&self) -> Instant {
        let due = [
            self.beat_out.map(|b| self.last_out + b),
            self.beat_in.map(|b| self.last_in + 2 * b),
            self.expiry,
            self.report,
            self.drain,
        ];
        let never = Instant::now() + Duration::from_millis(LONGEST);
        due.into_iter().flatten().min().unwrap_or(never)
    }

    /// Whether nothing came for twice the time that the client promised.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.beat_in.is_some_and(|b| self.last_in + 2 * b <= now)
    }

    /// Whether a beat is due.
    pub fn owes_beat(&self, now: Instant) -> bool {
        self.beat_out.is_some_and(|b| self.last_out + b <= now)
    }

    /// Whether the identity has ended.
    pub fn has_expired(&self, now: Instant) -> bool {
        has_passed(self.expiry, now)
    }
}

/// Whether there is an instant and it is not in the future.
pub(crate) fn has_passed(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_beat_is_owed_after_an_idle_interval_and_silence_is_two_of_the_clients() {
        let mut clocks = Clocks::new((10_000, 20_000), None, UnixMillis(0));
        tokio::time::advance(9 * SECOND).await;
        assert!(!clocks.owes_beat(Instant::now()));
        clocks.wrote();
        assert_eq!(clocks.due(), Instant::now() + 10 * SECOND);
        tokio::time::advance(10 * SECOND).await;
        assert!(clocks.owes_beat(Instant::now()) && !clocks.is_silent(Instant::now()));
        tokio::time::advance(20 * SECOND).await;
        assert!(!clocks.is_silent(Instant::now()));
        tokio::time::advance(SECOND).await;
        assert!(clocks.is_silent(Instant::now()));
        clocks.read();
        assert!(!clocks.is_silent(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_agreed_beats_none_is_owed_and_silence_is_no_fault() {
        let clocks = Clocks::new((0, 0), None, UnixMillis(0));
        tokio::time::advance(10_000 * SECOND).await;
        assert!(!clocks.owes_beat(Instant::now()) && !clocks.is_silent(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_identity_ends_within_seconds_of_its_time_however_far_that_is() {
        let clocks = Clocks::new((0, 0), Some(1_000), UnixMillis(990_000));
        tokio::time::advance(10 * SECOND).await;
        assert!(!clocks.has_expired(Instant::now()));
        tokio::time::advance(2 * SECOND).await;
        assert!(clocks.has_expired(Instant::now()));
        assert!(!Clocks::new((0, 0), Some(u64::MAX), UnixMillis(0)).has_expired(Instant::now()));
    }
}
