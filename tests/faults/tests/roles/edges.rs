//! Edges that are killed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{field, text, thread_of, visitor_token};
use faults::{Trial, plan, small, within_budget};
use testkit::chat::DESK;
use testkit::cluster::Listener;
use testkit::mqtt::{Ack, Mqtt, Options, Packet, PacketId, Publish, QoS, utf8};
use testkit::stomp::{self, Stomp};
use testkit::{eventually, http};

use crate::{SAVED, connect, edges, persistent, said};

/// I10: from the death of an edge to being served by another.
const RESUMED: Duration = Duration::from_secs(3);

/// X1, an MQTT edge: kill -9. The session goes on at the other edge: what was not acknowledged comes again, marked, in order,
/// under its packet id, QoS 2 goes on where it was in both directions, what was acknowledged (and saved, a second) does not
/// come again. Budget: 3 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x1_mqtt_edge_dies() {
    let mut trial = Trial::start(small(), plan()).await;
    let [dying, other] = edges(&trial);
    let mut reader = connect(dying, persistent("reader")).await;
    reader.acknowledging = false;
    let mut sender = connect(dying, persistent("sender")).await;
    let mut witness = connect(other, Options::v5("witness")).await;
    witness.subscribe("x1/in", QoS::ExactlyOnce).await;
    let given = read_twenty(&mut reader, &mut witness).await;
    for publish in &given[..8] {
        reader.acknowledge(publish).await;
    }
    let half = given[9].packet_id.unwrap();
    reader.send(&Packet::PubRec(Ack::new(half))).await;
    released(&mut reader, half).await;
    let sent = sender
        .start_publish("x1/in", "once", QoS::ExactlyOnce)
        .await
        .unwrap();
    sender.acknowledged(sent).await;
    trial.go_on_for(SAVED).await;

    let killed = Instant::now();
    trial.role("mqtt-edge")[0].kill().await;
    let mut reader = connect(other, persistent("reader")).await;
    assert!(reader.connack.session_present, "the session outlives its edge");
    reader.acknowledging = false;
    let again = comes_again(&mut reader, 11, half).await;
    within_budget("MQTT session resumed", killed.elapsed(), RESUMED);
    let owed: Vec<_> = given[8..9].iter().chain(&given[10..]).collect();
    let came: Vec<_> = again.iter().collect();
    for topic in ["x1/one", "x1/two"] {
        // There is one order within a topic, none between topics.
        let of = |all: &[&Publish]| -> Vec<_> {
            let its = all.iter().filter(|publish| publish.topic.as_str() == topic);
            its.map(|publish| (text(publish), publish.packet_id)).collect()
        };
        assert_eq!(
            of(&came),
            of(&owed),
            "what was not acknowledged, in order, nothing else"
        );
    }
    assert!(again.iter().all(|publish| publish.dup), "marked");
    reader.send(&Packet::PubComp(Ack::new(half))).await;
    for publish in &again {
        reader.acknowledge(publish).await;
    }
    witness.publish("x1/one", "new", QoS::AtLeastOnce).await;
    let new = reader.publish_received().await;
    assert_eq!((text(&new), new.dup), ("new".to_owned(), false));
    send_once_more(connect(other, persistent("sender")).await, sent).await;
    witness.publish("x1/in", "marker", QoS::ExactlyOnce).await;
    assert_eq!(text(&witness.publish_received().await), "once");
    assert_eq!(text(&witness.publish_received().await), "marker", "once is once");

    trial.wait_for(200).await;
    trial.restart().await;
    let verdict = trial.verdict("X1", Duration::from_secs(5)).await;
    let longest = Duration::from_millis(verdict.figures.longest_reconnect_ms.into());
    within_budget("longest reconnect of all clients", longest, RESUMED);
}

/// Twenty messages of both kinds, given and not acknowledged.
async fn read_twenty(reader: &mut Mqtt, writer: &mut Mqtt) -> Vec<Publish> {
    let topics = [("x1/one", QoS::AtLeastOnce), ("x1/two", QoS::ExactlyOnce)];
    for (topic, qos) in topics {
        reader.subscribe(topic, qos).await;
    }
    let mut given = Vec::new();
    for n in 0..10 {
        for (topic, qos) in topics {
            writer.publish(topic, n.to_string(), qos).await;
            given.push(reader.publish_received().await);
        }
    }
    given
}

async fn released(reader: &mut Mqtt, id: PacketId) {
    let wanted = |packet: &Packet| matches!(packet, Packet::PubRel(ack) if ack.packet_id == id).then_some(());
    reader.await_packet("PUBREL", wanted).await;
}

/// So many messages and the PUBREL that is due, nothing else.
async fn comes_again(reader: &mut Mqtt, count: usize, half: PacketId) -> Vec<Publish> {
    let (mut again, mut released) = (Vec::new(), 0);
    while again.len() < count || released < 1 {
        match reader.receive("what comes again").await {
            Some(Packet::Publish(publish)) => again.push(publish),
            Some(Packet::PubRel(ack)) => {
                assert_eq!(ack.packet_id, half);
                released += 1;
            }
            other => panic!("a message or PUBREL, not {other:?}"),
        }
    }
    again
}

