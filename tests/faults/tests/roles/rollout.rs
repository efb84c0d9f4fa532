//! Replicas that are replaced, configured badly, added and removed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use faults::{Trial, plan, small, within_budget};
use testkit::{DEADLINE, eventually};

/// A second binary, of the version before or after: with it X31 mixes versions.
const OTHER: &str = "LONGWIRE_FAULTS_OTHER";

/// X31, a rolling restart: every replica by SIGTERM, one by one, each waited for. Nothing is refused, nothing stays
/// unacknowledged, nobody sees more than a reconnect. With `LONGWIRE_FAULTS_OTHER` naming the binary of another version, every
/// second replica is first brought to that one, and back afterwards. Budgets: no pause over 5 s, no reconnect over 3 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x31_every_replica_is_restarted_in_turn() {
    let mut trial = Trial::start(small(), plan()).await;
    let own = testkit::binary();
    let rounds = match std::env::var_os(OTHER) {
        Some(other) => vec![PathBuf::from(other), own],
        None => vec![own],
    };
    println!("  {} rounds; with {OTHER} two versions are mixed", rounds.len());
    for program in &rounds {
        for replica in trial.replicas() {
            if replica.index() == 1 {
                replica.set_program(program);
            }
            let began = Instant::now();
            let status = replica.terminate().await;
            assert!(status.success(), "{} ended with {status}", replica.name());
            let ended = began.elapsed();
            replica.start().await;
            trial.is_balanced().await;
            let (name, back) = (replica.name(), began.elapsed());
            println!("  {name}: ended after {ended:.1?}, back after {back:.1?}");
        }
    }
    trial.wait_for(100).await;
    let verdict = trial.verdict("X31", Duration::from_secs(5)).await;
    assert_eq!(verdict.figures.refused, 0, "{verdict}");
    let longest = Duration::from_millis(verdict.figures.longest_reconnect_ms.into());
    within_budget("longest reconnect", longest, Duration::from_secs(3));
}

/// X35, one replica of each role is rolled out with a bad setting: a secret that is too short, an address that nobody has, a
/// list that is empty, a schema that is not there. It does not start or does not get ready, the others serve. Budget: no
/// pause over 5 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x35_one_replica_of_each_role_is_badly_configured() {
    let builder = small().env(
        "LONGWIRE_AUTH__SECRET",
        "that of all but one, and long enough for anybody",
    );
    let mut trial = Trial::start(builder, plan()).await;
    let nowhere = "['nats://127.0.0.1:1']";
    let bad = [
        ("gateway", "LONGWIRE_AUTH__SECRET", "short", false),
        ("stomp-edge", "LONGWIRE_RPC__PERSISTENCE", "[]", false),
        ("mqtt-edge", "LONGWIRE_NATS__SERVERS", nowhere, true),
        ("routing", "LONGWIRE_NATS__SERVERS", nowhere, true),
        (
            "persistence",
            "LONGWIRE_POSTGRES__URL",
            "postgres://nobody@127.0.0.1:1/none",
            true,
        ),
        ("receipts", "LONGWIRE_NATS__REPLICAS", "none", false),
    ];
    for (role, name, value, waits) in bad {
        let replica = &trial.role(role)[1];
        replica.terminate().await;
        replica.set_env(name, value);
        replica.launch();
        if waits {
            eventually("it says that it is not ready", DEADLINE, async || {
                (replica.readiness().await == Some(503)).then_some(())
            })
            .await;
        } else {
            let status = replica.ended(DEADLINE).await;
            assert!(
                !status.success(),
                "{role} with {name} = {value} ended with {status}"
            );
            let log = replica.log();
            println!("  {role}: {}", log.lines().last().unwrap_or_default());
        }
    }
    let took = trial.wait_for(300).await;
    println!("  300 more with half of the replicas, {took:.1?}");
    for (role, name, _, waits) in bad {
        let replica = &trial.role(role)[1];
        assert_eq!(
            replica.is_running(),
            waits,
            "{role} waits for what it was told, or ended"
        );
        assert_ne!(replica.readiness().await, Some(200), "{role} is not ready");
        replica.set_env(name, &common(&trial, name));
        if waits {
            replica.kill().await;
        }
        replica.start().await;
    }
    trial.is_balanced().await;
    trial.verdict("X35", Duration::from_secs(5)).await;
}

/// What all replicas are told.
fn common(trial: &Trial, name: &str) -> String {
    let command = trial.command("config");
    let (_, value) = command
        .get_envs()
        .find(|(known, _)| *known == name)
        .expect("told to all");
    value
        .and_then(|value| value.to_str())
        .expect("a value")
        .to_owned()
}

/// Issue point 3: adding a replica of routing and of persistence moves work to it; removing one, politely or not, loses nothing.
/// Budgets: work moves within 15 s (leases of 5 and 10 s), pauses of at most 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_when_replicas_come_and_go() {
    let builder = small().partitions(6).spare("routing", 1).spare("persistence", 1);
    let mut trial = Trial::start(builder, plan()).await;
    let routing = trial.role("routing");
    let owned = async |index: usize| {
        let replica: &testkit::cluster::Replica = &routing[index];
        replica.metric("longwire_routing_partitions").await.unwrap_or(0.0)
    };
    let shares = async |wanted: [f64; 3]| {
        let shares = [owned(0).await, owned(1).await, owned(2).await];
        (shares == wanted).then_some(())
    };
    let moves = Duration::from_secs(15);
    trial
        .recovers("two owners, three each", moves, async || {
            shares([3.0, 3.0, 0.0]).await
        })
        .await;
    routing[2].start().await;
    trial
        .recovers("three owners, two each", moves, async || {
            shares([2.0, 2.0, 2.0]).await
        })
        .await;
    trial.wait_for(100).await;
    routing[0].terminate().await;
    trial
        .recovers("one left: three each", moves, async || {
            shares([0.0, 3.0, 3.0]).await
        })
        .await;
    routing[1].kill().await;
    trial
        .recovers("one was killed: one has all", moves, async || {
            shares([0.0, 0.0, 6.0]).await
        })
        .await;
    trial.wait_for(100).await;

    let persistence = trial.role("persistence");
    let added = &persistence[2];
    added.start().await;
    let applies = async || {
        let applied = added.metric("longwire_persistence_entries_total").await?;
        (applied > 0.0).then_some(())
    };
    trial
        .recovers("a new persistence applies", 2 * moves, applies)
        .await;
    persistence[0].terminate().await;
    trial.wait_for(100).await;
    persistence[1].kill().await;
    let before = added.metric("longwire_persistence_entries_total").await.unwrap();
    trial.wait_for(200).await;
    println!("  the last persistence had applied {before} entries when the others were gone");
    trial.verdict("scaling", Duration::from_secs(10)).await;
}
