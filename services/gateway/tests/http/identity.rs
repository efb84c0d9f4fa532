use axum::body::Body;
use axum::extract::Request;
use http::header::AUTHORIZATION;
use model::thread::Membership;
use model::{Position, Role};
use serde_json::json;

use crate::world::{NOW, TOPIC, World, text};

const API: &str = "/api/v1/message/unread/count";
const VISITOR: &str = "/visitor/api/v1/message/unread/count";

#[tokio::test]
async fn api_calls_need_a_token_in_the_header() {
    let w = World::new();
    let nothing = w.get(API, None).await;
    nothing.assert_error(401, "unauthorized", "Bearer");
    assert_eq!(nothing.headers["www-authenticate"], "Bearer");
    w.get(&format!("{API}?access_token={}", w.agent()), None)
        .await
        .assert_error(401, "unauthorized", "no token");
    assert_eq!(w.get(API, Some(&w.agent())).await.data(), 0);
    w.get(API, Some("a.b.c"))
        .await
        .assert_error(401, "unauthorized", "token");
    let basic = Request::get(API)
        .header(AUTHORIZATION, "Basic eDp5")
        .body(Body::empty())
        .unwrap();
    w.exchange(basic)
        .await
        .assert_error(401, "unauthorized", "Bearer TOKEN");
    let lower = Request::get(API)
        .header(AUTHORIZATION, format!("bearer {}", w.agent()))
        .body(Body::empty())
        .unwrap();
    assert_eq!(w.exchange(lower).await.status, 200);
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let w = World::new();
    let token = w.agent();
    w.clock.set_unix_millis(NOW + 3_700_000);
    w.get(API, Some(&token))
        .await
        .assert_error(401, "unauthorized", "expired");
}

#[tokio::test]
async fn a_visitors_token_may_stand_in_the_query() {
    let w = World::strict();
    w.get(&format!("{VISITOR}?access_token={}", w.visitor("v1")), None)
        .await
        .data();
    w.get(&format!("{VISITOR}?access_token=x"), None)
        .await
        .assert_error(401, "unauthorized", "three parts");
}

#[tokio::test]
async fn a_bad_token_does_not_make_an_anonymous_visitor() {
    let w = World::new();
    w.get(&format!("{VISITOR}?uid=v1"), Some("nonsense"))
        .await
        .assert_error(401, "unauthorized", "token");
}

#[tokio::test]
async fn a_token_is_good_for_its_own_uid_and_organisation_only() {
    let w = World::new();
    let v1 = w.visitor("v1");
    w.get(&format!("{VISITOR}?uid=v1"), Some(&v1)).await.data();
    w.get(&format!("{VISITOR}?uid=v2"), Some(&v1))
        .await
        .assert_error(403, "forbidden", "v2");
    w.get(&format!("{VISITOR}?orgUid=other"), Some(&v1))
        .await
        .assert_error(403, "forbidden", "other");
}

#[tokio::test]
async fn anonymous_visitors_are_a_matter_of_configuration() {
    let w = World::strict();
    w.get(&format!("{VISITOR}?uid=v1"), None)
        .await
        .assert_error(401, "unauthorized", "/visitor/api/v1/init");
    w.say(None, &text("m", TOPIC, "v1", "x"))
        .await
        .assert_error(401, "unauthorized", "no token");
    let w = World::new();
    assert_eq!(w.get(&format!("{VISITOR}?uid=v1"), None).await.data(), 0);
    w.get(VISITOR, None)
        .await
        .assert_error(400, "invalid-payload", "uid");
    w.get(&format!("{VISITOR}?uid=a%2Fb"), None)
        .await
        .assert_error(400, "invalid-payload", "uid");
    w.get(&format!("{VISITOR}?uid=v1&orgUid=%23"), None)
        .await
        .assert_error(400, "invalid-payload", "orgUid");
}

#[tokio::test]
async fn unread_messages_are_counted_for_the_caller() {
    let w = World::new();
    w.say(None, &text("m1", TOPIC, "v1", "x")).await.data();
    w.say(None, &text("m2", "org/agent/df_ag_uid/v2", "v2", "x"))
        .await
        .data();
    let agent = w.agent();
    assert_eq!(w.get(API, Some(&agent)).await.data(), 2);
    assert_eq!(
        w.get(&format!("{API}?topic={TOPIC}"), Some(&agent)).await.data(),
        1
    );
    w.get(&format!("{API}?topic=org/agent/df_ag2_uid/v2"), Some(&agent))
        .await
        .assert_error(403, "forbidden", "may not read");
    w.get(&format!("{API}?uid=agent2"), Some(&agent))
        .await
        .assert_error(403, "forbidden", "agent2");
    let pong = w.get("/visitor/api/v1/ping?uid=v1&client=WEB", None).await;
    assert_eq!((pong.data(), &pong.json()["message"]), (json!(1), &json!("pong")));
}

