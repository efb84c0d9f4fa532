//! MQTT sessions: what survives a connection, what a second one does to the first, and the promises of each QoS.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use e2e::{pair, text};
use futures::future::join_all;
use testkit::mqtt::{
    Ack, Mqtt, Options, Packet, Publish, QoS, ReasonCode, Refused, RetainHandling, Subscription, Version,
    utf8,
};
use testkit::{DEADLINE, Longwire, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NOTHING: [String; 0] = [];

fn waiting(client: &Mqtt) -> Vec<String> {
    client.waiting().map(text).collect()
}

#[tokio::test]
async fn session_present_is_exact_for_clean_and_persistent_sessions() {
    let server = Longwire::start().await;
    for version in [Version::V311, Version::V5] {
        for path in [None, Some("/websocket"), Some("/mqtt")] {
            let id = format!("exact-{version:?}-{}", path.unwrap_or("/tcp"));
            let clean = || Options {
                websocket: path,
                ..Options::new(version, &id)
            };
            let persistent = || clean().persistent();
            let present = async |options: Options| {
                let client = Mqtt::connect(&server, options).await;
                let present = client.connack.session_present;
                client.disconnect().await;
                present
            };
            assert!(!present(persistent()).await, "{id}: at first there is no session");
            assert!(
                present(persistent()).await,
                "{id}: the session outlived its connection"
            );
            assert!(!present(clean()).await, "{id}: a clean start forgets it");
            assert!(
                !present(persistent()).await,
                "{id}: a clean session leaves nothing behind"
            );
            Mqtt::connect(&server, persistent()).await.vanish();
            assert!(
                present(persistent()).await,
                "{id}: a broken connection leaves its session"
            );
        }
    }
}

/// From replica to replica, as the balancer sends them: what the former ones say of each other may come late.
#[tokio::test]
async fn clients_that_come_again_and_again_are_let_in_each_time() {
    let server = Longwire::start().await;
    let come_and_go = async |name: String| {
        for n in 0..100 {
            let options = Options::new(Version::V5, &name).persistent();
            let client = Mqtt::try_connect(&server, options).await;
            let client = client.unwrap_or_else(|refused| panic!("{name}, connection {n}: {refused:?}"));
            assert_eq!(client.connack.session_present, n > 0, "{name}, connection {n}");
            match n % 3 {
                0 => client.vanish(),
                _ => client.disconnect().await,
            }
        }
    };
    join_all((0..10).map(|i| come_and_go(format!("wanderer-{i}")))).await;
}

#[tokio::test]
async fn a_second_connection_takes_over_the_first_whatever_the_transport_and_version() {
    let server = Longwire::start().await;
    for (first, second) in [
        (Version::V5, Version::V5),
        (Version::V311, Version::V5),
        (Version::V5, Version::V311),
        (Version::V311, Version::V311),
    ] {
        let id = format!("taken-{first:?}-{second:?}");
        let mut old = Mqtt::connect(&server, Options::new(first, &id).persistent()).await;
        old.subscribe("taken/+", QoS::AtLeastOnce).await;
        let over_websocket = Options::new(second, &id).persistent().websocket("/websocket");
        let mut new = Mqtt::connect(&server, over_websocket).await;
        assert!(new.connack.session_present);
        let reason = old.closed_by_server(DEADLINE).await;
        let expected = (first == Version::V5).then_some(ReasonCode::SessionTakenOver);
        assert_eq!(reason, expected, "{id}");
        new.publish("taken/x", id.clone(), QoS::AtLeastOnce).await;
        assert_eq!(
            text(&new.publish_received().await),
            id,
            "the subscription is the session's"
        );
        new.unsubscribe("taken/+").await;
    }
}

#[tokio::test]
async fn of_many_connections_with_one_client_id_one_survives() {
    let server = Longwire::start().await;
    let crowd = (0..40).map(|_| Mqtt::try_connect(&server, Options::v5("crowd").persistent()));
    let crowd = futures::future::join_all(crowd).await;
    let mut last = Mqtt::connect(&server, Options::v5("crowd").persistent()).await;
    // Whoever was pushed out before its CONNACK is an error here, and gone as well.
    for mut pushed_out in crowd.into_iter().flatten() {
        let reason = pushed_out.closed_by_server(DEADLINE).await;
        assert_eq!(reason, Some(ReasonCode::SessionTakenOver));
    }
    last.ping().await;
}

#[tokio::test]
async fn the_keep_alive_of_a_taken_over_connection_does_not_touch_its_successor() {
    let server = Longwire::start().await;
    let mut watcher = Mqtt::connect(&server, Options::v5("watcher")).await;
    watcher.subscribe("wills/+", QoS::AtLeastOnce).await;
    let options = || {
        Options::v5("heir")
            .persistent()
            .will("wills/heir", "gone", QoS::AtLeastOnce, false)
    };
    let _old = Mqtt::connect(&server, options().keep_alive(1)).await;
    let mut heir = Mqtt::connect(&server, options()).await;
    // When this clock has run out, the old connection's keep alive would have, too.
    let mut clock = Mqtt::connect(&server, Options::v5("clock").keep_alive(2)).await;
    clock.closed_by_server(DEADLINE).await;
    heir.ping().await;
    watcher.ping().await;
    let wills = waiting(&watcher);
    assert!(
        wills.len() <= 1,
        "at most the will of the connection that was pushed out: {wills:?}"
    );
}

#[tokio::test]
async fn unacknowledged_messages_come_again_in_order_and_marked() {
    let server = Longwire::start().await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let options = || Options::v311(&format!("forgetful-{qos:?}")).persistent();
        let topic = format!("again/{qos:?}");
        let mut reader = Mqtt::connect(&server, options()).await;
        reader.acknowledging = false;
        reader.subscribe(&topic, qos).await;
        let mut writer = Mqtt::connect(&server, Options::v5("writer")).await;
        for n in 0..10 {
            writer.publish(&topic, n.to_string(), qos).await;
        }
        let mut ids = Vec::new();
        for n in 0..10 {
            let publish = reader.publish_received().await;
            assert_eq!((text(&publish), publish.dup), (n.to_string(), false));
            ids.push(publish.packet_id);
        }
        reader.vanish();
        let mut reader = Mqtt::connect(&server, options()).await;
        for (n, id) in ids.iter().enumerate() {
            let publish = reader.publish_received().await;
            assert_eq!((text(&publish), publish.dup), (n.to_string(), true));
            assert_eq!(publish.packet_id, *id, "a message keeps its packet identifier");
        }
        writer.publish(&topic, "new", qos).await;
        let publish = reader.publish_received().await;
        assert_eq!((text(&publish), publish.dup), ("new".to_owned(), false));
        reader.disconnect().await;
        let mut reader = Mqtt::connect(&server, options()).await;
        writer.publish(&topic, "last", qos).await;
        let last = text(&reader.publish_received().await);
        assert_eq!(last, "last", "what was acknowledged is over");
    }
}

