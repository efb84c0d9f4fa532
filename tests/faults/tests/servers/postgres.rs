//! PostgreSQL dies, and stands still.

use std::time::Duration;

use faults::{Trial, plan, small, within_budget};
use testkit::cluster::Link;
use verify::Plan;

use crate::CAUGHT_UP;

/// What owners did with messages that look like repetitions.
const LOOKUPS: &str = "longwire_routing_store_lookups_total";
const HELD: &str = "longwire_routing_held_submissions_total";
const RETRIED: &str = "longwire_routing_dropped_entries_total{reason=\"retry\"}";

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

/// X22, a slow store: PostgreSQL gets 100 ms of each second for 20 s (SIGSTOP, SIGCONT), and an owner of partitions is killed
/// meanwhile; then it stands still for 3 s, three times. Whoever comes back sends again something that was acknowledged,
/// every second message of which has no `createdAt`, and owners remember so little exactly that they have to ask the store.
/// Nothing waits for it longer than `routing.hold` (shortened to 500 ms, so that it comes to that): then its sender is told
/// to send again. Everything new goes on. Budgets: no pause over 3 s; caught up in 15 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x22_postgresql_is_slow() {
    let builder = small()
        .env("LONGWIRE_ROUTING__REMEMBERED_MESSAGES", "40")
        .env("LONGWIRE_ROUTING__HOLD", "500ms");
    let plan = Plan {
        absence_every: Duration::from_secs(5),
        repeats: 1.0,
        ..plan()
    };
    let mut trial = Trial::start(builder, plan).await;
    let before = trial.progress().acknowledged;
    for second in 0..20 {
        if second == 10 {
            trial.role("routing")[1].kill().await;
        }
        stand_still(&trial, Duration::from_millis(900)).await;
        trial.go_on_for(Duration::from_millis(100)).await;
    }
    let meanwhile = trial.progress().acknowledged - before;
    println!("  acknowledged while it was slow: {meanwhile}");
    assert!(meanwhile > 200, "live conversations go on with a slow PostgreSQL");
    for _ in 0..3 {
        let before = trial.progress().acknowledged;
        stand_still(&trial, Duration::from_secs(3)).await;
        let meanwhile = trial.progress().acknowledged - before;
        println!("  acknowledged while it stood still: {meanwhile}");
        assert!(meanwhile > 10, "live conversations go on without PostgreSQL");
        trial.go_on_for(Duration::from_secs(2)).await;
    }
    let owner = &trial.role("routing")[0];
    for series in [LOOKUPS, HELD, RETRIED] {
        let count = owner.metric(series).await.unwrap_or_default();
        println!("  {series}: {count}");
        assert!(
            count > 0.0,
            "the owner that lived has had to wait for the store: {series}"
        );
    }
    trial.restart().await;
    within_budget(
        "acknowledging when it is slow no more",
        trial.wait_for(100).await,
        CAUGHT_UP,
    );
    let verdict = trial.verdict("X22", Duration::from_secs(3)).await;
    let figures = &verdict.figures;
    println!(
        "  {} resends, {} of them without createdAt, {} after their acknowledgement",
        figures.resends, figures.undated_resends, figures.repeats
    );
    assert!(figures.repeats > 0 && figures.undated_resends > 0, "{verdict}");
}

async fn stand_still(trial: &Trial, time: Duration) {
    trial.postgres().stop();
    trial.go_on_for(time).await;
    trial.postgres().cont();
}
