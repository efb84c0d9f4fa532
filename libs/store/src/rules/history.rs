//! Pages of a topic's history.

use contract::persistence::HistoryRange;
use model::Position;

/// How a page is read: from a position on, in one direction, over the messages that history shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Not itself of the page.
    pub from: Position,
    /// From the newest before `from` to older ones; else from the oldest after it to newer ones.
    pub backwards: bool,
    /// How many are passed over first.
    pub skip: u64,
    limit: usize,
}

impl Reading {
    pub fn of(range: HistoryRange) -> Self {
        let (from, backwards, skip, limit) = match range {
            HistoryRange::After { position, limit } => (position, false, 0, limit),
            HistoryRange::Before { position, limit } => (position, true, 0, limit),
            HistoryRange::Page { number, size } => {
                (Position::END, true, u64::from(number) * u64::from(size), size)
            }
        };
        Self {
            // A client may name any position; none is after the last.
            from: from.min(Position::END),
            backwards,
            skip: skip.min(Position::END.0),
            limit: limit as usize,
        }
    }

    /// How many to read: one that the page does not take tells that there are more.
    pub fn most(&self) -> usize {
        self.limit.saturating_add(1)
    }

    /// Makes the page of what was read: oldest first, and whether there are more in the direction of the reading.
    pub fn page<T>(&self, mut read: Vec<T>) -> (Vec<T>, bool) {
        let more = read.len() > self.limit;
        read.truncate(self.limit);
        if self.backwards {
            read.reverse();
        }
        (read, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_oldest_first_and_knows_whether_there_are_more() {
        let at = Position(5);
        let after = Reading::of(HistoryRange::After {
            position: at,
            limit: 2,
        });
        let before = Reading::of(HistoryRange::Before {
            position: at,
            limit: 2,
        });
        assert_eq!((after.most(), after.from, after.skip), (3, at, 0));
        assert_eq!(after.page(vec![6, 7, 8]), (vec![6, 7], true));
        assert_eq!(after.page(vec![6, 7]), (vec![6, 7], false));
        assert_eq!(before.page(vec![4, 3, 2]), (vec![3, 4], true));
        assert_eq!(before.page(vec![4]), (vec![4], false));
        let page = Reading::of(HistoryRange::Page { number: 3, size: 10 });
        assert_eq!((page.from, page.backwards, page.skip), (Position::END, true, 30));
    }

    #[test]
    fn whatever_a_client_names_is_a_place_in_the_log() {
        let position = Position(u64::MAX);
        for range in [
            HistoryRange::After { position, limit: 1 },
            HistoryRange::Before { position, limit: 1 },
        ] {
            assert_eq!(Reading::of(range).from, Position::END);
        }
        let size = u32::MAX;
        let page = Reading::of(HistoryRange::Page { number: size, size });
        assert_eq!(page.skip, Position::END.0, "what a database can count");
    }
}
