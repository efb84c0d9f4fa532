//! What comes in over any protocol.

use std::sync::atomic::Ordering::Relaxed;

use model::{MessageKind, ReceiptKind};
use rand::Rng;

use super::ledger::with_sent;
use super::{Part, Phase};
use crate::envelope::Heard;
use crate::key::Key;
use crate::record::{AckKind, Acked, Delivery};

impl Part {
    /// A message came.
    pub(crate) fn heard(&mut self, heard: &Heard, marked: bool) {
        let (slot, key) = {
            let mut ledger = self.ledger.lock();
            let conversations = &self.shared.conversations;
            let mut topics = ledger.observer.heard.iter();
            let slot = topics.position(|(topic, _)| conversations[*topic].thread.topic == heard.topic);
            (slot, ledger.names.key(&heard.uid))
        };
        if heard.status == "ERROR" {
            // 3.1.1 and pages have no other way to be told: what was acknowledged was refused all the same.
            with_sent(&mut self.ledger.lock(), key, |sent| {
                sent.acked = None;
                sent.refused = Some(format!("conflict: {}", heard.content));
            });
            self.outbox.settle(key);
            return;
        }
        let Some(slot) = slot else { return };
        match MessageKind::of(&heard.kind) {
            MessageKind::Receipt(ReceiptKind::Read) => {
                let mut ledger = self.ledger.lock();
                let of = ledger.names.key(&heard.content);
                ledger.observer.told_read.push(of);
            }
            MessageKind::Receipt(_) | MessageKind::Transient => {}
            _ => self.delivered(slot, key, heard, marked),
        }
    }

    /// Something that stands in a conversation, the `slot`th of this client's.
    fn delivered(&mut self, slot: usize, key: Key, heard: &Heard, marked: bool) {
        let at = self.shared.now();
        let mut ledger = self.ledger.lock();
        let ledger = &mut *ledger;
        let (topic, deliveries) = &mut ledger.observer.heard[slot];
        let topic = *topic;
        deliveries.push(Delivery {
            key,
            position: heard.position,
            prev: heard.prev,
            life: self.life,
            at,
            marked,
        });
        self.shared.counts.delivered.fetch_add(1, Relaxed);
        let Some((writer, seq)) = key.as_text() else {
            return;
        };
        if ledger.note(writer, seq) {
            let own = self.shared.users[self.user].is(&heard.author);
            let reads = !own && self.rng.random_bool(self.shared.plan.reads);
            if reads && *self.phase.borrow() <= Phase::Writing {
                self.outbox.read(&self.shared, ledger, topic, key);
            }
        }
        if self.outbox.is_owed_without_ack(key) {
            self.shared.counts.acknowledged.fetch_add(1, Relaxed);
            with_sent(ledger, key, |sent| {
                let position = heard.position;
                sent.acked.get_or_insert(Acked {
                    at,
                    position,
                    by: AckKind::Echo,
                });
            });
            self.outbox.settle(key);
            ledger.owed = self.outbox.len();
        }
    }
}
