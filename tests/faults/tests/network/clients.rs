//! Between a client and its edge.

use std::time::{Duration, Instant};

use e2e::{agent_options_v5, agent_token, history, thread_of};
use faults::{Trial, plan, small, soon, within_budget};
use testkit::chat::{self, DESK};
use testkit::cluster::Listener;
use testkit::mqtt::{Mqtt, Options, Packet, Publish, QoS, utf8};
use testkit::proxy::{Proxy, Way};

/// X18: a client's line goes dead without a word. The edge notices after one and a half times its keep alive (2 s), and the
/// client can go on elsewhere before that. Budgets: its will is sent within 3 s and 2 s of the dead line; taken over within 1 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x18_a_line_goes_dead() {
    let mut trial = Trial::start(small(), plan()).await;
    let [here, there] = [0, 1].map(|i| trial.role("mqtt-edge")[i].at(Listener::Mqtt));
    let mut witness = Mqtt::connect_to(there, Options::v5("witness")).await.unwrap();
    witness.subscribe("dead/+", QoS::AtLeastOnce).await;

    let line = Proxy::start(here, 18).await;
    let options = |name: &str| {
        let topic = format!("dead/{name}");
        Options::v5(name)
            .keep_alive(2)
            .will(&topic, name, QoS::AtLeastOnce, false)
    };
    let _silent = Mqtt::connect_to(line.address(), options("silent")).await.unwrap();
    line.stall(Way::ToServer);
    line.stall(Way::ToClient);
    let dead = Instant::now();
    assert_eq!(e2e::text(&witness.publish_received().await), "silent");
    within_budget("the dead line is noticed", dead.elapsed(), Duration::from_secs(5));

    let line = Proxy::start(here, 19).await;
    let moving = || options("mover").persistent().keep_alive(60);
    let _stuck = Mqtt::connect_to(line.address(), moving()).await.unwrap();
    line.stall(Way::ToServer);
    line.stall(Way::ToClient);
    let moved = Instant::now();
    let again = Mqtt::connect_to(there, moving()).await.unwrap();
    within_budget(
        "taken over from a dead line",
        moved.elapsed(),
        Duration::from_secs(2),
    );
    assert!(again.connack.session_present);
    again.disconnect().await;
    trial.verdict("X18", Duration::from_secs(3)).await;
}

/// X33: the PUBACK is lost on the way, and the client sends the message again, with DUP, over the other edge. It is told the
/// position of the first, and history has it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x33_an_acknowledgement_is_lost() {
    let mut trial = Trial::start(small(), plan()).await;
    let [here, there] = [0, 1].map(|i| trial.role("mqtt-edge")[i].at(Listener::Mqtt));
    let token = agent_token(trial.server()).await;
    let topic = thread_of("x33");
    let message = chat::text(&topic, DESK, "once");
    let publish = |client: &mut Mqtt, dup: bool| {
        Packet::Publish(Publish {
            dup,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: utf8(&topic),
            packet_id: Some(client.next_id()),
            properties: None,
            payload: chat::encode(&message).into(),
        })
    };
    let line = Proxy::start(here, 33).await;
    let mut client = Mqtt::connect_to(line.address(), agent_options_v5(&token, "x33"))
        .await
        .unwrap();
    line.swallow(Way::ToClient);
    let packet = publish(&mut client, false);
    client.send(&packet).await;
    soon("the acknowledgement is lost", async || {
        (line.swallowed(Way::ToClient) > 0).then_some(())
    })
    .await;
    client.vanish();
    let stored = soon("it is stored", async || {
        let found = history(trial.server(), &token, &topic).await;
        (found.len() == 1).then(|| e2e::position(&found[0]))
    })
    .await;
    let mut client = Mqtt::connect_to(there, agent_options_v5(&token, "x33"))
        .await
        .unwrap();
    let packet = publish(&mut client, true);
    client.send(&packet).await;
    let Packet::Publish(Publish {
        packet_id: Some(id), ..
    }) = packet
    else {
        unreachable!("made above")
    };
    let ack = client.acknowledged(id).await;
    let said = ack.properties.as_ref().and_then(|p| {
        let mut pairs = p.user_properties.iter();
        pairs
            .find(|(name, _)| name.as_str() == "position")
            .map(|(_, v)| v.to_string())
    });
    assert_eq!(said, Some(stored.to_string()), "the position of the first");
    assert_eq!(history(trial.server(), &token, &topic).await.len(), 1);
    trial.verdict("X33", Duration::from_secs(3)).await;
}
