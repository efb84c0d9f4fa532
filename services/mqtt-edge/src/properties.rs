//! The properties of a PUBLISH that travel with the message through the log.

use bytes::{Bytes, BytesMut};
use mqtt_codec::{Decoder, Packet, PublishProperties, PublishRef, QoS, Version};
use wire::{Entry, Kind};

/// The properties of a PUBLISH that travel with the message, for the log: a PUBLISH packet of MQTT 5 with nothing else.
/// Empty when there are none.
pub(crate) fn encode_properties(properties: Option<&PublishProperties>) -> Bytes {
    let Some(properties) = properties else {
        return Bytes::new();
    };
    let travels = PublishProperties {
        topic_alias: None,
        message_expiry_interval: None,
        subscription_identifiers: Vec::new(),
        ..properties.clone()
    };
    if travels == PublishProperties::default() {
        return Bytes::new();
    }
    let packet = PublishRef {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "p",
        packet_id: None,
        properties: Some(&travels),
        payload: [&[], &[]],
    };
    let mut buf = BytesMut::new();
    match packet.encode(Version::V5, &mut buf) {
        Ok(()) => buf.freeze(),
        Err(_) => Bytes::new(),
    }
}

/// The properties that travelled with a message.
pub(crate) fn stored_properties(entry: &Entry) -> Option<PublishProperties> {
    if entry.properties.is_empty() || entry.known_kind() != Kind::Generic {
        return None;
    }
    let mut packet = BytesMut::from(&entry.properties[..]);
    match Decoder::client(Version::V5, usize::MAX).decode(&mut packet) {
        Ok(Some(Packet::Publish(publish))) => publish.properties.map(|p| *p),
        _ => None,
    }
}
