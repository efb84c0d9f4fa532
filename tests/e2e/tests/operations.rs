//! What operators do: configure, watch, stop, and ask for tokens.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{agent, agent_token, agent_v5, history, thread_of, visitor};
use testkit::chat::{self, DESK};
use testkit::mqtt::{Mqtt, Options, Packet, QoS, ReasonCode};
use testkit::process::Signal;
use testkit::{Builder, DEADLINE, DataDir, Longwire, TokenSpec, cli, http, only_in_one_process, run};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn refused(builder: Builder, names: &[&str]) {
    let output = builder.start_and_fail().await;
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for name in names {
        assert!(said.contains(name), "it names {name}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_wrong_configuration_names_the_key_and_the_source_and_exits_with_64() {
    let new = Longwire::builder;
    refused(
        new().config("[mqtt]\ntcp_lisen = \"127.0.0.1:0\"\n"),
        &["mqtt.tcp_lisen", "tcp_listen", ".toml:2"],
    )
    .await;
    refused(
        new().env("LONGWIRE_MQTT__TCP_LISTEN", "nonsense"),
        &["mqtt.tcp_listen", "LONGWIRE_MQTT__TCP_LISTEN"],
    )
    .await;
    refused(new().env("LONGWIRE_NO_SUCH_KEY", "1"), &["LONGWIRE_NO_SUCH_KEY"]).await;
    refused(new().config("[mqtt\n"), &[".toml:1"]).await;
    refused(
        new().config("profile = \"staging\"\n"),
        &["profile", "production"],
    )
    .await;
    refused(
        new().config("[chat]\nrecall_window = \"soon\"\n"),
        &["chat.recall_window"],
    )
    .await;
    refused(
        new().config("[compat]\ntime_zone = \"Nowhere/City\"\n"),
        &["compat.time_zone"],
    )
    .await;
    refused(
        new().arg("--config").arg("/no/such/file.toml"),
        &["/no/such/file.toml"],
    )
    .await;
}

#[tokio::test]
async fn production_does_not_start_without_keys() {
    refused(
        Longwire::builder().config("profile = \"production\"\n"),
        &["secret"],
    )
    .await;
    refused(
        Longwire::builder().config("profile = \"production\"\n[auth]\nsecret = \"short\"\n"),
        &["auth.secret"],
    )
    .await;
}

#[tokio::test]
async fn production_knows_no_anonymous_clients_no_dev_login_and_no_open_topics() {
    let config =
        "profile = \"production\"\n[auth]\nsecret = \"0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
    let server = Longwire::builder().config(config).start().await;
    assert!(
        Mqtt::try_connect(&server, Options::v5("anonymous"))
            .await
            .is_err()
    );
    let page =
        testkit::stomp::Stomp::try_connect(&server, testkit::stomp::Options::visitor("v1", None)).await;
    assert!(page.is_err());
    let at = server.at().http;
    let login = serde_json::json!({ "username": "agent1", "password": "agent1" });
    let reply = http::post(at, "/auth/v1/login", None, &login).await;
    assert!(matches!(reply.status, 403 | 404), "{}", reply.text);
    let message = chat::text(&thread_of("v1"), "v1", "x");
    http::say(at, "/visitor/api/v1/message/send", None, &message)
        .await
        .assert_error(401);
    let mut agent = agent_v5(&server).await;
    agent
        .say(&chat::text(&thread_of("v1"), DESK, "with a token"))
        .await;
    let granted = agent.subscribe("ordinary/topic", QoS::AtLeastOnce).await;
    assert_eq!(
        granted,
        ReasonCode::NotAuthorized,
        "ordinary topics are closed unless a rule opens them"
    );
}

#[tokio::test]
async fn rules_open_and_close_ordinary_topics_first_match_first() {
    let config = "[auth.acl]\ndefault = \"deny\"\n\
        rules = [\n\
        { action = \"deny\", who = \"all\", access = \"publish\", filter = \"plant/locked/#\" },\n\
        { action = \"allow\", who = \"all\", access = \"all\", filter = \"plant/${uid}/#\" },\n\
        ]\n";
    let output = config_check(config).await;
    assert!(
        output.status.success(),
        "the configuration of this test is out of date: {}",
        stderr(&output)
    );
    let server = Longwire::builder().config(config).start().await;
    let token = server.token(&TokenSpec::agent("u1", &[])).await;
    let mut client = Mqtt::connect(&server, Options::v5("u1/web/d").token(&token)).await;
    assert_eq!(
        client.subscribe("plant/u1/#", QoS::AtLeastOnce).await,
        ReasonCode::GrantedQoS1
    );
    for filter in ["plant/#", "plant/u2/#", "plant/+/x", "other"] {
        assert_eq!(
            client.subscribe(filter, QoS::AtLeastOnce).await,
            ReasonCode::NotAuthorized,
            "{filter}"
        );
    }
    for (topic, allowed) in [
        ("plant/u1/x", true),
        ("plant/u2/x", false),
        ("plant/locked/x", false),
    ] {
        let ack = client.publish(topic, "x", QoS::AtLeastOnce).await.unwrap();
        assert_eq!((ack.reason as u8) < 0x80, allowed, "{topic}: {ack:?}");
    }
}

async fn config_check(toml: &str) -> Output {
    let file = tempfile_with(toml);
    let mut command = cli();
    command
        .args(["config", "check", "--config"])
        .arg(file.0.join("longwire.toml"));
    run(command).await
}

/// A folder with a configuration file; it goes away with its value.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It may have gone already.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn tempfile_with(toml: &str) -> Folder {
    let folder = std::env::temp_dir().join(format!("longwire-config-{}", chat::uid()));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("longwire.toml"), toml).unwrap();
    Folder(folder)
}

