//! What somebody may do who says that a uid is its own and does not show it, and what becomes of a session whose next holder
//! may see less.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use e2e::{agent_token, field, thread_of, visitor_token};
use serde_json::{Value, json};
use testkit::chat::{self, DESK, DESK2};
use testkit::http::{self, Reply};
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode, Refused, Version};
use testkit::stomp::{self, Stomp};
use testkit::{DEADLINE, Longwire, TokenSpec, eventually};

const WORKGROUP: &str = "df_wg_uid";

async fn init(server: &Longwire, uid: &str, token: Option<&str>) -> Reply {
    let body = json!({ "orgUid": chat::ORG, "uid": uid });
    http::post(server.at().http, "/visitor/api/v1/init", token, &body).await
}

/// The token that somebody gets who says that the uid is its own.
async fn claimed_token(server: &Longwire, uid: &str) -> String {
    let data = init(server, uid, None).await.data();
    field(&data, "accessToken").to_owned()
}

/// Waits until the uid is of no use without a token.
async fn is_proven(server: &Longwire, uid: &str) {
    eventually("the uid cannot be claimed any more", DEADLINE, async || {
        (init(server, uid, None).await.status == 401).then_some(())
    })
    .await;
}

async fn stomp_refused(server: &Longwire, options: stomp::Options) -> String {
    match Stomp::try_connect(server, options).await {
        Err(Some(frame)) => frame.get("code").unwrap_or_default().to_owned(),
        other => panic!("ERROR says what is wrong, not {other:?}"),
    }
}

fn mqtt_refused(refused: Result<Mqtt, Refused>) -> ReasonCode {
    match refused {
        Err(Refused::ConnAck(connack)) => connack.reason,
        other => panic!("CONNACK says what is wrong, not {other:?}"),
    }
}

/// S1: a token for a claimed uid received the user's threads and took over its session.
#[tokio::test]
async fn a_claimed_uid_gives_nothing_of_the_user_who_has_it() {
    let server = Longwire::start().await;
    let at = server.at().http;
    // Claimed before the user has ever come, so that nobody knows better.
    let claimed = claimed_token(&server, "u7").await;
    let own = server.token(&TokenSpec::agent("u7", &["desk7"])).await;
    for version in [Version::V311, Version::V5] {
        let device = format!("u7/web/{version:?}");
        let options = |token: &str| Options::new(version, &device).persistent().token(token);
        let mut claim = match version {
            Version::V311 => Some(Mqtt::connect(&server, options(&claimed)).await),
            Version::V5 => None,
        };
        let mut agent = Mqtt::connect(&server, options(&own)).await;
        assert!(!agent.connack.session_present);
        let message = chat::text(&chat::agent_topic("desk7", "v1"), "desk7", "among us");
        agent.say(&message).await;
        agent.hear_until(|m| m.uid == message.uid).await;
        is_proven(&server, "u7").await;
        let refused = Mqtt::try_connect(&server, options(&claimed)).await;
        assert_eq!(mqtt_refused(refused), ReasonCode::BadUserNameOrPassword);
        agent.ping().await;
        if let Some(claim) = &mut claim {
            let heard = claim.receive_for(std::time::Duration::from_millis(300)).await;
            assert!(heard.is_none(), "{heard:?}");
        }
    }
    for options in [
        stomp::Options::visitor("u7", None),
        stomp::Options::visitor("u7", Some(&claimed)),
    ] {
        assert_eq!(stomp_refused(&server, options).await, "unauthorized");
    }
    let unread = "/visitor/api/v1/message/unread/count?uid=u7";
    for token in [None, Some(claimed.as_str())] {
        http::get(at, unread, token).await.assert_error(401);
    }
    http::get(
        at,
        "/api/v1/thread/query?pageNumber=0&pageSize=10",
        Some(&claimed),
    )
    .await
    .assert_error(403);
}

#[tokio::test]
async fn a_claim_has_its_own_thread_and_nothing_else_on_every_protocol() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let claimed = claimed_token(&server, "v1").await;
    let topic = thread_of("v1");
    let mut mqtt = Mqtt::connect(&server, Options::v5("v1/web/1").token(&claimed)).await;
    let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&claimed))).await;
    page.subscribe("s", &topic, "auto", &[]).await;
    let message = chat::text(&topic, "v1", "hello");
    http::say(at, "/visitor/api/v1/message/send", Some(&claimed), &message)
        .await
        .data();
    assert_eq!(mqtt.hear().await.uid, message.uid);
    assert_eq!(page.hear().await["uid"], message.uid.as_str());
    for filter in [
        "ordinary/#",
        "user/v2",
        "$longwire/presence",
        "org/agent/df_ag_uid/v2",
    ] {
        let granted = mqtt.subscribe(filter, QoS::AtLeastOnce).await;
        assert_eq!(granted, ReasonCode::NotAuthorized, "{filter}");
    }
    let ack = mqtt.publish("ordinary/x", "x", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(ack.reason, ReasonCode::NotAuthorized);
    let presence = stomp::subscribe_frame("p", &topic, "auto").with_header("longwire-presence", "true");
    page.send(&presence).await;
    assert_eq!(page.error().await.get("code"), Some("forbidden"));
    let other = chat::text(&thread_of("v2"), "v1", "not mine");
    http::say(at, "/visitor/api/v1/message/send", Some(&claimed), &other)
        .await
        .assert_error(403);
}

