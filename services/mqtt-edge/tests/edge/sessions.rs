//! What outlives a connection, and what a second one does to the first.

use std::time::Duration;

use bytes::Bytes;
use model::Role;
use testkit::mqtt::{Ack, Mqtt, Options, Packet, Publish, QoS, ReasonCode, Version, utf8};
use testkit::{DEADLINE, eventually};

use crate::rig::Rig;

pub fn text(publish: &Publish) -> String {
    String::from_utf8(publish.payload.to_vec()).unwrap()
}

pub async fn hear(client: &mut Mqtt) -> String {
    text(&client.publish_received().await)
}

fn opaque(topic: &str, id: mqtt_codec::PacketId, payload: &'static str, dup: bool) -> Packet {
    Packet::Publish(Publish {
        dup,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: utf8(topic),
        packet_id: Some(id),
        properties: None,
        payload: Bytes::from_static(payload.as_bytes()),
    })
}

#[tokio::test]
async fn session_present_is_exact() {
    let (rig, mut present) = (Rig::start().await, Vec::new());
    let edge = rig.edge().await;
    for version in [Version::V311, Version::V5] {
        let clean = || Options::new(version, &format!("exact-{version:?}"));
        let resumed_and_ended = || {
            let mut options = clean();
            options.connect.clean_start = version == Version::V311;
            options
        };
        for options in [
            clean().persistent(),
            clean().persistent(),
            clean(),
            clean().persistent(),
            // 5: goes on with the session, which ends with this connection.
            resumed_and_ended(),
            clean().persistent(),
        ] {
            let client = edge.connect(options).await;
            present.push(client.connack.session_present);
            client.disconnect().await;
        }
        edge.connect(clean().persistent()).await.vanish();
        present.push(edge.connect(clean().persistent()).await.connack.session_present);
    }
    let t = true;
    assert_eq!(present[..7], [false, t, false, false, false, false, t]);
    assert_eq!(present[7..], [false, t, false, false, t, false, t]);
}

#[tokio::test]
async fn a_newer_connection_gets_the_state_of_the_older_wherever_that_is() {
    let rig = Rig::start().await;
    let (here, there) = (rig.edge().await, rig.edge().await);
    let mut writer = here.connect(Options::v5("writer")).await;
    for (n, (old_edge, new_edge)) in [(&here, &here), (&here, &there), (&there, &here)]
        .into_iter()
        .enumerate()
    {
        let options = || Options::v5(&format!("mover-{n}")).persistent();
        let mut old = old_edge.connect(options()).await;
        old.subscribe("moved/+", QoS::AtLeastOnce).await;
        for m in 0..20 {
            writer
                .publish("moved/x", format!("{n}.{m}"), QoS::AtLeastOnce)
                .await;
        }
        for m in 0..20 {
            assert_eq!(hear(&mut old).await, format!("{n}.{m}"));
        }
        // The acknowledgements have been taken when this is answered.
        old.ping().await;
        old.acknowledging = false;
        writer
            .publish("moved/x", "unacknowledged", QoS::AtLeastOnce)
            .await;
        let kept = old.publish_received().await;
        let mut new = new_edge.connect(options()).await;
        assert!(new.connack.session_present);
        assert_eq!(
            old.closed_by_server(DEADLINE).await,
            Some(ReasonCode::SessionTakenOver)
        );
        let again = new.publish_received().await;
        assert_eq!(
            (text(&again), again.dup, again.packet_id),
            ("unacknowledged".to_owned(), true, kept.packet_id),
            "{n}: nothing that was acknowledged comes again, and nothing that was not is lost"
        );
        new.disconnect().await;
    }
}

#[tokio::test]
async fn a_dying_connection_has_stored_its_state_before_the_next_begins() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut writer = edge.connect(Options::v5("writer")).await;
    let options = || Options::v311("dying").persistent();
    let mut reader = edge.connect(options()).await;
    reader.subscribe("dying", QoS::ExactlyOnce).await;
    for n in 0..50 {
        writer.publish("dying", n.to_string(), QoS::ExactlyOnce).await;
        reader.acknowledging = false;
        let publish = reader.publish_received().await;
        assert_eq!((text(&publish), publish.dup), (n.to_string(), false));
        let id = publish.packet_id.unwrap();
        reader.send(&Packet::PubRec(Ack::new(id))).await;
        let pubrel = |p: &Packet| matches!(p, Packet::PubRel(a) if a.packet_id == id).then_some(());
        reader.await_packet("PUBREL", pubrel).await;
        reader.vanish();
        reader = edge.connect(options()).await;
        assert!(reader.connack.session_present);
        reader.await_packet("PUBREL again", pubrel).await;
        reader.send(&Packet::PubComp(Ack::new(id))).await;
    }
}

