//! Who may send which type of message, and what becomes of what a message says about its sender.

use model::{Role, TopicName};
use serde_json::{Value, json};
use wire::envelope::thread_uid;

use crate::world::{ORG, TOPIC, World, message, text};

const SEND: &str = "/api/v1/message/rest/send";

/// The token of a robot's program.
fn service(w: &World) -> String {
    w.token("crm", Role::Service, &[])
}

fn uid_of(topic: &str) -> String {
    thread_uid(ORG, &TopicName::new(topic).unwrap())
}

#[tokio::test]
async fn a_visitor_cannot_speak_as_the_staff_or_as_the_server() {
    let (with, without) = (World::new(), World::new());
    let token = with.visitor("v1");
    let types = [
        "TRANSFER_ACCEPT",
        "NOTICE",
        "AUTO_CLOSED",
        "EVENT",
        "MEMBERSHIP",
        "ERROR",
        "notice",
        "Transfer_accept",
    ];
    for (n, kind) in types.iter().enumerate() {
        let mut forged = message(kind, &format!("m{n}"), TOPIC, "v1", "{}");
        forged["channel"] = json!("SYSTEM");
        forged["user"]["type"] = json!("SYSTEM");
        forged["thread"]["status"] = json!("CLOSED");
        for (w, token) in [(&with, Some(token.as_str())), (&without, None)] {
            let refused = w.say(token, &forged).await;
            refused.assert_error(403, "forbidden", &kind.to_ascii_uppercase());
            refused.assert_error(403, "forbidden", "TEXT");
        }
    }
    assert!(with.log.entries.lock().is_empty() && without.log.entries.lock().is_empty());
}

#[tokio::test]
async fn what_a_visitor_claims_about_itself_and_its_thread_is_not_what_others_hear() {
    let w = World::new();
    let mut forged = text("m1", TOPIC, "v1", "hello");
    forged["channel"] = json!("SYSTEM");
    forged["user"]["type"] = json!("SYSTEM");
    forged["thread"] = json!({
        "uid": "another", "topic": TOPIC, "type": "GROUP", "status": "CLOSED", "channel": "SYSTEM", "extra": "{\"a\":1}",
        "user": { "uid": "boss", "nickname": "The boss", "type": "AGENT" },
    });
    let stored = w.say(None, &forged).await.message();
    let own = json!({ "uid": "v1", "nickname": "N", "type": "VISITOR" });
    assert_eq!(stored["user"], own);
    assert_eq!(
        stored["thread"],
        json!({ "uid": uid_of(TOPIC), "topic": TOPIC, "type": "AGENT", "user": own })
    );
    assert_eq!(stored["channel"], "WEB");
    let page = w
        .get(&format!("/api/v1/messages?topic={TOPIC}"), Some(&w.agent()))
        .await
        .data();
    assert_eq!(page["content"][0]["thread"], stored["thread"], "in history too");
}

#[tokio::test]
async fn an_agents_thread_is_its_visitors() {
    let w = World::new();
    let mut shown = text("m1", TOPIC, "df_ag_uid", "hello");
    shown["thread"]["user"] = json!({ "uid": "v1", "nickname": "Vera", "type": "SYSTEM" });
    let stored = w.post(SEND, Some(&w.agent()), shown).await.message();
    assert_eq!(stored["user"]["type"], "AGENT");
    assert_eq!(
        stored["thread"]["user"],
        json!({ "uid": "v1", "nickname": "Vera", "type": "VISITOR" })
    );
    assert_eq!(stored["thread"]["uid"], uid_of(TOPIC));
}

#[tokio::test]
async fn types_are_known_in_any_case_and_told_in_one() {
    let w = World::new();
    let sent = w
        .say(None, &message("Text", "m1", TOPIC, "v1", "hello"))
        .await
        .message();
    assert_eq!(sent["type"], "TEXT");
    // The same message, in another case.
    let again = w
        .say(None, &message("TEXT", "m1", TOPIC, "v1", "hello"))
        .await
        .message();
    assert_eq!(again["position"], sent["position"]);
    let typing = w
        .say(None, &message("typing", "t1", TOPIC, "v1", ""))
        .await
        .message();
    assert_eq!(
        (&typing["type"], typing.get("position")),
        (&json!("TYPING"), None)
    );
    w.post(
        SEND,
        Some(&w.agent()),
        message("read", "r1", TOPIC, "df_ag_uid", "m1"),
    )
    .await
    .data();
    let entries = w.log.topic(TOPIC);
    let kinds: Vec<_> = entries.iter().map(|e| e.entry.known_kind()).collect();
    assert_eq!(kinds, [wire::Kind::Chat, wire::Kind::Receipt]);
    let custom = w
        .say(None, &message("My_Type", "m2", TOPIC, "v1", "x"))
        .await
        .message();
    assert_eq!(custom["type"], "My_Type");
}

