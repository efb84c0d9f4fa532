use axum::body::Body;
use http::Method;
use model::Role;
use serde_json::json;

use crate::log::Mood;
use crate::world::{NOW, TOPIC, World, message, text};

#[tokio::test]
async fn the_stored_message_is_answered_as_json_text() {
    let w = World::new();
    let stored = w
        .say(Some(&w.visitor("v1")), &text("m1", TOPIC, "v1", "hello"))
        .await
        .message();
    assert_eq!(stored["uid"], "m1");
    assert_eq!(
        (&stored["status"], &stored["content"]),
        (&json!("SUCCESS"), &json!("hello"))
    );
    assert_eq!(
        (&stored["createdAt"], &stored["timestamp"]),
        (&json!("2026-01-31 12:21:50"), &json!(NOW))
    );
    assert_eq!(stored["position"], w.log.topic(TOPIC)[0].position.to_string());
    assert_eq!(
        (&stored["thread"]["topic"], &stored["user"]["uid"]),
        (&json!(TOPIC), &json!("v1"))
    );
}

#[tokio::test]
async fn both_calls_take_the_message_wrapped_and_plain() {
    let w = World::new();
    let path = "/api/v1/message/rest/send";
    let wrapped = json!({ "json": text("m1", TOPIC, "df_ag_uid", "a").to_string(), "client": "WEB" });
    assert_eq!(
        w.post(path, Some(&w.agent()), wrapped).await.message()["uid"],
        "m1"
    );
    assert_eq!(
        w.post(path, Some(&w.agent()), text("m2", TOPIC, "agent1", "b"))
            .await
            .message()["uid"],
        "m2"
    );
    let path = "/visitor/api/v1/message/send";
    assert_eq!(
        w.post(path, None, text("m3", TOPIC, "v1", "c")).await.message()["user"]["uid"],
        "v1"
    );
    assert_eq!(w.log.messages("df_org_uid", TOPIC).len(), 3);
}

#[tokio::test]
async fn a_resend_is_stored_once_and_answered_with_the_first() {
    let w = World::new();
    let (token, mut hello) = (w.visitor("v1"), text("m1", TOPIC, "v1", "hello"));
    let first = w.say(Some(&token), &hello).await.message();
    w.clock.set_unix_millis(NOW + 3_000_000);
    hello["createdAt"] = json!("1");
    let again = w.say(Some(&token), &hello).await.message();
    assert_eq!(
        (&again["position"], &again["createdAt"]),
        (&first["position"], &first["createdAt"])
    );
    assert_eq!(w.log.topic(TOPIC).len(), 1);
}

#[tokio::test]
async fn a_resend_is_answered_even_while_history_is_away() {
    let w = World::new();
    let (token, hello) = (w.visitor("v1"), text("m1", TOPIC, "v1", "hello"));
    let first = w.say(Some(&token), &hello).await.message();
    *w.store.away.lock() = true;
    assert_eq!(
        w.say(Some(&token), &hello).await.message()["position"],
        first["position"]
    );
}

#[tokio::test]
async fn a_uid_used_for_something_else_is_a_conflict() {
    let w = World::new();
    let token = w.visitor("v1");
    w.say(Some(&token), &text("m1", TOPIC, "v1", "hello"))
        .await
        .data();
    w.say(Some(&token), &text("m1", TOPIC, "v1", "goodbye"))
        .await
        .assert_error(409, "conflict", "uid");
}

#[tokio::test]
async fn the_sender_is_the_tokens_user_whatever_the_message_says() {
    let w = World::new();
    let spoofed = text("m1", TOPIC, "df_ag_uid", "I am the agent");
    w.say(Some(&w.visitor("v1")), &spoofed)
        .await
        .assert_error(403, "forbidden", "df_ag_uid");
    let mut silent = text("m2", TOPIC, "", "who am I");
    silent["user"] = json!(null);
    assert_eq!(
        w.say(Some(&w.visitor("v1")), &silent).await.message()["user"]["uid"],
        "v1"
    );
    let alias = text("m3", TOPIC, "df_ag_uid", "an alias is one's own");
    assert_eq!(
        w.say(Some(&w.agent()), &alias).await.message()["user"]["uid"],
        "df_ag_uid"
    );
}

#[tokio::test]
async fn nobody_writes_to_a_thread_that_is_not_its_own() {
    let w = World::new();
    let foreign = text("m1", "org/agent/df_ag_uid/v2", "v1", "x");
    w.say(Some(&w.visitor("v1")), &foreign)
        .await
        .assert_error(403, "forbidden", "may not write");
    w.say(None, &foreign)
        .await
        .assert_error(403, "forbidden", "may not write");
    let agent2 = w.token("agent2", Role::Agent, &["df_ag2_uid"]);
    w.say(Some(&agent2), &text("m2", TOPIC, "agent2", "x"))
        .await
        .assert_error(403, "forbidden", "may not write");
    assert!(w.log.entries.lock().is_empty());
}

