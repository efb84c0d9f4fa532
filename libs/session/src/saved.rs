//! What of a session outlives its connection.

use model::{PartitionId, Position, TopicFilter};

use crate::holder::{Aside, Holder};

/// A subscription with its MQTT options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What it asks for.
    pub filter: TopicFilter,
    /// The granted QoS.
    pub qos: u8,
    /// MQTT 5: not what this client publishes.
    pub no_local: bool,
    /// MQTT 5: keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// MQTT 5: 0, 1 or 2.
    pub retain_handling: u8,
    /// MQTT 5: the subscription identifier.
    pub id: Option<u32>,
    /// Where it begins, for partitions in which that is after the session's cursor.
    pub start: Vec<(PartitionId, Position)>,
}

/// How far a session has got in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedLane {
    /// The partition.
    pub partition: PartitionId,
    /// Everything for this session up to here is acknowledged.
    pub cursor: Position,
    /// What was handed out last; at least `cursor`. What lies between and is not in flight is acknowledged.
    pub sent: Position,
}

/// A catch-up on a topic that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCatchUp {
    /// Names it among those of its partition: from 1.
    pub side: u16,
    /// The topics.
    pub filter: TopicFilter,
    /// Its progress.
    pub lane: SavedLane,
    /// Its end.
    pub upto: Position,
}

/// Where the handshake of an unacknowledged item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedPhase {
    /// Published with QoS 1, not acknowledged.
    AtLeastOnce,
    /// Published with QoS 2, PUBREC has not come.
    ExactlyOnce,
    /// PUBREC has come, PUBCOMP has not.
    Released,
}

/// An unacknowledged item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedInflight {
    /// Its packet id, kept until it is acknowledged.
    pub packet_id: u16,
    /// Its partition.
    pub partition: PartitionId,
    /// The catch-up that it belongs to; 0: none.
    pub side: u16,
    /// Its position.
    pub position: Position,
    /// Its phase.
    pub phase: SavedPhase,
}

/// A membership of a thread that the session reads with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedMembership {
    /// Names the thread: a hash of its topic.
    pub thread: u64,
    /// The thread's partition.
    pub partition: PartitionId,
    /// Where the membership begins; [`Position::START`] for all of a visitor's in its own thread, of which it sees everything.
    pub since: Position,
    /// Where it ends, as far as the session has heard: the store may hear of it later. In a visitor's own thread that it has left,
    /// up to where it has everything.
    pub until: Position,
    /// Whether all that it showed is acknowledged.
    pub left: bool,
    /// Whether the session has been told by notice that it has ended: the store knows it then.
    pub over: bool,
}

/// A session as it is stored. See [`SavedState::encode`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedState {
    /// Progress.
    pub lanes: Vec<SavedLane>,
    /// Catch-ups under way.
    pub catch_ups: Vec<SavedCatchUp>,
    /// Unacknowledged items in the order of their first sending.
    pub inflight: Vec<SavedInflight>,
    /// Inbound QoS 2 packet ids seen and not released, ascending.
    pub received: Vec<u16>,
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// The packet id to use next.
    pub next_id: u16,
    /// The memberships that it knows: what they let it see is read, or being read. `None` of one that follows its user into no
    /// threads, or that was saved before they were.
    pub memberships: Option<Vec<SavedMembership>>,
    /// Where each partition stood when the session began, of those in which it has no progress: it concerns nothing there yet.
    pub elsewhere: Vec<(PartitionId, Position)>,
    /// As whom it is held, if it is known.
    pub holder: Option<Holder>,
    /// What is set aside for others that held it before.
    pub aside: Option<Box<Aside>>,
}
