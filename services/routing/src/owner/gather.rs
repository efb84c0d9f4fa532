//! How long the next frame waits for more.
//!
//! Whose messages one frame has carried are answered together and send their next ones together, but a little after the
//! log is free again. So under load the next frame waits for them, a fraction of what the last append took: without
//! that the senders fall into two groups that take turns, and every frame carries half of what it could. Frames that
//! carry few cost the log the most for each message: behind one the next waits for several times the time of an append
//! (docs/adr/0013-gathering-frames.md).

use std::time::Duration;

use tokio::time::Instant;

/// The part of an append's time that the next frame waits for more.
const GATHER_PART: u32 = 4;
/// After a frame of fewer messages than this, the next one waits for so many times what the append took.
const SMALL: usize = 12;
const SMALL_TIMES: u32 = 5;
/// The least that a frame waits, below which is what a timer cannot do; and the longest, after a frame of many and after a
/// small one.
const LEAST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(10);
const LONGEST_SMALL: Duration = Duration::from_millis(25);
/// With so many messages a frame does not wait for more.
const GATHERED: usize = 256;

/// How long the next frame waits for those whom the last one answers, and until when they can be expected.
pub(super) struct Gather {
    pause: Duration,
    until: Instant,
    /// When the frame that waits is built at the latest.
    due: Option<Instant>,
}

impl Gather {
    /// After a frame of so many messages, whose append begun then has just ended, while so many wait. `None` when nothing is to be
    /// gained: after a single message behind which none waits, as of a sender that waits for each answer, or when the log is too
    /// fast for a timer.
    pub fn after(messages: usize, waiting: usize, begun: Instant) -> Option<Self> {
        let took = begun.elapsed();
        let pause = match messages < SMALL {
            true => (took * SMALL_TIMES).min(LONGEST_SMALL),
            false => (took / GATHER_PART).min(LONGEST),
        };
        // When it is longer ago than that, nobody is expected.
        let until = Instant::now() + took.max(pause);
        let is_loaded = messages > 1 || waiting > 0;
        (is_loaded && pause >= LEAST).then_some(Self {
            pause,
            until,
            due: None,
        })
    }

    /// Until when a frame of so many messages is to wait; `None`: it is not.
    pub fn waits(&mut self, messages: usize) -> Option<Instant> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + self.pause);
        (messages < GATHERED && now < self.until && now < due).then_some(due)
    }
}
