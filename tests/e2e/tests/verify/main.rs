//! The checker against the real server: what holds is said to hold, also when the server is killed meanwhile, and what was
//! tampered with is found.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

mod changes;
mod tamper;

use std::time::Duration;

use tamper::Deed;
use testkit::{DEADLINE, DataDir, Longwire, TokenSpec, eventually, only_in_one_process, run};
use verify::{Address, Changes, Finding, Invariant, Plan, Run, Target, Token, Verdict, dev_tokens};

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
        changes: Changes {
            hand_over_every: Duration::from_millis(700),
            close_every: Duration::from_millis(500),
            ..Changes::default()
        },
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
    let figures = &verdict.figures;
    assert!(figures.reconnects > 0 && figures.repeats > 0, "{verdict}");
    assert!(figures.undated_resends > 0, "{verdict}");
    server.assert_unhurt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_runs_it_with_a_file_of_tokens_and_gets_the_verdict_as_json() {
    let server = Longwire::start().await;
    let mut tokens = "# agents, then visitors\n".to_owned();
    for (uid, desk) in [("u1", "desk1"), ("u2", "desk2")] {
        tokens += &server.token(&TokenSpec::agent(uid, &[desk])).await;
        tokens += "\n";
    }
    for uid in ["v1", "v2", "v3"] {
        tokens += &server.token(&TokenSpec::visitor(uid)).await;
        tokens += "\n";
    }
    let data = DataDir::default();
    let (file, json) = (data.path().join("tokens"), data.path().join("verdict.json"));
    std::fs::write(&file, tokens).unwrap();
    let (http, mqtt) = (
        format!("http://{}", server.at().http),
        server.at().mqtt.to_string(),
    );
    let [file, json_file] = [&file, &json].map(|path| path.to_str().unwrap());
    let args = format!(
        "--url {http} --mqtt {mqtt} --tokens {file} --json {json_file} --quiet --conversations 5 --rate 60 --duration 3s --seed 7"
    );
    let args = verify::cli::Args::parse_from(args.split(' ')).unwrap();
    let code = tokio::task::spawn_blocking(move || verify::cli::run(&args))
        .await
        .unwrap();
    let verdict: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(code, 0, "{verdict:#}");
    assert_eq!(verdict["holds"], true);
}

/// Nobody goes away of himself, so that nothing but the damage happens.
fn quiet_plan() -> Plan {
    Plan {
        agent_clients: 2,
        absence_every: Duration::from_secs(3600),
        settle: Duration::from_secs(6),
        ..plan()
    }
}

/// Runs against a server whose MQTT address is that of somebody in the middle.
async fn with_tamperer(server: &Longwire, deed: Deed) -> (Verdict, String) {
    let mut target = target(server);
    let (address, done) = tamper::between(server.at().mqtt, deed).await;
    target.mqtt = vec![Address::parse(&address.to_string()).unwrap()];
    let tokens = dev_tokens(&target).await.unwrap();
    let run = Run::start(target, tokens, quiet_plan()).await.unwrap();
    let victim = tokio::time::timeout(DEADLINE, done).await.unwrap().unwrap();
    let now = run.progress().acknowledged;
    acknowledged(&run, now + 100).await;
    (run.stop().await, victim)
}

/// The verdict names the damage, the message and who saw it.
#[track_caller]
fn assert_found(verdict: &Verdict, invariant: Invariant, words: &str, victim: &str) {
    assert!(!verdict.holds && verdict.exit_code() == 1, "{verdict}");
    let of = |finding: &&Finding| {
        let evidence = &finding.evidence;
        finding.invariant == invariant
            && finding.what.contains(words)
            && evidence.uid.as_deref() == Some(victim)
            && evidence.topic.is_some()
            && evidence.acknowledged_ms.is_some()
    };
    assert!(
        verdict.findings.iter().any(|f| of(&f)),
        "{invariant:?} {words:?} of {victim} in {verdict}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_twice_is_found() {
    let server = Longwire::start().await;
    let (verdict, victim) = with_tamperer(&server, Deed::Double).await;
    assert_found(&verdict, Invariant::I2, "came twice on one connection", &victim);
    assert_eq!(verdict.findings.len(), 1, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_swallowed_on_the_way_is_found() {
    let server = Longwire::start().await;
    let (verdict, victim) = with_tamperer(&server, Deed::Swallow).await;
    assert_found(&verdict, Invariant::I1, "did not reach an observer", &victim);
    assert!(
        verdict.findings[0]
            .evidence
            .observer
            .as_deref()
            .unwrap()
            .contains("MQTT 5"),
        "{verdict}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_messages_that_change_places_are_found() {
    let server = Longwire::start().await;
    let (verdict, victim) = with_tamperer(&server, Deed::Delay).await;
    assert_found(&verdict, Invariant::I3, "came after a later one", &victim);
}

/// Does something to the database behind the server's back, in the middle of a run: the verdict.
async fn tampered_with(sql: &str) -> Verdict {
    let server = Longwire::start().await;
    let target = target(&server);
    let tokens = dev_tokens(&target).await.unwrap();
    let started = Run::start(target, tokens, quiet_plan()).await.unwrap();
    acknowledged(&started, 300).await;
    tamper_with_database(&server, sql).await;
    let verdict = started.stop().await;
    assert_eq!(verdict.exit_code(), 1, "{verdict}");
    verdict
}

/// Does something to the database of a server behind its back.
async fn tamper_with_database(server: &Longwire, sql: &str) {
    let script = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=10)
assert db.execute(sys.argv[2]).rowcount >= 1
db.commit()";
    let mut command = std::process::Command::new("python3");
    let database = server.data().path().join("store.db");
    command.args(["-c", script]).arg(database).arg(sql);
    let output = run(command).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_taken_out_of_the_database_is_found() {
    if only_in_one_process("its database is a file") {
        return;
    }
    let fiftieth_text = "DELETE FROM messages WHERE id =
        (SELECT id FROM messages WHERE instr(entry, X'54455854') ORDER BY id LIMIT 1 OFFSET 50)";
    let verdict = tampered_with(fiftieth_text).await;
    let is_lost = |f: &&Finding| f.what == "acknowledged, and not in history";
    let lost = verdict.findings.iter().find(is_lost).unwrap();
    assert_eq!(lost.invariant, Invariant::I1);
    assert!(
        lost.evidence.acknowledged_ms.is_some() && !lost.evidence.seen.is_empty(),
        "{verdict}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_go_back_in_the_database_are_found() {
    if only_in_one_process("its database is a file") {
        return;
    }
    let verdict = tampered_with("UPDATE receipts SET state = 1 WHERE state = 2").await;
    let what: Vec<&str> = verdict.findings.iter().map(|f| f.what.as_str()).collect();
    assert!(
        what.iter()
            .any(|what| what.starts_with("had been READ and was DELIVERED")),
        "{verdict}"
    );
    assert!(
        what.iter().any(|what| what.starts_with("READ was acknowledged")),
        "{verdict}"
    );
    assert_eq!(verdict.broken.len(), 1, "nothing but I4: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_that_forget_what_was_read_are_found() {
    if only_in_one_process("its database is a file") {
        return;
    }
    let verdict = tampered_with("DELETE FROM reads").await;
    assert!(verdict.count(Invariant::I5) > 0, "{verdict}");
    assert_eq!(verdict.broken.len(), 1, "nothing but I5: {verdict}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_such() {
    let target = Target::new(&["http://127.0.0.1:1"], &[], &[], None).unwrap();
    let error = dev_tokens(&target).await.unwrap_err().to_string();
    assert!(error.contains("the login of agent1"), "{error}");
}
