//! What becomes of what clients publish, told per version.

use std::time::Duration;

use bytes::Bytes;
use model::Role;
use runtime::config::ByteSize;
use testkit::DEADLINE;
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Mqtt, Options, Packet, QoS, ReasonCode, Version};

use crate::rig::{Edge, Rig};
use crate::sessions::hear;

/// An agent with a desk of its own.
async fn agent(rig: &Rig, edge: &Edge, user: &str, version: Version) -> Mqtt {
    let token = rig.token(user, Role::Agent, &["desk"]);
    edge.connect(Options::new(version, &format!("{user}/web/{}", chat::uid())).token(&token))
        .await
}

fn property(ack: &testkit::mqtt::Ack, name: &str) -> Option<String> {
    let properties = ack.properties.as_ref()?;
    let found = properties
        .user_properties
        .iter()
        .find(|(n, _)| n.as_str() == name);
    found.map(|(_, value)| value.to_string())
}

#[tokio::test]
async fn acknowledgements_leave_in_the_order_of_the_messages_whatever_becomes_of_each() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut client = agent(&rig, &edge, "orderly", Version::V5).await;
    let chat = agent_topic("desk", "v");
    let mut sent = Vec::new();
    for n in 0..60 {
        // Ordinary topics lie in all partitions; those on conversations are refused before anything is stored, or need none.
        let (topic, payload) = match n % 3 {
            0 => (format!("o/{n}"), Bytes::from("x")),
            1 => (chat.clone(), Bytes::from("no message")),
            _ => {
                let typing = chat::message("TYPING", &chat::uid(), &chat, "orderly", "");
                (chat.clone(), chat::encode(&typing).into())
            }
        };
        sent.push(
            client
                .start_publish(&topic, payload, QoS::AtLeastOnce)
                .await
                .unwrap(),
        );
    }
    let mut acknowledged = Vec::new();
    while acknowledged.len() < sent.len() {
        match client.receive("PUBACK").await.unwrap() {
            Packet::PubAck(ack) => {
                let refused = (acknowledged.len() % 3 == 1).then_some(ReasonCode::PayloadFormatInvalid);
                assert_eq!(ack.reason.is_error().then_some(ack.reason), refused);
                acknowledged.push(ack.packet_id);
            }
            Packet::Publish(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(acknowledged, sent);
}

#[tokio::test]
async fn a_resend_is_acknowledged_with_the_first_position_and_another_payload_is_a_conflict() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let topic = agent_topic("desk", "v");
    let mut five = agent(&rig, &edge, "five", Version::V5).await;
    let first = chat::text(&topic, "five", "hello");
    let (one, two) = (five.say(&first).await, five.say(&first).await);
    assert_eq!(property(&one, "uid").as_deref(), Some(first.uid.as_str()));
    assert_eq!(property(&one, "position"), property(&two, "position"));
    let mut other = first.clone();
    other.content = "goodbye".into();
    let id = five
        .start_publish(&topic, chat::encode(&other), QoS::AtLeastOnce)
        .await;
    let refused = five.acknowledged(id.unwrap()).await;
    assert_eq!(refused.reason, ReasonCode::ImplementationSpecificError);
    assert_eq!(property(&refused, "code").as_deref(), Some("conflict"));
    // 3.1.1 has no word for it: an acknowledgement, and the echo with status ERROR.
    let mut three = agent(&rig, &edge, "three", Version::V311).await;
    let mut mine = chat::text(&topic, "three", "hello");
    three.say(&mine).await;
    three
        .hear_until(|m| m.uid == mine.uid && m.status == "SUCCESS")
        .await;
    mine.content = "goodbye".into();
    three.say(&mine).await;
    three
        .hear_until(|m| m.uid == mine.uid && m.status == "ERROR")
        .await;
    // It was delivered once.
    five.hear_until(|m| m.uid == first.uid).await;
    let marker = chat::text(&topic, "five", "marker");
    five.say(&marker).await;
    loop {
        let heard = five.hear().await.uid;
        assert_ne!(heard, first.uid);
        if heard == marker.uid {
            break;
        }
    }
}

#[tokio::test]
async fn explanations_are_left_out_for_clients_that_do_not_want_them_or_have_no_room() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let token = rig.token("terse", Role::Agent, &["desk"]);
    let topic = agent_topic("desk", "v");
    let mut options = Options::v5("terse/web/1").token(&token);
    options.connect.properties.request_problem_information = Some(false);
    let mut terse = edge.connect(options).await;
    let message = chat::text(&topic, "terse", "hello");
    // [MQTT-3.1.2-29]
    assert!(terse.say(&message).await.properties.is_none());
    let mut narrow = Options::v5("terse/web/2").token(&token);
    narrow.connect.properties.maximum_packet_size = std::num::NonZeroU32::new(24);
    let mut narrow = edge.connect(narrow).await;
    let id = narrow
        .start_publish(&topic, chat::encode(&message), QoS::AtLeastOnce)
        .await
        .unwrap();
    assert!(narrow.acknowledged(id).await.properties.is_none());
}

