//! The delivery state machine of one connection of a session, without I/O.
//!
//! It decides what is handed to a client and when, which packet id it carries, what comes again after a reconnect,
//! and how far the session has got. MQTT uses one [`Session`] for all partitions, STOMP one for each SUBSCRIBE.
//!
//! # Lanes
//!
//! A *lane* is one partition seen from the session. It begins *detached* at its cursor. [`Session::boundary`] says up
//! to where routing has gone: what lies between is read from persistence ([`Output::Fetch`], [`Session::page`]), what
//! lies behind it comes by [`Session::live`] and waits in a bounded buffer meanwhile. When the two meet, the lane is
//! *live*. When the buffer overflows, the lane falls *behind*: it forgets what it held and reads on from persistence
//! once the window opens, so that a slow client costs a cursor and no memory (P6). After [`Session::gap`] it is
//! detached again. Whatever is at or below what has been handed out is dropped, so duplicates cost nothing.
//!
//! # Progress
//!
//! `sent` is how far a lane has been handed out. The *cursor* is computed, never stored by hand: just before the oldest
//! entry that is handed out and not acknowledged, else `sent`. So it can neither pass an unacknowledged entry nor be
//! driven by packet ids. A [`SavedState`] holds both and the unacknowledged entries between them; whatever else lies in
//! (cursor, sent] was acknowledged.
//!
//! # Coming again
//!
//! No entry that was handed out is kept. One that must come again (unacknowledged before a reconnect, or refused with
//! [`Session::nack`]) is *owed*: the lane reads back from just before it and lets only what is owed, and what is new,
//! through. Owed entries keep their packet id and QoS, come with `dup`, in the order of their first sending within a
//! page and always within a partition, and before anything newer of their lane. An owed entry that persistence no
//! longer has (recalled, no longer granted) is given up; with QoS 2 by a PUBREL, since the client may hold its packet id.
//!
//! # Joining a topic in the past
//!
//! A session that becomes a member of a topic must get entries which its lane has already passed.
//! [`Session::catch_up`] opens a *side lane* for them: a lane with a filter and an end, with the same cursor, saved
//! likewise, so neither a crash nor an acknowledgement out of order can lose one. The partition's own lane waits until
//! the side lane has been read, so the topic's order holds. [`Session::catch_up_to`] is for a topic with which the lane has
//! read on before it was heard that there is something to catch up: what it had passed comes after what is newer.

mod buffer;
mod codec;
mod fetch;
mod holder;
mod lane;
mod machine;
mod progress;
mod saved;
mod window;

use model::{PartitionId, Position, TopicFilter};

pub use codec::DecodeError;
pub use holder::{Aside, Holder};
pub use machine::Session;
pub use progress::{Ack, Inbound};
pub use saved::{
    SavedCatchUp, SavedInflight, SavedLane, SavedMembership, SavedPhase, SavedState, Subscription,
};

/// What is delivered: an entry as the edge needs it to write a packet.
pub trait Item {
    /// What [`Session::ack`] gives back when the client has acknowledged the item, for instance the message's uid.
    /// Kept for each item in flight, so it should be small.
    type Token;
    /// Its partition.
    fn partition(&self) -> PartitionId;
    /// Its place in the partition. [`Position::START`] means that it is not in the log: transient, handed out at QoS 0
    /// or not at all, never tracked.
    fn position(&self) -> Position;
    /// The QoS that it is delivered with: 0, 1 or 2. With 0 it counts as acknowledged when it is handed out.
    fn qos(&self) -> u8;
    /// Roughly its bytes on the wire.
    fn cost(&self) -> usize;
    /// See [`Item::Token`].
    fn token(&self) -> Self::Token;
}

/// Bounds of one session. Memory is at most `buffer_items` and `buffer_bytes` (and one page above them) plus 24 bytes
/// and a token for each item in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many items may be unacknowledged: the lesser of the peer's Receive Maximum and ours. An acknowledgement out
    /// of order costs time in proportion, so ours should stay within a few thousand.
    pub window: u16,
    /// How many bytes may be unacknowledged; one item may exceed it.
    pub window_bytes: u32,
    /// How many inbound QoS 2 packet ids may wait for their PUBREL.
    pub received: u16,
    /// How many items may be buffered.
    pub buffer_items: u32,
    /// How many bytes may be buffered.
    pub buffer_bytes: u32,
    /// How many entries to ask for at once.
    pub page_entries: u32,
    /// How many bytes to ask for at once.
    pub page_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 256,
            window_bytes: 4 << 20,
            received: 256,
            buffer_items: 1024,
            buffer_bytes: 1 << 20,
            page_entries: 512,
            page_bytes: 512 << 10,
        }
    }
}

/// What the edge is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<E> {
    /// Write the item: PUBLISH or MESSAGE.
    Send {
        /// Its packet id; none at QoS 0.
        packet_id: Option<u16>,
        /// 0, 1 or 2. Of an item that comes again it is that of the first time, whatever the item says now.
        qos: u8,
        /// Whether it has been sent before under this packet id.
        dup: bool,
        /// What to write.
        item: E,
    },
    /// Write a PUBREL.
    Release(u16),
    /// Ask persistence, then call [`Session::page`] or [`Session::fetch_failed`] with the same number.
    Fetch(Fetch),
}

/// A question to persistence. One is under way at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Goes back with the answer.
    pub number: u32,
    /// The stretches (after, upto], at most one for each partition.
    pub lanes: Vec<FetchLane>,
    /// What to look for: this alone, or when there is none everything that the session receives.
    pub filter: Option<TopicFilter>,
    /// At most so many entries.
    pub max_entries: usize,
    /// At most so many bytes, but always one entry.
    pub max_bytes: usize,
}

/// A stretch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLane {
    /// The partition.
    pub partition: PartitionId,
    /// Exclusive start.
    pub after: Position,
    /// Inclusive end.
    pub upto: Position,
}

/// The answer to a [`Fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<E> {
    /// In order within each partition. What the session may not see is left out.
    pub entries: Vec<E>,
    /// For each stretch asked for: everything in (after, covered] is in `entries`.
    pub covered: Vec<(PartitionId, Position)>,
}
