//! Subscriptions: what is granted, what is retained, and what ends with a membership.

use bytes::Bytes;
use model::Role;
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Options, Packet, Publish, QoS, ReasonCode, RetainHandling, Subscription, Version, utf8};

use crate::rig::Rig;
use crate::sessions::{hear, text};

#[tokio::test]
async fn a_subscription_that_could_match_what_it_must_not_see_is_refused_as_a_whole() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let token = rig.token("agent1", Role::Agent, &["desk1"]);
    let visitor = rig.token("v1", Role::Visitor, &[]);
    for version in [Version::V311, Version::V5] {
        let no = match version {
            Version::V311 => ReasonCode::UnspecifiedError,
            Version::V5 => ReasonCode::NotAuthorized,
        };
        let mut agent = edge
            .connect(Options::new(version, "agent1/web/1").token(&token))
            .await;
        for (filter, granted) in [
            ("user/agent1", true),
            ("user/agent1/#", true),
            ("user/agent2", false),
            ("user/+", false),
            ("org/agent/desk1/+", true),
            ("org/agent/desk2/+", false),
            ("org/#", false),
            ("+/agent/desk1/v", false),
            ("#", false),
            ("$SYS/#", false),
            ("ordinary/+/x", true),
        ] {
            let reason = agent.subscribe(filter, QoS::AtLeastOnce).await;
            let expected = if granted { ReasonCode::GrantedQoS1 } else { no };
            assert_eq!(reason, expected, "{version:?}: {filter}");
        }
        let mut stranger = edge
            .connect(Options::new(version, "v1/web/1").token(&visitor))
            .await;
        assert_eq!(
            stranger
                .subscribe(&agent_topic("desk1", "v2"), QoS::AtLeastOnce)
                .await,
            no
        );
        let mut nobody = edge.connect(Options::new(version, "nobody")).await;
        for filter in ["user/nobody", "user/anonymous:nobody", "org/agent/desk1/v1"] {
            assert_eq!(nobody.subscribe(filter, QoS::AtLeastOnce).await, no, "{filter}");
        }
    }
    let mut sharing = edge.connect(Options::v5("sharing")).await;
    assert!(sharing.subscribe("$share/g/x", QoS::AtLeastOnce).await.is_error());
}

#[tokio::test]
async fn there_is_a_limit_to_subscriptions_and_renewing_one_is_not_counted() {
    let rig = Rig::start().await;
    let edge = rig.edge_with(|c| c.limits.max_subscriptions = 3).await;
    let mut client = edge.connect(Options::v5("many")).await;
    for filter in ["a", "b", "c", "a"] {
        assert!(!client.subscribe(filter, QoS::AtLeastOnce).await.is_error());
    }
    assert_eq!(
        client.subscribe("d", QoS::AtLeastOnce).await,
        ReasonCode::QuotaExceeded
    );
    client.unsubscribe("a").await;
    assert!(!client.subscribe("d", QoS::AtLeastOnce).await.is_error());
}

#[tokio::test]
async fn retained_messages_come_all_of_them_however_narrow_the_window() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut writer = edge.connect(Options::v5("writer")).await;
    for n in 0..40 {
        writer.publish_retained(&format!("kept/{n}"), n.to_string()).await;
    }
    writer.publish_retained("kept/7", "").await;
    let mut reader = edge.connect(Options::v5("narrow").receive_maximum(2)).await;
    reader.subscribe("kept/+", QoS::AtLeastOnce).await;
    let mut got = std::collections::BTreeSet::new();
    for _ in 0..39 {
        let publish = reader.publish_received().await;
        assert!(publish.retain, "{publish:?}");
        got.insert(text(&publish));
    }
    assert!(got.len() == 39 && !got.contains("7"), "{got:?}");
    // A live one is not marked, unless the subscription asks for it.
    writer.publish_retained("kept/new", "live").await;
    let live = reader.publish_received().await;
    assert_eq!((text(&live), live.retain), ("live".to_owned(), false));
}

#[tokio::test]
async fn retain_handling_and_retain_as_published() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut writer = edge.connect(Options::v5("writer")).await;
    writer.publish_retained("rh/x", "kept").await;
    let mut reader = edge.connect(Options::v5("reader")).await;
    let with = |handling| Subscription {
        retain_handling: handling,
        retain_as_published: true,
        ..Subscription::new(utf8("rh/+"), QoS::AtLeastOnce)
    };
    for (handling, comes) in [
        (RetainHandling::DoNotSend, false),
        (RetainHandling::SendIfNew, false),
        (RetainHandling::Send, true),
    ] {
        reader.subscribe_with(vec![with(handling)]).await;
        writer.publish("rh/marker", "live", QoS::AtLeastOnce).await;
        let mut heard = vec![hear(&mut reader).await];
        if comes {
            heard.push(hear(&mut reader).await);
            heard.sort();
            assert_eq!(heard, ["kept", "live"]);
        } else {
            assert_eq!(heard, ["live"], "{handling:?}");
        }
    }
    writer.publish_retained("rh/x", "published").await;
    let live = reader.publish_received().await;
    assert_eq!((text(&live), live.retain), ("published".to_owned(), true));
    reader.unsubscribe("rh/+").await;
    reader.subscribe_with(vec![with(RetainHandling::SendIfNew)]).await;
    assert_eq!(hear(&mut reader).await, "published");
}

