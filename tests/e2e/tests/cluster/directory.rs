//! The directory changes while the installation runs, for all of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, Listener};
use testkit::http::{self, Reply};
use testkit::{Longwire, TokenSpec};

/// What an administrator changed is in every answer after this.
const SEEN: Duration = Duration::from_secs(1);

async fn change(at: SocketAddr, method: Method, path: &str, token: &str, body: Option<Value>) -> Reply {
    let path = format!("/api/v1/admin/directory/{path}");
    http::send(at, method, &path, Some(token), body.map(|body| body.to_string())).await
}

/// The greeting of a visitor at a desk, asked for until it is the one expected.
async fn comes(at: SocketAddr, visitor: &str, desk: &str, status: u16) -> Reply {
    let body = json!({"uid": visitor, "orgUid": "df_org_uid", "sid": desk, "type": "1"});
    let began = Instant::now();
    loop {
        let asked = began.elapsed();
        let reply = http::post(at, "/visitor/api/v1/thread", None, &body).await;
        if reply.status == status {
            return reply;
        }
        assert!(
            asked < SEEN,
            "{desk} after {asked:?}: {} {}",
            reply.status,
            reply.text
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_desk_entered_through_one_gateway_receives_visitors_at_another_within_a_second() {
    let server = Longwire::from(Cluster::start().await);
    let cluster = server.cluster();
    let spec = TokenSpec {
        uid: "root",
        role: Some("admin"),
        ..TokenSpec::default()
    };
    let admin = server.token(&spec).await;
    let [one, other] = [0, 1].map(|i| cluster.role("gateway")[i].at(Listener::Http));
    for round in 0..3 {
        let (desk, own) = (format!("night{round}"), format!("desks/night{round}"));
        let body = json!({"kind": "workgroup", "nickname": "Night", "agents": ["df_ag_uid"]});
        change(one, Method::PUT, &own, &admin, Some(body)).await.data();
        let greeted = comes(other, "v1", &desk, 200).await.data();
        assert_eq!(greeted["thread"]["topic"], format!("org/workgroup/{desk}/v1"));
        change(one, Method::DELETE, &own, &admin, None).await.data();
        comes(other, "v2", &desk, 404).await;
    }

    // What was changed outlives every process, and is not undone by the configuration.
    let own = "desks/df_wg_uid";
    let body = json!({"kind": "workgroup", "nickname": "Day", "agents": ["df_ag2_uid"]});
    change(other, Method::PUT, own, &admin, Some(body)).await.data();
    cluster.restart().await;
    let found = change(cluster.at().http, Method::GET, own, &admin, None)
        .await
        .data();
    assert_eq!(
        (&found["nickname"], &found["agents"]),
        (&json!("Day"), &json!(["df_ag2_uid"]))
    );
    cluster.terminate().await;
}
