//! What the client has acknowledged: the session moves on, and what reached its user is reported as delivered.

use session::Ack;

use super::state::Receiver;
use crate::delivered::Note;

impl Receiver {
    /// PUBACK, or STOMP ACK in `client-individual` mode.
    pub fn ack(&mut self, packet_id: u16) -> Ack<()> {
        let ack = self.session.ack(packet_id, &mut self.out);
        self.noted(ack)
    }

    /// PUBREC.
    pub fn rec(&mut self, packet_id: u16, accepted: bool) -> Ack<()> {
        let ack = self.session.rec(packet_id, accepted, &mut self.out);
        self.noted(ack)
    }

    /// PUBCOMP.
    pub fn comp(&mut self, packet_id: u16) -> Ack<()> {
        let ack = self.session.comp(packet_id, &mut self.out);
        self.noted(ack)
    }

    /// STOMP ACK in `client` mode: everything up to this item.
    pub fn ack_through(&mut self, packet_id: u16) -> Ack<()> {
        let mut tokens = Vec::new();
        let ack = self.session.ack_through(packet_id, &mut tokens, &mut self.out);
        tokens
            .into_iter()
            .flatten()
            .for_each(|note| self.delivered.note(note));
        ack
    }

    /// STOMP NACK: the item comes again.
    pub fn nack(&mut self, packet_id: u16) -> Ack<()> {
        match self.session.nack(packet_id, &mut self.out) {
            Ack::Done(_) => Ack::Done(None),
            Ack::Unknown => Ack::Unknown,
            Ack::Mismatch => Ack::Mismatch,
        }
    }

    pub(super) fn noted(&mut self, ack: Ack<Option<Note>>) -> Ack<()> {
        match ack {
            Ack::Done(token) => {
                if let Some(note) = token.flatten() {
                    self.delivered.note(note);
                }
                Ack::Done(None)
            }
            Ack::Unknown => Ack::Unknown,
            Ack::Mismatch => Ack::Mismatch,
        }
    }

    /// Whether acknowledged messages wait to be reported as delivered.
    pub fn has_delivered(&self) -> bool {
        !self.delivered.is_empty()
    }

    /// Reports acknowledged messages as delivered. Call every `delivered_interval`, and at the end.
    pub fn report_delivered(&mut self) {
        self.delivered.flush(&self.core, &self.who);
    }
}
