//! Where each topic of a backlog begins.

use ahash::AHashMap;
use contract::persistence::{BacklogLane, BacklogRequest};
use model::{PartitionId, Position};

/// The lanes of a request, and where its filters begin.
pub(crate) struct Starts<'a> {
    lanes: AHashMap<PartitionId, (usize, &'a BacklogLane)>,
    filters: Vec<AHashMap<PartitionId, Position>>,
}

impl<'a> Starts<'a> {
    pub fn of(request: &'a BacklogRequest) -> Self {
        let lanes = request.lanes.iter().enumerate();
        let starts = |part: &contract::persistence::BacklogFilter| part.start.iter().copied().collect();
        Self {
            lanes: lanes.map(|(i, lane)| (lane.partition, (i, lane))).collect(),
            filters: request.filters.iter().map(starts).collect(),
        }
    }

    /// The lane of a partition, with its number.
    pub fn lane(&self, partition: PartitionId) -> Option<(usize, &'a BacklogLane)> {
        self.lanes.get(&partition).copied()
    }

    /// After which position a topic of a lane begins that these filters have: where the first of them begins, and not
    /// before the lane. `None` when none has it.
    pub fn after(&self, lane: &BacklogLane, filters: impl Iterator<Item = usize>) -> Option<Position> {
        let start = |i: usize| self.filters[i].get(&lane.partition).copied().unwrap_or_default();
        filters.map(start).min().map(|start| start.max(lane.after))
    }
}

#[cfg(test)]
mod tests {
    use contract::persistence::BacklogFilter;
    use model::TopicFilter;

    use super::*;

    #[test]
    fn a_topic_begins_where_the_first_filter_that_has_it_begins() {
        let filter = |start: &[(u16, u64)]| BacklogFilter {
            filter: TopicFilter::new("#").unwrap(),
            start: start
                .iter()
                .map(|(p, at)| (PartitionId(*p), Position(*at)))
                .collect(),
        };
        let lane = |p| BacklogLane {
            partition: PartitionId(p),
            after: Position(10),
            upto: Position(100),
        };
        let request = BacklogRequest {
            org: "o".into(),
            lanes: vec![lane(3), lane(4)],
            filters: vec![filter(&[(3, 50)]), filter(&[(3, 20), (4, 30)]), filter(&[(3, 5)])],
            max_entries: 1,
            max_bytes: 1,
        };
        let starts = Starts::of(&request);
        let (number, lane) = starts.lane(PartitionId(3)).unwrap();
        assert_eq!((number, starts.lane(PartitionId(9)).is_none()), (0, true));
        let after = |filters: &[usize]| starts.after(lane, filters.iter().copied());
        assert_eq!(after(&[0]), Some(Position(50)));
        assert_eq!(after(&[0, 1]), Some(Position(20)));
        assert_eq!(after(&[0, 1, 2]), Some(Position(10)), "not before the lane");
        assert_eq!(after(&[]), None);
        let (_, other) = starts.lane(PartitionId(4)).unwrap();
        assert_eq!(
            starts.after(other, [0, 1].into_iter()),
            Some(Position(10)),
            "one without a start has everything"
        );
    }
}
