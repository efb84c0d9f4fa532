//! Roles that die, hang, come back, come and go.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::time::Duration;

use faults::{Trial, plan, small};

/// X3, the owner of partitions. Budget: 10 s (`routing.lease` is 5 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x3_routing_dies_one_then_all() {
    let mut trial = Trial::start(small(), plan()).await;
    let routing = trial.role("routing");
    routing[0].kill().await;
    trial.wait_for(300).await;
    trial.restart().await;
    for replica in trial.role("routing") {
        replica.kill().await;
    }
    trial.restart().await;
    trial.wait_for(300).await;
    trial.verdict("X3", Duration::from_secs(15)).await;
}
