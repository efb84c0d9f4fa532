use contract::persistence::ThreadWish;
use model::{Role, UserId};
use serde_json::{Value, json};

use crate::log::Mood;
use crate::world::{NOW, ORG, Setup, TOPIC, World, text};

const INIT: &str = "/visitor/api/v1/init";
const THREAD: &str = "/visitor/api/v1/thread";

async fn come(w: &World, uid: &str, sid: &str, kind: Value) -> crate::world::Reply {
    w.post(
        THREAD,
        None,
        json!({"uid": uid, "orgUid": ORG, "sid": sid, "type": kind, "nickname": "Ann", "forceAgent": false}),
    )
    .await
}

#[tokio::test]
async fn a_new_visitor_gets_a_uid_and_a_token_for_it() {
    let w = World::strict();
    let body = json!({"orgUid": ORG, "uid": "", "visitorUid": null, "nickname": "Ann", "browser": "x", "vipLevel": 0});
    let visitor = w.post(INIT, None, body).await.data();
    assert_eq!(
        (&visitor["nickname"], &visitor["orgUid"]),
        (&json!("Ann"), &json!(ORG))
    );
    assert_eq!(visitor["uid"], visitor["visitorUid"]);
    let (uid, token) = (
        visitor["uid"].as_str().unwrap(),
        visitor["accessToken"].as_str().unwrap(),
    );
    let topic = format!("org/agent/df_ag_uid/{uid}");
    w.say(Some(token), &text("m1", &topic, uid, "hello")).await.data();
    w.say(Some(token), &text("m2", TOPIC, uid, "hello"))
        .await
        .assert_error(403, "forbidden", "may not write");
}

#[tokio::test]
async fn a_uid_is_given_again_only_to_who_has_its_token() {
    let w = World::strict();
    let body = json!({"orgUid": ORG, "uid": "v1", "nickname": "Ann"});
    let own = w.post(INIT, Some(&w.visitor("v1")), body.clone()).await.data();
    assert_eq!(
        (&own["uid"], own["accessToken"].is_string()),
        (&json!("v1"), true)
    );
    w.post(INIT, None, body.clone())
        .await
        .assert_error(401, "unauthorized", "v1");
    w.post(INIT, Some(&w.visitor("v2")), body.clone())
        .await
        .assert_error(401, "unauthorized", "v1");
    let staff = w.token("v1", Role::Agent, &[]);
    w.post(INIT, Some(&staff), body.clone())
        .await
        .assert_error(401, "unauthorized", "v1");
    let stranger = w.token_in("other", "v1", Role::Visitor, &[]);
    w.post(INIT, Some(&stranger), body)
        .await
        .assert_error(403, "forbidden", "other");
}

#[tokio::test]
async fn where_visitors_need_no_token_a_uid_is_enough_but_for_those_of_staff() {
    let w = World::new();
    let init = async |uid: &str| w.post(INIT, None, json!({"orgUid": ORG, "uid": uid})).await;
    assert_eq!(init("v1").await.data()["uid"], "v1");
    for uid in ["agent1", "admin", "df_ag_uid", "df_wg_uid"] {
        init(uid).await.assert_error(403, "forbidden", uid);
    }
    init("a/b").await.assert_error(400, "invalid-payload", "uid");
    w.post(INIT, None, json!({"orgUid": "a+b"}))
        .await
        .assert_error(400, "invalid-payload", "orgUid");
    w.post(INIT, None, json!({"nickname": "x".repeat(300)}))
        .await
        .assert_error(400, "invalid-payload", "nickname");
    w.post(INIT, None, json!({"nickname": ["x"]}))
        .await
        .assert_error(400, "invalid-payload", "string");
    w.post(INIT, None, json!([]))
        .await
        .assert_error(400, "invalid-payload", "body");
}