#[tokio::test]
async fn a_qos_2_message_sent_again_before_pubrel_is_delivered_once() {
    let server = Longwire::start().await;
    let (mut reader, _other) = pair(&server, "once/+", QoS::ExactlyOnce).await;
    let options = || Options::v311("careful").persistent();
    let mut writer = Mqtt::connect(&server, options()).await;
    let id = writer
        .start_publish("once/x", "once", QoS::ExactlyOnce)
        .await
        .unwrap();
    writer.acknowledged(id).await;
    writer.vanish();
    let mut writer = Mqtt::connect(&server, options()).await;
    assert!(writer.connack.session_present);
    let again = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: utf8("once/x"),
        packet_id: Some(id),
        properties: None,
        payload: Bytes::from_static(b"once"),
    };
    writer.send(&Packet::Publish(again)).await;
    writer.acknowledged(id).await;
    writer.send(&Packet::PubRel(Ack::new(id))).await;
    let pubcomp = |packet: &Packet| matches!(packet, Packet::PubComp(_)).then_some(());
    writer.await_packet("PUBCOMP", pubcomp).await;
    writer.publish("once/x", "marker", QoS::ExactlyOnce).await;
    assert_eq!(text(&reader.publish_received().await), "once");
    assert_eq!(text(&reader.publish_received().await), "marker");
}

