//! The model of the log, of routing's numbers and of what persistence answers.

use model::{PartitionId, Position, TopicFilter};
use session::{Fetch, Item, Page};

pub const PARTITIONS: usize = 3;
pub const TOPICS: usize = 9;
pub const CLIENTS: usize = 2;

/// Topics 0 and 1 are those of the two users themselves, where grants come.
pub fn partition_of(topic: usize) -> usize {
    topic % PARTITIONS
}

pub fn filter_of(topic: usize) -> TopicFilter {
    TopicFilter::trusted(format!("t/{topic}"))
}

/// An entry. Its uid is its index in the order of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thing {
    pub uid: usize,
    pub topic: usize,
    pub qos: u8,
    pub payload: usize,
    pub position: Position,
    pub recalled: bool,
    /// Makes the owner of the topic a member of another one, from a position on.
    pub grant: Option<(usize, Position)>,
}

impl Item for Thing {
    type Token = usize;
    fn partition(&self) -> PartitionId {
        PartitionId(partition_of(self.topic) as u16)
    }
    fn position(&self) -> Position {
        self.position
    }
    fn qos(&self) -> u8 {
        self.qos
    }
    fn cost(&self) -> usize {
        100 + self.payload
    }
    fn token(&self) -> usize {
        self.uid
    }
}

/// What a session receives: topics, each from a position on.
pub type Audience = Vec<(usize, Position)>;

pub fn is_entitled(audience: &Audience, thing: &Thing) -> bool {
    audience
        .iter()
        .any(|(t, start)| *t == thing.topic && thing.position > *start)
}

#[derive(Default)]
pub struct Log {
    pub things: Vec<Thing>,
    /// Uids in order.
    pub partitions: [Vec<usize>; PARTITIONS],
    /// How many of each partition persistence has applied.
    pub applied: [usize; PARTITIONS],
    pub stalled: bool,
}

impl Log {
    pub fn publish(&mut self, topic: usize, qos: u8, payload: usize, grant: Option<(usize, Position)>) {
        let p = partition_of(topic);
        let uid = self.things.len();
        let position = Position(self.head(p).0 + 1 + (payload % 3) as u64);
        self.things.push(Thing {
            uid,
            topic,
            qos,
            payload,
            position,
            recalled: false,
            grant,
        });
        self.partitions[p].push(uid);
    }

    /// The same uid again: the first one's position if it is the same message, else a refusal.
    pub fn publish_again(&self, uid: usize, payload: usize) -> Option<Position> {
        let first = &self.things[uid];
        (first.payload == payload).then_some(first.position)
    }

    pub fn head(&self, p: usize) -> Position {
        self.position_of(p, self.partitions[p].len())
    }

    /// The position of the last of the first `count` entries.
    pub fn position_of(&self, p: usize, count: usize) -> Position {
        let last = count
            .checked_sub(1)
            .map(|i| self.things[self.partitions[p][i]].position);
        last.unwrap_or(Position::START)
    }

    /// Answers, with at most `size` entries, when everything asked for is applied.
    pub fn answer(&self, fetch: &Fetch, audience: &Audience, size: usize) -> Option<Page<Thing>> {
        let lane_p = |p: PartitionId| usize::from(p.0);
        let applied = |p| self.position_of(p, self.applied[p]);
        if self.stalled || fetch.lanes.iter().any(|l| applied(lane_p(l.partition)) < l.upto) {
            return None;
        }
        let wanted = |t: &Thing| match &fetch.filter {
            Some(filter) => *filter == filter_of(t.topic),
            None => is_entitled(audience, t),
        };
        let mut found = Vec::new();
        for lane in &fetch.lanes {
            let things = self.partitions[lane_p(lane.partition)]
                .iter()
                .map(|uid| self.things[*uid]);
            found.extend(
                things.filter(|t| {
                    t.position > lane.after && t.position <= lane.upto && !t.recalled && wanted(t)
                }),
            );
        }
        found.sort_by_key(|t| (t.position, t.partition()));
        let rest = found.split_off(size.clamp(1, fetch.max_entries).min(found.len()));
        let covered = fetch.lanes.iter().map(|lane| {
            let complete = rest.iter().all(|t| t.partition() != lane.partition);
            let last = found.iter().rev().find(|t| t.partition() == lane.partition);
            let read = if complete {
                lane.upto
            } else {
                last.map_or(lane.after, |t| t.position)
            };
            (lane.partition, read)
        });
        Some(Page {
            covered: covered.collect(),
            entries: found,
        })
    }
}
