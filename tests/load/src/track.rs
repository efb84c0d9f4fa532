//! Whether everything sent on a topic came, once and in order.

use std::collections::BTreeSet;
use std::ops::AddAssign;

/// Follows the sequence of one topic at one receiver.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    next: u64,
    missing: BTreeSet<u64>,
    reordered: u64,
    duplicates: u64,
}

impl Tracker {
    /// Notes an arrival; `true` when it is the first of that sequence.
    pub(crate) fn see(&mut self, sequence: u64) -> bool {
        if sequence >= self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
            return true;
        }
        if self.missing.remove(&sequence) {
            self.reordered += 1;
            return true;
        }
        self.duplicates += 1;
        false
    }

    /// The verdict when `sent` messages had been sent.
    pub(crate) fn verdict(&self, sent: u64) -> Verdict {
        let missing = self.missing.len() as u64;
        Verdict {
            delivered: self.next - missing,
            lost: missing + sent.saturating_sub(self.next),
            reordered: self.reordered,
            duplicates: self.duplicates,
        }
    }
}

/// What became of the messages of one or many topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Distinct messages that came.
    pub(crate) delivered: u64,
    /// Messages that never came.
    pub(crate) lost: u64,
    /// Messages that came after a later one, for the first time.
    pub(crate) reordered: u64,
    /// Messages that came again.
    pub(crate) duplicates: u64,
}

impl AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(arrivals: &[u64], sent: u64) -> Verdict {
        let mut tracker = Tracker::default();
        for &sequence in arrivals {
            tracker.see(sequence);
        }
        tracker.verdict(sent)
    }

    #[test]
    fn all_in_order_is_a_clean_verdict() {
        assert_eq!(
            verdict(&[0, 1, 2], 3),
            Verdict {
                delivered: 3,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn a_gap_and_a_missing_tail_are_lost() {
        assert_eq!(
            verdict(&[0, 2], 5),
            Verdict {
                delivered: 2,
                lost: 3,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn a_late_arrival_is_reordered_and_not_lost() {
        assert_eq!(
            verdict(&[0, 2, 1], 3),
            Verdict {
                delivered: 3,
                reordered: 1,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_and_not_a_disorder() {
        assert_eq!(
            verdict(&[0, 1, 0, 1, 2], 3),
            Verdict {
                delivered: 3,
                duplicates: 2,
                ..Verdict::default()
            }
        );
    }

    #[test]
    fn nothing_at_all_is_all_lost() {
        assert_eq!(
            verdict(&[], 4),
            Verdict {
                lost: 4,
                ..Verdict::default()
            }
        );
    }
}