#[tokio::test]
async fn a_qos_2_delivery_goes_on_with_pubrel_after_a_reconnect() {
    let server = Longwire::start().await;
    let options = || Options::v5("halfway").persistent();
    let mut reader = Mqtt::connect(&server, options()).await;
    reader.acknowledging = false;
    reader.subscribe("halfway", QoS::ExactlyOnce).await;
    let mut writer = Mqtt::connect(&server, Options::v5("writer")).await;
    writer.publish("halfway", "x", QoS::ExactlyOnce).await;
    let id = reader.publish_received().await.packet_id.unwrap();
    reader.send(&Packet::PubRec(Ack::new(id))).await;
    let pubrel = |packet: &Packet| matches!(packet, Packet::PubRel(ack) if ack.packet_id == id).then_some(());
    reader.await_packet("PUBREL", pubrel).await;
    reader.vanish();
    let mut reader = Mqtt::connect(&server, options()).await;
    match reader.receive("what goes on").await {
        Some(Packet::PubRel(ack)) => assert_eq!(ack.packet_id, id),
        other => panic!("PUBREL comes first, not {other:?}"),
    }
    reader.send(&Packet::PubComp(Ack::new(id))).await;
    reader.ping().await;
    assert_eq!(waiting(&reader), NOTHING);
}

#[tokio::test]
async fn receive_maximum_bounds_what_is_in_flight() {
    let server = Longwire::start().await;
    let mut reader = Mqtt::connect(&server, Options::v5("narrow").receive_maximum(3)).await;
    reader.acknowledging = false;
    reader.subscribe("narrow", QoS::AtLeastOnce).await;
    let mut writer = Mqtt::connect(&server, Options::v5("writer")).await;
    for n in 0..10 {
        writer.publish("narrow", n.to_string(), QoS::AtLeastOnce).await;
    }
    let mut window = Vec::new();
    for n in 0..3 {
        window.push(reader.publish_received().await);
        assert_eq!(text(&window[n]), n.to_string());
    }
    reader.ping().await;
    assert_eq!(waiting(&reader), NOTHING, "the window is full");
    reader.acknowledge(&window[0]).await;
    window.push(reader.publish_received().await);
    assert_eq!(text(&window[3]), "3");
    reader.ping().await;
    assert_eq!(
        waiting(&reader),
        NOTHING,
        "one acknowledgement makes room for one message"
    );
    for publish in &window[1..] {
        reader.acknowledge(publish).await;
    }
    reader.acknowledging = true;
    for n in 4..10 {
        assert_eq!(text(&reader.publish_received().await), n.to_string());
    }
}

#[tokio::test]
async fn silence_of_one_and_a_half_keep_alives_ends_a_connection_and_fires_its_will() {
    let server = Longwire::start().await;
    let mut watcher = Mqtt::connect(&server, Options::v5("watcher")).await;
    watcher.subscribe("wills/+", QoS::AtLeastOnce).await;
    let mut eternal = Mqtt::connect(&server, Options::v311("eternal").keep_alive(0)).await;
    for version in [Version::V311, Version::V5] {
        let options = Options::new(version, "silent").keep_alive(2).will(
            "wills/silent",
            "silent",
            QoS::AtLeastOnce,
            false,
        );
        let mut silent = Mqtt::connect(&server, options).await;
        let start = Instant::now();
        let reason = silent.closed_by_server(DEADLINE).await;
        let after = start.elapsed();
        let in_time = Duration::from_millis(2_900)..Duration::from_secs(8);
        assert!(in_time.contains(&after), "closed after {after:?}");
        let expected = (version == Version::V5).then_some(ReasonCode::KeepAliveTimeout);
        assert_eq!(reason, expected);
        assert_eq!(text(&watcher.publish_received().await), "silent");
    }
    // A keep alive of 0 is none.
    eternal.ping().await;
}

#[tokio::test]
async fn a_client_that_pings_in_time_stays() {
    let server = Longwire::start().await;
    let mut patient = Mqtt::connect(&server, Options::v311("patient").keep_alive(2)).await;
    let mut silent = Mqtt::connect(&server, Options::v311("silent").keep_alive(2)).await;
    let silence = silent.closed_by_server(DEADLINE);
    tokio::pin!(silence);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = &mut silence => break,
            _ = tick.tick() => patient.ping().await,
        }
    }
    patient.ping().await;
}

