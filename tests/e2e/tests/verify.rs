//! The checker against the real server: what holds is said to hold, also when the server is killed meanwhile, and what was
//! tampered with is found.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::time::Duration;

use testkit::{DEADLINE, Longwire, eventually};
use verify::{Plan, Run, Target, Token, Verdict, dev_tokens};

/// The server as verify is told of it.
fn target(server: &Longwire) -> Target {
    let at = server.at();
    let (http, ws) = (format!("http://{}", at.http), format!("ws://{}/websocket", at.ws));
    Target::new(&[http], &[at.mqtt.to_string()], &[ws], None).unwrap()
}

/// Short absences, so that a few seconds hold many of them.
fn plan() -> Plan {
    Plan {
        conversations: 6,
        rate: 150.0,
        absence_every: Duration::from_secs(2),
        absence: Duration::from_millis(400),
        long_absence: Duration::from_secs(2),
        settle: Duration::from_secs(30),
        ..Plan::default()
    }
}

async fn begin(server: &Longwire) -> Run {
    let target = target(server);
    let tokens: Vec<Token> = dev_tokens(&target).await.unwrap();
    Run::start(target, tokens, plan()).await.unwrap()
}

async fn acknowledged(run: &Run, count: u64) {
    eventually("enough is acknowledged", 3 * DEADLINE, async || {
        (run.progress().acknowledged >= count).then_some(())
    })
    .await;
}

#[track_caller]
fn assert_holds(verdict: &Verdict) {
    assert!(verdict.holds, "{verdict}");
    let figures = &verdict.figures;
    assert_eq!(figures.acknowledged, figures.sent, "{verdict}");
    assert!(figures.reads > 0 && figures.delivered > figures.sent, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_server_holds() {
    let mut server = Longwire::start().await;
    let run = begin(&server).await;
    acknowledged(&run, 900).await;
    let verdict = run.stop().await;
    println!("{verdict}");
    assert_holds(&verdict);
    server.assert_unhurt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_holds() {
    let mut server = Longwire::builder().at_fixed_ports().start().await;
    let run = begin(&server).await;
    for round in 1..=3 {
        acknowledged(&run, 300 * round).await;
        server.kill().await;
        server.restart().await;
    }
    acknowledged(&run, 1200).await;
    let verdict = run.stop().await;
    println!("{verdict}");
    assert_holds(&verdict);
    assert!(verdict.figures.reconnects > 0, "{verdict}");
    server.assert_unhurt();
}