#[tokio::test]
async fn without_a_signer_visitors_keep_the_token_they_have() {
    let w = World::with(Setup {
        signs: false,
        anonymous: false,
        ..Setup::default()
    });
    let token = w.visitor("v1");
    let own = w.post(INIT, Some(&token), json!({"uid": "v1"})).await.data();
    assert_eq!(own["accessToken"], token);
    w.post(INIT, None, json!({}))
        .await
        .assert_error(401, "unauthorized", "does not make tokens");
    let w = World::with(Setup {
        signs: false,
        ..Setup::default()
    });
    assert_eq!(
        w.post(INIT, None, json!({})).await.data().get("accessToken"),
        None
    );
}

#[tokio::test]
async fn a_visitor_at_an_agents_desk_is_greeted() {
    let w = World::new();
    let greeting = come(&w, "v1", "df_ag_uid", json!("0")).await.data();
    assert_eq!(
        (&greeting["type"], &greeting["status"], &greeting["channel"]),
        (&json!("WELCOME"), &json!("READ"), &json!("SYSTEM"))
    );
    let thread = &greeting["thread"];
    assert_eq!(
        (&thread["uid"], &thread["topic"]),
        (&json!("t-v1"), &json!(TOPIC))
    );
    assert_eq!(
        (&thread["type"], &thread["status"]),
        (&json!("AGENT"), &json!("CHATTING"))
    );
    assert_eq!(
        (&thread["user"]["uid"], &thread["user"]["nickname"]),
        (&json!("v1"), &json!("Ann"))
    );
    assert_eq!(
        (&greeting["user"]["uid"], &greeting["user"]["type"]),
        (&json!("df_ag_uid"), &json!("AGENT"))
    );
    let stored = w.log.messages(ORG, TOPIC);
    assert_eq!((stored.len(), stored[0].entry.sender_role), (1, 0));
    let page = w
        .get(&format!("/api/v1/messages?topic={TOPIC}"), Some(&w.agent()))
        .await
        .data();
    assert_eq!(
        (&page["content"][0]["type"], &page["content"][0]["status"]),
        (&json!("WELCOME"), &json!("READ"))
    );
}

#[tokio::test]
async fn asking_again_finds_the_same_thread() {
    let w = World::new();
    let first = come(&w, "v1", "df_wg_uid", json!(1)).await.data();
    let second = come(&w, "v1", "df_wg_uid", json!("workgroup")).await.data();
    let third = come(&w, "v1", "df_wg_uid", json!(null)).await.data();
    assert_eq!(
        (&first["type"], &second["type"]),
        (&json!("WELCOME"), &json!("CONTINUE"))
    );
    assert_eq!(first["thread"]["uid"], third["thread"]["uid"]);
    assert_eq!(
        (&second["uid"], &second["position"]),
        (&third["uid"], &third["position"]),
        "the same minute"
    );
    w.clock.set_unix_millis(NOW + 61_000);
    let later = come(&w, "v1", "df_wg_uid", json!("1")).await.data();
    assert_ne!(later["uid"], second["uid"]);
    assert_eq!(w.log.messages(ORG, "org/workgroup/df_wg_uid/v1").len(), 3);
}

#[tokio::test]
async fn one_that_waits_is_told_its_place_and_one_that_finds_nobody_may_leave_a_message() {
    let w = World::new();
    *w.store.status.lock() = "QUEUING".to_owned();
    let queued = come(&w, "v1", "df_wg_uid", json!("1")).await.data();
    assert_eq!(
        (&queued["type"], &queued["thread"]["status"]),
        (&json!("QUEUE"), &json!("QUEUING"))
    );
    let content: Value = serde_json::from_str(queued["content"].as_str().unwrap()).unwrap();
    assert_eq!(content["position"], 3, "two are before it");
    assert!(content["content"].as_str().unwrap().contains("number 3"));
    *w.store.status.lock() = "OFFLINE".to_owned();
    let alone = come(&w, "v2", "df_wg_uid", json!("1")).await.data();
    assert_eq!(
        (&alone["type"], &alone["thread"]["status"]),
        (&json!("LEAVE_MSG"), &json!("OFFLINE"))
    );
    assert!(wire::envelope::is_prompt(alone["uid"].as_str().unwrap()));
}