#[tokio::test]
async fn a_new_uid_is_renewed_with_its_token_and_goes_on_by_claim_until_that_is_shown() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let visitor = init(&server, "", None).await.data();
    let (uid, token) = (field(&visitor, "uid"), field(&visitor, "accessToken"));
    let deployed = Stomp::connect(&server, stomp::Options::visitor(uid, None)).await;
    deployed.disconnect().await;
    let renewed = init(&server, uid, Some(token)).await.data();
    is_proven(&server, uid).await;
    let path = "/api/v1/message/unread/count";
    http::get(at, path, Some(field(&renewed, "accessToken")))
        .await
        .data();
    let refused = stomp_refused(&server, stomp::Options::visitor(uid, None)).await;
    assert_eq!(refused, "unauthorized");
}

/// S4: a login without a token made an agent online, and visitors were given to it.
#[tokio::test]
async fn nobody_makes_an_agent_online_by_naming_it() {
    let server = Longwire::start().await;
    let at = server.at().http;
    for uid in ["agent2", DESK2, WORKGROUP, "admin"] {
        let refused = stomp_refused(&server, stomp::Options::visitor(uid, None)).await;
        assert_eq!(refused, "forbidden", "{uid}");
        init(&server, uid, None).await.assert_error(403);
    }
    // A token of the agent's uid, but of a visitor's role.
    let as_visitor = visitor_token(&server, "agent2").await;
    let _page = Stomp::connect(&server, stomp::Options::visitor("agent2", Some(&as_visitor))).await;
    let as_agent = server.token(&TokenSpec::agent("agent1", &[DESK])).await;
    let _agent = Mqtt::connect(&server, Options::v5("agent1/web/1").token(&as_agent)).await;
    let online = async |uid: &str| {
        let path = format!("/api/v1/connection/presence/{uid}");
        http::get(at, &path, Some(&as_agent)).await.data()["online"] == true
    };
    eventually("agent1 is online", DEADLINE, async || {
        online("agent1").await.then_some(())
    })
    .await;
    assert!(!online("agent2").await && !online(DESK2).await);
    for n in 0..4 {
        let uid = format!("w{n}");
        let come = json!({ "uid": uid, "orgUid": chat::ORG, "sid": WORKGROUP, "type": "1" });
        let greeting: Value = http::post(at, "/visitor/api/v1/thread", None, &come).await.data();
        assert_eq!(
            greeting["user"]["uid"], DESK,
            "{uid} is given to the agent who is there"
        );
    }
}

/// S5: what waited for an agent was gone when its session had been resumed with a token of fewer rights.
#[tokio::test]
async fn messages_wait_for_who_may_see_them_whoever_resumes_the_session_meanwhile() {
    let server = Longwire::start().await;
    let whole = agent_token(&server).await;
    let visitor = server.token(&TokenSpec::visitor(e2e::AGENT)).await;
    let fewer = server.token(&TokenSpec::agent(e2e::AGENT, &[])).await;
    let options = |token: &str| e2e::agent_options_v5(token, "one");
    let mut page = e2e::visitor(&server, "v1").await;
    Mqtt::connect(&server, options(&whole)).await.disconnect().await;
    for (round, lesser) in [visitor, fewer].iter().enumerate() {
        let said: Vec<_> = (0..5)
            .map(|n| chat::text(&thread_of("v1"), "v1", &format!("{round} {n}")))
            .collect();
        for message in &said {
            page.say(message).await;
        }
        let mut client = Mqtt::connect(&server, options(lesser)).await;
        assert!(client.connack.session_present);
        client.ping().await;
        client.disconnect().await;
        let mut back = Mqtt::connect(&server, options(&whole)).await;
        for message in &said {
            let prefix = format!("{round} ");
            let heard = back.hear_until(|m| m.content.starts_with(&prefix)).await;
            assert_eq!(heard.uid, message.uid, "round {round}");
        }
        back.ping().await;
        back.disconnect().await;
    }
}
