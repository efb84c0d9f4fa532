//! Which edge wants which topic, and what is on its way to each.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use model::{EdgeId, FilterMap, FrameSeq, OrgId, Position, TopicFilter};
use wire::{Exception, OrgFilter, Routed, RoutedEntry, Settled};

/// What is sent at once is cut at this many bytes, so that it fits any bus; one entry may be larger.
pub(crate) const FRAME_BYTES: usize = 512 * 1024;

#[derive(Debug)]
struct Edge {
    id: EdgeId,
    filters: HashSet<(OrgId, TopicFilter)>,
    stream: u64,
    last_number: u64,
    last_heard: Duration,
    entries: Vec<RoutedEntry>,
    settled: Vec<Settled>,
    /// Of what is in `entries` and `settled`.
    bytes: usize,
    /// Frames that are full.
    full: Vec<Routed>,
    mark: u64,
}

impl Edge {
    /// Makes room for so many bytes. `upto`: the edge has been given everything up to there.
    fn make_room(&mut self, size: usize, whose: Whose, upto: Position) {
        if self.bytes > 0 && self.bytes + size > FRAME_BYTES {
            self.cut(whose, upto);
        }
        self.bytes += size;
    }

    fn cut(&mut self, whose: Whose, upto: Position) {
        self.last_number += 1;
        self.bytes = 0;
        self.full.push(Routed {
            partition: whose.partition,
            owner_epoch: whose.epoch,
            number: self.last_number,
            upto: upto.0,
            entries: std::mem::take(&mut self.entries),
            settled: std::mem::take(&mut self.settled),
            stream: self.stream,
        });
    }
}

/// What the frames say of their sender.
#[derive(Debug, Clone, Copy)]
struct Whose {
    partition: u32,
    epoch: u64,
}

/// Edges by what they asked for. Time is passed in, as a monotonic duration.
#[derive(Debug)]
pub(crate) struct Routes {
    whose: Whose,
    edges: BTreeMap<u32, Edge>,
    by_id: HashMap<EdgeId, u32>,
    by_org: HashMap<OrgId, FilterMap<u32>>,
    next: u32,
    mark: u64,
}

/// About how many bytes an outcome takes in a frame.
pub(crate) fn settled_bytes(exceptions: &[Exception]) -> usize {
    24 + 24 * exceptions.len()
}

impl Routes {
    /// Of the owner of a partition under this epoch.
    pub fn new(partition: u16, epoch: u64) -> Self {
        Self {
            whose: Whose {
                partition: u32::from(partition),
                epoch,
            },
            edges: BTreeMap::new(),
            by_id: HashMap::new(),
            by_org: HashMap::new(),
            next: 0,
            mark: 0,
        }
    }

    /// Notes that an edge lives, and enters it if it is new. An edge that follows another stream than before begins anew;
    /// `None`: it has begun anew already, this is a question from before that came late.
    pub fn hear(&mut self, id: &str, stream: u64, now: Duration) -> Option<u32> {
        let ix = match self.by_id.get(id) {
            Some(ix) => *ix,
            None => self.enter(EdgeId::new(id)),
        };
        let edge = self.edges.get_mut(&ix)?;
        if stream < edge.stream {
            return None;
        }
        edge.last_heard = now;
        if stream > edge.stream {
            edge.stream = stream;
            self.reset(ix);
        }
        Some(ix)
    }

    fn enter(&mut self, id: EdgeId) -> u32 {
        let ix = self.next;
        self.next += 1;
        self.by_id.insert(id.clone(), ix);
        let edge = Edge {
            id,
            filters: HashSet::new(),
            stream: 0,
            last_number: 0,
            last_heard: Duration::ZERO,
            entries: Vec::new(),
            settled: Vec::new(),
            bytes: 0,
            full: Vec::new(),
            mark: 0,
        };
        self.edges.insert(ix, edge);
        ix
    }

    pub fn last_number(&self, ix: u32) -> u64 {
        self.edges.get(&ix).map_or(0, |e| e.last_number)
    }

    /// Forgets every filter of an edge and numbers its frames from 1 again.
    pub fn reset(&mut self, ix: u32) {
        let Some(edge) = self.edges.get_mut(&ix) else {
            return;
        };
        edge.last_number = 0;
        for (org, filter) in edge.filters.drain() {
            remove(&mut self.by_org, &org, &filter, ix);
        }
    }

