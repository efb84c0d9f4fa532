//! What belongs to a session wherever it is: who holds it, its will, its end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::text;
use faults::{Trial, plan, small, soon, within_budget};
use testkit::DEADLINE;
use testkit::mqtt::{Mqtt, Options, Packet, QoS, ReasonCode, Refused};
use tokio::sync::watch;

use crate::{SAVED, connect, edges, persistent, seen, with_will};

/// I8: from a connection to the end of the one before.
const TAKEN_OVER: Duration = Duration::from_secs(1);

/// X32, one client id on two edges, each coming back at once whenever it is pushed out. One holds the session per generation
/// and the other is told so (0x8E) within 1 s; no will is sent; every message reaches one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x32_one_client_id_on_two_edges() {
    let mut trial = Trial::start(small(), plan()).await;
    let homes = edges(&trial);
    let twin = || with_will("twin", "x32/wills", 30);
    let mut watcher = connect(homes[1], Options::v5("watcher")).await;
    watcher.subscribe("x32/wills", QoS::AtLeastOnce).await;
    let mut writer = connect(homes[1], Options::v5("writer")).await;
    let mut holder = connect(homes[0], twin()).await;
    holder.subscribe("x32/in", QoS::AtLeastOnce).await;
    let mut slowest = Duration::ZERO;
    for round in 1..=10 {
        let began = Instant::now();
        let next = connect(homes[round % 2], twin()).await;
        assert!(next.connack.session_present);
        let reason = holder.closed_by_server(DEADLINE).await;
        assert_eq!(reason, Some(ReasonCode::SessionTakenOver));
        slowest = slowest.max(began.elapsed());
        holder = next;
    }
    within_budget("slowest of 10 changes of edge", slowest, TAKEN_OVER);
    drop(holder);

    let (stop, stopped) = watch::channel(false);
    let twins = homes.map(|home| tokio::spawn(flap(home, twin(), stopped.clone())));
    let mut sent = BTreeSet::new();
    for n in 0..100 {
        writer.publish("x32/in", n.to_string(), QoS::AtLeastOnce).await;
        sent.insert(n.to_string());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.send_replace(true);
    let (mut heard, mut generations) = (BTreeSet::new(), 0);
    for twin in twins {
        let (its, lives) = twin.await.unwrap();
        heard.extend(its);
        generations += lives;
    }
    let mut last = connect(homes[0], twin()).await;
    heard.extend(seen(&mut last, &mut writer, "x32/in").await);
    println!("  {generations} generations of two twins in 5 s");
    assert_eq!(heard, sent, "every message reached one of them");
    let wills = seen(&mut watcher, &mut writer, "x32/wills").await;
    assert_eq!(wills, [""; 0], "who is replaced in time leaves no will");
    last.ping().await;
    trial.verdict("X32", Duration::from_secs(5)).await;
}