#[tokio::test]
async fn a_conversation_is_closed_by_its_topic_and_left() {
    let w = World::new();
    come(&w, "v1", "df_ag_uid", json!("0")).await.data();
    for (path, body, wish) in [
        ("/api/v1/thread/close", json!({"topic": TOPIC}), ThreadWish::Close),
        (
            "/api/v1/thread/close/topic",
            json!({"topic": TOPIC}),
            ThreadWish::Close,
        ),
        ("/api/v1/thread/leave", json!({"topic": TOPIC}), ThreadWish::Leave),
    ] {
        let thread = w.post(path, Some(&w.agent()), body).await.data();
        assert_eq!(
            (&thread["topic"], &thread["status"]),
            (&json!(TOPIC), &json!("CLOSED")),
            "{path}"
        );
        let wished = w.store.wishes.lock().pop().unwrap();
        assert_eq!((wished.wish, wished.by.role), (wish, Role::Agent));
        assert!(wished.by.identities.contains(&UserId::new("df_ag_uid")));
        w.post(path, Some(&w.agent()), json!({}))
            .await
            .assert_error(400, "invalid-payload", "topic");
        w.post(path, None, json!({"topic": TOPIC}))
            .await
            .assert_error(401, "unauthorized", "token");
    }
    let path = "/visitor/api/v1/thread/close";
    w.post(path, Some(&w.visitor("v1")), json!({"topic": TOPIC}))
        .await
        .data();
    let wished = w.store.wishes.lock().pop().unwrap();
    assert_eq!((wished.by.role, wished.by.user.as_str()), (Role::Visitor, "v1"));
    w.post(path, Some(&w.visitor("v1")), json!({"threadUid": "nothing"}))
        .await
        .assert_error(404, "not-found", "no such thread");
}

#[tokio::test]
async fn a_greeting_that_was_not_stored_is_made_up_for() {
    let w = World::new();
    *w.log.mood.lock() = Mood::Full;
    come(&w, "v1", "df_ag_uid", json!("0"))
        .await
        .assert_error(503, "unavailable", "no room");
    *w.log.mood.lock() = Mood::Works;
    assert_eq!(
        come(&w, "v1", "df_ag_uid", json!("0")).await.data()["type"],
        "WELCOME"
    );
}

#[tokio::test]
async fn a_desk_that_is_not_there_is_named() {
    let w = World::new();
    come(&w, "v1", "nobody", json!("0"))
        .await
        .assert_error(404, "not-found", "nobody");
    come(&w, "v1", "df_wg_uid", json!("0"))
        .await
        .assert_error(404, "not-found", "workgroup");
    come(&w, "v1", "df_ag_uid", json!("1"))
        .await
        .assert_error(404, "not-found", "type is 0");
    come(&w, "v1", "df_ag_uid", json!("2"))
        .await
        .assert_error(404, "not-found", "no robot");
    come(&w, "v1", "df_ag_uid", json!("9"))
        .await
        .assert_error(400, "invalid-payload", "type");
    come(&w, "v1", "", json!("0"))
        .await
        .assert_error(400, "invalid-payload", "sid");
    come(&w, "", "df_ag_uid", json!("0"))
        .await
        .assert_error(400, "invalid-payload", "uid");
    let foreign = json!({"uid": "v1", "orgUid": "other", "sid": "df_ag_uid", "type": "0"});
    w.post(THREAD, None, foreign)
        .await
        .assert_error(404, "not-found", "df_ag_uid");
    assert!(w.log.entries.lock().is_empty() && w.store.threads.lock().is_empty());
}

#[tokio::test]
async fn only_the_visitor_itself_comes_to_a_desk() {
    let w = World::new();
    let body = json!({"uid": "v1", "sid": "df_ag_uid", "type": "0"});
    w.post(THREAD, Some(&w.visitor("v2")), body.clone())
        .await
        .assert_error(403, "forbidden", "v1");
    let agent = json!({"sid": "df_ag_uid", "type": "0"});
    w.post(THREAD, Some(&w.agent()), agent)
        .await
        .assert_error(403, "forbidden", "no visitor");
    w.post(THREAD, Some(&w.visitor("v1")), body).await.data();
}