    /// Adds a filter; what cannot be a filter is ignored (edges send checked ones).
    pub fn attach(&mut self, ix: u32, of: OrgFilter) {
        let Ok(filter) = TopicFilter::new(&of.filter) else {
            return;
        };
        let org = OrgId::new(of.org);
        let Some(edge) = self.edges.get_mut(&ix) else {
            return;
        };
        if edge.filters.insert((org.clone(), filter.clone())) {
            self.by_org.entry(org).or_default().insert(&filter, ix);
        }
    }

    pub fn detach(&mut self, ix: u32, of: OrgFilter) {
        let key = (OrgId::new(of.org), TopicFilter::trusted(of.filter));
        let Some(edge) = self.edges.get_mut(&ix) else {
            return;
        };
        if edge.filters.remove(&key) {
            remove(&mut self.by_org, &key.0, &key.1, ix);
        }
    }

    /// Queues an entry of the log for every edge that wants its topic.
    pub fn fan_out(&mut self, org: &str, topic: &str, entry: &RoutedEntry) {
        let Some(filters) = self.by_org.get(org) else {
            return;
        };
        self.mark += 1;
        let (edges, mark, whose) = (&mut self.edges, self.mark, self.whose);
        filters.for_each(topic, |ix| {
            if let Some(edge) = edges.get_mut(ix)
                && edge.mark != mark
            {
                edge.mark = mark;
                edge.make_room(entry.entry.len() + 40, whose, Position(entry.position).before());
                edge.entries.push(entry.clone());
            }
        });
    }

    /// The edges that want a topic, for what is not numbered.
    pub fn wanting(&self, org: &str, topic: &str) -> impl Iterator<Item = &EdgeId> {
        let mut found: Vec<u32> = Vec::new();
        if let Some(filters) = self.by_org.get(org) {
            filters.for_each(topic, |ix| found.push(*ix));
        }
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .filter_map(|ix| self.edges.get(&ix))
            .map(|e| &e.id)
    }

    /// Queues the outcome of a frame, all of whose entries have been fanned out, for the edge that appended it, if that
    /// edge is known.
    pub fn settle(&mut self, edge: &str, id: u64, seq: FrameSeq, exceptions: Vec<Exception>) {
        let edge = self.by_id.get(edge).and_then(|ix| self.edges.get_mut(ix));
        if let Some(edge) = edge {
            edge.make_room(settled_bytes(&exceptions), self.whose, Position::end_of(seq));
            let seq = seq.0;
            edge.settled.push(Settled { id, seq, exceptions });
        }
    }

    /// Takes what is queued, as numbered frames, in order for each edge. `all`: also those that are not full, everything
    /// up to this position having been fanned out.
    pub fn take(&mut self, all: Option<Position>) -> Vec<(EdgeId, Routed)> {
        let mut taken = Vec::new();
        for edge in self.edges.values_mut() {
            if let Some(upto) = all
                && edge.bytes > 0
            {
                edge.cut(self.whose, upto);
            }
            taken.extend(edge.full.drain(..).map(|routed| (edge.id.clone(), routed)));
        }
        taken
    }

    /// Forgets edges that were last heard of before `horizon`.
    pub fn expire(&mut self, horizon: Duration) {
        let silent: Vec<u32> = self
            .edges
            .iter()
            .filter(|(_, e)| e.last_heard < horizon)
            .map(|(ix, _)| *ix)
            .collect();
        for ix in silent {
            self.reset(ix);
            if let Some(edge) = self.edges.remove(&ix) {
                self.by_id.remove(&edge.id);
            }
        }
    }
}

fn remove(by_org: &mut HashMap<OrgId, FilterMap<u32>>, org: &OrgId, filter: &TopicFilter, ix: u32) {
    if let Some(filters) = by_org.get_mut(org) {
        filters.remove(filter, &ix);
        if filters.is_empty() {
            by_org.remove(org);
        }
    }
}

/// The subject on which an edge gets its frames.
pub(crate) fn subject(edge: &EdgeId) -> String {
    format!("edge.{edge}")
}