#[tokio::test]
async fn a_will_can_be_retained_and_delayed_and_is_dropped_by_a_return_in_time() {
    let server = Longwire::start().await;
    let options = |id: &str, delay: u32| {
        let topic = format!("wills/{id}");
        let mut options = Options::v5(id)
            .persistent()
            .will(&topic, id, QoS::AtLeastOnce, true);
        let will = options.connect.will.as_mut().unwrap();
        will.properties.will_delay_interval = Some(delay);
        options
    };
    let mut watcher = Mqtt::connect(&server, Options::v5("watcher")).await;
    watcher.subscribe("wills/+", QoS::AtLeastOnce).await;
    Mqtt::connect(&server, options("returning", 2)).await.vanish();
    let mut returning = Mqtt::connect(&server, options("returning", 2)).await;
    assert!(returning.connack.session_present);
    Mqtt::connect(&server, options("late", 3)).await.vanish();
    assert_eq!(text(&watcher.publish_received().await), "late");
    returning.ping().await;
    watcher.ping().await;
    assert_eq!(
        waiting(&watcher),
        NOTHING,
        "whoever returned in time is not mourned"
    );
    let mut after = Mqtt::connect(&server, Options::v5("after")).await;
    after.subscribe("wills/+", QoS::AtLeastOnce).await;
    let retained = after.publish_received().await;
    assert_eq!((text(&retained), retained.retain), ("late".to_owned(), true));
}

#[tokio::test]
async fn a_session_expires_when_it_said_it_would() {
    let server = Longwire::start().await;
    let options = |expiry| {
        let mut options = Options::v5("mortal").persistent();
        options.connect.properties.session_expiry_interval = Some(expiry);
        options
    };
    Mqtt::connect(&server, options(1)).await.disconnect().await;
    // The time is what is tested: it has to pass.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let client = Mqtt::connect(&server, options(0)).await;
    assert!(!client.connack.session_present, "it expired after a second");
    client.disconnect().await;
    let client = Mqtt::connect(&server, options(60)).await;
    assert!(!client.connack.session_present, "it ended with its connection");
}

#[tokio::test]
async fn a_subscription_can_leave_out_its_own_messages_and_the_retained_ones() {
    let server = Longwire::start().await;
    let mut client = Mqtt::connect(&server, Options::v5("alone")).await;
    client.publish_retained("alone/retained", "kept").await;
    let quiet = Subscription {
        no_local: true,
        retain_handling: RetainHandling::DoNotSend,
        ..Subscription::new(utf8("alone/+"), QoS::AtLeastOnce)
    };
    client.subscribe_with(vec![quiet]).await;
    client.publish("alone/x", "mine", QoS::AtLeastOnce).await;
    let mut other = Mqtt::connect(&server, Options::v5("other")).await;
    other.publish("alone/x", "theirs", QoS::AtLeastOnce).await;
    assert_eq!(text(&client.publish_received().await), "theirs");
    client.ping().await;
    assert_eq!(waiting(&client), NOTHING);
}

