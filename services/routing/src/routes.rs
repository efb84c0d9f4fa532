//! Which edge wants which topic, and what is on its way to each.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use model::{EdgeId, FilterMap, OrgId, Position, TopicFilter};
use wire::{Exception, OrgFilter, Routed, RoutedEntry, Settled};

/// Frames to edges are cut at about this many bytes, so that they fit any bus.
const FRAME_BYTES: usize = 512 * 1024;

#[derive(Debug)]
struct Edge {
    id: EdgeId,
    filters: HashSet<(OrgId, TopicFilter)>,
    stream: u64,
    last_number: u64,
    last_heard: Duration,
    entries: Vec<RoutedEntry>,
    bytes: usize,
    settled: Vec<Settled>,
    mark: u64,
}

/// Edges by what they asked for. Time is passed in, as a monotonic duration.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    edges: HashMap<u32, Edge>,
    by_id: HashMap<EdgeId, u32>,
    by_org: HashMap<OrgId, FilterMap<u32>>,
    next: u32,
    mark: u64,
}

impl Routes {
    /// Notes that an edge lives, and enters it if it is new. An edge that follows another stream than before begins anew.
    pub fn hear(&mut self, id: &str, stream: u64, now: Duration) -> u32 {
        let ix = match self.by_id.get(id) {
            Some(ix) => *ix,
            None => self.enter(EdgeId::new(id)),
        };
        if self.edges.get(&ix).is_some_and(|e| e.stream != stream) {
            self.reset(ix);
        }
        if let Some(edge) = self.edges.get_mut(&ix) {
            edge.last_heard = now;
            edge.stream = stream;
        }
        ix
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
            bytes: 0,
            settled: Vec::new(),
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

    /// Queues an entry for every edge that wants its topic.
    pub fn fan_out(&mut self, org: &str, topic: &str, entry: &RoutedEntry) {
        let Some(filters) = self.by_org.get(org) else {
            return;
        };
        self.mark += 1;
        let (edges, mark) = (&mut self.edges, self.mark);
        filters.for_each(topic, |ix| {
            if let Some(edge) = edges.get_mut(ix)
                && edge.mark != mark
            {
                edge.mark = mark;
                edge.bytes += entry.entry.len() + 32;
                edge.entries.push(entry.clone());
            }
        });
    }

    /// The edges that want a topic, for what is not numbered.
    pub fn wanting(&self, org: &str, topic: &str) -> HashSet<&EdgeId> {
        let mut found = HashSet::new();
        if let Some(filters) = self.by_org.get(org) {
            filters.for_each(topic, |ix| found.extend(self.edges.get(ix).map(|e| &e.id)));
        }
        found
    }

    /// Queues the outcome of a frame for the edge that appended it, if that edge is known.
    pub fn settle(&mut self, edge: &str, id: u64, seq: u64, exceptions: Vec<Exception>) {
        if let Some(edge) = self.by_id.get(edge).and_then(|ix| self.edges.get_mut(ix)) {
            edge.settled.push(Settled { id, seq, exceptions });
        }
    }

    /// Takes what is queued, as numbered frames. `force`: whatever there is; otherwise only what fills a frame.
    pub fn take(
        &mut self,
        partition: u16,
        owner_epoch: u64,
        upto: Position,
        force: bool,
    ) -> Vec<(EdgeId, Routed)> {
        let full = |e: &&mut Edge| {
            e.bytes >= FRAME_BYTES || (force && !(e.entries.is_empty() && e.settled.is_empty()))
        };
        self.edges
            .values_mut()
            .filter(full)
            .map(|edge| {
                edge.last_number += 1;
                edge.bytes = 0;
                let routed = Routed {
                    partition: u32::from(partition),
                    owner_epoch,
                    number: edge.last_number,
                    upto: upto.0,
                    entries: std::mem::take(&mut edge.entries),
                    settled: std::mem::take(&mut edge.settled),
                    stream: edge.stream,
                };
                (edge.id.clone(), routed)
            })
            .collect()
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

    #[test]
    fn an_edge_gets_an_entry_once_however_many_of_its_filters_match() {
        let mut r = Routes::default();
        let ix = r.hear("e", 1, Duration::ZERO);
        r.attach(ix, of("a/b"));
        r.attach(ix, of("a/+"));
        r.fan_out("o", "a/b", &routed_entry(Position(1), None, Bytes::new()));
        r.fan_out("other", "a/b", &routed_entry(Position(2), None, Bytes::new()));
        let out = r.take(3, 9, Position(2), true);
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].1.number, out[0].1.entries.len()), (1, 1));
        r.detach(ix, of("a/b"));
        r.detach(ix, of("a/+"));
        r.fan_out("o", "a/b", &routed_entry(Position(3), None, Bytes::new()));
        assert!(r.take(3, 9, Position(3), true).is_empty() && r.by_org.is_empty());
    }

    #[test]
    fn a_silent_edge_is_forgotten_with_its_filters() {
        let mut r = Routes::default();
        let ix = r.hear("e", 1, Duration::from_secs(1));
        r.attach(ix, of("#"));
        r.expire(Duration::from_secs(2));
        assert!(r.wanting("o", "a").is_empty() && r.by_org.is_empty() && r.by_id.is_empty());
    }
}