/// The sender had PUBREC, does not know it any more, and goes through the whole exchange.
async fn send_once_more(mut sender: Mqtt, id: PacketId) {
    assert!(sender.connack.session_present, "the sender's session, too");
    let again = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic: utf8("x1/in"),
        packet_id: Some(id),
        properties: None,
        payload: Bytes::from_static(b"once"),
    };
    sender.send(&Packet::Publish(again)).await;
    sender.acknowledged(id).await;
    sender.send(&Packet::PubRel(Ack::new(id))).await;
    let pubcomp = |packet: &Packet| matches!(packet, Packet::PubComp(_)).then_some(());
    sender.await_packet("PUBCOMP", pubcomp).await;
}

/// X2, a STOMP edge: kill -9. The visitor's page goes on at the other edge with what it had not acknowledged, writes by HTTP
/// meanwhile, and sees no gap and nothing twice. Budget: 3 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x2_stomp_edge_dies() {
    let mut trial = Trial::start(small(), plan()).await;
    let server = trial.server();
    let topic = thread_of("x2");
    let token = visitor_token(server, "x2").await;
    let options = || stomp::Options::visitor("x2", Some(&token));
    let [dying, other] = [0, 1].map(|index| trial.role("stomp-edge")[index].at(Listener::Http));
    let mut page = Stomp::connect_to(dying, options()).await.unwrap();
    page.subscribe("sub-0", &topic, "client", &[]).await;
    let mut agent = e2e::agent(server).await;
    let mut frames = Vec::new();
    for n in 0..6 {
        agent.say(&said(&topic, DESK, &n.to_string())).await;
        frames.push(page.message().await);
    }
    page.ack(&frames[2]).await;
    trial.go_on_for(SAVED).await;

    let killed = Instant::now();
    trial.role("stomp-edge")[0].kill().await;
    let by_http = said(&topic, "x2", "by HTTP");
    let reply = http::say(
        trial.at().http,
        "/visitor/api/v1/message/send",
        Some(&token),
        &by_http,
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let mut page = eventually("the page is in again", RESUMED, async || {
        Stomp::connect_to(other, options()).await.ok()
    })
    .await;
    page.subscribe("sub-0", &topic, "client", &[]).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(page.message().await);
    }
    within_budget("STOMP page resumed", killed.elapsed(), RESUMED);
    let contents: Vec<_> = heard
        .iter()
        .map(|frame| field(&stomp::body(frame), "content").to_owned())
        .collect();
    assert_eq!(contents, ["3", "4", "5", "by HTTP"]);
    page.ack(&heard[3]).await;
    agent.say(&said(&topic, DESK, "new")).await;
    assert_eq!(field(&page.hear().await, "content"), "new");

    trial.wait_for(200).await;
    trial.restart().await;
    let verdict = trial.verdict("X2", Duration::from_secs(5)).await;
    let longest = Duration::from_millis(verdict.figures.longest_reconnect_ms.into());
    within_budget("longest reconnect of all clients", longest, RESUMED);
}

/// X24, Redis says online and the socket hangs: SIGSTOP of the edge (`edge.presence_ttl` is shortened to 6 s). What is said
/// to such a user is accepted and waits; presence is wrong for no longer than its expiry. Budget: 8 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x24_redis_says_online_and_the_edge_hangs() {
    let builder = small()
        .env("LONGWIRE_EDGE__PRESENCE_TTL", "6s")
        .env("LONGWIRE_EDGE__LEASE", "4s");
    let mut trial = Trial::start(builder, plan()).await;
    let server = trial.server();
    let [hanging, other] = edges(&trial);
    let token = e2e::agent_token(server).await;
    let options = || e2e::agent_options_v5(&token, "d1");
    let mut agent = connect(hanging, options()).await;
    let mut page = e2e::visitor(server, "x24").await;
    let online = async || {
        let path = "/api/v1/connection/presence/u_agent";
        let data = http::get(trial.at().http, path, Some(&token)).await.data();
        data["online"].as_bool().unwrap()
    };
    eventually("the agent is online", RESUMED, async || {
        online().await.then_some(())
    })
    .await;

    trial.role("mqtt-edge")[0].stop();
    assert!(online().await, "nobody knows yet");
    page.say(&said(&thread_of("x24"), "x24", "to nobody")).await;
    trial
        .recovers("presence notices", Duration::from_secs(8), async || {
            (!online().await).then_some(())
        })
        .await;
    let mut elsewhere = connect(other, options()).await;
    assert!(elsewhere.connack.session_present);
    let is_it = |message: &testkit::chat::Message| message.content == "to nobody";
    elsewhere.hear_until(is_it).await;
    assert!(online().await, "and again");
    trial.role("mqtt-edge")[0].cont();
    agent.closed_by_server(testkit::DEADLINE).await;
    trial.verdict("X24", Duration::from_secs(5)).await;
}