#[tokio::test]
async fn presence_is_asked_by_uid_alias_or_desk_within_the_organisation() {
    let w = World::new();
    w.book.online.lock().extend([
        ("df_org_uid".to_owned(), "agent1".to_owned()),
        ("other".to_owned(), "v1".to_owned()),
    ]);
    let token = w.agent();
    let presence = async |uid: &str| {
        w.get(&format!("/api/v1/connection/presence/{uid}"), Some(&token))
            .await
    };
    for uid in ["agent1", "df_ag_uid", "df_wg_uid"] {
        assert_eq!(
            presence(uid).await.data(),
            json!({"online": true, "activeCount": 1, "connections": [{"edge": "e", "protocol": "mqtt"}]}),
            "{uid}"
        );
    }
    for uid in ["agent2", "df_ag2_uid", "v1", "nobody"] {
        assert_eq!(
            presence(uid).await.data(),
            json!({"online": false, "activeCount": 0, "connections": []}),
            "{uid}"
        );
    }
    let visitor = w.visitor("v1");
    let seen = w
        .get("/api/v1/connection/presence/df_ag_uid", Some(&visitor))
        .await;
    assert_eq!(
        seen.data(),
        json!({"online": true, "activeCount": 1}),
        "where is the business of agents"
    );
    presence("%23").await.assert_error(400, "invalid-payload", "uid");
    presence("%ff").await.assert_error(400, "invalid-payload", "uid");
    *w.book.lost.lock() = true;
    presence("agent1")
        .await
        .assert_error(503, "unavailable", "presence is unknown");
}

#[tokio::test]
async fn the_dev_login_knows_the_seed() {
    let w = World::new();
    let login = async |name: &str, password: &str| {
        w.post(
            "/auth/v1/login",
            None,
            json!({"username": name, "password": password, "platform": "BYTEDESK"}),
        )
        .await
    };
    let data = login("agent1", "agent1").await.data();
    assert_eq!(
        (&data["user"]["uid"], &data["user"]["currentOrganization"]["uid"]),
        (&json!("agent1"), &json!("df_org_uid"))
    );
    let token = data["accessToken"].as_str().unwrap();
    w.get(&format!("/api/v1/messages?topic={TOPIC}"), Some(token))
        .await
        .data();
    login("agent2", "agent2").await.data();
    login("admin", "admin").await.data();
    login("agent1", "agent2")
        .await
        .assert_error(401, "unauthorized", "password");
    login("", "").await.assert_error(401, "unauthorized", "password");
    let again = w
        .post("/auth/v1/login/accessToken", None, json!({"accessToken": token}))
        .await
        .data();
    assert_eq!(
        (&again["accessToken"], &again["user"]["uid"]),
        (&json!(token), &json!("agent1"))
    );
    w.post("/auth/v1/login/accessToken", None, json!({"accessToken": "x"}))
        .await
        .assert_error(401, "unauthorized", "token");
    w.post("/auth/v1/login/accessToken", None, json!({}))
        .await
        .assert_error(400, "invalid-payload", "accessToken");
}

#[tokio::test]
async fn production_has_no_login() {
    use crate::world::Setup;
    let w = World::with(Setup {
        config: gateway::Config::default(),
        ..Setup::default()
    });
    let body = json!({"username": "agent1", "password": "agent1"});
    w.post("/auth/v1/login", None, body)
        .await
        .assert_error(404, "not-found", "no login");
}

#[tokio::test]
async fn an_agent_that_was_made_a_member_takes_part() {
    let w = World::new();
    let topic = "org/workgroup/df_wg_uid/v1";
    w.store.members.lock().insert(
        topic.to_owned(),
        vec![Membership::from(
            "agent2".into(),
            "agent2".into(),
            Position::START,
        )],
    );
    let agent2 = w.token("agent2", Role::Agent, &["df_ag2_uid"]);
    w.get(&format!("/api/v1/messages?topic={topic}"), Some(&agent2))
        .await
        .data();
    w.get(&format!("/api/v1/messages?topic={topic}"), Some(&w.agent()))
        .await
        .assert_error(403, "forbidden", "agent1");
}