/// An entry on its way.
pub(crate) fn routed_entry(position: Position, prev: Option<Position>, entry: Bytes) -> RoutedEntry {
    RoutedEntry {
        position: position.0,
        prev: prev.map_or(0, |p| p.0),
        entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(filter: &str) -> OrgFilter {
        OrgFilter {
            org: "o".into(),
            filter: filter.into(),
        }
    }

    fn at(seq: u64, index: u16) -> Position {
        Position::new(FrameSeq(seq), index)
    }

    #[test]
    fn an_edge_gets_an_entry_once_however_many_of_its_filters_match() {
        let mut r = Routes::new(3, 9);
        let ix = r.hear("e", 1, Duration::ZERO).unwrap();
        r.attach(ix, of("a/b"));
        r.attach(ix, of("a/+"));
        r.fan_out("o", "a/b", &routed_entry(Position(1), None, Bytes::new()));
        r.fan_out("other", "a/b", &routed_entry(Position(2), None, Bytes::new()));
        let out = r.take(Some(Position(2)));
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].1.number, out[0].1.entries.len()), (1, 1));
        r.detach(ix, of("a/b"));
        r.detach(ix, of("a/+"));
        r.fan_out("o", "a/b", &routed_entry(Position(3), None, Bytes::new()));
        assert!(r.take(Some(Position(3))).is_empty() && r.by_org.is_empty());
    }

    #[test]
    fn a_silent_edge_is_forgotten_with_its_filters() {
        let mut r = Routes::new(0, 1);
        let ix = r.hear("e", 1, Duration::from_secs(1)).unwrap();
        r.attach(ix, of("#"));
        r.expire(Duration::from_secs(2));
        assert!(r.wanting("o", "a").next().is_none() && r.by_org.is_empty() && r.by_id.is_empty());
    }

    #[test]
    fn a_question_of_an_earlier_stream_that_comes_late_undoes_nothing() {
        let mut r = Routes::new(0, 1);
        let ix = r.hear("e", 2, Duration::ZERO).unwrap();
        r.attach(ix, of("a"));
        assert_eq!(r.hear("e", 1, Duration::ZERO), None);
        assert_eq!(r.wanting("o", "a").count(), 1);
        assert_eq!(r.hear("e", 3, Duration::ZERO), Some(ix));
        assert_eq!(r.wanting("o", "a").count(), 0);
    }

    #[test]
    fn whatever_a_frame_of_the_log_brings_the_frames_to_edges_fit_the_bus() {
        let mut r = Routes::new(0, 1);
        let ix = r.hear("e", 1, Duration::ZERO).unwrap();
        r.attach(ix, of("a"));
        let large = Bytes::from(vec![0; 300 * 1024]);
        for index in 0..3 {
            r.fan_out("o", "a", &routed_entry(at(5, index), None, large.clone()));
        }
        let exception = Exception::default();
        r.settle("e", 7, FrameSeq(5), vec![exception; 15_000]);
        let largest = Bytes::from(vec![0; 900 * 1024]);
        r.fan_out("o", "a", &routed_entry(at(6, 0), None, largest.clone()));
        let full = r.take(None);
        r.fan_out("o", "a", &routed_entry(at(6, 1), None, Bytes::new()));
        let frames: Vec<Routed> = full
            .into_iter()
            .chain(r.take(Some(at(6, 1))))
            .map(|f| f.1)
            .collect();
        let shape = |f: &Routed| (f.number, f.upto, f.entries.len(), f.settled.len());
        let shapes: Vec<_> = frames.iter().map(shape).collect();
        assert_eq!(
            shapes,
            [
                (1, at(5, 0).0, 1, 0),
                (2, at(5, 1).0, 1, 0),
                (3, Position::end_of(FrameSeq(5)).0, 1, 0),
                (4, Position::end_of(FrameSeq(5)).0, 0, 1),
                (5, at(6, 0).0, 1, 0),
                (6, at(6, 1).0, 1, 0),
            ]
        );
        for frame in &frames {
            let size = wire::frame::encode(frame).len();
            let allowed = FRAME_BYTES.max(frame.entries.first().map_or(0, |e| e.entry.len() + 512));
            assert!(size <= allowed, "{size} bytes");
        }
    }
}
