//! PostgreSQL dies.

use std::time::Duration;

use faults::{Trial, plan, small, within_budget};
use testkit::cluster::Link;
use verify::Plan;

use crate::CAUGHT_UP;

/// Who goes away of himself cannot come back before PostgreSQL does.
fn nobody_leaves() -> Plan {
    Plan {
        absence_every: Duration::from_secs(3600),
        ..plan()
    }
}

/// X21: kill -9 of PostgreSQL, which is back 10 s later. Live conversations go on without it; what reads history or connects
/// waits. Nothing is stored twice, no receipt is lost. Budgets: no pause over 5 s; caught up 15 s after its return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_x21_postgresql_dies() {
    let mut trial = Trial::start(small(), nobody_leaves()).await;
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

/// X21: kill -9 of PostgreSQL, in whose place a synchronous standby is promoted. What was committed lazily is on neither, and
/// comes from the log again. Budgets as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x21_a_standby_of_postgresql_takes_over() {
    let users = [
        ("persistence", 0),
        ("persistence", 1),
        ("receipts", 0),
        ("receipts", 1),
    ];
    let cluster = (users.iter()).fold(small(), |cluster, (role, index)| cluster.proxied(role, *index));
    let mut trial = Trial::start(cluster, nobody_leaves()).await;
    let standby = trial.postgres().standby().await;
    trial.wait_for(100).await;
    trial.postgres().kill().await;
    trial.go_on_for(Duration::from_secs(3)).await;
    standby.promote().await;
    for (role, index) in users {
        let links = trial.role(role)[index].links();
        links
            .to(Link::Postgres)
            .for_each(|proxy| proxy.retarget(standby.address()));
    }
    within_budget(
        "acknowledging after the promotion",
        trial.wait_for(100).await,
        CAUGHT_UP,
    );
    trial.verdict("X21", Duration::from_secs(5)).await;
}
