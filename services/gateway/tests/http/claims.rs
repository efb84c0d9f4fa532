//! Visitors that say who they are and do not show it.

use model::Role;
use serde_json::{Value, json};

use crate::world::{ORG, Reply, TOPIC, World, eventually, text};

const INIT: &str = "/visitor/api/v1/init";
const THREAD: &str = "/visitor/api/v1/thread";
const UNREAD: &str = "/visitor/api/v1/message/unread/count";

async fn init(w: &World, uid: &str, token: Option<&str>) -> Reply {
    w.post(INIT, token, json!({"orgUid": ORG, "uid": uid})).await
}

/// The token of an answer to init.
fn token(visitor: &Value) -> String {
    visitor["accessToken"].as_str().unwrap().to_owned()
}

/// Every way in which a request under `/visitor` says whose it is, each with its answer.
async fn every_claim(w: &World, uid: &str, token: Option<&str>) -> Vec<(&'static str, Reply)> {
    let topic = format!("org/agent/df_ag_uid/{uid}");
    let of_uid = |path: &str| format!("{path}?uid={uid}&topic={topic}");
    let come = json!({"uid": uid, "orgUid": ORG, "sid": "df_ag_uid", "type": "0"});
    let stretch = "/visitor/api/v1/messages";
    vec![
        ("init", init(w, uid, token).await),
        ("unread", w.get(&format!("{UNREAD}?uid={uid}"), token).await),
        (
            "ping",
            w.get(&format!("/visitor/api/v1/ping?uid={uid}"), token).await,
        ),
        ("messages", w.get(&of_uid(stretch), token).await),
        (
            "by topic",
            w.get(&format!("{stretch}?topic={topic}"), token).await,
        ),
        (
            "a page",
            w.get(&of_uid("/visitor/api/v1/message/thread/topic"), token)
                .await,
        ),
        ("send", w.say(token, &text("m1", &topic, uid, "hello")).await),
        ("thread", w.post(THREAD, token, come).await),
    ]
}

/// The uid is used with its token once.
async fn prove(w: &World, uid: &str) {
    w.get(UNREAD, Some(&w.visitor(uid))).await.data();
    let whose = (ORG.to_owned(), uid.to_owned());
    eventually("the proof is stored", async || {
        w.store.proven.lock().contains(&whose)
    })
    .await;
}