#[tokio::test]
async fn config_check_and_show_tell_the_effective_configuration_and_no_secret() {
    let good = "profile = \"dev\"\n[mqtt]\ntcp_listen = \"127.0.0.1:18830\"\n[auth]\nsecret = \"0123456789abcdef0123456789abcdef-secret\"\n";
    let checked = config_check(good).await;
    assert!(checked.status.success(), "{}", stderr(&checked));
    let checked = config_check("[mqtt]\nnonsense = 1\n").await;
    assert_eq!(checked.status.code(), Some(64));
    assert!(stderr(&checked).contains("mqtt.nonsense"), "{}", stderr(&checked));

    let folder = tempfile_with(good);
    let mut command = cli();
    command
        .args(["config", "show", "--config"])
        .arg(folder.0.join("longwire.toml"))
        .env("LONGWIRE_HTTP__LISTEN", "127.0.0.1:19003");
    let shown = run(command).await;
    assert!(shown.status.success(), "{}", stderr(&shown));
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        text.contains("127.0.0.1:18830") && text.contains("127.0.0.1:19003"),
        "file and environment: {text}"
    );
    assert!(!text.contains("0123456789abcdef"), "secrets are masked: {text}");
}

#[tokio::test]
async fn token_prints_one_that_the_server_takes() {
    let server = Longwire::start().await;
    let spec = TokenSpec {
        uid: "u1",
        org: Some("o1"),
        role: Some("agent"),
        aliases: &["a1", "a2"],
        nickname: Some("Näme"),
        ttl: Some("1h"),
    };
    let token = server.token(&spec).await;
    assert_eq!(token.split('.').count(), 3);
    let mut client = Mqtt::connect(&server, Options::v5("u1/web/d").token(&token)).await;
    for alias in ["a1", "a2"] {
        let topic = chat::agent_topic(alias, "v1");
        client.say(&chat::text(&topic, alias, "x")).await;
    }
    // Of a folder that no server has used: nobody would take it.
    let folder = DataDir::new();
    let mut command = cli();
    command.args(["token", "--uid", "u1", "--role", "agent", "--data"]);
    command.arg(folder.path());
    let refused = run(command).await;
    assert!(
        !refused.status.success() && stderr(&refused).contains("auth.secret"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(folder.path().read_dir().expect("it is there").count(), 0);
    let mut command = server.command("token");
    command.args(["--uid", "u1", "--role", "emperor"]);
    let refused = run(command).await;
    assert!(!refused.status.success());
    assert!(refused.stdout.is_empty());
    let refused = run(server.command("token")).await;
    assert!(
        !refused.status.success() && stderr(&refused).contains("--uid"),
        "{}",
        stderr(&refused)
    );
}

#[tokio::test]
async fn sigterm_drains_tells_clients_and_exits_with_0() {
    let mut server = Longwire::builder().at_fixed_ports().start().await;
    let token = agent_token(&server).await;
    let topic = thread_of("v1");
    let mut five = agent_v5(&server).await;
    let mut old = agent(&server).await;
    let mut page = visitor(&server, "v1").await;
    let mut acknowledged = Vec::new();
    let mut flight = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let message = chat::text(&topic, DESK, "on the way");
        let id = five
            .start_publish(&topic, chat::encode(&message), QoS::AtLeastOnce)
            .await
            .unwrap();
        flight.insert(id, message.uid);
    }
    let start = Instant::now();
    server.signal(Signal::TERM);
    let mut reason = None;
    while let Some(packet) = five.receive_for(2 * DEADLINE).await {
        match packet {
            Packet::PubAck(ack) if (ack.reason as u8) < 0x80 => {
                acknowledged.extend(flight.remove(&ack.packet_id))
            }
            Packet::Publish(publish) => five.acknowledge(&publish).await,
            Packet::Disconnect(disconnect) => reason = Some(disconnect.reason),
            _ => {}
        }
    }
    assert!(
        matches!(
            reason,
            Some(ReasonCode::ServerShuttingDown | ReasonCode::ServerMoved | ReasonCode::UseAnotherServer)
        ),
        "5 is told that the server leaves: {reason:?}"
    );
    old.receive_until_closed().await;
    page.closed_by_server(2 * DEADLINE).await;
    let status = server.ended(2 * DEADLINE).await;
    assert_eq!(status.code(), Some(0), "after {:?}", start.elapsed());
    server.restart().await;
    let stored = history(&server, &token, &topic).await;
    for uid in &acknowledged {
        assert!(stored.iter().any(|message| message["uid"] == uid.as_str()));
    }
    let again = agent_v5(&server).await;
    assert!(again.connack.session_present);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Longwire::start().await;
    // Somebody who does not leave keeps the first stop waiting.
    let _client = agent(&server).await;
    server.signal(Signal::TERM);
    let log = async || server.log().to_lowercase();
    testkit::eventually("the first signal was taken", DEADLINE, async || {
        let log = log().await;
        (log.contains("sigterm") || log.contains("stop") || log.contains("drain")).then_some(())
    })
    .await;
    if server.is_running() {
        server.signal(Signal::TERM);
    }
    let start = Instant::now();
    server.ended(Duration::from_secs(10)).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn sigint_stops_it_like_sigterm() {
    let mut server = Longwire::start().await;
    server.signal(Signal::INT);
    assert_eq!(server.ended(2 * DEADLINE).await.code(), Some(0));
}

#[tokio::test]
async fn operators_see_that_it_lives_that_it_is_ready_and_what_it_does() {
    let server = Longwire::start().await;
    let mut agent = agent(&server).await;
    agent.say(&chat::text(&thread_of("v1"), DESK, "counted")).await;
    let mut metrics = String::new();
    for ops in server.ops() {
        assert_eq!(http::get(ops, "/livez", None).await.status, 200);
        assert_eq!(http::get(ops, "/readyz", None).await.status, 200);
        assert_eq!(http::get(ops, "/readyz?verbose", None).await.status, 200);
        let reply = http::get(ops, "/metrics", None).await;
        assert_eq!(reply.status, 200);
        metrics.push_str(&reply.text);
        // The operators' port serves nothing to clients.
        assert_eq!(http::get(ops, "/api/v1/thread/query", None).await.status, 404);
    }
    let series: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("longwire_"))
        .collect();
    assert!(series.len() > 20, "{metrics}");
    for service in [
        "longwire_mqtt",
        "longwire_gateway",
        "longwire_routing",
        "longwire_persistence",
    ] {
        assert!(
            series.iter().any(|line| line.starts_with(service)),
            "{service}: {metrics}"
        );
    }
    assert!(!metrics.contains(chat::DESK), "no id becomes a label");
    // The clients' port serves nothing to operators.
    assert_ne!(http::get(server.at().http, "/metrics", None).await.status, 200);
}

#[tokio::test]
async fn the_log_never_shows_a_token_or_a_payload() {
    let server = Longwire::builder()
        .env("LONGWIRE_LOG__FILTER", "debug")
        .start()
        .await;
    let token = agent_token(&server).await;
    let mut client = agent(&server).await;
    client
        .say(&chat::text(&thread_of("v1"), DESK, "a-very-private-word"))
        .await;
    let mut page = visitor(&server, "v1").await;
    page.say(&chat::text(&thread_of("v1"), "v1", "another-private-word"))
        .await;
    http::get(
        server.at().http,
        &format!("/api/v1/thread/query?access_token={token}"),
        Some(&token),
    )
    .await;
    let _refused = Mqtt::try_connect(&server, Options::v5("u_agent/web/d").token("a-bad-token-word")).await;
    let log = server.log();
    for secret in [
        "private-word",
        "bad-token-word",
        token.rsplit('.').next().unwrap(),
    ] {
        assert!(!log.contains(secret), "the log shows {secret}");
    }
}

#[tokio::test]
async fn the_command_line_explains_itself() {
    for args in [
        &["--help"][..],
        &["all", "--help"],
        &["token", "--help"],
        &["--version"],
    ] {
        let mut command = cli();
        command.args(args);
        let output = run(command).await;
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        assert!(!output.stdout.is_empty());
    }
    let mut command = cli();
    command.arg("nonsense");
    assert!(!run(command).await.status.success());
}

#[tokio::test]
async fn a_data_folder_in_use_is_not_opened_twice() {
    if only_in_one_process("roles have no data folder") {
        return;
    }
    let first = Longwire::start().await;
    let mut command = first.command("all");
    command.env("LONGWIRE_READY_JSON", "1");
    let output = run(command).await;
    assert!(
        !output.status.success(),
        "two servers on one data folder would spoil it"
    );
    let said = stderr(&output);
    assert!(
        said.len() > 20 && !said.contains("panicked"),
        "it says why: {said}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Longwire::start().await;
    let taken = first.at().mqtt.to_string();
    let output = Longwire::builder()
        .env("LONGWIRE_MQTT__TCP_LISTEN", &taken)
        .start_and_fail()
        .await;
    assert!(!output.status.success());
    assert!(stderr(&output).contains(&taken), "{}", stderr(&output));
}

/// A store that has applied what the log does not have would take new messages for known: acknowledged, and in no history.
#[tokio::test]
async fn a_log_that_is_not_the_stores_or_ends_before_it_is_refused() {
    if only_in_one_process("the log of a cluster is in NATS") {
        return;
    }
    let (data, copy) = (Arc::new(DataDir::new()), DataDir::new());
    let mut server = Longwire::builder().data(data.clone()).start().await;
    let journal = data.path().join("journal");
    let topic = thread_of("v1");
    let mut page = visitor(&server, "v1").await;
    page.say(&chat::text(&topic, "v1", "before the copy")).await;
    stopped(&mut server).await;
    copy_folder(&journal, &copy.path().join("older"));
    server.restart().await;
    let mut page = visitor(&server, "v1").await;
    page.say(&chat::text(&topic, "v1", "behind the copy")).await;
    let token = agent_token(&server).await;
    let applied = history(&server, &token, &topic).await;
    assert_eq!(applied.len(), 2, "the store has what the copy has not");
    stopped(&mut server).await;

    std::fs::rename(&journal, copy.path().join("whole")).expect("it moves");
    let refused = Longwire::builder().data(data.clone()).start_and_fail().await;
    assert!(
        stderr(&refused).contains("restore the log that the store was filled from"),
        "{}",
        stderr(&refused)
    );
    std::fs::remove_dir_all(&journal).expect("the new one goes");
    copy_folder(&copy.path().join("older"), &journal);
    let refused = Longwire::builder().data(data.clone()).start_and_fail().await;
    assert!(
        stderr(&refused).contains("restore a log that reaches that far"),
        "{}",
        stderr(&refused)
    );

    std::fs::remove_dir_all(&journal).expect("the older one goes");
    copy_folder(&copy.path().join("whole"), &journal);
    server.restart().await;
    let token = agent_token(&server).await;
    let log = history(&server, &token, &topic).await;
    assert_eq!(log.len(), 2, "what belongs together works again");
}

async fn stopped(server: &mut Longwire) {
    server.signal(Signal::TERM);
    assert!(server.ended(DEADLINE).await.success());
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in from.read_dir().expect("it is there") {
        let entry = entry.expect("a name");
        let (kind, to) = (entry.file_type().expect("a kind"), to.join(entry.file_name()));
        match kind.is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("it is copied")),
        }
    }
}
