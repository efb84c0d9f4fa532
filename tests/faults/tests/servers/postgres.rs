//! PostgreSQL dies.

use std::time::Duration;

use faults::{Trial, plan, small, within_budget};
use verify::Plan;

use crate::CAUGHT_UP;

/// X21: kill -9 of PostgreSQL, which is back 10 s later. Live conversations go on without it; what reads history or connects
/// waits. Nothing is stored twice, no receipt is lost. Budgets: no pause over 5 s; caught up 15 s after its return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x21_postgresql_dies() {
    // Who goes away of himself cannot come back before PostgreSQL does.
    let plan = Plan {
        absence_every: Duration::from_secs(3600),
        ..plan()
    };
    let mut trial = Trial::start(small(), plan).await;
    trial.postgres().kill().await;
    let before = trial.progress().acknowledged;
    trial.go_on_for(Duration::from_secs(10)).await;
    let meanwhile = trial.progress().acknowledged - before;
    println!("  acknowledged while it was away: {meanwhile}");
    assert!(meanwhile > 100, "live conversations go on without PostgreSQL");
    trial.postgres().restart().await;
    within_budget(
        "acknowledging after its return",
        trial.wait_for(100).await,
        CAUGHT_UP,
    );
    trial.verdict("X21", Duration::from_secs(5)).await;
}
