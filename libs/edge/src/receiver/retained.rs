//! Retained messages, for new subscriptions.

use std::sync::Arc;

use super::item::Item;
use super::state::Receiver;
use crate::delivery::Delivery;

impl Receiver {
    /// Hands out a retained message to a new subscription with this granted QoS.
    pub fn retained(&mut self, delivery: Arc<Delivery>, granted: u8) {
        let qos = granted.min(u8::try_from(delivery.entry.qos).unwrap_or(0));
        let matched = self.matched(&delivery);
        let item = Item {
            delivery,
            qos,
            note: false,
            author: false,
            retained: true,
            retain: matched.retain,
            ids: matched.ids,
        };
        self.kept.push_back(item);
    }

    /// The session takes no more of these than it has room for.
    pub(super) fn hand_out_retained(&mut self) {
        while let Some(item) = self.kept.front() {
            let before = self.out.len();
            self.session.live(item.clone(), &mut self.out);
            if self.out.len() == before {
                return;
            }
            self.kept.pop_front();
        }
        self.kept.shrink_to_fit();
    }
}
