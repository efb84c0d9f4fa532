//! What clients receive: from what the session hands out to PUBLISH and PUBREL.

use edge::receiver::Item;
use mqtt_codec::{PacketId, PublishProperties, PublishRef, QoS, SubscriptionId, Version, encode_pubrel};
use session::Output;

use super::Connection;
use crate::properties::stored_properties;

impl Connection {
    pub(super) fn output(&mut self, output: Output<Item>) {
        match output {
            Output::Send {
                packet_id,
                qos,
                dup,
                item,
            } => self.send(packet_id, qos, dup, &item),
            Output::Release(id) => {
                if let Some(id) = PacketId::new(id) {
                    encode_pubrel(id, &mut self.socket.out);
                }
            }
            // The receiver reads the backlog itself.
            Output::Fetch(_) => {}
        }
    }

    /// Writes a PUBLISH. One that exceeds the client's Maximum Packet Size counts as delivered [MQTT-3.1.2-25].
    fn send(&mut self, packet_id: Option<u16>, qos: u8, dup: bool, item: &Item) {
        let delivery = &*item.delivery;
        self.edge.metrics.delivered.inc();
        let who = self.who.clone();
        let view = delivery.mqtt(&who);
        let properties = match self.peer.version {
            Version::V5 => self.properties(item),
            Version::V311 => None,
        };
        let written = self.write_publish(&PublishRef {
            dup,
            qos: quality(qos),
            retain: item.is_retained(),
            topic: view.topic,
            packet_id: packet_id.and_then(PacketId::new),
            properties: properties.as_ref(),
            payload: [view.base, view.suffix],
        });
        if let (false, Some(id)) = (written, packet_id) {
            let _done = match qos {
                2 => self.receiver.rec(id, false),
                _ => self.receiver.ack(id),
            };
        }
    }

    /// The properties that travel with the message, the life it has left, and the identifiers of the subscriptions that
    /// matched.
    fn properties(&self, item: &Item) -> Option<PublishProperties> {
        let entry = &item.delivery.entry;
        let mut properties = stored_properties(entry);
        if entry.expires_at != 0 {
            let left = entry.expires_at.saturating_sub(self.edge.core.now().0) / 1000;
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            properties.get_or_insert_default().message_expiry_interval = Some(left);
        }
        let ids = item.subscription_ids().iter();
        for id in ids.filter_map(|id| SubscriptionId::new(*id)) {
            properties
                .get_or_insert_default()
                .subscription_identifiers
                .push(id);
        }
        properties
    }
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
