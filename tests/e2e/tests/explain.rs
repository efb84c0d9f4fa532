//! Where a message is: what an administrator is told over HTTP and by the command line.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use e2e::{AGENT, agent, agent_options, agent_token, thread_of, visitor, visitor_token};
use serde_json::Value;
use testkit::chat::{self, DESK};
use testkit::http::{self, Reply};
use testkit::mqtt::Mqtt;
use testkit::{DEADLINE, Longwire, TokenSpec, eventually, run};

async fn admin_token(server: &Longwire) -> String {
    let spec = TokenSpec {
        uid: "root",
        role: Some("admin"),
        ..TokenSpec::default()
    };
    server.token(&spec).await
}

async fn explain(server: &Longwire, token: &str, query: &str) -> Reply {
    let path = format!("/api/v1/admin/explain?{query}");
    http::get(server.at().http, &path, Some(token)).await
}

/// What is said of a message and a user, once it is said with this verdict.
async fn fate(server: &Longwire, admin: &str, uid: &str, user: &str, verdict: &str) -> Value {
    eventually(&format!("{uid} is {verdict} with {user}"), DEADLINE, async || {
        let query = format!("uid={uid}&to={user}");
        let mut message = explain(server, admin, &query).await.data()["messages"][0].take();
        let is_so = message["recipients"][0]["verdict"] == verdict;
        is_so.then(|| message.take())
    })
    .await
}

#[tokio::test]
async fn a_message_is_followed_from_storing_to_reading() {
    let server = Longwire::start().await;
    let admin = admin_token(&server).await;
    let topic = thread_of("v1");
    let mut agent = agent(&server).await;
    let mut page = visitor(&server, "v1").await;
    let message = chat::text(&topic, "v1", "a secret");
    page.say(&message).await;
    let uid = message.uid.as_str();

    let waiting = fate(&server, &admin, uid, AGENT, "waiting").await;
    assert_eq!(waiting["state"], "SENT");
    let session = &waiting["recipients"][0]["sessions"][0];
    assert_eq!(
        (&session["protocol"], &session["connected"]),
        (&"mqtt".into(), &true.into())
    );

    agent.hear_until(|heard| heard.uid == message.uid).await;
    let delivered = fate(&server, &admin, uid, AGENT, "acknowledged").await;
    assert_eq!(delivered["topic"], topic.as_str());
    assert_eq!(delivered["sender"], "v1");

    agent.say(&chat::about("READ", &topic, DESK, uid)).await;
    let read = eventually("it is read", DEADLINE, async || {
        let fate = fate(&server, &admin, uid, AGENT, "acknowledged").await;
        (fate["state"] == "READ").then_some(fate)
    })
    .await;
    let why = read["recipients"][0]["why"].as_str().unwrap();
    assert!(why.contains("READ"), "{why}");
    let echo = fate(&server, &admin, uid, "v1", "own-echo").await;
    assert!(!echo.to_string().contains("secret"), "what it says is not told");

    let reply = explain(&server, &admin, &format!("uid={uid}")).await.data();
    let users: Vec<_> = reply["messages"][0]["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    assert!(users.iter().any(|r| r["user"] == AGENT) && users.iter().any(|r| r["user"] == "v1"));
}

#[tokio::test]
async fn who_is_offline_or_began_later_is_told_apart() {
    let server = Longwire::start().await;
    let admin = admin_token(&server).await;
    let topic = thread_of("v1");
    let mut first = agent(&server).await;
    first.say(&chat::text(&topic, DESK, "hello")).await;
    first.disconnect().await;
    let mut page = visitor(&server, "v1").await;
    let message = chat::text(&topic, "v1", "are you there?");
    page.say(&message).await;
    let uid = message.uid.as_str();

    let away = fate(&server, &admin, uid, AGENT, "offline").await;
    let session = &away["recipients"][0]["sessions"][0];
    assert_eq!(session["connected"], false);
    assert!(session["offlineSince"].is_string() && session["expiresAt"].is_string());

    let token = agent_token(&server).await;
    let second = Mqtt::connect(&server, agent_options(&token, "d2")).await;
    let both = fate(&server, &admin, uid, AGENT, "offline").await;
    let sessions = both["recipients"][0]["sessions"].as_array().unwrap();
    let of = |client: &str| {
        sessions
            .iter()
            .find(|s| s["client"] == format!("{AGENT}/web/{client}"))
    };
    assert_eq!(of("d1").unwrap()["verdict"], "offline");
    assert_eq!(of("d2").unwrap()["verdict"], "before-session", "{both}");

    let mut back = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    back.hear_until(|heard| heard.uid == message.uid).await;
    fate(&server, &admin, uid, AGENT, "acknowledged").await;
    fate(&server, &admin, uid, "nobody", "not-entitled").await;
    second.disconnect().await;
}

#[tokio::test]
async fn only_an_administrator_of_the_organisation_is_told() {
    let server = Longwire::start().await;
    let mut page = visitor(&server, "v1").await;
    let message = chat::text(&thread_of("v1"), "v1", "hello");
    page.say(&message).await;
    let query = format!("uid={}", message.uid);
    for token in [agent_token(&server).await, visitor_token(&server, "v1").await] {
        explain(&server, &token, &query).await.assert_error(403);
    }
    let spec = TokenSpec {
        uid: "root",
        role: Some("admin"),
        ..TokenSpec::default()
    };
    let other = server.token(&spec.org("other")).await;
    explain(&server, &other, &query).await.assert_error(404);
    let admin = admin_token(&server).await;
    explain(&server, &admin, &query).await.data();
    let unknown = explain(&server, &admin, "uid=nothing").await;
    unknown.assert_error(404);
    assert!(
        unknown.text.contains("PUBACK"),
        "it says what to check: {}",
        unknown.text
    );
}

#[tokio::test]
async fn the_command_line_prints_a_report() {
    let server = Longwire::start().await;
    let mut page = visitor(&server, "v1").await;
    let message = chat::text(&thread_of("v1"), "v1", "a secret");
    page.say(&message).await;
    let asked = async |args: &[&str]| {
        let mut command = server.command("explain");
        command
            .args(["--url", &format!("http://{}", server.at().http)])
            .args(args);
        let output = run(command).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, report, errors) = asked(&["--uid", &message.uid]).await;
    assert_eq!(code, Some(0), "{errors}");
    for part in [
        &*message.uid,
        "TEXT by v1 (visitor)",
        "to v1",
        "own-echo",
        "to agent1",
    ] {
        assert!(report.contains(part), "{part:?} is not in\n{report}");
    }
    assert!(!report.contains("secret"), "{report}");

    let token = admin_token(&server).await;
    let (code, report, _) = asked(&["--uid", &message.uid, "--to", "v1", "--token", &token]).await;
    assert!(code == Some(0) && !report.contains("to agent1"), "{report}");
    let (code, _, errors) = asked(&["--uid", "nothing"]).await;
    assert!(code == Some(1) && errors.contains("404"), "{errors}");
    let (code, _, errors) = asked(&["--uid", "x", "--token", &visitor_token(&server, "v1").await]).await;
    assert!(code == Some(1) && errors.contains("403"), "{errors}");
}
