//! Which servers keep what they acknowledge. See docs/adr/0008-jetstream-journal.md.

use std::fmt;

/// A server's version; what follows the third number (`-RC.1`) does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64, u64, u64);

impl Version {
    /// The first version that is taken.
    pub(super) const GOOD: Version = Version(2, 14, 4);

    /// Reads `2.14.4`, `v2.15.0-dev`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let numbers = text.split(['-', '+']).next()?;
        let mut numbers = numbers.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self(next()?, next()?, next()?))
    }

    /// Whether it has every fix we know of that the log needs: older ones can lose what they acknowledged, and 2.14.4 is the first whose
    /// leaders cannot append for a term that is over, which the expected sequence of an append rests on.
    pub(super) fn is_good(self) -> bool {
        self >= Self::GOOD
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged_by_their_known_faults() {
        let good = |text: &str| Version::parse(text).map(Version::is_good);
        for new in ["2.14.4", "v2.14.5", "2.15.0-dev", "2.14.10-RC.1", "3.0.0"] {
            assert_eq!(good(new), Some(true), "{new}");
        }
        for old in [
            "2.9.10", "2.10.23", "2.12.11", "2.12.15", "2.14.0", "2.14.3", "1.99.99",
        ] {
            assert_eq!(good(old), Some(false), "{old}");
        }
        for nothing in ["", "2.14", "two", "2..4"] {
            assert_eq!(good(nothing), None, "{nothing}");
        }
    }
}
