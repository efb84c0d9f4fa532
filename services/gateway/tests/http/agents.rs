use model::Role;
use serde_json::json;

use crate::audited::Audit;
use crate::world::{ORG, World};

const STATUS: &str = "/api/v1/agent/status";
const UPDATE: &str = "/api/v1/agent/update/status";
const QUERY: &str = "/api/v1/agent/query";

#[tokio::test]
async fn an_agent_says_whether_it_takes_conversations_and_is_told_what_it_said() {
    let w = World::new();
    let agent = w.agent();
    let query = async || w.get(&format!("{QUERY}?orgUid={ORG}"), Some(&agent)).await.data();
    let known = json!({"uid": "df_ag_uid", "orgUid": ORG, "userUid": "agent1", "nickname": "Nick agent1",
        "avatar": "", "status": "AVAILABLE"});
    assert_eq!(query().await, known);
    let away = w
        .post(STATUS, Some(&agent), json!({"status": "AWAY"}))
        .await
        .data();
    assert_eq!(
        (&away["uid"], &away["status"]),
        (&json!("df_ag_uid"), &json!("AWAY"))
    );
    assert_eq!(query().await["status"], "AWAY");

    // As deployed clients say it: with much else, and with words of theirs.
    let said = |status: &str| json!({"uid": "df_ag_uid", "status": status, "connected": true, "orgUid": ORG});
    for (word, status) in [
        ("AVAILABLE", "AVAILABLE"),
        ("BUSY", "AWAY"),
        ("available", "AVAILABLE"),
        ("REST", "AWAY"),
    ] {
        w.post(UPDATE, Some(&agent), said(word)).await.data();
        assert_eq!(query().await["status"], status, "{word}");
    }
    for word in ["", "LATE"] {
        w.post(UPDATE, Some(&agent), said(word)).await.assert_error(
            400,
            "invalid-payload",
            "AVAILABLE or AWAY",
        );
    }
}

#[tokio::test]
async fn only_an_administrator_speaks_for_others() {
    let (w, audit) = (World::new(), Audit::begin());
    let admin = w.token("root", Role::Admin, &[]);
    let other = json!({"status": "AWAY", "uid": "df_ag2_uid"});
    w.post(STATUS, Some(&w.agent()), other.clone())
        .await
        .assert_error(403, "forbidden", "df_ag2_uid");
    let set = w.post(STATUS, Some(&admin), other).await.data();
    assert_eq!(set["status"], "AWAY");
    let nobody = json!({"status": "AWAY", "uid": "nobody"});
    w.post(STATUS, Some(&admin), nobody)
        .await
        .assert_error(404, "not-found", "agent");
    let line = |user, object, outcome| {
        format!(
            "org=\"{ORG}\" user=\"{user}\" action=agent.status object=\"{object} AWAY\" outcome={outcome}"
        )
    };
    assert_eq!(
        audit.lines(),
        [
            line("agent1", "df_ag2_uid", "forbidden"),
            line("root", "df_ag2_uid", "done"),
            line("root", "nobody", "not-found")
        ]
    );
    // One of another organisation finds nobody of this one.
    let stranger = w.token_in("other", "root", Role::Admin, &[]);
    let other = json!({"status": "AVAILABLE", "uid": "df_ag2_uid"});
    w.post(STATUS, Some(&stranger), other)
        .await
        .assert_error(404, "not-found", "agent");
}

#[tokio::test]
async fn who_is_no_agent_is_told_so() {
    let w = World::new();
    let body = json!({"status": "AWAY"});
    for (token, status, code) in [
        (w.visitor("v1"), 403, "forbidden"),
        (w.token("agent9", Role::Agent, &[]), 404, "not-found"),
        (w.token("root", Role::Admin, &[]), 404, "not-found"),
    ] {
        w.post(STATUS, Some(&token), body.clone())
            .await
            .assert_error(status, code, "agent");
        w.get(QUERY, Some(&token))
            .await
            .assert_error(status, code, "agent");
    }
    w.get(&format!("{QUERY}?orgUid=other"), Some(&w.agent()))
        .await
        .assert_error(403, "forbidden", "other");
}

/// A user of several agents is away as all of them, unless it names one.
#[tokio::test]
async fn a_user_speaks_for_all_of_its_agents() {
    let w = World::new();
    let both = w.token("agent1", Role::Agent, &["df_ag2_uid"]);
    w.post(STATUS, Some(&both), json!({"status": "AWAY"}))
        .await
        .data();
    let status = async |uid: &str| {
        let admin = w.token("root", Role::Admin, &[]);
        let path = format!("/api/v1/admin/directory/agents/{uid}");
        w.get(&path, Some(&admin)).await.data()["status"].clone()
    };
    assert_eq!(
        (status("df_ag_uid").await, status("df_ag2_uid").await),
        (json!("AWAY"), json!("AWAY"))
    );
    let one = json!({"status": "AVAILABLE", "uid": "df_ag2_uid"});
    w.post(STATUS, Some(&both), one).await.data();
    assert_eq!(
        (status("df_ag_uid").await, status("df_ag2_uid").await),
        (json!("AWAY"), json!("AVAILABLE"))
    );
}
