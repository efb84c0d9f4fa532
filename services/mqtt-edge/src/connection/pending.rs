//! SUBSCRIBEs that wait for their SUBACK.

use model::TopicFilter;
use mqtt_codec::{PacketId, ReasonCode};

/// A SUBSCRIBE whose topics are being attached.
pub(crate) struct PendingSubscribe {
    pub token: u64,
    pub packet_id: PacketId,
    pub reasons: Vec<ReasonCode>,
    /// What is being attached, in order, and whether the subscription existed before.
    pub filters: Vec<(TopicFilter, bool)>,
    /// Filters that retained messages are due for, with the QoS granted and whether they existed before.
    pub retained: Vec<(TopicFilter, u8)>,
}
