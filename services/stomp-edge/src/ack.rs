//! ACK and NACK.

use edge::Refusal;
use edge::receiver::Receiver;
use session::Ack;
use stomp_codec::{AckMode, Command, Frame};

use crate::bye::Bye;
use crate::connection::Connection;
use crate::subscription::Sub;

/// What stock clients in JavaScript acknowledge a message by that has no `ack` header.
const UNDEFINED: &str = "undefined";

/// What `message-id` and `ack` are made of: the subscription's number on this connection, the packet id, the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckId {
    /// The subscription's number.
    pub sub: u32,
    /// Its packet id in the session.
    pub packet: u16,
}

impl AckId {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (sub, packet) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { sub, packet })
    }
}

impl Connection {
    /// ACK or NACK. One for what does not wait for it (any more) is ignored: deployed clients acknowledge everything, what
    /// needs no acknowledgement too. An id that was never given out is an error of the client's author.
    pub fn acknowledge(&mut self, frame: &Frame) -> Result<(), Bye> {
        let text = frame
            .get("id")
            .or_else(|| frame.get("message-id"))
            .unwrap_or_default();
        let known = match AckId::parse(text) {
            Some(id) => self.acknowledge_id(id, frame.command == Command::Nack),
            None if text == UNDEFINED => false,
            None => {
                let detail = format!(
                    "{} of {text:?}, which is no id of a message; send back the ack header of the MESSAGE (message-id before 1.2)",
                    frame.command
                );
                return Err(Bye::refused(Refusal::invalid(detail), frame.get("receipt")));
            }
        };
        if !known {
            self.edge.metrics.ignored_acks.inc();
        }
        self.acknowledged = true;
        Ok(())
    }

    fn acknowledge_id(&mut self, id: AckId, nack: bool) -> bool {
        let Some(sub) = self.subs.iter_mut().find(|s| s.number == id.sub) else {
            return false;
        };
        if nack {
            self.edge.metrics.nacks.inc();
            return sub.nack(id.packet, self.edge.config.max_redeliveries);
        }
        sub.ack(id.packet)
    }
}

impl Sub {
    fn ack(&mut self, packet: u16) -> bool {
        let mode = self.mode;
        let Some(receiver) = self.receiver() else {
            return false;
        };
        let ack = match mode {
            AckMode::Auto => return false,
            AckMode::Client => receiver.ack_through(packet),
            AckMode::ClientIndividual => receiver.ack(packet),
        };
        self.forget(packet);
        matches!(ack, Ack::Done(_))
    }

    /// The message, and in `client` mode all before it, come again: now, or when that was too often, on the next
    /// connection.
    fn nack(&mut self, packet: u16, redeliveries: u32) -> bool {
        if self.mode == AckMode::Auto || !self.unacked.contains(&packet) {
            return false;
        }
        let refused: Vec<u16> = match self.mode {
            AckMode::Client => {
                let upto = self.unacked.iter().position(|p| *p == packet).unwrap_or(0);
                self.unacked.iter().take(upto + 1).copied().collect()
            }
            _ => vec![packet],
        };
        for packet in refused {
            let count = self.nacks.entry(packet).or_insert(0);
            *count += 1;
            if *count <= redeliveries
                && let Some(receiver) = self.receiver()
            {
                let _owed_or_gone = Receiver::nack(receiver, packet);
            }
        }
        true
    }

    /// Acknowledged: in `client` mode with all before it.
    fn forget(&mut self, packet: u16) {
        let Some(at) = self.unacked.iter().position(|p| *p == packet) else {
            return;
        };
        if self.mode == AckMode::Client {
            for packet in self.unacked.drain(..=at) {
                self.nacks.remove(&packet);
            }
        } else {
            self.unacked.remove(at);
            self.nacks.remove(&packet);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_ours_are_understood() {
        let id = AckId::parse("3-17-281474976710657").unwrap();
        assert_eq!((id.sub, id.packet), (3, 17));
        for foreign in ["", "x", "3", "3-x-1", "3-70000-1", "undefined"] {
            assert_eq!(AckId::parse(foreign), None, "{foreign}");
        }
    }
}
