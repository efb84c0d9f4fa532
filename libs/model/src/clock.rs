//! Times as they travel. What asks the clock lives elsewhere; these are the values.

use jiff::{Timestamp, tz::TimeZone};

/// Milliseconds since 1970 by the server's wall clock.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// How many milliseconds have passed since `earlier`; 0 if it lies ahead.
    pub fn since(self, earlier: UnixMillis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// `yyyy-MM-dd HH:mm:ss` in `zone`: the `createdAt` that deployed clients expect.
pub fn format_created_at(at: UnixMillis, zone: &TimeZone) -> String {
    use std::fmt::Write as _;
    let instant =
        Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    let t = zone.to_datetime(instant);
    let mut out = String::with_capacity(19);
    let _infallible = write!(
        out,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shanghai() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(8))
    }

    #[test]
    fn created_at_is_written_in_the_configured_zone() {
        assert_eq!(
            format_created_at(UnixMillis(1_769_833_310_999), &shanghai()),
            "2026-01-31 12:21:50"
        );
    }
}
