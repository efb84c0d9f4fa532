//! A delivery with what one connection makes of it.

use std::sync::Arc;

use model::{PartitionId, Position};

use crate::delivered::Note;
use crate::delivery::Delivery;

/// A delivery with what this connection makes of it.
#[derive(Debug, Clone)]
pub struct Item {
    /// What to write.
    pub delivery: Arc<Delivery>,
    pub(super) qos: u8,
    pub(super) note: bool,
    pub(super) author: bool,
    pub(super) retained: bool,
    /// Whether the client is told that it was published to be retained.
    pub(super) retain: bool,
    pub(super) ids: Option<Arc<[u32]>>,
}

/// What the session's subscriptions make of an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matched {
    /// The highest QoS granted; `None` if none matches.
    pub(super) qos: Option<u8>,
    /// Whether one asked to be told what was published to be retained.
    pub(super) retain: bool,
    /// Their identifiers; `None` if none has one.
    pub(super) ids: Option<Arc<[u32]>>,
}

impl session::Item for Item {
    type Token = Option<Note>;

    fn partition(&self) -> PartitionId {
        self.delivery.partition
    }
    fn position(&self) -> Position {
        self.delivery.position
    }
    fn qos(&self) -> u8 {
        self.qos
    }
    fn cost(&self) -> usize {
        self.delivery.cost()
    }
    fn token(&self) -> Self::Token {
        self.note.then(|| Note::of(&self.delivery))
    }
}

impl Item {
    /// Whether the client is told that it is a retained message: it was kept, and is sent to a new subscription, or that is what
    /// a subscription asked for.
    pub fn is_retained(&self) -> bool {
        self.retained || self.retain
    }

    /// The identifiers of the subscriptions because of which it is sent.
    pub fn subscription_ids(&self) -> &[u32] {
        self.ids.as_deref().unwrap_or_default()
    }

    /// Whether the connection's user sent it.
    pub fn is_own(&self) -> bool {
        self.author
    }
}
