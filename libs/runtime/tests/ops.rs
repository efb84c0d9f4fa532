//! The operations listener, over real HTTP.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use runtime::config::Listen;
use runtime::health::Health;
use runtime::lifecycle::{OnError, Stop, Tasks};
use runtime::metrics::Metrics;
use runtime::ops::OpsServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Node {
    addr: SocketAddr,
    health: Health,
    metrics: Metrics,
    tasks: Tasks,
}

async fn start() -> Node {
    let (health, metrics) = (Health::new(), Metrics::new());
    let listen: Listen = "127.0.0.1:0".parse().unwrap();
    let server = OpsServer::bind(&listen, health.clone(), metrics.clone())
        .await
        .unwrap();
    let addr = server.local_addr().unwrap();
    let tasks = Tasks::new(Stop::new());
    tasks.spawn("ops", OnError::StopProcess, server.run(tasks.stop().clone()));
    Node {
        addr,
        health,
        metrics,
        tasks,
    }
}

/// The head and the body of the answer.
async fn get(node: &Node, path: &str, headers: &str) -> (String, String) {
    let mut socket = TcpStream::connect(node.addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn status_and_body(node: &Node, path: &str) -> (u16, String) {
    let (head, body) = get(node, path, "").await;
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

#[tokio::test]
async fn readiness_follows_start_dependencies_and_draining() {
    let node = start().await;
    let journal = node.health.require("journal");
    node.health.require("store").ok();
    assert_eq!(
        status_and_body(&node, "/readyz").await,
        (
            503,
            "not ready\n[failing] started: not everything is running yet\n[failing] journal: not checked yet\n".into()
        )
    );

    node.health.set_started();
    journal.ok();
    assert_eq!(status_and_body(&node, "/readyz").await, (200, "ready\n".into()));

    journal.fail("no quorum");
    assert_eq!(
        status_and_body(&node, "/readyz?verbose").await,
        (
            503,
            "not ready\n[failing] journal: no quorum\n[ok] store\n".into()
        )
    );

    journal.ok();
    node.health.set_draining();
    assert_eq!(
        status_and_body(&node, "/readyz").await,
        (
            503,
            "not ready\n[failing] draining: this process is leaving\n".into()
        )
    );
}

#[tokio::test]
async fn an_outage_of_a_dependency_never_fails_liveness() {
    let node = start().await;
    node.health.require("journal").fail("gone");
    assert_eq!(status_and_body(&node, "/livez").await, (200, "ok\n".into()));
    node.tasks.stop().stop_softly();
    assert_eq!(status_and_body(&node, "/livez").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn readiness_is_told_as_json_to_who_asks_for_it() {
    let node = start().await;
    node.health.set_started();
    node.health.require("store").ok();
    node.health.advise("durability").fail("sync_interval is 2m");
    let (head, body) = get(&node, "/readyz?verbose", "accept: application/json\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-type: application/json"),
        "{head}"
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&body).unwrap(),
        serde_json::json!({
            "ready": true, "started": true, "draining": false,
            "checks": [
                {"name": "store", "required": true, "status": "ok"},
                {"name": "durability", "required": false, "status": "failing", "reason": "sync_interval is 2m"},
            ],
        })
    );
}

#[tokio::test]
async fn metrics_are_served_as_openmetrics() {
    let node = start().await;
    node.metrics
        .service("routing")
        .counter("frames", "Frames routed")
        .inc_by(3);
    let (head, body) = get(&node, "/metrics", "").await;
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.contains("longwire_routing_frames_total 3\n"), "{body}");
}

#[tokio::test]
async fn it_answers_while_the_process_drains_and_ends_at_the_hard_stop() {
    let node = start().await;
    node.health.set_started();
    node.tasks.stop().stop_softly();
    let drained = async {
        while node.health.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), drained)
        .await
        .unwrap();
    assert_eq!(status_and_body(&node, "/readyz").await.0, 503);

    // A scraper that keeps its connection open does not hold the process.
    let mut idle = TcpStream::connect(node.addr).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: ops\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    node.tasks.stop().stop_hard();
    node.tasks.wait().await;
    assert!(TcpStream::connect(node.addr).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let node = start().await;
    let taken: Listen = node.addr.to_string().parse().unwrap();
    let error = OpsServer::bind(&taken, Health::new(), Metrics::new())
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().starts_with(&format!("listening on {taken}: ")),
        "{error}"
    );
}
