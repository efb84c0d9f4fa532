//! The will of a client, as CONNECT has it.

use contract::persistence::Will;
use edge::Refusal;
use model::{ChatTopic, Origin, Principal, TopicName};
use mqtt_codec::{PublishProperties, WillProperties};
use wire::{Entry, Kind};

use crate::edge::Edge;
use crate::properties::encode_properties;

/// The will as an entry of the log, authorised now: there is nobody to refuse it to later.
pub(super) async fn prepare_will(
    edge: &Edge,
    who: &Principal,
    client: &str,
    will: &mqtt_codec::Will,
) -> Result<Will, Refusal> {
    let topic = TopicName::new(&will.topic).map_err(|e| Refusal::invalid(format!("will topic: {e}")))?;
    let core = &edge.core;
    if who.origin == Origin::AnonymousVisitor {
        return Err(Refusal::forbidden(
            "a will needs a token that proves who its sender is; connect without one",
        ));
    }
    let delay = will.properties.will_delay_interval.unwrap_or(0);
    if ChatTopic::parse(&topic).is_some() {
        if who.origin == Origin::AnonymousMqtt {
            return Err(Refusal::forbidden(format!(
                "{topic} is a conversation; connect with an access token"
            )));
        }
        let payload = will.payload.clone();
        let chat = core
            .ingest
            .chat(&core.gate, who, &topic, &payload, core.now())
            .await?;
        return Ok(Will {
            entry: chat.entry.to_bytes(),
            delay,
        });
    }
    if topic.starts_with('$') || !core.gate.may_publish_ordinary(who, client, &topic) {
        return Err(Refusal::forbidden(format!(
            "the will may not be published to {topic}"
        )));
    }
    let entry = Entry {
        kind: Kind::Generic.into(),
        org: who.org.to_string(),
        topic: topic.to_string(),
        sender: who.user.to_string(),
        sender_role: who.role.number(),
        accepted_at: core.now().0,
        payload: will.payload.clone(),
        // In the log even at QoS 0: whoever publishes it is not the edge that knows who is online.
        qos: u32::from(will.qos as u8),
        retain: will.retain,
        properties: encode_properties(Some(&will_properties(&will.properties))),
        client: client.to_owned(),
        ..Entry::default()
    };
    Ok(Will {
        entry: entry.to_bytes(),
        delay,
    })
}

/// The properties of a will that its PUBLISH will have.
fn will_properties(will: &WillProperties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: will.payload_format_indicator,
        content_type: will.content_type.clone(),
        response_topic: will.response_topic.clone(),
        correlation_data: will.correlation_data.clone(),
        user_properties: will.user_properties.clone(),
        ..PublishProperties::default()
    }
}
