//! An edge that is cut off from the rest.

use std::time::Duration;

use faults::{Trial, plan, small, soon};
use testkit::DEADLINE;
use testkit::cluster::{Builder, Link, Listener};
use testkit::mqtt::{Mqtt, Options, ReasonCode};
use testkit::proxy::Way;

/// How long the edge is cut off.
const CUT: Duration = Duration::from_secs(20);

/// The first MQTT edge with a network of its own, and leases so short that all of it is seen in 20 s.
fn cut_off() -> Builder {
    small()
        .proxied("mqtt-edge", 0)
        .env("LONGWIRE_EDGE__LEASE", "6s")
        .env("LONGWIRE_EDGE__FENCE_AFTER", "4s")
}

/// The edge takes nobody in, sends the clients that it has away, and is ready again when it is healed.
async fn is_fenced_and_returns(row: &str, cut: impl FnOnce(&Trial)) {
    let mut trial = Trial::start(cut_off(), plan()).await;
    let edge = &trial.role("mqtt-edge")[0];
    let at = edge.at(Listener::Mqtt);
    let mut client = Mqtt::connect_to(at, Options::v5("stays")).await.unwrap();
    cut(&trial);
    let budget = Duration::from_secs(18);
    let gone = client.closed_by_server(budget).await;
    assert_eq!(gone, Some(ReasonCode::ServerBusy), "it sends its clients away");
    assert_eq!(edge.readiness().await, Some(503));
    let refused = Mqtt::connect_to(at, Options::v5("newcomer")).await;
    assert!(refused.is_err(), "it takes nobody in");
    trial.go_on_for(CUT.saturating_sub(budget)).await;
    edge.links().heal();
    trial
        .recovers("the edge is ready again", Duration::from_secs(20), async || {
            (edge.readiness().await? == 200).then_some(())
        })
        .await;
    soon("it takes clients in again", async || {
        Mqtt::connect_to(at, Options::v5("newcomer")).await.ok()
    })
    .await;
    trial.wait_for(100).await;
    trial.verdict(row, CUT).await;
}

/// X15, and the row "network cut between an edge and the rest": the edge's way to everything else falls silent. What it has not
/// acknowledged is sent again elsewhere. Budgets: its clients are sent away within its lease, `fence_after` and 8 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x15_an_edge_is_cut_off() {
    is_fenced_and_returns("X15", |trial| {
        trial.role("mqtt-edge")[0].links().silence();
    })
    .await;
}

/// X17: only what NATS answers is lost; what the edge sends arrives. Nothing is acknowledged that was not heard of to be
/// stored, and what was stored all the same is stored once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x17_an_edge_hears_nothing_any_more() {
    is_fenced_and_returns("X17", |trial| {
        for proxy in trial.role("mqtt-edge")[0].links().to(Link::Nats) {
            proxy.stall(Way::ToClient);
        }
    })
    .await;
}

/// X19 as far as one replica goes: 200 ms each way between an edge and everything it calls, connections that break now and
/// then. Throughput falls, everything holds. Budget: no pause over 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x19_an_edge_is_far_away() {
    let mut trial = Trial::start(small().proxied("mqtt-edge", 0), plan()).await;
    for proxy in trial.role("mqtt-edge")[0].links().all() {
        proxy.latency(Duration::from_millis(200), Duration::from_millis(50));
    }
    for _ in 0..3 {
        trial.go_on_for(Duration::from_secs(5)).await;
        for proxy in trial.role("mqtt-edge")[0].links().all() {
            proxy.drop_connections();
        }
    }
    trial.role("mqtt-edge")[0].links().heal();
    trial.wait_for(50).await;
    trial.verdict("X19", DEADLINE).await;
}
