//! Where an entry stands in the log.

use std::fmt;
use std::str::FromStr;

use crate::{Home, TopicFilter};

/// One of the P logs of an installation. `0..P`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a frame within its partition: from 1, without holes. 0 stands before the first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct FrameSeq(pub u64);

/// Frame sequence and index in the frame, packed: strictly increasing within a partition, meaningless across partitions.
///
/// The low 16 bits are the index. As an exclusive lower bound, `Position(p.0 - 1)` stands just before `p`.
/// It is shown to JavaScript as a decimal string, which is what `Display` writes and `FromStr` reads.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Position(pub u64);

impl Position {
    /// Before every entry.
    pub const START: Position = Position(0);
    /// After every entry.
    pub const END: Position = Position(i64::MAX as u64);
    /// How many entries a frame may hold.
    pub const FRAME_LIMIT: usize = 1 << 16;

    /// The position of entry `index` of frame `seq`.
    pub fn new(seq: FrameSeq, index: u16) -> Self {
        Position(seq.0 << 16 | u64::from(index))
    }

    /// The last position that frame `seq` can hold: everything in frames up to `seq` is at or below it. Of frame 0, which
    /// does not exist, it is [`Position::START`].
    pub fn end_of(seq: FrameSeq) -> Self {
        if seq == FrameSeq(0) {
            Position::START
        } else {
            Position(seq.0 << 16 | 0xffff)
        }
    }

    /// The frame.
    pub fn seq(self) -> FrameSeq {
        FrameSeq(self.0 >> 16)
    }

    /// The index within the frame.
    pub fn index(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The position just before this one; as a cursor it means that this entry is the next.
    pub fn before(self) -> Self {
        Position(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Position)
    }
}

/// How topics are spread over partitions; fixed for the life of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partitioning {
    count: u16,
}

impl Partitioning {
    /// `count` partitions, at least one.
    pub fn new(count: u16) -> Self {
        Self { count: count.max(1) }
    }

    /// How many partitions there are.
    pub fn count(self) -> u16 {
        self.count
    }

    /// Every partition, in order.
    pub fn all(self) -> impl Iterator<Item = PartitionId> + Clone {
        (0..self.count).map(PartitionId)
    }

    /// The partition of a topic: that of its [`Home`], so that all topics of a home share one. FNV-1a (64 bit) over org, a zero
    /// byte and the home, folded, modulo the count. Part of the storage format: it never changes.
    pub fn of(self, org: &str, topic: &str) -> PartitionId {
        self.of_home(org, Home::of(topic))
    }

    /// The partitions in which topics that match may be: one where the filter names a home, else all.
    pub fn of_filter(self, org: &str, filter: &TopicFilter) -> Concerned {
        match Home::of_filter(filter) {
            Some(home) => Concerned::one(self.of_home(org, home)),
            None => Concerned {
                from: 0,
                to: self.count,
            },
        }
    }

    fn of_home(self, org: &str, home: Home<'_>) -> PartitionId {
        let pieces = match home {
            Home::Uid(uid) => ["uid/", uid, "", ""],
            Home::Pair(a, b) => ["pair/", a, "/", b],
            Home::Topic(topic) => [topic, "", "", ""],
        };
        let org = fnv1a(fnv1a(0xcbf2_9ce4_8422_2325, org.as_bytes()), &[0]);
        let hash = pieces
            .iter()
            .fold(org, |hash, piece| fnv1a(hash, piece.as_bytes()));
        PartitionId(((hash ^ (hash >> 32)) % u64::from(self.count)) as u16)
    }
}

/// The partitions that a filter concerns, in order: one, or all there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concerned {
    from: u16,
    to: u16,
}

impl Concerned {
    fn one(partition: PartitionId) -> Self {
        Self {
            from: partition.0,
            to: partition.0 + 1,
        }
    }

    /// Whether a partition is among them.
    pub fn contains(&self, partition: PartitionId) -> bool {
        (self.from..self.to).contains(&partition.0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        usize::from(self.to - self.from)
    }
}

impl IntoIterator for Concerned {
    type Item = PartitionId;
    type IntoIter = std::iter::Map<std::ops::Range<u16>, fn(u16) -> PartitionId>;

    fn into_iter(self) -> Self::IntoIter {
        (self.from..self.to).map(PartitionId)
    }
}

fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_grow_with_frame_then_index() {
        let a = Position::new(FrameSeq(1), 65_535);
        let b = Position::new(FrameSeq(2), 0);
        assert!(a < b && a == Position::end_of(FrameSeq(1)) && b.before() == a);
        assert_eq!(Position::end_of(FrameSeq(0)), Position::START);
        assert_eq!((b.seq(), b.index()), (FrameSeq(2), 0));
        assert_eq!("131072".parse(), Ok(b));
    }

    #[test]
    fn the_partition_of_a_topic_never_changes() {
        let p = Partitioning::new(16);
        let of = |t: &str| p.of("df_org_uid", t).0;
        assert_eq!(
            [
                of("org/agent/df_ag_uid/1"),
                of("user/agent1"),
                of("org/member/b/a"),
                of("a")
            ],
            [6, 10, 0, 6]
        );
        let spread: std::collections::HashSet<_> =
            (0..200).map(|i| of(&format!("org/agent/{i}/v"))).collect();
        assert_eq!(spread.len(), 16);
        assert_ne!(p.of("a", "b/c"), p.of("ab", "/c"));
    }

    #[test]
    fn a_filter_concerns_the_partition_of_its_home_or_all() {
        let p = Partitioning::new(16);
        let concerned = |f: &str| p.of_filter("o", &TopicFilter::new(f).unwrap());
        let desk = concerned("org/agent/a/+");
        assert_eq!(
            desk.clone().into_iter().collect::<Vec<_>>(),
            [p.of("o", "org/agent/a/v")]
        );
        assert!(desk.count() == 1 && desk.contains(p.of("o", "org/queue/a")));
        let all = concerned("org/agent/+/v");
        assert_eq!(
            all.clone().into_iter().collect::<Vec<_>>(),
            p.all().collect::<Vec<_>>()
        );
        assert!(all.count() == 16 && all.contains(PartitionId(15)) && !all.contains(PartitionId(16)));
        assert_eq!(
            Partitioning::new(u16::MAX)
                .of_filter("o", &TopicFilter::new("#").unwrap())
                .count(),
            65_535
        );
    }
}
