//! How long the next frame waits for more.
//!
//! Whose messages one frame has carried are answered together and send their next ones together, but a little after the
//! log is free again. So under load the next frame waits for them, a fraction of what the last append took: without
//! that the senders fall into two groups that take turns, and every frame carries half of what it could. Frames that
//! carry few cost a replicated log the most for each message: behind one the next waits for several times the time of an
//! append (docs/adr/0013-gathering-frames.md).
//!
//! Invariants: nothing waits behind a lone sender's message, behind a frame that was full, or for longer than the pause
//! after the append that it follows.

use std::time::Duration;

use tokio::time::Instant;
use wire::{Entry, Kind};

/// The part of an append's time that the next frame waits for more.
const PART: u32 = 4;
/// The longest that it waits so.
const LONGEST: Duration = Duration::from_millis(10);
/// After a frame of fewer messages than this, the next one waits for [`SMALL_TIMES`] the time of its append.
const SMALL: usize = 12;
const SMALL_TIMES: u32 = 6;
/// The longest that it waits so.
const LONGEST_SMALL: Duration = Duration::from_millis(30);
/// A timer cannot do less.
const LEAST: Duration = Duration::from_millis(1);
/// With so many messages a frame does not wait for more.
const GATHERED: usize = 256;

/// Whether its sender waits for the answer: nobody waits for that to a receipt.
pub(super) fn is_message(entry: &Entry) -> bool {
    entry.known_kind() != Kind::Receipt
}

/// A frame that was appended.
pub(super) struct Last {
    /// Messages in it, see [`is_message`].
    pub messages: usize,
    /// Whether what waits now had no room in it.
    pub was_full: bool,
    /// How long the append took.
    pub took: Duration,
    /// Whether the log writes the frames of all partitions together, so that small ones cost it little.
    pub shared_write: bool,
}

/// How long the next frame waits for those whom the last one answers.
pub(super) struct Gather {
    until: Instant,
}

impl Gather {
    /// After an append that has just ended; `is_followed`: another message waits by now. `None` when nothing is to be gained: after
    /// a single message behind which none waits, as of a sender that waits for each answer, when the log is too fast for a
    /// timer, or when the next frame is full already.
    pub fn after(last: &Last, is_followed: bool) -> Option<Self> {
        let is_loaded = last.messages > 1 || last.messages == 1 && is_followed;
        let pause = match last.messages < SMALL && !last.shared_write {
            true => (last.took * SMALL_TIMES).min(LONGEST_SMALL),
            false => (last.took / PART).min(LONGEST),
        };
        (is_loaded && !last.was_full && pause >= LEAST).then(|| Self {
            until: Instant::now() + pause,
        })
    }

    /// Until when a frame of so many messages is to wait; `None`: it is not.
    pub fn waits(&self, messages: usize) -> Option<Instant> {
        (messages < GATHERED && Instant::now() < self.until).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Last = Last {
        messages: 3,
        was_full: false,
        took: Duration::from_millis(4),
        shared_write: false,
    };

    /// How long a frame waits that is looked at when the append has just ended.
    fn pause(last: &Last, is_followed: bool) -> Option<u128> {
        let now = Instant::now();
        let until = Gather::after(last, is_followed)?.waits(1)?;
        Some((until - now).as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_waits_longer_behind_a_small_one_and_within_bounds() {
        assert_eq!(pause(&LAST, false), Some(24));
        let took = |millis| Duration::from_millis(millis);
        assert_eq!(
            pause(
                &Last {
                    took: took(9),
                    ..LAST
                },
                false
            ),
            Some(30)
        );
        let large = Last { messages: 12, ..LAST };
        assert_eq!(pause(&large, false), Some(1));
        assert_eq!(
            pause(
                &Last {
                    took: took(90),
                    ..large
                },
                false
            ),
            Some(10)
        );
        assert_eq!(
            pause(
                &Last {
                    took: took(3),
                    ..large
                },
                false
            ),
            None,
            "no timer does that"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_where_nothing_is_to_be_gained() {
        let single = Last { messages: 1, ..LAST };
        assert_eq!((pause(&single, false), pause(&single, true)), (None, Some(24)));
        assert_eq!(pause(&Last { messages: 0, ..LAST }, true), None);
        assert_eq!(
            pause(
                &Last {
                    was_full: true,
                    ..LAST
                },
                true
            ),
            None
        );
        assert_eq!(
            pause(
                &Last {
                    shared_write: true,
                    ..LAST
                },
                true
            ),
            Some(1)
        );
        let gather = Gather::after(&LAST, true).expect("it waits");
        assert_eq!(gather.waits(GATHERED), None);
        tokio::time::advance(Duration::from_millis(24)).await;
        assert_eq!(gather.waits(1), None, "whatever comes now is late");
    }
}