#[tokio::test]
async fn nothing_is_retained_on_conversations() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let token = rig.token("agent1", Role::Agent, &["desk1"]);
    let mut agent = edge.connect(Options::v5("agent1/web/1").token(&token)).await;
    let topic = agent_topic("desk1", "v");
    let message = chat::text(&topic, "agent1", "once");
    agent
        .send(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic: utf8(&topic),
            packet_id: None,
            properties: None,
            payload: Bytes::from(chat::encode(&message)),
        }))
        .await;
    agent.hear_until(|m| m.uid == message.uid).await;
    let mut later = edge.connect(Options::v5("agent1/web/2").token(&token)).await;
    later.subscribe(&topic, QoS::AtLeastOnce).await;
    let marker = chat::text(&topic, "agent1", "marker");
    agent.say(&marker).await;
    assert_eq!(later.hear().await.uid, marker.uid);
}

#[tokio::test]
async fn what_is_published_right_behind_a_subscribe_is_heard_at_any_qos() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    // Every partition has an owner: what is not stored is not kept for one that is still to come.
    let mut all = edge.connect(Options::v5("all")).await;
    all.subscribe("eager/#", QoS::AtMostOnce).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for n in 0..20 {
            let mut client = edge.connect(Options::v5("eager")).await;
            let id = client.next_id();
            let topic = format!("eager/{qos:?}/{n}");
            client
                .send(&Packet::Subscribe(mqtt_codec::Subscribe {
                    packet_id: id,
                    properties: Default::default(),
                    subscriptions: vec![Subscription::new(utf8(&topic), qos)],
                }))
                .await;
            client.start_publish(&topic, "me", qos).await;
            assert_eq!(hear(&mut client).await, "me", "{qos:?} {n}");
            client.disconnect().await;
        }
    }
}

#[tokio::test]
async fn a_message_names_each_subscription_because_of_which_it_comes_and_no_other() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut client = edge.connect(Options::v5("identified")).await;
    let of = |filter: &str, no_local| Subscription {
        no_local,
        ..Subscription::new(utf8(filter), QoS::AtLeastOnce)
    };
    client.subscribe_as(7, vec![of("o/#", false)]).await;
    client.subscribe_as(8, vec![of("o/+", false)]).await;
    client.subscribe_as(9, vec![of("o/x", true)]).await;
    client.subscribe_as(10, vec![of("p/+", false)]).await;
    let mut other = edge.connect(Options::v5("another")).await;
    client.publish("o/x", "own", QoS::AtLeastOnce).await;
    other.publish("o/x", "another's", QoS::AtLeastOnce).await;
    for (want, ids) in [("own", &[7, 8][..]), ("another's", &[7, 8, 9])] {
        let got = client.publish_received().await;
        let of_packet = got.properties.as_ref().map(|p| &p.subscription_identifiers);
        let got_ids: Vec<u32> = of_packet.into_iter().flatten().map(|id| id.get()).collect();
        assert_eq!((text(&got).as_str(), &got_ids[..]), (want, ids));
    }
}

#[tokio::test]
async fn overlapping_subscriptions_deliver_once_with_the_highest_qos_and_no_local_leaves_out_its_own() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut client = edge.connect(Options::v5("overlap")).await;
    client.subscribe("o/+", QoS::AtMostOnce).await;
    client.subscribe("o/x", QoS::AtLeastOnce).await;
    let quiet = Subscription {
        no_local: true,
        ..Subscription::new(utf8("mine/+"), QoS::AtLeastOnce)
    };
    client.subscribe_with(vec![quiet]).await;
    client.publish("mine/x", "not heard", QoS::AtLeastOnce).await;
    client.publish("o/x", "once", QoS::AtLeastOnce).await;
    client.publish("o/x", "marker", QoS::AtLeastOnce).await;
    let once = client.publish_received().await;
    assert_eq!((text(&once), once.qos), ("once".to_owned(), QoS::AtLeastOnce));
    assert_eq!(hear(&mut client).await, "marker");
}
