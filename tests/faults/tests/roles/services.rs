//! Routing, persistence, receipts, and everything of ours at once.

use std::time::{Duration, Instant};

use e2e::{field, history, messages, thread_of, visitor_token};
use faults::{Trial, plan, small, within_budget};
use rand::seq::SliceRandom as _;
use testkit::chat::DESK;
use verify::Plan;

use crate::said;

/// I10: from the return of a role to having caught up.
const CAUGHT_UP: Duration = Duration::from_secs(10);

/// X3, routing: kill -9 of one, then of all. Budget: its lease (2 s) and the election, 10 s; of all, until they are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x3_routing_dies_one_then_all() {
    let mut trial = Trial::start(small(), plan()).await;
    trial.role("routing")[0].kill().await;
    within_budget(
        "acknowledging after one died",
        trial.wait_for(200).await,
        CAUGHT_UP,
    );
    trial.restart().await;
    for replica in trial.role("routing") {
        replica.kill().await;
    }
    trial.restart().await;
    within_budget(
        "acknowledging after all died",
        trial.wait_for(200).await,
        CAUGHT_UP,
    );
    trial.verdict("X3", CAUGHT_UP).await;
}

/// X4, persistence: all killed for 40 s (longer than anything that edges remember of it). Messages are acknowledged and
/// delivered meanwhile, history says that it is not there and catches up. Budgets: no pause over 5 s; caught up in 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x4_persistence_is_away() {
    // Who goes away of himself cannot come back before persistence does.
    let plan = Plan {
        agent_clients: 2,
        absence_every: Duration::from_secs(3600),
        ..plan()
    };
    let mut trial = Trial::start(small(), plan).await;
    let server = trial.server();
    let topic = thread_of("x4");
    let token = visitor_token(server, "x4").await;
    let mut agent = e2e::agent_v5(server).await;
    let mut page = e2e::visitor(server, "x4").await;
    page.say(&said(&topic, "x4", "before")).await;
    agent.hear_until(|message| message.content == "before").await;

    for replica in trial.role("persistence") {
        replica.kill().await;
    }
    let (away, before) = (Instant::now(), trial.progress());
    page.say(&said(&topic, "x4", "asked")).await;
    agent.hear_until(|message| message.content == "asked").await;
    agent.say(&said(&topic, DESK, "answered")).await;
    page.hear_until(|message| field(message, "content") == "answered")
        .await;
    let refused = Instant::now();
    let reply = messages(server, &token, &topic, "after=0&limit=10").await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    within_budget("history says that it is not there", refused.elapsed(), CAUGHT_UP);
    trial
        .go_on_for(Duration::from_secs(40).saturating_sub(away.elapsed()))
        .await;
    page.say(&said(&topic, "x4", "still there?")).await;
    agent
        .hear_until(|message| message.content == "still there?")
        .await;
    let after = trial.progress();
    println!(
        "  while it was away for {:.0?}: {} acknowledged, {} delivered, {} of {} clients connected",
        away.elapsed(),
        after.acknowledged - before.acknowledged,
        after.delivered - before.delivered,
        after.connected,
        after.clients
    );

    trial.restart().await;
    let caught_up = async || {
        let reply = messages(server, &token, &topic, "after=0&limit=10").await;
        if reply.status != 200 {
            return None;
        }
        let log = history(server, &token, &topic).await;
        let said: Vec<_> = log.iter().map(|message| field(message, "content")).collect();
        (said == ["before", "asked", "answered", "still there?"]).then_some(())
    };
    trial.recovers("history caught up", CAUGHT_UP, caught_up).await;
    trial.verdict("X4", Duration::from_secs(5)).await;
}

/// X5, receipts: all killed for 15 s. Messages are not affected; receipts and counters catch up, monotone. Budgets: no pause
/// over 3 s; settled 10 s after its return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x5_receipts_are_away() {
    let mut trial = Trial::start(small(), plan()).await;
    for replica in trial.role("receipts") {
        replica.kill().await;
    }
    trial.wait_for(600).await;
    trial.restart().await;
    let verdict = trial.verdict("X5", Duration::from_secs(3)).await;
    let settled = Duration::from_millis(verdict.figures.settled_ms.into());
    within_budget("receipts and counters caught up", settled, CAUGHT_UP);
}

/// X6, all of our processes at once, started again in any order. Budget: 10 s after the last is started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x6_all_of_ours_die_at_once() {
    let mut trial = Trial::start(small(), plan()).await;
    for _ in 0..2 {
        trial.kill().await;
        let mut replicas: Vec<_> = trial.replicas().collect();
        replicas.shuffle(&mut rand::rng());
        let order: Vec<_> = replicas.iter().map(|replica| replica.name()).collect();
        println!("  started in the order {}", order.join(" "));
        let killed = Instant::now();
        for replica in &replicas {
            replica.launch();
        }
        trial.wait_for(200).await;
        println!("  200 more acknowledged {:.1?} after the start", killed.elapsed());
        for replica in &replicas {
            replica.is_ready().await;
        }
    }
    trial.verdict("X6", 3 * CAUGHT_UP).await;
}
