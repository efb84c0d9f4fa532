use model::Role;
use serde_json::{Value, json};

use crate::world::{TOPIC, World, message, text};

const PAGE: &str = "/visitor/api/v1/message/thread/topic";
const STRETCH: &str = "/visitor/api/v1/messages";

async fn with_messages(count: usize) -> World {
    let w = World::new();
    for i in 0..count {
        w.say(None, &text(&format!("m{i}"), TOPIC, "v1", &format!("text {i}")))
            .await
            .data();
    }
    w
}

fn uids(page: &Value) -> Vec<&str> {
    page["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["uid"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_page_has_the_newest_first_and_the_arithmetic_of_deployed_clients() {
    let w = with_messages(5).await;
    let page = w
        .get(&format!("{PAGE}?topic={TOPIC}&pageNumber=0&pageSize=2"), None)
        .await
        .data();
    assert_eq!(uids(&page), ["m4", "m3"]);
    let rest: Value = json!({"number": 0, "size": 2, "numberOfElements": 2, "totalElements": 5, "totalPages": 3,
        "first": true, "last": false, "empty": false});
    for (name, value) in rest.as_object().unwrap() {
        assert_eq!(&page[name], value, "{name}");
    }
    let last = w
        .get(&format!("{PAGE}?topic={TOPIC}&pageNumber=2&pageSize=2"), None)
        .await
        .data();
    assert_eq!(
        (uids(&last), &last["last"], &last["first"]),
        (vec!["m0"], &json!(true), &json!(false))
    );
    let beyond = w
        .get(&format!("{PAGE}?topic={TOPIC}&pageNumber=9&pageSize=2"), None)
        .await
        .data();
    assert_eq!((&beyond["empty"], &beyond["last"]), (&json!(true), &json!(true)));
    let path = format!("/api/v1/message/query/topic?topic={TOPIC}");
    let page = w.get(&path, Some(&w.agent())).await.data();
    assert_eq!((uids(&page).len(), &page["size"]), (5, &json!(10)));
}

#[tokio::test]
async fn following_next_meets_every_message_once() {
    let w = with_messages(5).await;
    let (mut seen, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = w
            .get(&format!("{STRETCH}?topic={TOPIC}&after={after}&limit=2"), None)
            .await
            .data();
        seen.extend(uids(&page).into_iter().map(str::to_owned));
        after = page["next"].as_str().unwrap().to_owned();
        if page["more"] == false {
            assert_eq!(page["next"], page["head"]);
            break;
        }
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);
    w.say(None, &text("m5", TOPIC, "v1", "later")).await.data();
    let page = w
        .get(&format!("{STRETCH}?topic={TOPIC}&after={after}"), None)
        .await
        .data();
    assert_eq!(uids(&page), ["m5"]);
}

#[tokio::test]
async fn going_back_begins_at_the_end_and_ascends_within_a_stretch() {
    let w = with_messages(5).await;
    let newest = w
        .get(&format!("{STRETCH}?topic={TOPIC}&limit=2"), None)
        .await
        .data();
    assert_eq!((uids(&newest), &newest["more"]), (vec!["m3", "m4"], &json!(true)));
    let before = newest["next"].as_str().unwrap();
    let older = w
        .get(&format!("{STRETCH}?topic={TOPIC}&before={before}&limit=9"), None)
        .await
        .data();
    assert_eq!(
        (uids(&older), &older["more"]),
        (vec!["m0", "m1", "m2"], &json!(false))
    );
    assert_eq!(newest["head"], newest["content"][1]["position"]);
}

#[tokio::test]
async fn positions_and_limits_are_checked() {
    let w = World::new();
    for (query, named) in [
        ("after=x", "after"),
        ("after=1&before=2", "both"),
        ("limit=501", "500"),
        ("limit=x", "limit"),
        ("limit=0", "limit"),
    ] {
        let path = format!("{STRETCH}?topic={TOPIC}&{query}");
        w.get(&path, None)
            .await
            .assert_error(400, "invalid-payload", named);
    }
    w.get(&format!("{PAGE}?topic={TOPIC}&pageSize=0"), None)
        .await
        .assert_error(400, "invalid-payload", "pageSize");
    w.get(&format!("{PAGE}?topic={TOPIC}&pageNumber=-1"), None)
        .await
        .assert_error(400, "invalid-payload", "pageNumber");
}

#[tokio::test]
async fn a_message_shows_how_far_it_came_and_a_recalled_one_nothing() {
    let w = with_messages(3).await;
    let agent = w.agent();
    w.say(Some(&agent), &message("DELIVERED", "d", TOPIC, "df_ag_uid", "m0"))
        .await
        .data();
    w.say(Some(&agent), &message("READ", "r", TOPIC, "df_ag_uid", "m1"))
        .await
        .data();
    w.say(None, &message("RECALL", "x", TOPIC, "v1", "m2"))
        .await
        .data();
    let page = w.get(&format!("{STRETCH}?topic={TOPIC}"), None).await.data();
    let of = |i: usize, name: &str| page["content"][i][name].clone();
    assert_eq!(
        [of(0, "status"), of(1, "status"), of(2, "status")],
        ["DELIVERED", "READ", "RECALL"]
    );
    assert_eq!([of(1, "content"), of(2, "content")], ["text 1", ""]);
    assert_eq!(of(3, "type"), "RECALL");
}

#[tokio::test]
async fn a_visitor_is_not_shown_what_staff_tell_each_other() {
    let w = with_messages(1).await;
    let agent = w.agent();
    for (uid, kind) in [
        ("t1", "TRANSFER_ACCEPT"),
        ("t2", "INVITE"),
        ("t3", "INVITE_VISITOR"),
    ] {
        w.say(Some(&agent), &message(kind, uid, TOPIC, "df_ag_uid", "for you"))
            .await
            .data();
    }
    let internal = format!("{TOPIC}_internal");
    w.say(Some(&agent), &text("i1", &internal, "df_ag_uid", "between us"))
        .await
        .data();
    let v1 = w.visitor("v1");
    let seen = w.get(&format!("{STRETCH}?topic={TOPIC}"), Some(&v1)).await.data();
    assert_eq!(uids(&seen), ["m0", "t3"]);
    let page = w.get(&format!("{PAGE}?topic={TOPIC}"), None).await.data();
    assert_eq!(uids(&page), ["t3", "m0"]);
    let all = w
        .get(&format!("/api/v1/messages?topic={TOPIC}"), Some(&agent))
        .await
        .data();
    assert_eq!(uids(&all).len(), 4);
    w.get(&format!("{STRETCH}?topic={internal}"), Some(&v1))
        .await
        .assert_error(403, "forbidden", "v1");
    w.get(&format!("{STRETCH}?topic={internal}"), None)
        .await
        .assert_error(403, "forbidden", "v1");
}

#[tokio::test]
async fn a_stretch_of_hidden_messages_is_no_end() {
    let w = with_messages(1).await;
    w.say(
        Some(&w.agent()),
        &message("TRANSFER", "t", TOPIC, "df_ag_uid", "for you"),
    )
    .await
    .data();
    w.say(None, &text("m1", TOPIC, "v1", "x")).await.data();
    let first = w
        .get(&format!("{STRETCH}?topic={TOPIC}&after=0&limit=2"), None)
        .await
        .data();
    assert_eq!((uids(&first), &first["more"]), (vec!["m0"], &json!(true)));
    let next = first["next"].as_str().unwrap();
    let second = w
        .get(&format!("{STRETCH}?topic={TOPIC}&after={next}"), None)
        .await
        .data();
    assert_eq!(uids(&second), ["m1"]);
}

#[tokio::test]
async fn history_is_for_those_of_the_thread() {
    let w = with_messages(1).await;
    let v2 = w.visitor("v2");
    w.get(&format!("{STRETCH}?topic={TOPIC}"), Some(&v2))
        .await
        .assert_error(403, "forbidden", "v2");
    w.get(&format!("{PAGE}?topic={TOPIC}&uid=v2"), None)
        .await
        .assert_error(403, "forbidden", "v2");
    let agent2 = w.token("agent2", Role::Agent, &["df_ag2_uid"]);
    let path = format!("/api/v1/messages?topic={TOPIC}");
    w.get(&path, Some(&agent2))
        .await
        .assert_error(403, "forbidden", "agent2");
    let stranger = w.token_in("other", "v1", Role::Visitor, &[]);
    let empty = w
        .get(&format!("{STRETCH}?topic={TOPIC}"), Some(&stranger))
        .await
        .data();
    assert_eq!(empty["content"], json!([]));
    w.get("/api/v1/messages?topic=user/agent1", Some(&w.agent()))
        .await
        .data();
    w.get("/api/v1/messages?topic=user/agent2", Some(&w.agent()))
        .await
        .assert_error(403, "forbidden", "user/agent2");
    for bad in ["", "sensors/1", "org/agent/%2B/v1"] {
        w.get(&format!("/api/v1/messages?topic={bad}"), Some(&w.agent()))
            .await
            .assert_error(400, "invalid-payload", "topic");
    }
}

#[tokio::test]
async fn an_anonymous_visitor_reads_no_ones_own_topic() {
    let w = World::new();
    let path = format!("{STRETCH}?topic=user/v1&uid=v1");
    w.get(&path, None)
        .await
        .assert_error(403, "forbidden", "without a token");
    w.get(&format!("{STRETCH}?topic=user/v1"), Some(&w.visitor("v1")))
        .await
        .data();
}

#[tokio::test]
async fn a_store_that_is_away_is_said() {
    let w = World::new();
    *w.store.away.lock() = true;
    w.get(&format!("{STRETCH}?topic={TOPIC}"), None)
        .await
        .assert_error(503, "unavailable", "away");
}
