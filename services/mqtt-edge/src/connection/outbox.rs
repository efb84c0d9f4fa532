//! What a client has published and is not acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;
use edge::ingest::refusal;
use edge::{Outcome, Refusal};
use model::Position;
use mqtt_codec::{PacketId, QoS};
use tokio::time::Instant;

/// Published and not acknowledged, in the order of the PUBLISHes: acknowledgements leave in that order [MQTT-4.6.0-2].
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    first: u64,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub packet_id: Option<PacketId>,
    pub qos: QoS,
    /// For the acknowledgement's user property, and for what a 3.1.1 client is told of a conflict.
    pub chat: Option<Box<Sent>>,
    pub since: Instant,
    pub outcome: Option<Judged>,
}

/// Where the message is stored, or why it is not; [`Position::START`] for what is not kept in the log.
pub(crate) type Judged = Result<Position, Refusal>;

#[derive(Debug)]
pub(crate) struct Sent {
    pub uid: String,
    pub topic: String,
    pub payload: Bytes,
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many acknowledgements are due.
    pub fn due(&self) -> usize {
        self.waiting.iter().filter(|w| w.packet_id.is_some()).count()
    }

    pub fn push(&mut self, waiting: Waiting) -> u64 {
        self.waiting.push_back(waiting);
        self.first + self.waiting.len() as u64 - 1
    }

    pub fn settle(&mut self, token: u64, outcome: Outcome) {
        let index = token
            .checked_sub(self.first)
            .and_then(|i| usize::try_from(i).ok());
        if let Some(waiting) = index.and_then(|i| self.waiting.get_mut(i)) {
            waiting.outcome = Some(match (refusal(&outcome), outcome) {
                (None, Outcome::Stored { position, .. }) => Ok(position),
                (None, _) => Ok(Position::START),
                (Some(refused), _) => Err(refused),
            });
        }
    }

    /// The next whose turn it is, if it is settled.
    pub fn next(&mut self) -> Option<(Waiting, Judged)> {
        let outcome = self.waiting.front_mut()?.outcome.take()?;
        let waiting = self.waiting.pop_front()?;
        self.first += 1;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some((waiting, outcome))
    }

    pub fn qos2(&self) -> impl Iterator<Item = (PacketId, &Waiting)> {
        let exactly_once = self.waiting.iter().filter(|w| w.qos == QoS::ExactlyOnce);
        exactly_once.filter_map(|w| Some((w.packet_id?, w)))
    }

    /// Whether the QoS 2 message with a packet id waits for its PUBREC.
    pub fn awaits_pubrec(&self, id: PacketId) -> bool {
        self.qos2().any(|(waiting, _)| waiting == id)
    }

    pub fn has_unsettled_qos2(&self) -> bool {
        self.qos2().any(|(_, w)| w.outcome.is_none())
    }

    /// The ids of QoS 2 messages that are not known to be stored: one that comes again under such an id is no resend of
    /// something we have.
    pub fn unsettled(&self) -> Vec<u16> {
        let unsettled = self.qos2().filter(|(_, w)| !matches!(w.outcome, Some(Ok(_))));
        unsettled.map(|(id, _)| id.get()).collect()
    }
}
