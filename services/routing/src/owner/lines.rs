//! The lines to edges: what each has attached, and what is to be said to it next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use contract::routing::{Downstream, Hello, Outcome, Routed, RoutedEntry, Welcome};
use model::{EdgeId, FilterMap, OrgId, Position, TopicFilter};

use crate::inbox::LineId;

/// What is said at once is cut at this many bytes, so that it fits any transport; one entry may be larger.
const FRAME_BYTES: usize = 512 * 1024;

struct Line {
    edge: EdgeId,
    down: Arc<dyn Downstream>,
    filters: HashSet<(OrgId, TopicFilter)>,
    /// Numbers from here on come without holes; before it what is sent again, without what was answered.
    first: u64,
    /// The last number that was taken in.
    last: u64,
    /// Up to where the edge was told that the log goes.
    told: Position,
    next: Routed,
    bytes: usize,
    /// What is to be said next must not be said before this frame of ours is in the log, or while the lease is held: it is
    /// true only if nobody else owns the partition.
    proof: Option<u64>,
    /// Refusals, each with the frame of ours that must be in the log before it is said. The lease is no proof for these: should it
    /// have been given to another before its time, what is missing here may be there.
    refused: VecDeque<(u64, u64, Outcome)>,
    mark: u64,
}

impl Line {
    /// Takes up the refusals that are proven.
    fn prove(&mut self, proven: u64) {
        while let Some((_, number, outcome)) = self.refused.pop_front_if(|(proof, ..)| *proof <= proven) {
            self.bytes += Routed::AROUND;
            self.next.answers.push((number, outcome));
        }
    }

    /// Says what there is; false when the line has ended.
    fn say(&mut self, epoch: u64, upto: Position) -> bool {
        self.bytes = 0;
        self.proof = None;
        self.told = upto.max(self.told);
        let next = std::mem::take(&mut self.next);
        self.down.routed(Routed { epoch, upto, ..next })
    }
}

/// What a number is to its line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    /// It follows the last.
    Next,
    /// The line has ended.
    Ended,
    /// Something before it is missing: the line is broken.
    Hole,
}

/// The lines of one owner.
pub(crate) struct Lines {
    epoch: u64,
    lines: BTreeMap<LineId, Line>,
    by_edge: HashMap<EdgeId, LineId>,
    by_org: HashMap<OrgId, FilterMap<LineId>>,
    /// Lines on which there is something to say.
    ready: BTreeSet<LineId>,
    /// What has ended since somebody asked.
    ended: HashSet<LineId>,
    mark: u64,
    /// How often something was said.
    pub said: u64,
}

