//! The log loses a server, its quorum, everything, its leaders, its network, its room.

use std::time::Duration;

use faults::{Trial, plan, small, soon, within_budget};
use futures::future::join_all;
use testkit::cluster::Cluster;
use testkit::mqtt::{Mqtt, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{CAUGHT_UP, nothing_is_acknowledged_for};

/// Three servers, every stream on all of them.
fn replicated() -> testkit::cluster::Builder {
    Cluster::builder().nats(3).partitions(4)
}

/// Sends a request of the JetStream API, and waits until the server has taken it.
async fn request(trial: &Trial, subject: &str) {
    let at = trial.nats()[0].address();
    let mut line = TcpStream::connect(at).await.unwrap();
    let text = format!("CONNECT {{\"verbose\":false}}\r\nPUB {subject} 0\r\n\r\nPING\r\n");
    line.write_all(text.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|w| w == b"PONG") {
        assert_ne!(line.read_buf(&mut seen).await.unwrap(), 0, "the server closed");
    }
}

/// X9: kill -9 of the server that leads a partition of the log. An append whose outcome is not known is tried again with its
/// frame id and stored once. Budget: the servers elect for up to 9 s, leases that ran out meanwhile are taken anew: 15 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x9_the_leader_of_a_partition_dies() {
    let mut trial = Trial::start(replicated(), plan()).await;
    let stream = format!("{}_log_0", trial.name());
    let leader = trial.nats().leader_of(&stream).await.expect("a leader");
    trial.nats()[leader].kill().await;
    let took = trial.wait_for(200).await;
    within_budget(
        "200 acknowledged with two of three servers",
        took,
        CAUGHT_UP + Duration::from_secs(5),
    );
    trial.nats()[leader].restart().await;
    trial.wait_for(100).await;
    trial.verdict("X9", CAUGHT_UP).await;
}

/// X10: two of three servers are killed and come back 15 s later. Nothing is acknowledged meanwhile, the edges are not ready,
/// sockets that are open stay open, and it goes on by itself. Budget: 15 s after their return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x10_the_quorum_is_lost_and_comes_back() {
    let mut trial = Trial::start(replicated(), plan()).await;
    let edge = &trial.role("mqtt-edge")[0];
    let mut kept = Mqtt::connect_to(edge.at(testkit::cluster::Listener::Mqtt), Options::v5("kept"))
        .await
        .unwrap();
    let away = std::time::Instant::now();
    join_all([0, 1].map(|i| trial.nats()[i].kill())).await;
    soon("the edge is not ready", async || {
        (edge.readiness().await? == 503).then_some(())
    })
    .await;
    nothing_is_acknowledged_for(&trial, Duration::from_secs(8)).await;
    kept.ping().await;
    for i in [0, 1] {
        trial.nats()[i].relaunch();
    }
    trial.nats().is_ready().await;
    let away = away.elapsed();
    within_budget(
        "acknowledging after their return",
        trial.wait_for(20).await,
        CAUGHT_UP,
    );
    kept.ping().await;
    trial.verdict("X10", away + CAUGHT_UP).await;
}

/// X11: kill -9 of all three. What was acknowledged was on their disks. Budget: 15 s after their return. The installation says
/// of itself that it is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x11_all_servers_of_the_log_die() {
    let mut trial = Trial::start(replicated(), plan()).await;
    let durable = trial.role("mqtt-edge")[0]
        .metric("longwire_cluster_durable")
        .await;
    assert_eq!(durable, Some(1.0), "attested: three servers, each sync awaited");
    let away = std::time::Instant::now();
    join_all([0, 1, 2].map(|i| trial.nats()[i].kill())).await;
    nothing_is_acknowledged_for(&trial, Duration::from_secs(3)).await;
    for i in 0..3 {
        trial.nats()[i].relaunch();
    }
    trial.nats().is_ready().await;
    let away = away.elapsed();
    within_budget(
        "acknowledging after their return",
        trial.wait_for(20).await,
        CAUGHT_UP,
    );
    trial.verdict("X11", away + CAUGHT_UP).await;
}

/// X11 without replicas: one server, which says that it keeps nothing that two could lose, dies and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x11_the_only_server_of_the_log_dies() {
    let mut trial = Trial::start(small(), plan()).await;
    let durable = trial.role("mqtt-edge")[0]
        .metric("longwire_cluster_durable")
        .await;
    assert_eq!(durable, Some(0.0), "a single server is not called durable");
    trial.nats()[0].kill().await;
    nothing_is_acknowledged_for(&trial, Duration::from_secs(2)).await;
    trial.nats()[0].restart().await;
    within_budget(
        "acknowledging after its return",
        trial.wait_for(20).await,
        CAUGHT_UP,
    );
    trial
        .verdict("X11 (one server)", Duration::from_secs(5) + CAUGHT_UP)
        .await;
}

/// X14: every partition changes its leader every 5 s. Budget: no pause over 15 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x14_leaders_step_down_again_and_again() {
    let mut trial = Trial::start(replicated(), plan()).await;
    for _ in 0..4 {
        for partition in 0..4 {
            let stream = format!("{}_log_{partition}", trial.name());
            request(&trial, &format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}")).await;
        }
        trial.go_on_for(Duration::from_secs(5)).await;
    }
    trial.verdict("X14", Duration::from_secs(15)).await;
}

/// X16: one server of three is separated from the two others for 20 s. The majority goes on. Replicas that are connected to
/// the minority neither acknowledge nor own anything; edges among them send their clients away. Leases are shortened, so
/// that this is seen in 20 s. Budget: 20 s and 15 s after it is whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x16_the_servers_of_the_log_are_separated() {
    let builder = replicated()
        .nats_apart()
        .env("LONGWIRE_EDGE__LEASE", "6s")
        .env("LONGWIRE_EDGE__FENCE_AFTER", "3s");
    let mut trial = Trial::start(builder, plan()).await;
    let cut = Duration::from_secs(20);
    trial.nats().separate(&[0]);
    trial.go_on_for(cut).await;
    trial.nats().heal();
    within_budget(
        "acknowledging when it is whole again",
        trial.wait_for(100).await,
        CAUGHT_UP,
    );
    trial.verdict("X16", cut + CAUGHT_UP).await;
}

/// X25: the disk of NATS is full. Nothing is acknowledged that was not stored. With room again, and the server restarted (it
/// freezes a stream that it could not write), it goes on. Budget: 15 s after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x25_the_disk_of_the_log_is_full() {
    if testkit::DataDir::small(1).is_none() {
        println!("  not run: file systems may not be mounted here");
        return;
    }
    let mut trial = Trial::start(small().nats_room(128), plan()).await;
    let full = std::time::Instant::now();
    let ballast = trial.nats()[0].data().fill(16 * 1024);
    soon("the log takes no more", async || {
        let before = trial.progress().acknowledged;
        trial.go_on_for(Duration::from_secs(2)).await;
        (trial.progress().acknowledged == before).then_some(())
    })
    .await;
    nothing_is_acknowledged_for(&trial, Duration::from_secs(4)).await;
    std::fs::remove_file(ballast).unwrap();
    trial.nats()[0].kill().await;
    trial.nats()[0].restart().await;
    within_budget(
        "acknowledging with room again",
        trial.wait_for(20).await,
        CAUGHT_UP,
    );
    trial.verdict("X25", full.elapsed() + CAUGHT_UP).await;
}
