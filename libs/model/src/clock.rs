//! Times as they travel. What asks the clock lives elsewhere; these are the values.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

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

/// When the client says that it wrote a message. Only to judge the age of a resend; never for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTime(pub UnixMillis);

impl ClientTime {
    /// Reads what deployed clients put into `createdAt`: epoch milliseconds, an ISO 8601 instant, or
    /// `yyyy-MM-dd HH:mm:ss` in `zone`. Anything else is unknown.
    pub fn parse(text: &str, zone: &TimeZone) -> Option<ClientTime> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().map(|ms| ClientTime(UnixMillis(ms)));
        }
        let instant = match text.parse::<Timestamp>() {
            Ok(instant) => instant,
            Err(_) => text
                .parse::<DateTime>()
                .ok()?
                .to_zoned(zone.clone())
                .ok()?
                .timestamp(),
        };
        u64::try_from(instant.as_millisecond())
            .ok()
            .map(|ms| ClientTime(UnixMillis(ms)))
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
    fn every_form_of_created_at_is_read() {
        let want = Some(ClientTime(UnixMillis(1_769_833_310_000)));
        for text in [
            "1769833310000",
            "2026-01-31T04:21:50Z",
            "2026-01-31T04:21:50.000Z",
            "2026-01-31 12:21:50",
        ] {
            assert_eq!(ClientTime::parse(text, &shanghai()), want, "{text}");
        }
        for text in ["", "yesterday", "-5", "99999999999999999999999"] {
            assert_eq!(ClientTime::parse(text, &shanghai()), None, "{text}");
        }
    }

    #[test]
    fn created_at_is_written_in_the_configured_zone() {
        assert_eq!(
            format_created_at(UnixMillis(1_769_833_310_999), &shanghai()),
            "2026-01-31 12:21:50"
        );
    }
}