impl Lines {
    /// Of an owner under this epoch.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            lines: BTreeMap::new(),
            by_edge: HashMap::new(),
            by_org: HashMap::new(),
            ready: BTreeSet::new(),
            ended: HashSet::new(),
            mark: 0,
            said: 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// An edge opens a line: an earlier one of its ends. `replay`: everything of the log after [`Hello::after`], if it is
    /// all at hand.
    pub fn open<'a>(
        &mut self,
        line: LineId,
        hello: Hello,
        down: Arc<dyn Downstream>,
        boundary: Position,
        proof: u64,
        replay: Option<impl Iterator<Item = &'a RoutedEntry>>,
    ) {
        if let Some(former) = self.by_edge.insert(hello.edge.clone(), line) {
            self.close(former);
        }
        let welcome = Welcome {
            boundary,
            whole: replay.is_some(),
        };
        let new = Line {
            edge: hello.edge,
            down,
            filters: HashSet::new(),
            first: hello.first,
            last: 0,
            told: boundary,
            next: Routed {
                welcome: Some(welcome),
                ..Routed::default()
            },
            bytes: 0,
            proof: Some(proof),
            refused: VecDeque::new(),
            mark: 0,
        };
        self.lines.insert(line, new);
        self.ready.insert(line);
        for (org, filter) in hello.filters {
            self.add(line, org, filter);
        }
        for entry in replay.into_iter().flatten() {
            self.replay(line, entry);
        }
    }

    fn replay(&mut self, id: LineId, entry: &RoutedEntry) {
        let Some(filters) = self.by_org.get(entry.entry.org.as_str()) else {
            return;
        };
        let mut is_wanted = false;
        filters.for_each(&entry.entry.topic, |line| is_wanted |= *line == id);
        if let Some(line) = self.lines.get_mut(&id).filter(|_| is_wanted) {
            line.bytes += entry.size();
            line.next.entries.push(entry.clone());
        }
    }

    /// A line has ended: whatever waits for its edge is dropped by whoever has it, see [`Self::take_ended`].
    pub fn close(&mut self, line: LineId) {
        let Some(closed) = self.lines.remove(&line) else {
            return;
        };
        self.ready.remove(&line);
        self.ended.insert(line);
        for (org, filter) in closed.filters {
            remove(&mut self.by_org, &org, &filter, line);
        }
        if self.by_edge.get(&closed.edge) == Some(&line) {
            self.by_edge.remove(&closed.edge);
        }
    }

    /// The lines that have ended since this was asked, however they did.
    pub fn take_ended(&mut self) -> HashSet<LineId> {
        std::mem::take(&mut self.ended)
    }

    /// Breaks a line off: the edge is told, and opens another.
    pub fn break_off(&mut self, line: LineId) {
        let down = self.lines.get(&line).map(|l| l.down.clone());
        self.close(line);
        if let Some(down) = down {
            down.ended();
        }
    }

    /// Ends all of them.
    pub fn end(&mut self) {
        for (_, line) in std::mem::take(&mut self.lines) {
            line.down.ended();
        }
    }

    /// Whether what is numbered so follows the last on its line.
    pub fn follow(&mut self, line: LineId, number: u64) -> Numbered {
        let Some(line) = self.lines.get_mut(&line) else {
            return Numbered::Ended;
        };
        let follows = match number < line.first {
            true => number > line.last,
            false => number == line.first.max(line.last + 1),
        };
        if !follows {
            return Numbered::Hole;
        }
        line.last = number;
        Numbered::Next
    }

    /// The edge at the other end; `None` when the line has ended.
    pub fn edge(&self, line: LineId) -> Option<&EdgeId> {
        self.lines.get(&line).map(|l| &l.edge)
    }

    /// Adds a filter, and says from where on it comes live.
    pub fn attach(
        &mut self,
        id: LineId,
        number: u64,
        of: (OrgId, TopicFilter),
        boundary: Position,
        proof: u64,
    ) {
        self.add(id, of.0, of.1);
        if let Some(line) = self.lines.get_mut(&id) {
            line.next.attached.push((number, boundary));
            line.proof = line.proof.max(Some(proof));
            self.ready.insert(id);
        }
    }

    fn add(&mut self, id: LineId, org: OrgId, filter: TopicFilter) {
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        if line.filters.insert((org.clone(), filter.clone())) {
            self.by_org.entry(org).or_default().insert(&filter, id);
        }
    }

    /// Takes a filter away.
    pub fn detach(&mut self, id: LineId, org: OrgId, filter: TopicFilter) {
        let key = (org, filter);
        if self
            .lines
            .get_mut(&id)
            .is_some_and(|line| line.filters.remove(&key))
        {
            remove(&mut self.by_org, &key.0, &key.1, id);
        }
    }

    /// Says what became of a submission. `proof`: the frame of ours that proves what is true only while nobody else has
    /// accepted anything. A position is true whoever tells it; a refusal by what the log holds waits for that frame, and
    /// holds nothing else back.
    pub fn answer(&mut self, id: LineId, number: u64, outcome: Outcome, proof: u64) {
        if let Some(line) = self.lines.get_mut(&id) {
            self.ready.insert(id);
            match outcome {
                Outcome::Conflict | Outcome::Outdated | Outcome::Forbidden | Outcome::Rejected => {
                    return line.refused.push_back((proof, number, outcome));
                }
                Outcome::TooLarge | Outcome::Unavailable(_) | Outcome::Unknown => {
                    line.proof = line.proof.max(Some(proof));
                }
                Outcome::Stored { .. } => {}
            }
            line.bytes += Routed::AROUND;
            line.next.answers.push((number, outcome));
        }
    }

    /// Gives an entry of the log, or one for whoever is online now, to every edge that wants its topic.
    pub fn fan_out(&mut self, entry: &RoutedEntry) {
        let Some(filters) = self.by_org.get(entry.entry.org.as_str()) else {
            return;
        };
        self.mark += 1;
        let (lines, ready, mark) = (&mut self.lines, &mut self.ready, self.mark);
        let (mut ended, is_logged) = (Vec::new(), entry.position > Position::START);
        let (epoch, said) = (self.epoch, &mut self.said);
        filters.for_each(&entry.entry.topic, |id| {
            let Some(line) = lines.get_mut(id).filter(|line| line.mark != mark) else {
                return;
            };
            line.mark = mark;
            let size = entry.size();
            // Appends end the wait for a proof; what is not in the log may come for as long as there are none.
            if !is_logged && line.proof.is_some() && line.bytes + size > FRAME_BYTES {
                return;
            }
            // A line that waits for a proof is cut when it has it.
            if line.bytes > 0 && line.bytes + size > FRAME_BYTES && line.proof.is_none() {
                *said += 1;
                if !line.say(epoch, entry.position.before()) {
                    ended.push(*id);
                }
            }
            line.bytes += size;
            line.next.entries.push(entry.clone());
            ready.insert(*id);
        });
        ended.into_iter().for_each(|id| self.close(id));
    }

    /// Says what there is to say, all up to `upto` having been given out. `proven`: the last of our frames that is in the
    /// log. `held`: the lease is held at this moment, which is proof enough of what is confirmed. True when something has to
    /// wait for a proof.
    pub fn flush(&mut self, upto: Position, proven: u64, held: bool) -> bool {
        let mut waits = false;
        for id in std::mem::take(&mut self.ready) {
            let Some(line) = self.lines.get_mut(&id) else {
                continue;
            };
            line.prove(proven);
            let is_held_back = !held && line.proof.is_some_and(|frame| frame > proven);
            if is_held_back || !line.refused.is_empty() {
                self.ready.insert(id);
                waits = true;
            }
            if is_held_back || line.next.is_empty() {
                continue;
            }
            self.said += 1;
            if !line.say(self.epoch, upto) {
                self.close(id);
            }
        }
        waits
    }

    /// Tells the edges that have not heard anything how far the log goes.
    pub fn tell(&mut self, upto: Position) {
        let quiet = |line: &&mut Line| line.next.is_empty() && line.told < upto;
        let epoch = self.epoch;
        self.lines.values_mut().filter(quiet).for_each(|line| {
            // One that has ended says so when there is something to give.
            let _there = line.say(epoch, upto);
        });
    }
}

fn remove(by_org: &mut HashMap<OrgId, FilterMap<LineId>>, org: &OrgId, filter: &TopicFilter, id: LineId) {
    if let Some(filters) = by_org.get_mut(org) {
        filters.remove(filter, &id);
        if filters.is_empty() {
            by_org.remove(org);
        }
    }
}

#[cfg(test)]
mod tests;