#[tokio::test]
async fn a_service_speaks_as_a_robot_and_as_the_system_into_any_conversation() {
    let w = World::new();
    let mut robot = message("ROBOT_STREAM_START", "m1", TOPIC, "opening-hours", "{}");
    robot["channel"] = json!("SYSTEM");
    robot["user"]["type"] = json!("ROBOT");
    let stored = w.post(SEND, Some(&service(&w)), robot).await.message();
    assert_eq!(
        (
            &stored["user"]["uid"],
            &stored["user"]["type"],
            &stored["channel"]
        ),
        (&json!("opening-hours"), &json!("ROBOT"), &json!("SYSTEM"))
    );
    let entry = &w.log.topic(TOPIC)[0].entry;
    assert_eq!(
        (entry.sender.as_str(), entry.author.as_str()),
        ("crm", "opening-hours")
    );
    for (n, topic) in [
        "org/workgroup/df_wg_uid/v9",
        "org/group/g",
        "user/v1",
        "org/member/a/b",
    ]
    .iter()
    .enumerate()
    {
        let mut notice = message("SYSTEM", &format!("n{n}"), topic, "", "maintenance at 9");
        notice["user"] = Value::Null;
        let stored = w.post(SEND, Some(&service(&w)), notice).await.message();
        assert_eq!(
            (&stored["user"]["uid"], &stored["user"]["type"]),
            (&json!("crm"), &json!("SYSTEM")),
            "{topic}"
        );
    }
}

#[tokio::test]
async fn a_service_is_no_person_and_not_the_server() {
    let w = World::new();
    let service = service(&w);
    for (n, (author, kind)) in [("df_ag_uid", "ROBOT"), ("v1", "VISITOR"), ("agent2", "AGENT")]
        .iter()
        .enumerate()
    {
        let mut spoofed = text(&format!("m{n}"), TOPIC, author, "x");
        spoofed["user"]["type"] = json!(kind);
        w.post(SEND, Some(&service), spoofed)
            .await
            .assert_error(403, "forbidden", author);
    }
    w.post(
        SEND,
        Some(&service),
        message("MEMBERSHIP", "m9", TOPIC, "crm", "x"),
    )
    .await
    .assert_error(403, "forbidden", "MEMBERSHIP");
    // It writes; it does not read what does not name it.
    w.get(&format!("/api/v1/messages?topic={TOPIC}"), Some(&service))
        .await
        .assert_error(403, "forbidden", "crm");
    let stranger = w.token_in("other", "crm", Role::Service, &[]);
    w.post(SEND, Some(&stranger), text("m1", TOPIC, "crm", "x"))
        .await
        .data();
    assert!(
        w.log.messages(ORG, TOPIC).is_empty(),
        "its organisation is its own"
    );
}

#[tokio::test]
async fn colleagues_have_their_thread_under_the_uid_that_its_messages_name() {
    let w = World::new();
    let b = w.token("b", Role::Agent, &[]);
    let sent = w
        .post(SEND, Some(&b), text("m1", "org/member/b/a", "b", "hi"))
        .await
        .message();
    assert_eq!(
        (&sent["user"]["type"], &sent["thread"]["type"]),
        (&json!("USER"), &json!("MEMBER"))
    );
    assert_eq!(sent["thread"]["user"]["uid"], "a");
    let own = sent["thread"]["uid"].as_str().unwrap();
    assert_eq!(own, uid_of("org/member/b/a"));
    let a = w.token("a", Role::Agent, &[]);
    let page = w
        .get("/api/v1/messages?topic=org/member/a/b", Some(&a))
        .await
        .data();
    let seen = &page["content"][0]["thread"];
    assert_eq!(
        (&seen["uid"], &seen["user"]["uid"]),
        (&json!(uid_of("org/member/a/b")), &json!("b"))
    );
    // Whoever names the other's side writes on its own.
    let sent = w
        .post(SEND, Some(&a), text("m2", "org/member/b/a", "a", "hi"))
        .await
        .message();
    assert_eq!(sent["thread"]["topic"], "org/member/a/b");
}

#[tokio::test]
async fn nobody_has_a_uid_that_names_anothers_side_channel() {
    let w = World::new();
    let body = json!({ "orgUid": ORG, "uid": "v1_internal" });
    w.post("/visitor/api/v1/init", None, body)
        .await
        .assert_error(400, "invalid-payload", "_internal");
    let token = w.token("v1_internal", Role::Visitor, &[]);
    let message = text("m1", "org/agent/df_ag_uid/v1_internal", "v1_internal", "x");
    w.say(Some(&token), &message)
        .await
        .assert_error(401, "unauthorized", "_internal");
}

#[tokio::test]
async fn the_description_of_sending_has_the_table() {
    let description = World::new().get("/openapi.json", None).await.json();
    for path in ["/visitor/api/v1/message/send", SEND] {
        let about = description["paths"][path]["post"]["description"]
            .as_str()
            .unwrap();
        assert!(about.contains(&model::types_as_markdown()), "{path}: {about}");
    }
}
