//! What becomes of a session and of its wills when a connection of it begins and ends.
//!
//! A session that goes on keeps its state and the epoch at which it began. It does not when its client asks for a clean
//! start, when its time is over, or when it was to end with the connection that is replaced (Session Expiry Interval 0
//! [MQTT-3.1.2-6]). Epochs follow the clock in microseconds and grow when it does not, so that none comes twice when a
//! session is forgotten in between. Only the holder of the epoch, while it is connected, can save or close.
//!
//! A will is due when its connection ends badly: after its delay, or when the session ends if that comes first. One
//! that waits for its delay is cancelled when the session goes on, and is due when the session is forgotten
//! [MQTT-3.1.3-9].

use model::UnixMillis;

/// A stored session, as far as it decides what becomes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    /// A connection that was not closed.
    pub connected: bool,
    /// Seconds that it outlives its connection.
    pub expiry: u32,
    /// When it is over; `None` while it is connected.
    pub expires_at: Option<UnixMillis>,
    /// The delay in seconds of the will of the connection.
    pub will_delay: Option<u32>,
}

/// What the beginning of a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Whether the session goes on, and wills that wait are cancelled; else it begins anew, and they are due.
    pub goes_on: bool,
    /// Whether the will of the connection that is replaced is due: the server ends that connection itself.
    pub leaves_will: bool,
}

pub(crate) fn open(before: Option<Before>, clean_start: bool, now: UnixMillis) -> Opening {
    let Some(before) = before else {
        return Opening {
            goes_on: false,
            leaves_will: false,
        };
    };
    let over = match before.connected {
        true => before.expiry == 0,
        false => before.expires_at.is_some_and(|at| at <= now),
    };
    let goes_on = !clean_start && !over;
    let due = |delay| !goes_on || delay == 0;
    Opening {
        goes_on,
        leaves_will: before.connected && before.will_delay.is_some_and(due),
    }
}

/// What is left when a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    /// When the session is over; `None` when it is now.
    pub expires_at: Option<UnixMillis>,
    /// When a will with the given delay is due.
    pub will_due_at: Option<UnixMillis>,
}

pub(crate) fn end(at: UnixMillis, expiry: u32, will_delay: Option<u32>) -> Ending {
    let after = |seconds: u32| UnixMillis(at.0.saturating_add(u64::from(seconds) * 1000));
    Ending {
        expires_at: (expiry != 0).then(|| after(expiry)),
        will_due_at: will_delay.map(|delay| after(delay.min(expiry))),
    }
}

/// An epoch that no session ever had, given the last one.
pub(crate) fn next_epoch(last: u64, now: UnixMillis) -> u64 {
    last.saturating_add(1).max(now.0.saturating_mul(1000))
}

/// When the session began that has this epoch as its first. 0 = not known.
pub(crate) fn began_at(epoch: i64) -> Option<UnixMillis> {
    let epoch = u64::try_from(epoch).ok().filter(|epoch| *epoch != 0);
    epoch.map(|epoch| UnixMillis(epoch / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(10_000);

    fn connected(expiry: u32, will_delay: Option<u32>) -> Option<Before> {
        Some(Before {
            connected: true,
            expiry,
            expires_at: None,
            will_delay,
        })
    }

    fn closed(expires_at: u64) -> Option<Before> {
        Some(Before {
            connected: false,
            expiry: 60,
            expires_at: Some(UnixMillis(expires_at)),
            will_delay: None,
        })
    }

    #[test]
    fn a_session_goes_on_unless_it_is_over_or_is_to_begin_anew() {
        for (before, clean_start, goes_on) in [
            (None, false, false),
            (closed(10_001), false, true),
            (closed(10_000), false, false),
            (closed(10_001), true, false),
            (connected(60, None), false, true),
            (connected(60, None), true, false),
            (connected(0, None), false, false),
        ] {
            assert_eq!(open(before, clean_start, NOW).goes_on, goes_on, "{before:?}");
        }
    }

    #[test]
    fn the_will_of_a_replaced_connection_is_due_when_nothing_holds_it_back() {
        for (before, clean_start, leaves_will) in [
            (connected(60, None), true, false),
            (connected(60, Some(0)), false, true),
            (connected(60, Some(5)), false, false),
            (connected(60, Some(5)), true, true),
            (connected(0, Some(5)), false, true),
            (closed(1), true, false),
        ] {
            assert_eq!(
                open(before, clean_start, NOW).leaves_will,
                leaves_will,
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_will_waits_for_its_delay_and_no_longer_than_its_session() {
        let ending = |expires_at: Option<u64>, will_due_at: Option<u64>| Ending {
            expires_at: expires_at.map(UnixMillis),
            will_due_at: will_due_at.map(UnixMillis),
        };
        assert_eq!(end(NOW, 0, None), ending(None, None));
        assert_eq!(end(NOW, 0, Some(5)), ending(None, Some(10_000)));
        assert_eq!(end(NOW, 3, Some(5)), ending(Some(13_000), Some(13_000)));
        assert_eq!(end(NOW, 60, Some(5)), ending(Some(70_000), Some(15_000)));
        let ever = end(UnixMillis(u64::MAX), u32::MAX, Some(1));
        assert_eq!(ever.expires_at, Some(UnixMillis(u64::MAX)));
    }

    #[test]
    fn epochs_follow_the_clock_and_grow_without_it() {
        assert_eq!(next_epoch(0, NOW), 10_000_000);
        assert_eq!(next_epoch(10_000_000, NOW), 10_000_001);
        assert_eq!(began_at(10_000_001), Some(NOW));
        assert_eq!(began_at(0), None);
    }
}
