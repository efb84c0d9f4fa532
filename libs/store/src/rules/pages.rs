//! Pages of a backlog: how much one takes, and up to where it has each lane.

use bytes::Bytes;
use contract::persistence::{BacklogEntry, BacklogLane, BacklogPage, BacklogRequest};
use model::Position;

/// A page that is being filled: lane by lane, each in the order of its partition, until something does not fit. One
/// entry fits however large it is, so that every page moves on.
pub(crate) struct Filling<'a> {
    lanes: &'a [BacklogLane],
    entries: Vec<BacklogEntry>,
    room: usize,
    bytes: usize,
    reached: Vec<Position>,
}

impl<'a> Filling<'a> {
    pub fn of(request: &'a BacklogRequest) -> Self {
        Self {
            lanes: &request.lanes,
            entries: Vec::new(),
            room: request.max_entries.max(1),
            bytes: request.max_bytes,
            reached: request.lanes.iter().map(|lane| lane.after).collect(),
        }
    }

    /// How many more entries may fit.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.room == 0 || (self.bytes == 0 && !self.entries.is_empty())
    }

    /// Puts in what comes next in a lane: whether it fits. Where it does not, the page ends.
    pub fn put(&mut self, lane: usize, position: Position, prev: Option<Position>, entry: Bytes) -> bool {
        if self.is_full() || (entry.len() > self.bytes && !self.entries.is_empty()) {
            return false;
        }
        self.room -= 1;
        self.bytes = self.bytes.saturating_sub(entry.len());
        self.reach(lane, position);
        self.entries.push(BacklogEntry {
            partition: self.lanes[lane].partition,
            position,
            prev,
            entry,
        });
        true
    }

    /// Whatever is to be delivered of a lane up to here is in the page.
    pub fn reach(&mut self, lane: usize, upto: Position) {
        self.reached[lane] = upto.max(self.reached[lane]);
    }

    /// The page: what it does not reach is left for the next one.
    pub fn page(self) -> BacklogPage {
        let lanes = self.lanes.iter().map(|lane| lane.partition);
        BacklogPage {
            covered: lanes.zip(self.reached).collect(),
            entries: self.entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::PartitionId;

    use super::*;

    /// Puts entries of these lengths into one lane; how many fit.
    fn fitting(max_entries: usize, max_bytes: usize, lengths: &[usize]) -> usize {
        let request = request(max_entries, max_bytes);
        let mut filling = Filling::of(&request);
        let put = |(n, len): (usize, &usize)| {
            filling.put(0, Position(11 + n as u64), None, Bytes::from(vec![0; *len]))
        };
        let fit = lengths.iter().enumerate().map(put).take_while(|fits| *fits);
        let fit = fit.count();
        let page = filling.page();
        assert_eq!(page.entries.len(), fit);
        assert_eq!(page.covered[0].1, Position(10 + fit as u64));
        assert_eq!(page.covered[1].1, Position(20), "the next lane was not begun");
        fit
    }

    fn request(max_entries: usize, max_bytes: usize) -> BacklogRequest {
        let lane = |p: u16, after| BacklogLane {
            partition: PartitionId(p),
            after: Position(after),
            upto: Position(100),
        };
        BacklogRequest {
            org: "o".into(),
            lanes: vec![lane(3, 10), lane(4, 20)],
            filters: Vec::new(),
            max_entries,
            max_bytes,
        }
    }

    #[test]
    fn a_page_takes_what_fits_and_one_entry_in_any_case() {
        for (max_entries, max_bytes, lengths, fit) in [
            (3, 1000, &[10, 10, 10, 10][..], 3),
            (9, 25, &[10, 10, 10][..], 2),
            (9, 20, &[10, 10, 0][..], 2),
            (9, 25, &[100, 1][..], 1),
            (9, 0, &[100, 1][..], 1),
            (0, 1000, &[1, 1][..], 1),
            (9, 25, &[10, 100, 1][..], 1),
        ] {
            assert_eq!(fitting(max_entries, max_bytes, lengths), fit, "{lengths:?}");
        }
    }

    #[test]
    fn a_page_says_up_to_where_it_has_each_lane() {
        let request = request(9, 1000);
        let mut filling = Filling::of(&request);
        filling.reach(0, Position(100));
        filling.put(1, Position(30), None, Bytes::new());
        filling.reach(1, Position(25));
        let covered = [(PartitionId(3), Position(100)), (PartitionId(4), Position(30))];
        assert_eq!(filling.page().covered, covered);
    }
}
