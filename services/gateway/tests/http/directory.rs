use axum::body::Body;
use http::Method;
use model::Role;
use serde_json::{Value, json};

use crate::audited::Audit;
use crate::world::{ORG, Reply, World};

const AGENTS: &str = "/api/v1/admin/directory/agents";
const DESKS: &str = "/api/v1/admin/directory/desks";

fn admin(w: &World) -> String {
    w.token("root", Role::Admin, &[])
}

async fn put(w: &World, path: &str, body: Value) -> Reply {
    let body = Body::from(body.to_string());
    w.ask(Method::PUT, path, Some(&admin(w)), body).await
}

async fn delete(w: &World, path: &str) -> Reply {
    w.ask(Method::DELETE, path, Some(&admin(w)), Body::empty()).await
}

async fn get(w: &World, path: &str) -> Reply {
    w.get(path, Some(&admin(w))).await
}

#[tokio::test]
async fn agents_are_entered_changed_listed_and_taken_out() {
    let w = World::new();
    let own = format!("{AGENTS}/ann_uid");
    let ann = json!({"uid": "ann_uid", "orgUid": ORG, "userUid": "ann", "nickname": "Ann", "avatar": "/a.png",
        "status": "AVAILABLE", "maxThreads": 3});
    let said = json!({"userUid": "ann", "nickname": "Ann", "avatar": "/a.png", "maxThreads": 3});
    assert_eq!(put(&w, &own, said).await.data(), ann);
    assert_eq!(get(&w, &own).await.data(), ann);
    let page = get(&w, &format!("{AGENTS}?pageNumber=0&pageSize=2")).await.data();
    assert_eq!(
        (&page["totalElements"], &page["totalPages"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        (&page["content"][0], &page["content"][1]["uid"]),
        (&ann, &json!("df_ag2_uid"))
    );

    let changed = put(&w, &own, json!({"userUid": "ann2"})).await.data();
    assert_eq!(
        (&changed["userUid"], &changed["nickname"]),
        (&json!("ann2"), &json!(""))
    );
    assert_eq!(changed.get("maxThreads"), None);
    assert_eq!(delete(&w, &own).await.data(), true);
    for reply in [delete(&w, &own).await, get(&w, &own).await] {
        reply.assert_error(404, "not-found", "agent");
    }
}

#[tokio::test]
async fn desks_are_entered_changed_listed_and_taken_out() {
    let w = World::new();
    let own = format!("{DESKS}/r1");
    let robot =
        json!({"uid": "r1", "orgUid": ORG, "kind": "robot", "nickname": "R", "avatar": "", "agents": []});
    assert_eq!(
        put(&w, &own, json!({"kind": "robot", "nickname": "R"}))
            .await
            .data(),
        robot
    );
    assert_eq!(get(&w, &own).await.data(), robot);
    let thread = json!({"uid": "v1", "sid": "r1", "type": "2"});
    let greeted = w.post("/visitor/api/v1/thread", None, thread).await;
    assert_eq!(greeted.data()["thread"]["topic"], "org/robot/r1/v1");
    let page = get(&w, DESKS).await.data();
    assert_eq!((&page["totalElements"], &page["content"][1]), (&json!(2), &robot));

    let group = json!({"kind": "workgroup", "agents": ["df_ag2_uid", "df_ag_uid"]});
    assert_eq!(
        put(&w, &own, group).await.data()["agents"],
        json!(["df_ag2_uid", "df_ag_uid"])
    );
    assert_eq!(delete(&w, &own).await.data(), true);
    for reply in [delete(&w, &own).await, get(&w, &own).await] {
        reply.assert_error(404, "not-found", "desk");
    }
    // Agents and desks are two lists.
    get(&w, &format!("{DESKS}/df_ag_uid"))
        .await
        .assert_error(404, "not-found", "directory/agents");
    get(&w, &format!("{AGENTS}/df_wg_uid"))
        .await
        .assert_error(404, "not-found", "agent");
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let w = World::new();
    let (agent, desk) = (format!("{AGENTS}/x"), format!("{DESKS}/x"));
    for (path, body, word) in [
        (&agent, json!({}), "userUid"),
        (&agent, json!({"userUid": ""}), "user"),
        (&agent, json!({"userUid": "u", "status": "AWAY"}), "status"),
        (&agent, json!({"userUid": "u", "maxThreads": 0}), "maxThreads"),
        (
            &agent,
            json!({"userUid": "u", "nickname": "n".repeat(257)}),
            "256",
        ),
        (&agent, json!([]), "object"),
        (
            &format!("{AGENTS}/x_internal"),
            json!({"userUid": "u"}),
            "_internal",
        ),
        (&format!("{AGENTS}/a%2Fb"), json!({"userUid": "u"}), "uid"),
        (&format!("{AGENTS}/%ff"), json!({"userUid": "u"}), "uid"),
        (&desk, json!({"nickname": "x"}), "kind"),
        (&desk, json!({"kind": "queue"}), "workgroup"),
        (&desk, json!({"kind": "agent"}), "among the agents"),
        (
            &desk,
            json!({"kind": "robot", "agents": ["df_ag_uid"]}),
            "no agents",
        ),
        (
            &desk,
            json!({"kind": "workgroup", "agents": ["df_ag_uid", "nobody"]}),
            "nobody",
        ),
        (
            &desk,
            json!({"kind": "workgroup", "agents": ["df_ag_uid", "df_ag_uid"]}),
            "twice",
        ),
    ] {
        put(&w, path, body)
            .await
            .assert_error(400, "invalid-payload", word);
    }
    delete(&w, &format!("{AGENTS}/df_ag_uid"))
        .await
        .assert_error(409, "conflict", "named");
    for path in [AGENTS, DESKS] {
        get(&w, &format!("{path}?pageSize=0"))
            .await
            .assert_error(400, "invalid-payload", "pageSize");
    }
    let most = get(&w, &format!("{DESKS}?pageSize=1000")).await.data();
    assert_eq!(most["size"], 100);
    *w.store.away.lock() = true;
    get(&w, AGENTS).await.assert_error(503, "unavailable", "away");
}

#[tokio::test]
async fn only_administrators_of_the_organisation_have_part_in_it() {
    let w = World::new();
    let calls = [
        (Method::GET, AGENTS.to_owned()),
        (Method::GET, format!("{AGENTS}/df_ag_uid")),
        (Method::PUT, format!("{AGENTS}/df_ag_uid")),
        (Method::DELETE, format!("{AGENTS}/df_ag_uid")),
        (Method::GET, DESKS.to_owned()),
        (Method::GET, format!("{DESKS}/df_wg_uid")),
        (Method::PUT, format!("{DESKS}/df_wg_uid")),
        (Method::DELETE, format!("{DESKS}/df_wg_uid")),
    ];
    let body = |path: &str| match path.contains("agents/") {
        true => json!({"userUid": "thief"}).to_string(),
        false => json!({"kind": "workgroup"}).to_string(),
    };
    let stranger = w.token_in("other", "root", Role::Admin, &[]);
    for (method, path) in calls {
        let ask = async |path: &str, token: Option<&str>| {
            w.ask(method.clone(), path, token, Body::from(body(path))).await
        };
        ask(&path, None).await.assert_error(401, "unauthorized", "token");
        for token in [w.agent(), w.visitor("v1")] {
            ask(&path, Some(&token))
                .await
                .assert_error(403, "forbidden", "administrator");
        }
        // Another organisation's administrator can name this one as it likes, and without naming it has its own.
        let named = format!("{path}?orgUid={ORG}");
        ask(&named, Some(&stranger))
            .await
            .assert_error(403, "forbidden", "other");
        ask(&path, Some(&stranger)).await;
    }
    let agent = get(&w, &format!("{AGENTS}/df_ag_uid")).await.data();
    assert_eq!(agent["userUid"], "agent1");
    let desk = get(&w, &format!("{DESKS}/df_wg_uid?orgUid={ORG}")).await.data();
    assert_eq!(desk["agents"].as_array().unwrap().len(), 2);
    assert_eq!(get(&w, AGENTS).await.data()["totalElements"], 2);
}

#[tokio::test]
async fn every_call_is_in_the_audit_log_whatever_became_of_it() {
    let (w, audit) = (World::new(), Audit::begin());
    let own = format!("{AGENTS}/ann_uid");
    let line = |user: &str, action: &str, object: &str, outcome: &str| {
        format!(
            "org=\"{ORG}\" user=\"{user}\" action=directory.{action} object=\"{object}\" outcome={outcome}"
        )
    };
    put(&w, &own, json!({"userUid": "ann"})).await.data();
    put(&w, &own, json!({})).await;
    get(&w, &own).await.data();
    get(&w, AGENTS).await.data();
    delete(&w, &own).await.data();
    w.ask(Method::DELETE, &own, Some(&w.agent()), Body::empty()).await;
    assert_eq!(
        audit.lines(),
        [
            line("root", "put-agent", "ann_uid", "done"),
            line("root", "put-agent", "ann_uid", "invalid-payload"),
            line("root", "agent", "ann_uid", "done"),
            line("root", "agents", "", "done"),
            line("root", "remove-agent", "ann_uid", "done"),
            line("agent1", "remove-agent", "ann_uid", "forbidden"),
        ]
    );
    let own = format!("{DESKS}/d");
    put(&w, &own, json!({"kind": "kb"})).await.data();
    get(&w, &own).await.data();
    get(&w, DESKS).await.data();
    delete(&w, &own).await.data();
    delete(&w, &format!("{DESKS}/d%0Aaction=x")).await;
    let desks = [
        line("root", "put-desk", "d", "done"),
        line("root", "desk", "d", "done"),
        line("root", "desks", "", "done"),
        line("root", "remove-desk", "d", "done"),
        line("root", "remove-desk", "d\\naction=x", "invalid-payload"),
    ];
    assert_eq!(audit.lines(), desks, "nothing that is asked for begins a line");
}

/// The uids of the directory, and those of the users behind its agents, are no visitor's.
#[tokio::test]
async fn a_visitor_cannot_claim_what_is_in_the_directory() {
    let w = World::new();
    put(&w, &format!("{AGENTS}/ann_uid"), json!({"userUid": "ann"}))
        .await
        .data();
    let init = async |uid: &str| {
        let body = json!({"orgUid": ORG, "uid": uid});
        w.post("/visitor/api/v1/init", None, body).await
    };
    for uid in ["ann", "ann_uid", "df_wg_uid"] {
        init(uid).await.assert_error(403, "forbidden", uid);
    }
    delete(&w, &format!("{AGENTS}/ann_uid")).await.data();
    init("ann").await.data();
}