#[tokio::test]
async fn a_qos_2_message_sent_again_after_any_end_of_the_connection_is_stored_once() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut reader = edge.connect(Options::v5("reader")).await;
    reader.subscribe("once/+", QoS::ExactlyOnce).await;
    let options = || Options::v311("careful").persistent();
    for n in 0..20 {
        let mut writer = edge.connect(options()).await;
        let id = writer.next_id();
        writer.send(&opaque("once/x", id, "once", false)).await;
        if n % 2 == 0 {
            writer.acknowledged(id).await;
        }
        // Otherwise it may be anywhere on its way; a ping makes sure that it has been read.
        writer.ping().await;
        writer.vanish();
        let mut writer = edge.connect(options()).await;
        writer.send(&opaque("once/x", id, "once", true)).await;
        writer.acknowledged(id).await;
        writer.send(&Packet::PubRel(Ack::new(id))).await;
        let pubcomp = |packet: &Packet| matches!(packet, Packet::PubComp(_)).then_some(());
        writer.await_packet("PUBCOMP", pubcomp).await;
        writer.publish("once/x", "marker", QoS::ExactlyOnce).await;
        assert_eq!(hear(&mut reader).await, "once");
        assert_eq!(hear(&mut reader).await, "marker");
        writer.disconnect().await;
    }
}

#[tokio::test]
async fn no_session_stays_connected_in_the_store_when_its_connection_is_gone() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    // Goes on with a stored session, without keeping it.
    edge.connect(Options::v5("half").persistent())
        .await
        .disconnect()
        .await;
    let mut half = Options::v5("half");
    half.connect.clean_start = false;
    let client = edge.connect(half).await;
    assert!(client.connack.session_present);
    client.disconnect().await;
    let client = edge.connect(Options::v5("half").persistent()).await;
    assert!(!client.connack.session_present, "it ended with its connection");
    client.disconnect().await;
    // A clean one is forgotten as well: nobody is told to let go of it.
    edge.connect(Options::v5("clean")).await.disconnect().await;
    let open = contract::persistence::OpenSession {
        key: contract::persistence::SessionKey {
            org: "df_org_uid".into(),
            user: "anonymous:clean".into(),
            client: "clean".into(),
        },
        clean_start: true,
        expiry: 0,
        will: None,
        edge: "other".into(),
        identities: Vec::new(),
    };
    let opened = rig.persistence.open_session(open).await.unwrap();
    assert_eq!(opened.previous_edge, None);
}

