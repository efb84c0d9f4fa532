//! Processes that are stopped, are taken for dead, and wake up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::text;
use faults::{Trial, plan, small, within_budget};
use testkit::mqtt::{Mqtt, Options, Packet, QoS, ReasonCode};

use crate::{SAVED, connect, edges, seen, with_will};

const WILLS: &str = "x7/wills";

/// X7, a zombie edge: SIGSTOP for longer than its lease (`edge.lease` is shortened to 3 s), then SIGCONT. A client moved, one
/// did not. The old connections get nothing but 0x8E; the will of who moved is not sent, that of who did not is sent once,
/// by others; both sessions are whole. Budgets: resumed in 3 s, the will 10 s after the edge stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x7_an_edge_wakes_up_after_its_time() {
    let builder = small()
        .env("LONGWIRE_EDGE__LEASE", "3s")
        .env("LONGWIRE_PERSISTENCE__LEASE", "2s");
    let mut trial = Trial::start(builder, plan()).await;
    let [hanging, other] = edges(&trial);
    let mut watcher = connect(other, Options::v5("watcher")).await;
    watcher.subscribe(WILLS, QoS::AtLeastOnce).await;
    let mut writer = connect(other, Options::v5("writer")).await;
    let mut moved = settle(hanging, "mover", 600, &mut writer).await;
    let mut stayed = settle(hanging, "stayer", 0, &mut writer).await;
    trial.go_on_for(SAVED).await;

    let edge = &trial.role("mqtt-edge")[0];
    let stopped = Instant::now();
    edge.stop();
    let mut new = connect(other, with_will("mover", WILLS, 600)).await;
    assert!(new.connack.session_present, "the session moves");
    let owed = new.publish_received().await;
    assert_eq!((text(&owed).as_str(), owed.dup), ("unanswered", true));
    within_budget("moved", stopped.elapsed(), Duration::from_secs(3));
    let will = watcher.publish_received().await;
    within_budget(
        "the will of who stayed",
        stopped.elapsed(),
        Duration::from_secs(10),
    );
    assert_eq!(text(&will), "stayer is gone");
    for n in 0..3 {
        for client in ["mover", "stayer"] {
            writer
                .publish(&format!("x7/{client}"), n.to_string(), QoS::AtLeastOnce)
                .await;
        }
        assert_eq!(text(&new.publish_received().await), n.to_string());
    }

    edge.cont();
    for (who, old) in [("who moved", &mut moved), ("who stayed", &mut stayed)] {
        assert_eq!(
            last_words(old).await,
            [Some(ReasonCode::SessionTakenOver)],
            "{who}"
        );
    }
    let mut back = connect(hanging, with_will("stayer", WILLS, 0)).await;
    assert!(back.connack.session_present, "nothing was deleted");
    for (content, dup) in [("unanswered", true), ("0", false), ("1", false), ("2", false)] {
        let publish = back.publish_received().await;
        assert_eq!((text(&publish).as_str(), publish.dup), (content, dup));
    }
    new.ping().await;
    assert_eq!(new.waiting().count(), 0, "nothing comes twice");
    trial.go_on_for(SAVED).await;
    let wills = seen(&mut watcher, &mut writer, WILLS).await;
    assert_eq!(wills, [""; 0], "no will but the one");
    trial.wait_for(200).await;
    trial.verdict("X7", Duration::from_secs(5)).await;
}

/// A client with a will, subscribed to its own topic, with one message that it does not acknowledge.
async fn settle(edge: SocketAddr, name: &str, delay: u32, writer: &mut Mqtt) -> Mqtt {
    let mut client = connect(edge, with_will(name, WILLS, delay)).await;
    let topic = format!("x7/{name}");
    client.acknowledging = false;
    client.subscribe(&topic, QoS::AtLeastOnce).await;
    writer.publish(&topic, "unanswered", QoS::AtLeastOnce).await;
    client.publish_received().await;
    client
}

/// What a connection that should have ended was still sent: nothing but why it ends.
async fn last_words(old: &mut Mqtt) -> Vec<Option<ReasonCode>> {
    let packets = old.receive_until_closed().await;
    let reason = |packet: Packet| match packet {
        Packet::Disconnect(disconnect) => Some(disconnect.reason),
        other => panic!("a zombie sent {other:?}"),
    };
    packets.into_iter().map(reason).collect()
}

/// X8, a zombie owner of partitions: SIGSTOP until another has taken over, then SIGCONT. Two never own one partition for
/// longer than it takes to notice. Budget: 10 s for each change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x8_an_owner_of_partitions_wakes_up_after_its_time() {
    let mut trial = Trial::start(small(), plan()).await;
    for index in [0, 1] {
        let (hanging, other) = (&trial.role("routing")[index], &trial.role("routing")[1 - index]);
        hanging.stop();
        let all = async || (other.metric("longwire_routing_partitions").await == Some(4.0)).then_some(());
        trial
            .recovers("the other owns everything", Duration::from_secs(10), all)
            .await;
        within_budget("200 more", trial.wait_for(200).await, Duration::from_secs(10));
        hanging.cont();
        let shared = async || {
            let [one, two] = [
                hanging.metric("longwire_routing_partitions").await?,
                other.metric("longwire_routing_partitions").await?,
            ];
            (one + two == 4.0 && one > 0.0 && two > 0.0).then_some(())
        };
        trial
            .recovers("partitions are shared again", Duration::from_secs(15), shared)
            .await;
        trial.wait_for(200).await;
    }
    trial.verdict("X8", Duration::from_secs(10)).await;
}
