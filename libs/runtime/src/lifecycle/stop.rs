//! The two ways to be told to stop.

use tokio_util::sync::CancellationToken;

/// Asks to stop, in two degrees. Clones are the same request.
///
/// *Soft*: accept nothing new, tell clients, finish what is in flight, hand leases back. *Hard*: the time for that is
/// over; return at once. Hard implies soft.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled once it is time to finish.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled once there is no more time.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Asks to finish.
    pub fn stop_softly(&self) {
        self.soft.cancel();
    }

    /// Asks to return at once.
    pub fn stop_hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// One for a part: it hears what this one is told, and can be told alone.
    ///
    /// Also for each of many tasks that wait for it in their main loop: every look at a token takes its lock, and a
    /// child has its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
        }
    }
}