#[tokio::test]
async fn what_is_forbidden_is_never_acknowledged_as_if_it_were_not() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let chat_topic = agent_topic("desk", "v");
    let spoofed = chat::encode(&chat::text(&chat_topic, "somebody-else", "x"));
    for topic in ["$SYS/x", &chat_topic] {
        let mut five = agent(&rig, &edge, "five", Version::V5).await;
        let id = five.start_publish(topic, spoofed.clone(), QoS::AtLeastOnce).await;
        assert_eq!(
            five.acknowledged(id.unwrap()).await.reason,
            ReasonCode::NotAuthorized
        );
        let id = five.start_publish(topic, spoofed.clone(), QoS::ExactlyOnce).await;
        assert_eq!(
            five.acknowledged(id.unwrap()).await.reason,
            ReasonCode::NotAuthorized
        );
        five.ping().await;
        for (version, qos) in [
            (Version::V5, QoS::AtMostOnce),
            (Version::V311, QoS::AtMostOnce),
            (Version::V311, QoS::AtLeastOnce),
            (Version::V311, QoS::ExactlyOnce),
        ] {
            let mut client = agent(&rig, &edge, "three", version).await;
            client.start_publish(topic, spoofed.clone(), qos).await;
            let said = client.receive_until_closed().await;
            let acknowledged = |p: &Packet| matches!(p, Packet::PubAck(_) | Packet::PubRec(_));
            assert!(
                !said.iter().any(acknowledged),
                "{topic}, {version:?}, {qos:?}: {said:?}"
            );
        }
    }
    // Nobody may not write to a conversation either.
    let mut nobody = edge.connect(Options::v5("nobody")).await;
    let id = nobody.start_publish(&chat_topic, "x", QoS::AtLeastOnce).await;
    assert_eq!(
        nobody.acknowledged(id.unwrap()).await.reason,
        ReasonCode::NotAuthorized
    );
}

#[tokio::test]
async fn what_is_too_large_ends_the_connection() {
    let rig = Rig::start().await;
    let edge = rig.edge_with(|c| c.limits.max_message = ByteSize::kib(8)).await;
    for version in [Version::V311, Version::V5] {
        let mut fits = edge.connect(Options::new(version, "fits")).await;
        fits.publish("big", vec![0; 8 * 1024], QoS::AtLeastOnce).await;
        for size in [8 * 1024 + 1, 200 * 1024] {
            let mut client = edge.connect(Options::new(version, "large")).await;
            client.start_publish("big", vec![0; size], QoS::AtLeastOnce).await;
            let reason = client.closed_by_server(DEADLINE).await;
            let expected = (version == Version::V5).then_some(ReasonCode::PacketTooLarge);
            assert_eq!(reason, expected, "{version:?}, {size}");
        }
    }
}

#[tokio::test]
async fn more_than_the_receive_maximum_is_a_protocol_error_in_5_and_waits_in_3_1_1() {
    let mut rig = Rig::start().await;
    let edge = rig.edge_with(|c| c.limits.receive_maximum = 10).await;
    let mut five = edge.connect(Options::v5("five")).await;
    let mut three = edge.connect(Options::v311("three")).await;
    assert_eq!(
        five.connack
            .properties
            .receive_maximum
            .map(std::num::NonZeroU16::get),
        Some(10)
    );
    rig.kill_routing();
    let mut ids = Vec::new();
    for n in 0..30 {
        if n < 11 {
            five.start_publish("r/x", "x", QoS::AtLeastOnce).await;
        }
        ids.push(three.start_publish("r/x", "x", QoS::AtLeastOnce).await.unwrap());
    }
    assert_eq!(
        five.closed_by_server(DEADLINE).await,
        Some(ReasonCode::ReceiveMaximumExceeded)
    );
    rig.start_routing();
    for id in ids {
        three.acknowledged(id).await;
    }
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_so_in_5_and_slowed_down_in_3_1_1() {
    let rig = Rig::start().await;
    let edge = rig.edge_with(|c| c.limits.connection_rate = 10).await;
    let mut reader = edge.connect(Options::v5("reader")).await;
    reader.subscribe("fast/+", QoS::AtLeastOnce).await;
    let mut three = edge.connect(Options::v311("three")).await;
    let began = tokio::time::Instant::now();
    for n in 0..15 {
        three
            .start_publish("fast/x", n.to_string(), QoS::AtLeastOnce)
            .await;
    }
    for n in 0..15 {
        assert_eq!(hear(&mut reader).await, n.to_string(), "none is dropped");
    }
    assert!(
        began.elapsed() >= Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
    let mut five = edge.connect(Options::v5("five")).await;
    let mut reasons = Vec::new();
    for n in 0..15 {
        let id = five
            .start_publish("fast/x", n.to_string(), QoS::AtLeastOnce)
            .await;
        reasons.push(five.acknowledged(id.unwrap()).await.reason);
    }
    assert!(reasons[..10].iter().all(|r| !r.is_error()), "{reasons:?}");
    assert!(reasons.contains(&ReasonCode::QuotaExceeded), "{reasons:?}");
}

#[tokio::test]
async fn a_user_has_one_rate_over_all_its_connections() {
    let rig = Rig::start().await;
    let edge = rig.edge_with(|c| c.limits.user_rate = 10).await;
    let mut devices = [
        agent(&rig, &edge, "busy", Version::V5).await,
        agent(&rig, &edge, "busy", Version::V5).await,
    ];
    let mut refused = 0;
    for n in 0..16 {
        let device = &mut devices[n % 2];
        let id = device
            .start_publish("ordinary", "x", QoS::AtLeastOnce)
            .await
            .unwrap();
        refused += usize::from(device.acknowledged(id).await.reason.is_error());
    }
    assert!(refused >= 4, "{refused}");
}

#[tokio::test]
async fn without_a_log_or_routing_nothing_is_acknowledged() {
    let mut rig = Rig::start().await;
    rig.edge_config.commit_timeout = runtime::config::HumanDuration::from_secs(1);
    let edge = rig.edge().await;
    let mut client = edge.connect(Options::v5("patient")).await;
    rig.kill_routing();
    client.start_publish("t", "x", QoS::AtLeastOnce).await;
    let said = client.receive_until_closed().await;
    assert!(!said.iter().any(|p| matches!(p, Packet::PubAck(_))), "{said:?}");
}
