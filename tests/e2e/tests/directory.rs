//! Agents and desks change while the server runs, and stay as they were changed.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use hyper::Method;
use serde_json::{Value, json};
use testkit::http::{self, Reply};
use testkit::mqtt::{Mqtt, Options};
use testkit::{Longwire, TokenSpec, eventually};

async fn token(server: &Longwire, uid: &str, role: &str) -> String {
    let spec = TokenSpec {
        uid,
        role: Some(role),
        ..TokenSpec::default()
    };
    server.token(&spec).await
}

async fn ask(server: &Longwire, method: Method, path: &str, token: &str, body: Option<Value>) -> Reply {
    http::send(
        server.at().http,
        method,
        path,
        Some(token),
        body.map(|b| b.to_string()),
    )
    .await
}

/// The agent that a visitor's conversation with a desk is given to.
async fn given(server: &Longwire, visitor: &str, desk: &str) -> Value {
    let body = json!({"uid": visitor, "orgUid": "df_org_uid", "sid": desk, "type": "1"});
    let reply = http::post(server.at().http, "/visitor/api/v1/thread", None, &body).await;
    reply.data()["user"]["uid"].take()
}

#[tokio::test]
async fn a_new_agent_is_given_conversations_unless_it_is_away() {
    let server = Longwire::start().await;
    let (admin, ann) = (
        token(&server, "root", "admin").await,
        token(&server, "ann", "agent").await,
    );
    let put = async |path: &str, body: Value| {
        let path = format!("/api/v1/admin/directory/{path}");
        ask(&server, Method::PUT, &path, &admin, Some(body)).await.data()
    };
    put("agents/ann_uid", json!({"userUid": "ann", "nickname": "Ann"})).await;
    put("agents/bob_uid", json!({"userUid": "bob", "nickname": "Bob"})).await;
    put(
        "desks/night",
        json!({"kind": "workgroup", "agents": ["ann_uid", "bob_uid"]}),
    )
    .await;
    // In a cluster another replica of persistence may be asked, which has a moment for it.
    eventually("the desk receives visitors", testkit::DEADLINE, async || {
        let body = json!({"uid": "v0", "orgUid": "df_org_uid", "sid": "night", "type": "1"});
        let reply = http::post(server.at().http, "/visitor/api/v1/thread", None, &body).await;
        (reply.status == 200).then_some(())
    })
    .await;

    let away = json!({"status": "AWAY"});
    let set = ask(&server, Method::POST, "/api/v1/agent/status", &ann, Some(away)).await;
    assert_eq!(set.data()["status"], "AWAY");
    eventually("the agent is away", testkit::DEADLINE, async || {
        let known = ask(&server, Method::GET, "/api/v1/agent/query", &ann, None)
            .await
            .data();
        (known["status"] == "AWAY").then_some(())
    })
    .await;
    // Both are there.
    let mut there = Vec::new();
    for (uid, token) in [("ann", &ann), ("bob", &token(&server, "bob", "agent").await)] {
        let options = Options::v5(&format!("{uid}/web/1")).token(token);
        there.push(Mqtt::connect(&server, options).await);
    }
    // Whoever has fewer would be given the next: three in a row go to one only if the other takes none.
    let (mut visitors, mut in_a_row) = (0, 0);
    eventually("all go to who is there", testkit::DEADLINE, async || {
        visitors += 1;
        let to = given(&server, &format!("v{visitors}"), "night").await;
        in_a_row = if to == "bob_uid" { in_a_row + 1 } else { 0 };
        (in_a_row == 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_changed_is_there_after_a_restart_and_the_seed_does_not_undo_it() {
    let mut server = Longwire::start().await;
    let admin = token(&server, "root", "admin").await;
    let own = "/api/v1/admin/directory/desks/df_wg_uid";
    let body = json!({"kind": "workgroup", "nickname": "Day", "agents": ["df_ag2_uid"]});
    ask(&server, Method::PUT, own, &admin, Some(body)).await.data();
    server.kill().await;
    server.restart().await;
    let found = ask(&server, Method::GET, own, &admin, None).await.data();
    assert_eq!(
        (&found["nickname"], &found["agents"]),
        (&json!("Day"), &json!(["df_ag2_uid"]))
    );
}
