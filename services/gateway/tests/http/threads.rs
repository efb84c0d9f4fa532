use serde_json::{Value, json};

use crate::fakes::waits_since;
use crate::world::{NOW, TOPIC, World, text};

const QUERY: &str = "/api/v1/thread/query";

#[tokio::test]
async fn an_agent_lists_its_threads_with_what_waits_in_them() {
    let w = World::new();
    for uid in ["v1", "v2"] {
        let body = json!({"uid": uid, "sid": "df_ag_uid", "type": "0", "nickname": "Ann"});
        w.post("/visitor/api/v1/thread", None, body).await.data();
    }
    w.say(None, &text("m1", TOPIC, "v1", "are you there?"))
        .await
        .data();
    waits_since(&w.store, TOPIC, NOW);
    let page = w
        .get(&format!("{QUERY}?pageNumber=0&pageSize=1"), Some(&w.agent()))
        .await
        .data();
    assert_eq!(
        (&page["totalElements"], &page["totalPages"], &page["last"]),
        (&json!(2), &json!(2), &json!(false))
    );
    let page = w
        .get(&format!("{QUERY}?unreplied=true"), Some(&w.agent()))
        .await
        .data();
    assert_eq!(page["totalElements"], 1);
    let thread = &page["content"][0];
    assert_eq!(
        (&thread["uid"], &thread["topic"], &thread["type"]),
        (&json!("t-v1"), &json!(TOPIC), &json!("AGENT"))
    );
    assert_eq!(
        (&thread["content"], &thread["unreadCount"]),
        (&json!("are you there?"), &json!(3))
    );
    assert_eq!(
        (&thread["unrepliedSince"], &thread["updatedAt"]),
        (&json!("2026-01-31 12:21:50"), &json!("2026-01-31 12:21:50"))
    );
    assert_eq!(
        thread["user"],
        json!({"uid": "v1", "nickname": "Ann", "avatar": "", "type": "VISITOR"})
    );
    let agent: Value = serde_json::from_str(thread["agent"].as_str().unwrap()).unwrap();
    assert_eq!(agent["uid"], "df_ag_uid");
    assert_eq!(thread["lastMessage"]["uid"], "m1");
}

#[tokio::test]
async fn threads_are_their_users_own() {
    let w = World::new();
    let body = json!({"uid": "v1", "sid": "df_ag_uid", "type": "0"});
    w.post("/visitor/api/v1/thread", None, body).await.data();
    let of = async |token: &str| w.get(QUERY, Some(token)).await.data()["totalElements"].clone();
    assert_eq!(of(&w.agent()).await, 1);
    assert_eq!(of(&w.visitor("v1")).await, 1);
    assert_eq!(of(&w.visitor("v2")).await, 0);
    assert_eq!(
        of(&w.token_in("other", "agent1", model::Role::Agent, &["df_ag_uid"])).await,
        0
    );
    w.get(&format!("{QUERY}?unreplied=perhaps"), Some(&w.agent()))
        .await
        .assert_error(400, "invalid-payload", "unreplied");
}