#[tokio::test]
async fn a_session_expires_at_its_time_and_the_client_may_change_that_when_it_leaves() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let options = |seconds: u32| {
        let mut options = Options::v5("short").persistent();
        options.connect.properties.session_expiry_interval = Some(seconds);
        options
    };
    edge.connect(options(1)).await.disconnect().await;
    eventually("the session to expire", DEADLINE, async || {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let client = edge.connect(options(1)).await;
        let present = client.connack.session_present;
        client.disconnect().await;
        (!present).then_some(())
    })
    .await;
    let mut client = edge.connect(options(3600)).await;
    let mut bye = mqtt_codec::Disconnect::new(ReasonCode::Success);
    bye.properties = Some(Box::new(mqtt_codec::DisconnectProperties {
        session_expiry_interval: Some(0),
        ..Default::default()
    }));
    client.send(&Packet::Disconnect(bye.clone())).await;
    client.closed_by_server(DEADLINE).await;
    let client = edge.connect(options(0)).await;
    assert!(!client.connack.session_present);
    client.disconnect().await;
    // [MQTT-3.14.2-2]: none at CONNECT, none at DISCONNECT.
    let mut client = edge.connect(Options::v5("never")).await;
    bye.properties.as_mut().unwrap().session_expiry_interval = Some(5);
    client.send(&Packet::Disconnect(bye)).await;
    assert_eq!(
        client.closed_by_server(DEADLINE).await,
        Some(ReasonCode::ProtocolError)
    );
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut watcher = edge.connect(Options::v5("watcher")).await;
    watcher.subscribe("wills/#", QoS::AtLeastOnce).await;
    let dying = |name: &str| Options::v5(name).will(&format!("wills/{name}"), name, QoS::AtLeastOnce, false);
    edge.connect(dying("polite")).await.disconnect().await;
    edge.connect(dying("lost")).await.vanish();
    assert_eq!(hear(&mut watcher).await, "lost");
    let mut told = edge.connect(dying("told")).await;
    let with_will = mqtt_codec::Disconnect::new(ReasonCode::DisconnectWithWillMessage);
    told.send(&Packet::Disconnect(with_will)).await;
    assert_eq!(hear(&mut watcher).await, "told");
    // Delayed beyond the return of its client: never.
    let mut delayed = dying("delayed").persistent();
    let will = delayed.connect.will.as_mut().unwrap();
    will.properties.will_delay_interval = Some(1);
    edge.connect(delayed.clone()).await.vanish();
    let mut back = edge.connect(Options::v5("delayed").persistent()).await;
    back.ping().await;
    edge.connect(dying("marker")).await.vanish();
    assert_eq!(hear(&mut watcher).await, "marker");
    // Taken over, without a delay: the older connection's is published.
    let _old = edge.connect(dying("taken").persistent()).await;
    let _new = edge.connect(Options::v5("taken").persistent()).await;
    assert_eq!(hear(&mut watcher).await, "taken");
}

#[tokio::test]
async fn a_client_that_is_silent_for_one_and_a_half_keep_alives_is_closed_and_one_that_pings_is_not() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut pinging = edge.connect(Options::v5("pinging").keep_alive(1)).await;
    let began = tokio::time::Instant::now();
    let mut silent = edge.connect(Options::v5("silent").keep_alive(2)).await;
    let reason = {
        let mut closed = std::pin::pin!(silent.closed_by_server(DEADLINE));
        loop {
            tokio::select! {
                reason = &mut closed => break reason,
                () = tokio::time::sleep(Duration::from_millis(500)) => pinging.ping().await,
            }
        }
    };
    assert_eq!(reason, Some(ReasonCode::KeepAliveTimeout));
    let after = began.elapsed();
    assert!(
        after >= Duration::from_millis(2900) && after < Duration::from_secs(5),
        "{after:?}"
    );
}

#[tokio::test]
async fn a_new_session_hears_what_is_said_after_its_connack_though_routing_was_away() {
    let mut rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut before = edge.connect(rig.agent("before", Version::V5)).await;
    before.ping().await;
    let token = rig.token("fresh", Role::Agent, &["desk"]);
    rig.kill_routing();
    let connecting = edge.connect(Options::v5("fresh/web/1").token(&token));
    let (mut fresh, ()) = tokio::join!(connecting, async { rig.start_routing() });
    let topic = testkit::chat::agent_topic("desk", "visitor");
    let message = testkit::chat::text(&topic, "fresh", "hello");
    fresh.say(&message).await;
    let echo = fresh.hear_until(|m| m.uid == message.uid).await;
    assert_eq!(echo.status, "SUCCESS");
}

#[tokio::test]
async fn live_delivery_goes_on_without_a_gap_when_routing_dies() {
    let mut rig = Rig::start().await;
    let (one, two) = (rig.edge().await, rig.edge().await);
    let mut reader = one.connect(Options::v5("reader")).await;
    reader.subscribe("on/+", QoS::AtLeastOnce).await;
    let mut writer = two.connect(Options::v5("writer")).await;
    let mut next = 0;
    for _ in 0..3 {
        let mut ids = Vec::new();
        for n in next..next + 50 {
            if n == next + 25 {
                rig.kill_routing();
            }
            let topic = format!("on/{}", n % 4);
            let id = writer
                .start_publish(&topic, n.to_string(), QoS::AtLeastOnce)
                .await;
            ids.push(id.unwrap());
        }
        rig.start_routing();
        for id in ids {
            writer.acknowledged(id).await;
        }
        let mut last = [None; 4];
        for _ in 0..50 {
            let n: usize = hear(&mut reader).await.parse().unwrap();
            assert!(
                last[n % 4].replace(n) < Some(n),
                "{n}: in order within a topic, and once"
            );
        }
        next += 50;
    }
}