#[tokio::test]
async fn everything_may_come_in_one_segment_or_byte_by_byte() {
    let server = Longwire::start().await;
    let mut all = BytesMut::new();
    all.put_slice(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03seg");
    all.put_slice(b"\x82\x0a\x00\x01\x00\x05seg/+\x01");
    all.put_slice(b"\x32\x0b\x00\x05seg/y\x00\x02hi\xc0\x00");
    let publish = b"\x30\x0a\x00\x05seg/xyou";
    for step in [all.len(), 1] {
        let mut socket = testkit::raw::tcp(server.at().mqtt).await;
        socket.set_nodelay(true).unwrap();
        for part in all.chunks(step) {
            socket.write_all(part).await.unwrap();
        }
        let mut said = Vec::new();
        // CONNACK comes first, the others as they are ready.
        for answer in [&b"\x90\x03\x00\x01\x01"[..], b"\x40\x02\x00\x02", b"\xd0\x00"] {
            read_until(&mut socket, &mut said, answer).await;
        }
        assert!(said.starts_with(b"\x20\x02\x00\x00"), "{said:02x?}");
        socket.write_all(publish).await.unwrap();
        read_until(&mut socket, &mut said, publish).await;
    }
}

async fn read_until(socket: &mut TcpStream, said: &mut Vec<u8>, what: &[u8]) {
    let read = async {
        while !said.windows(what.len()).any(|bytes| bytes == what) {
            let n = socket.read_buf(said).await.unwrap();
            assert!(n > 0, "the server closed after {said:02x?}");
        }
    };
    within(&format!("{what:02x?}"), DEADLINE, read).await;
}

#[tokio::test]
async fn either_port_takes_either_transport_and_the_subprotocols_of_old_clients() {
    let server = Longwire::start().await;
    for address in [server.at().mqtt, server.at().ws] {
        for path in [None, Some("/websocket"), Some("/mqtt")] {
            let options = Options {
                websocket: path,
                ..Options::v5(&format!("either-{}", address.port()))
            };
            let mut client = Mqtt::connect_to(address, options).await.unwrap();
            client.ping().await;
        }
        for protocols in [&["mqttv3.1"][..], &["mqtt", "mqttv3.1"], &[]] {
            let socket = testkit::raw::websocket(address, "/websocket", protocols).await;
            assert!(socket.is_ok(), "{protocols:?}: {socket:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_client_id_gets_one_assigned_if_the_session_is_clean() {
    let server = Longwire::start().await;
    let client = Mqtt::connect(&server, Options::v5("")).await;
    let assigned = client.connack.properties.assigned_client_identifier.clone();
    assert!(assigned.is_some_and(|id| !id.is_empty()));
    Mqtt::connect(&server, Options::v311("")).await.ping().await;
    match Mqtt::try_connect(&server, Options::v311("").persistent()).await {
        Err(Refused::ConnAck(connack)) => assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid),
        other => panic!("3.1.1 has a return code for it, not {other:?}"),
    }
}

#[tokio::test]
async fn connack_of_5_announces_what_is_enforced() {
    let server = Longwire::start().await;
    let mut client = Mqtt::connect(&server, Options::v5("curious")).await;
    let said = client.connack.properties.clone();
    assert!(said.receive_maximum.is_some_and(|n| n.get() > 0), "{said:?}");
    assert!(
        said.maximum_packet_size.is_some_and(|n| n.get() >= 256 * 1024),
        "{said:?}"
    );
    assert!(said.topic_alias_maximum.is_some(), "{said:?}");
    assert_ne!(said.maximum_qos, Some(QoS::AtMostOnce));
    assert_ne!(said.retain_available, Some(false));
    assert_ne!(said.wildcard_subscription_available, Some(false));
    // Shared subscriptions are given or honestly refused.
    let refused = said.shared_subscription_available == Some(false);
    let granted = client.subscribe("$share/group/topic", QoS::AtLeastOnce).await;
    let expected = if refused {
        ReasonCode::SharedSubscriptionsNotSupported
    } else {
        ReasonCode::GrantedQoS1
    };
    assert_eq!(granted, expected);
}

#[tokio::test]
async fn sessions_and_retained_messages_survive_kill_9() {
    let mut server = Longwire::builder().at_fixed_ports().start().await;
    let options = || Options::v5("survivor").persistent();
    let mut client = Mqtt::connect(&server, options()).await;
    client.subscribe("survivor/+", QoS::ExactlyOnce).await;
    client.disconnect().await;
    let mut writer = Mqtt::connect(&server, Options::v5("writer")).await;
    writer.publish_retained("kept", "retained").await;
    for n in 0..50 {
        writer
            .publish("survivor/x", n.to_string(), QoS::ExactlyOnce)
            .await;
    }
    server.kill().await;
    server.restart().await;
    let mut client = Mqtt::connect(&server, options()).await;
    assert!(client.connack.session_present);
    for n in 0..50 {
        assert_eq!(text(&client.publish_received().await), n.to_string());
    }
    client.subscribe("kept", QoS::AtLeastOnce).await;
    assert_eq!(text(&client.publish_received().await), "retained");
}

#[tokio::test]
async fn a_narrow_session_that_reconnects_all_the_time_gets_everything_in_order() {
    let server = Longwire::start().await;
    let options = || Options::v5("quick").persistent().receive_maximum(5);
    let mut reader = Mqtt::connect(&server, options()).await;
    reader.subscribe("quick", QoS::AtLeastOnce).await;
    let mut writer = Mqtt::connect(&server, Options::v5("writer")).await;
    let mut seen: Vec<String> = Vec::new();
    for round in 0..20 {
        for n in 0..10 {
            let number = (round * 10 + n).to_string();
            writer.publish("quick", number, QoS::AtLeastOnce).await;
        }
        for _ in 0..7 {
            note(&mut seen, text(&reader.publish_received().await));
        }
        reader.vanish();
        reader = Mqtt::connect(&server, options()).await;
        assert!(reader.connack.session_present);
    }
    while seen.len() < 200 {
        note(&mut seen, text(&reader.publish_received().await));
    }
    let all: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(seen, all);
}

fn note(seen: &mut Vec<String>, text: String) {
    if !seen.contains(&text) {
        seen.push(text);
    }
}