#[tokio::test]
async fn a_token_for_a_claimed_uid_is_good_for_its_own_conversations_and_nothing_else() {
    let w = World::new();
    let claimed = token(&init(&w, "v1", None).await.data());
    let come = json!({"uid": "v1", "orgUid": ORG, "sid": "df_ag_uid", "type": "0"});
    w.post(THREAD, Some(&claimed), come).await.data();
    w.say(Some(&claimed), &text("m1", TOPIC, "v1", "hello"))
        .await
        .data();
    let own = format!("/visitor/api/v1/messages?topic={TOPIC}");
    assert_eq!(
        w.get(&own, Some(&claimed)).await.data()["content"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let other = "org/agent/df_ag_uid/v2";
    for topic in [
        other,
        "user/v1",
        "org/member/v1/v2",
        "org/agent/df_ag_uid/v1_internal",
    ] {
        w.get(&format!("/visitor/api/v1/messages?topic={topic}"), Some(&claimed))
            .await
            .assert_error(403, "forbidden", "may not read");
    }
    w.say(Some(&claimed), &text("m2", other, "v1", "x"))
        .await
        .assert_error(403, "forbidden", "may not write");
    for path in [
        format!("/api/v1/messages?topic={TOPIC}"),
        "/api/v1/thread/query".to_owned(),
        "/api/v1/connection/presence/agent1".to_owned(),
        "/api/v1/message/unread/count".to_owned(),
    ] {
        w.get(&path, Some(&claimed))
            .await
            .assert_error(403, "forbidden", "proves who you are");
    }
    assert!(w.store.proven.lock().is_empty(), "it proves nothing");
}

#[tokio::test]
async fn a_new_uid_is_proven_by_its_token_and_from_then_on_only_by_it() {
    let w = World::new();
    let visitor = w.post(INIT, None, json!({"orgUid": ORG})).await.data();
    let uid = visitor["uid"].as_str().unwrap();
    let first = token(&visitor);
    // A deployed page never presents its token: it goes on by its word.
    w.get(&format!("{UNREAD}?uid={uid}"), None).await.data();
    w.get(UNREAD, Some(&first)).await.data();
    let whose = (ORG.to_owned(), uid.to_owned());
    eventually("the proof is stored", async || {
        w.store.proven.lock().contains(&whose)
    })
    .await;
    for (what, reply) in every_claim(&w, uid, None).await {
        assert_eq!(reply.status, 401, "{what}: {}", reply.text);
        reply.assert_error(401, "unauthorized", "has been used with a token");
    }
    let renewed = token(&init(&w, uid, Some(&first)).await.data());
    w.get("/api/v1/message/unread/count", Some(&renewed)).await.data();
    for (what, reply) in every_claim(&w, uid, Some(&renewed)).await {
        assert_eq!(reply.status, 200, "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_token_that_was_given_for_a_claim_ends_with_the_first_proof() {
    let w = World::new();
    let claimed = token(&init(&w, "v1", None).await.data());
    w.get(UNREAD, Some(&claimed)).await.data();
    prove(&w, "v1").await;
    for (what, reply) in every_claim(&w, "v1", Some(&claimed)).await {
        assert_eq!(reply.status, 401, "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn what_a_user_of_another_role_has_proved_is_no_visitors_to_claim_nor_are_its_aliases() {
    let w = World::new();
    let agent = w.token("u7", Role::Agent, &["a7"]);
    w.get("/api/v1/message/unread/count", Some(&agent)).await.data();
    eventually("the proofs are stored", async || w.store.proven.lock().len() == 4).await;
    for uid in ["u7", "a7"] {
        init(&w, uid, None).await.assert_error(401, "unauthorized", uid);
    }
    let elsewhere = json!({"orgUid": "other", "uid": "u7"});
    w.post(INIT, None, elsewhere).await.data();
}

#[tokio::test]
async fn uids_of_the_directory_cannot_be_claimed_in_any_call() {
    let w = World::new();
    for uid in ["agent1", "agent2", "admin", "df_ag_uid", "df_wg_uid"] {
        for (what, reply) in every_claim(&w, uid, None).await {
            assert_eq!(reply.status, 403, "{what} as {uid}: {}", reply.text);
            reply.assert_error(403, "forbidden", "no visitor's");
        }
    }
    assert!(w.log.entries.lock().is_empty() && w.store.threads.lock().is_empty());
}

#[tokio::test]
async fn nobody_is_believed_while_the_store_is_away_and_a_token_needs_no_store() {
    let w = World::new();
    let own = w.visitor("v1");
    *w.store.away.lock() = true;
    for (what, reply) in every_claim(&w, "v1", None).await {
        assert_eq!(reply.status, 503, "{what}: {}", reply.text);
    }
    w.say(Some(&own), &text("m1", TOPIC, "v1", "hello")).await.data();
    *w.store.away.lock() = false;
    eventually("the proof is stored when the store is back", async || {
        w.store.proven.lock().len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_desk_is_staffed_by_connections_of_staff_only() {
    let w = World::new();
    let online = |user: &str| w.book.online.lock().push((ORG.to_owned(), user.to_owned()));
    online("agent1");
    online("agent2");
    // Whoever that is: it holds a visitor's token for the agent's uid.
    w.book.customers.lock().push("agent2".to_owned());
    online("unproven/agent1");
    let presence = async |uid: &str| {
        let path = format!("/api/v1/connection/presence/{uid}");
        w.get(&path, Some(&w.agent())).await.data()["activeCount"].clone()
    };
    for (uid, count) in [
        ("agent1", 1),
        ("df_ag_uid", 1),
        ("agent2", 0),
        ("df_ag2_uid", 0),
        ("df_wg_uid", 1),
    ] {
        assert_eq!(presence(uid).await, count, "{uid}");
    }
}

#[tokio::test]
async fn a_visitor_is_online_by_its_word_as_long_as_its_uid_is_anybodys() {
    let w = World::new();
    w.book
        .customers
        .lock()
        .extend(["v1".to_owned(), "unproven/v1".to_owned()]);
    let count = async || {
        let path = "/api/v1/connection/presence/v1";
        w.get(path, Some(&w.agent())).await.data()["activeCount"].clone()
    };
    w.book
        .online
        .lock()
        .push((ORG.to_owned(), "unproven/v1".to_owned()));
    assert_eq!(count().await, 1);
    prove(&w, "v1").await;
    assert_eq!(count().await, 0);
    w.book.online.lock().push((ORG.to_owned(), "v1".to_owned()));
    assert_eq!(count().await, 1);
}