#[tokio::test]
async fn another_tenants_thread_of_the_same_name_is_another_thread() {
    let w = World::new();
    let stranger = w.token_in("other", "v1", Role::Visitor, &[]);
    w.say(Some(&stranger), &text("m1", TOPIC, "v1", "x")).await.data();
    assert!(w.log.messages("df_org_uid", TOPIC).is_empty());
    assert_eq!(w.log.messages("other", TOPIC).len(), 1);
}

#[tokio::test]
async fn an_anonymous_visitor_is_of_the_organisation_that_its_message_names() {
    let w = World::new();
    let mut hello = text("m1", TOPIC, "v1", "x");
    hello["extra"] = json!("{\"orgUid\":\"other\"}");
    w.say(None, &hello).await.data();
    assert_eq!(w.log.messages("other", TOPIC).len(), 1);
}

#[tokio::test]
async fn typing_is_answered_and_not_stored() {
    let w = World::new();
    let typing = w
        .say(None, &message("TYPING", "m1", TOPIC, "v1", ""))
        .await
        .message();
    assert_eq!(
        (&typing["type"], typing.get("position")),
        (&json!("TYPING"), None)
    );
    assert!(w.log.entries.lock().is_empty());
}

#[tokio::test]
async fn a_receipt_is_stored_and_a_recall_is_judged() {
    let w = World::new();
    w.say(None, &text("m1", TOPIC, "v1", "hello")).await.data();
    let read = message("READ", "r1", TOPIC, "df_ag_uid", "m1");
    assert!(w.say(Some(&w.agent()), &read).await.message()["position"].is_string());
    w.say(None, &message("RECALL", "x1", TOPIC, "v1", "m9"))
        .await
        .assert_error(400, "invalid-payload", "recall");
    w.say(None, &message("RECALL", "x3", TOPIC, "v1", "m1"))
        .await
        .data();
    let foreign = message("RECALL", "x2", TOPIC, "df_ag_uid", "m1");
    w.say(Some(&w.agent()), &foreign)
        .await
        .assert_error(403, "forbidden", "author");
}

#[tokio::test]
async fn what_is_no_message_is_refused_with_its_place() {
    let w = World::new();
    let send = async |body: &str| {
        w.ask(
            Method::POST,
            "/visitor/api/v1/message/send",
            None,
            Body::from(body.to_owned()),
        )
        .await
    };
    send("{\"json\": \"{}\"")
        .await
        .assert_error(400, "invalid-payload", "line 1 column");
    send("").await.assert_error(400, "invalid-payload", "empty");
    send("[1]").await.assert_error(400, "invalid-payload", "neither");
    send("{\"uid\":\"1\",\"type\":\"TEXT\",\"user\":{\"uid\":\"v1\"}}")
        .await
        .assert_error(400, "invalid-payload", "thread.topic");
    w.say(None, &text("1", "sensors/1", "v1", "x"))
        .await
        .assert_error(400, "invalid-payload", "sensors/1");
    w.say(None, &text("", TOPIC, "v1", "x"))
        .await
        .assert_error(400, "invalid-payload", "uid");
    w.say(None, &text("1", "org/agent/+/v1", "v1", "x"))
        .await
        .assert_error(400, "invalid-payload", "wildcard");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_is_said_and_can_be_tried_again() {
    let w = World::new();
    let hello = text("m1", TOPIC, "v1", "hello");
    *w.log.mood.lock() = Mood::Full;
    w.say(None, &hello)
        .await
        .assert_error(503, "unavailable", "no room");
    *w.log.mood.lock() = Mood::Silent;
    w.say(None, &hello)
        .await
        .assert_error(504, "not-committed", "same uid");
    *w.log.mood.lock() = Mood::Works;
    assert!(w.say(None, &hello).await.message()["position"].is_string());
}

#[tokio::test]
async fn each_colleague_sees_the_thread_from_its_own_side() {
    let w = World::new();
    let (a, b) = (w.token("a", Role::Agent, &[]), w.token("b", Role::Agent, &[]));
    let send = "/api/v1/message/rest/send";
    let sent = w
        .post(send, Some(&b), text("m1", "org/member/b/a", "b", "hi"))
        .await
        .message();
    assert_eq!(sent["thread"]["topic"], "org/member/b/a");
    for (token, own, other) in [
        (&a, "org/member/a/b", "org/member/b/a"),
        (&b, "org/member/b/a", "org/member/a/b"),
    ] {
        for topic in [own, other] {
            let page = w
                .get(&format!("/api/v1/messages?topic={topic}"), Some(token))
                .await
                .data();
            assert_eq!(page["content"][0]["thread"]["topic"], own, "{topic}");
        }
    }
    let c = w.token("c", Role::Agent, &[]);
    w.get("/api/v1/messages?topic=org/member/a/b", Some(&c))
        .await
        .assert_error(403, "forbidden", "c");
}
