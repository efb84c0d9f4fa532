//! How far a visitor has got with one destination, over all its pages.

use model::{PartitionId, Position, TopicFilter};
use session::{SavedInflight, SavedLane, SavedPhase, SavedState, Subscription};

/// What has been acknowledged: everything up to `sent` but `open`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    sent: Position,
    /// Ascending.
    open: Vec<Position>,
}

impl Progress {
    /// Everything up to a position.
    pub fn at(position: Position) -> Self {
        Self {
            sent: position,
            open: Vec::new(),
        }
    }

    /// That of a session with one lane; `None` when it has not begun.
    pub fn of(state: &SavedState) -> Option<Self> {
        let sent = state.lanes.first()?.sent;
        let mut open: Vec<Position> = state.inflight.iter().map(|i| i.position).collect();
        open.sort_unstable();
        Some(Self { sent, open })
    }

    fn has(&self, position: Position) -> bool {
        position <= self.sent && self.open.binary_search(&position).is_err()
    }

    /// Takes over what another page acknowledged. Nothing acknowledged is ever unacknowledged by it.
    pub fn merge(&mut self, other: &Progress) {
        let theirs = other.open.iter().filter(|p| !self.has(**p)).copied();
        let mut open: Vec<Position> = self
            .open
            .iter()
            .filter(|p| !other.has(**p))
            .copied()
            .chain(theirs)
            .collect();
        open.sort_unstable();
        open.dedup();
        self.open = open;
        self.sent = self.sent.max(other.sent);
    }

    /// The state of a session that goes on from here.
    pub fn to_state(&self, partition: PartitionId, filter: &TopicFilter) -> SavedState {
        let cursor = self.open.first().map_or(self.sent, |p| p.before());
        let inflight = (1u16..)
            .zip(&self.open)
            .map(|(packet_id, position)| SavedInflight {
                packet_id,
                partition,
                side: 0,
                position: *position,
                phase: SavedPhase::AtLeastOnce,
            });
        let inflight: Vec<SavedInflight> = inflight.collect();
        let next_id = inflight.last().map_or(1, |i| i.packet_id.saturating_add(1));
        SavedState {
            lanes: vec![SavedLane {
                partition,
                cursor,
                sent: self.sent,
            }],
            subscriptions: vec![Subscription {
                filter: filter.clone(),
                qos: 1,
                no_local: false,
                retain_as_published: false,
                retain_handling: 0,
                id: None,
                start: Vec::new(),
            }],
            inflight,
            next_id,
            ..SavedState::default()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn progress(sent: u64, open: &[u64]) -> Progress {
        Progress {
            sent: Position(sent),
            open: open.iter().map(|p| Position(*p)).collect(),
        }
    }

    fn merged(a: &Progress, b: &Progress) -> Progress {
        let mut m = a.clone();
        m.merge(b);
        m
    }

    #[test]
    fn what_either_page_acknowledged_is_acknowledged() {
        let (ahead, behind) = (progress(100, &[50, 90]), progress(60, &[55]));
        assert_eq!(merged(&ahead, &behind), progress(100, &[90]));
        assert_eq!(merged(&behind, &ahead), progress(100, &[90]));
        assert_eq!(merged(&ahead, &ahead), ahead);
    }

    #[test]
    fn what_no_page_acknowledged_stays_open() {
        assert_eq!(
            merged(&progress(10, &[5, 7]), &progress(10, &[5, 8])),
            progress(10, &[5])
        );
        assert_eq!(
            merged(&progress(10, &[10]), &progress(9, &[])),
            progress(10, &[10])
        );
    }

    #[test]
    fn a_state_goes_there_and_back() {
        let p = progress(100, &[50, 90]);
        let filter = TopicFilter::new("org/agent/a/v").unwrap();
        let state = p.to_state(PartitionId(3), &filter);
        assert_eq!(state.lanes[0].cursor, Position(49));
        assert_eq!(state.next_id, 3);
        assert_eq!(Progress::of(&state), Some(p));
        assert_eq!(Progress::of(&SavedState::default()), None);
    }
}