#[tokio::test]
async fn a_subscription_of_a_stored_session_ends_with_the_right_to_it() {
    let mut rig = Rig::start().await;
    let edge = rig.edge().await;
    let options = || Options::v5("stale").persistent();
    let mut reader = edge.connect(options()).await;
    reader.subscribe("secret/+", QoS::AtLeastOnce).await;
    reader.subscribe("open/+", QoS::AtLeastOnce).await;
    reader.disconnect().await;
    rig.auth.acl.rules.push(
        serde_json::from_value(serde_json::json!({
            "action": "deny", "who": "all", "access": "subscribe", "filter": "secret/#"
        }))
        .unwrap(),
    );
    let stricter = rig.edge().await;
    let mut writer = edge.connect(Options::v5("writer")).await;
    writer.publish("secret/x", "not heard", QoS::AtLeastOnce).await;
    let mut reader = stricter.connect(options()).await;
    assert!(reader.connack.session_present);
    writer.publish("secret/x", "not heard", QoS::AtLeastOnce).await;
    writer.publish("open/x", "heard", QoS::AtLeastOnce).await;
    assert_eq!(hear(&mut reader).await, "heard");
}

#[tokio::test]
async fn a_killed_edge_loses_nothing_that_was_acknowledged() {
    let rig = Rig::start().await;
    let (dies, lives) = (rig.edge().await, rig.edge().await);
    let options = || Options::v311("moves").persistent();
    let mut reader = dies.connect(options()).await;
    reader.subscribe("kill/+", QoS::AtLeastOnce).await;
    reader.acknowledging = false;
    let mut writer = dies.connect(Options::v5("writer")).await;
    for n in 0..30 {
        writer.publish("kill/x", n.to_string(), QoS::AtLeastOnce).await;
    }
    assert_eq!(hear(&mut reader).await, "0");
    dies.kill();
    let mut reader = lives.connect(options()).await;
    assert!(reader.connack.session_present);
    for n in 0..30 {
        assert_eq!(hear(&mut reader).await, n.to_string());
    }
}

#[tokio::test]
async fn a_connection_whose_session_was_opened_elsewhere_ends_though_nobody_told_it() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let mut reader = edge.connect(Options::v5("fenced").persistent()).await;
    reader.subscribe("fenced", QoS::AtLeastOnce).await;
    let open = contract::persistence::OpenSession {
        key: contract::persistence::SessionKey {
            org: "df_org_uid".into(),
            user: "unproven/anonymous:fenced".into(),
            client: "fenced".into(),
        },
        clean_start: false,
        expiry: 3600,
        will: None,
        edge: "cut-off".into(),
        identities: Vec::new(),
    };
    assert!(rig.persistence.open_session(open).await.unwrap().present);
    let mut writer = edge.connect(Options::v5("writer")).await;
    writer.publish("fenced", "x", QoS::AtLeastOnce).await;
    // Whatever it has to save, the subscription or the message, is refused.
    assert_eq!(
        reader.closed_by_server(DEADLINE).await,
        Some(ReasonCode::SessionTakenOver)
    );
}

/// An edge tells the one before it to let go of a session. That may come when the client is back there, by then.
#[tokio::test]
async fn a_takeover_that_comes_late_is_not_heeded() {
    let rig = Rig::start().await;
    let (edge, other) = (rig.edge().await, rig.edge().await);
    let options = || Options::v5("wanderer").persistent();
    edge.connect(options()).await.disconnect().await;
    other.connect(options()).await.disconnect().await;
    let mut back = edge.connect(options()).await;
    let key = contract::persistence::SessionKey {
        org: "df_org_uid".into(),
        user: "unproven/anonymous:wanderer".into(),
        client: "wanderer".into(),
    };
    other.core.drop_at(&edge.core.id, &key, Some(1)).await;
    back.ping().await;
    other.core.drop_at(&edge.core.id, &key, Some(u64::MAX)).await;
    assert_eq!(
        back.closed_by_server(DEADLINE).await,
        Some(ReasonCode::SessionTakenOver)
    );
}