/// Connects again whenever it is pushed out: what it was sent, and how often it was connected.
async fn flap(home: SocketAddr, options: Options, mut stop: watch::Receiver<bool>) -> (Vec<String>, u32) {
    let (mut heard, mut lives) = (Vec::new(), 0);
    while !*stop.borrow() {
        let mut client = match Mqtt::connect_to(home, options.clone()).await {
            Ok(client) => client,
            // Pushed out before it was in.
            Err(Refused::Closed | Refused::ConnAck(_)) => continue,
        };
        lives += 1;
        loop {
            let packet = tokio::select! {
                packet = client.receive("what comes to a twin") => packet,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match packet {
                Some(Packet::Publish(publish)) => {
                    client.acknowledge(&publish).await;
                    heard.push(text(&publish));
                }
                Some(Packet::Disconnect(disconnect)) => {
                    assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
                }
                Some(other) => panic!("a twin was sent {other:?}"),
                None => break,
            }
        }
    }
    (heard, lives)
}

const WILLS: &str = "wills/all";

/// Issue point 4: wills (at once, delayed, retained, at the end of the session), retained messages and session expiry survive
/// the death of the edge that held them, and of the keeper of persistence, and happen once (`edge.lease` is shortened to 3 s,
/// `persistence.lease` to 2 s). Budget: wills 10 s after the edge died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wills_and_expiry_survive_the_death_of_their_edge_and_happen_once() {
    let builder = small()
        .env("LONGWIRE_EDGE__LEASE", "3s")
        .env("LONGWIRE_PERSISTENCE__LEASE", "2s");
    let mut trial = Trial::start(builder, plan()).await;
    let [dying, other] = edges(&trial);
    let mut watcher = connect(other, Options::v5("watcher")).await;
    watcher.subscribe(WILLS, QoS::AtLeastOnce).await;
    let mut writer = connect(other, Options::v5("writer")).await;
    let held = hold(dying).await;
    trial.go_on_for(SAVED).await;

    let killed = Instant::now();
    trial.role("mqtt-edge")[0].kill().await;
    let back = connect(other, with_will("returns", WILLS, 8)).await;
    assert!(back.connack.session_present);
    drop(held);
    let mut wills = BTreeSet::new();
    for _ in 0..2 {
        wills.insert(text(&watcher.publish_received().await));
    }
    within_budget(
        "the wills that are due at once",
        killed.elapsed(),
        Duration::from_secs(10),
    );
    assert_eq!(wills, ["old is gone", "plain is gone"].map(str::to_owned).into());
    // Whichever keeps wills and sessions, the other goes on.
    trial.role("persistence")[0].kill().await;
    trial.role("persistence")[0].restart().await;
    trial.role("persistence")[1].kill().await;
    trial.restart().await;
    let mut late = BTreeSet::new();
    for _ in 0..2 {
        late.insert(text(&watcher.publish_received().await));
    }
    println!("  the later wills: after {:.1?}", killed.elapsed());
    assert_eq!(
        late,
        ["delayed is gone", "short is gone"].map(str::to_owned).into()
    );

    let mut latecomer = connect(dying, Options::v5("latecomer")).await;
    latecomer.subscribe("wills/kept", QoS::AtLeastOnce).await;
    assert_eq!(text(&latecomer.publish_received().await), "kept is gone");
    latecomer.subscribe("wills/retained", QoS::AtLeastOnce).await;
    assert_eq!(text(&latecomer.publish_received().await), "retained by the dead");
    soon("the short session is over", async || {
        let short = connect(dying, with_expiry("short", 4)).await;
        let present = short.connack.session_present;
        short.disconnect().await;
        (!present).then_some(())
    })
    .await;
    let delayed = connect(dying, persistent("delayed")).await;
    assert!(delayed.connack.session_present, "the long one is not");
    trial.go_on_for(SAVED).await;
    let more = seen(&mut watcher, &mut writer, WILLS).await;
    assert_eq!(more, [""; 0], "each once, and none of who came back in time");
    drop(back);
    trial.verdict("wills", Duration::from_secs(5)).await;
}

/// The clients of the edge that dies.
async fn hold(dying: SocketAddr) -> Vec<Mqtt> {
    let mut short = with_will("short", WILLS, 600);
    short.connect.properties.session_expiry_interval = Some(4);
    let all = [
        with_will("plain", WILLS, 0),
        with_will("delayed", WILLS, 6),
        with_will("returns", WILLS, 8),
        Options::v311("old").will(WILLS, "old is gone", QoS::AtLeastOnce, false),
        persistent("kept").will("wills/kept", "kept is gone", QoS::AtLeastOnce, true),
        short,
    ];
    let mut held = Vec::new();
    for options in all {
        held.push(connect(dying, options).await);
    }
    held[0]
        .publish_retained("wills/retained", "retained by the dead")
        .await;
    held
}

fn with_expiry(client: &str, seconds: u32) -> Options {
    let mut options = persistent(client);
    options.connect.properties.session_expiry_interval = Some(seconds);
    options
}
