//! Who a client is comes from its token, on every protocol alike.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::{
    AGENT, agent_options, agent_options_v5, agent_token, agent_v5, history, thread_of, visitor, visitor_token,
};
use testkit::chat::{self, DESK, DESK2};
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode, Refused, Version};
use testkit::stomp::{self, Command, Stomp};
use testkit::{Longwire, TokenSpec, http};

/// Tokens that are worth nothing to `server`, and why.
async fn worthless_tokens(server: &Longwire, uid: &str) -> Vec<(&'static str, String)> {
    let foreign = Longwire::start().await;
    let spec = TokenSpec::agent(uid, &[DESK]);
    let good = server.token(&spec).await;
    let foreign = foreign.token(&spec).await;
    let parts: Vec<_> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("a JWT has three parts: {good}")
    };
    let claims_text = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let promoted = claims_text.replace("agent", "admin");
    assert_ne!(promoted, claims_text, "the claims name the role");
    let expired = server.token(&spec.ttl("1s")).await;
    // Longer than the leeway for clocks that differ.
    tokio::time::sleep(Duration::from_secs(7)).await;
    vec![
        ("foreign", foreign),
        (
            "promoted",
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(promoted)),
        ),
        (
            "unsigned",
            format!(
                "{}.{claims}.",
                URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#)
            ),
        ),
        (
            "cut",
            format!("{header}.{claims}.{}", &signature[..signature.len() - 4]),
        ),
        ("garbage", "not-a-token".to_owned()),
        ("empty", String::new()),
        ("expired", expired),
    ]
}

fn reason(refused: Result<Mqtt, Refused>) -> ReasonCode {
    match refused {
        Err(Refused::ConnAck(connack)) => connack.reason,
        other => panic!("CONNACK says what is wrong, not {other:?}"),
    }
}

#[tokio::test]
async fn worthless_tokens_are_refused_on_every_protocol() {
    let mut server = Longwire::start().await;
    for (kind, token) in worthless_tokens(&server, AGENT).await {
        for version in [Version::V311, Version::V5] {
            let options = Options::new(version, &format!("{AGENT}/web/d")).token(&token);
            let reason = reason(Mqtt::try_connect(&server, options).await);
            assert_eq!(
                reason,
                ReasonCode::BadUserNameOrPassword,
                "{kind} over {version:?}"
            );
        }
        let reply = http::get(
            server.at().http,
            "/api/v1/thread/query?pageNumber=0&pageSize=10",
            Some(&token),
        )
        .await;
        assert_eq!(reply.status, 401, "{kind}: {}", reply.text);
        reply.assert_error(401);
        if kind == "empty" {
            continue;
        }
        for options in [
            stomp::Options::visitor(AGENT, Some(&token)),
            stomp::Options::default().header("Authorization", &format!("Bearer {token}")),
            stomp::Options::default().path(&format!("/stomp?access_token={token}")),
        ] {
            match Stomp::try_connect(&server, options.clone()).await {
                Err(Some(frame)) => {
                    assert_eq!(frame.command, Command::Error, "{kind}");
                    assert_eq!(frame.get("code"), Some("unauthorized"), "{kind}: {frame:?}");
                }
                // A token in the address can be refused before there is a frame to say it in.
                Err(None) if options.path.contains("access_token") => {}
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
    let reply = http::get(
        server.at().http,
        "/api/v1/thread/query?pageNumber=0&pageSize=10",
        None,
    )
    .await;
    reply.assert_error(401);
    server.assert_unhurt();
}

#[tokio::test]
async fn a_token_is_taken_wherever_stomp_clients_put_it() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v1").await;
    for (n, options) in [
        stomp::Options::visitor("v1", Some(&token)),
        stomp::Options::default().header("passcode", &token),
        stomp::Options::default().header("Authorization", &format!("Bearer {token}")),
        stomp::Options::default().path(&format!("/stomp?access_token={token}")),
        stomp::Options::visitor("v1", Some(&token)).path("/mini"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Stomp::connect(&server, options).await;
        let topic = thread_of("v1");
        client.subscribe("s", &topic, "auto", &[]).await;
        let message = chat::text(&topic, "v1", &n.to_string());
        client.say(&message).await;
        let heard = client
            .hear_until(|heard| heard["uid"] == message.uid.as_str())
            .await;
        assert_eq!(heard["user"]["uid"], "v1");
        client.disconnect().await;
    }
}

#[tokio::test]
async fn the_uid_in_the_client_id_and_the_login_must_be_the_tokens() {
    let server = Longwire::start().await;
    let token = agent_token(&server).await;
    for version in [Version::V311, Version::V5] {
        for id in ["somebody/web/d", "u_agent2/web/d", "df_ag_uid/web/d"] {
            let refused = Mqtt::try_connect(&server, Options::new(version, id).token(&token)).await;
            assert_eq!(
                reason(refused),
                ReasonCode::NotAuthorized,
                "{id} over {version:?}"
            );
        }
        let own_choice = Options::new(version, "any-client-id").token(&token);
        Mqtt::connect(&server, own_choice).await.ping().await;
    }
    let token = visitor_token(&server, "v1").await;
    let refused = Stomp::try_connect(&server, stomp::Options::visitor("v2", Some(&token))).await;
    let Err(Some(error)) = refused else {
        panic!("ERROR, not {refused:?}")
    };
    assert_eq!(error.command, Command::Error);
    assert!(
        matches!(error.get("code"), Some("forbidden" | "unauthorized")),
        "{error:?}"
    );
}

#[tokio::test]
async fn nobody_takes_over_the_session_of_another_user_or_organisation() {
    let server = Longwire::start().await;
    let mut owners = Vec::new();
    for spec in [
        TokenSpec::agent("u1", &[]),
        TokenSpec::agent("u2", &[]),
        TokenSpec::agent("u1", &[]).org("other_org"),
    ] {
        let token = server.token(&spec).await;
        let mut client = Mqtt::connect(&server, Options::v5("laptop").persistent().token(&token)).await;
        assert!(!client.connack.session_present, "each has a session of its own");
        client.subscribe("laptops/+", QoS::AtLeastOnce).await;
        owners.push(client);
    }
    let mut anonymous = Mqtt::connect(&server, Options::v5("laptop").persistent()).await;
    assert!(!anonymous.connack.session_present);
    anonymous.ping().await;
    for mut client in owners {
        client.ping().await;
    }
}

#[tokio::test]
async fn anonymous_clients_have_ordinary_topics_and_nothing_else() {
    let server = Longwire::start().await;
    for version in [Version::V311, Version::V5] {
        let three_parts = Options::new(version, "u_agent/web/d1");
        let reason = reason(Mqtt::try_connect(&server, three_parts).await);
        assert!(
            matches!(
                reason,
                ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized
            ),
            "{reason:?}"
        );
    }
    let mut client = Mqtt::connect(&server, Options::v5("anonymous")).await;
    for filter in [
        "org/agent/df_ag_uid/v1",
        "user/u_agent",
        "user/+/messages",
        "#",
        "+/#",
        "org/#",
        "user/#",
    ] {
        let granted = client.subscribe(filter, QoS::AtLeastOnce).await;
        assert_eq!(granted, ReasonCode::NotAuthorized, "{filter}");
    }
    assert_eq!(
        client.subscribe("ordinary/#", QoS::AtLeastOnce).await,
        ReasonCode::GrantedQoS1
    );
    for topic in [thread_of("v1"), "user/u_agent".to_owned()] {
        let message = chat::text(&topic, "v1", "who am I");
        let ack = client
            .publish(&topic, chat::encode(&message), QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(ack.reason, ReasonCode::NotAuthorized, "{topic}");
    }
}

#[tokio::test]
async fn an_anonymous_visitor_has_its_own_thread_and_no_other() {
    let server = Longwire::start().await;
    let mut client = Stomp::connect(&server, stomp::Options::visitor("v1", None)).await;
    client.subscribe("s", &thread_of("v1"), "client", &[]).await;
    let message = chat::text(&thread_of("v1"), "v1", "hello");
    client.say(&message).await;
    assert_eq!(client.hear().await["uid"], message.uid.as_str());
    client
        .send(&stomp::subscribe_frame("s2", &thread_of("v2"), "client"))
        .await;
    assert_eq!(client.error().await.get("code"), Some("forbidden"));
    let mut client = Stomp::connect(&server, stomp::Options::visitor("v1", None)).await;
    client
        .send(&stomp::send_frame(&chat::text(&thread_of("v2"), "v1", "hello")))
        .await;
    assert_eq!(client.error().await.get("code"), Some("forbidden"));
}

#[tokio::test]
async fn a_spoofed_sender_is_refused_on_every_protocol() {
    let mut server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;

    let mut agent = agent_v5(&server).await;
    for author in ["v1", "somebody", DESK2] {
        let spoofed = chat::text(&topic, author, "not me");
        let ack = agent
            .publish(&topic, chat::encode(&spoofed), QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(ack.reason, ReasonCode::NotAuthorized, "as {author}");
        let ack = agent
            .publish(&topic, chat::encode(&spoofed), QoS::ExactlyOnce)
            .await
            .unwrap();
        assert_eq!(ack.reason, ReasonCode::NotAuthorized, "as {author}");
    }
    let mut old_page = Mqtt::connect(&server, agent_options(&token, "old")).await;
    let spoofed = chat::text(&topic, "v1", "not me");
    old_page
        .start_publish(&topic, chat::encode(&spoofed), QoS::AtLeastOnce)
        .await;
    let never_acknowledged = old_page.receive_until_closed().await;
    assert!(
        never_acknowledged.is_empty(),
        "3.1.1 closes without an acknowledgement: {never_acknowledged:?}"
    );

    let mut page = visitor(&server, "v1").await;
    page.send(&stomp::send_frame(&chat::text(&topic, DESK, "not me")))
        .await;
    assert_eq!(page.error().await.get("code"), Some("forbidden"));

    let at = server.at().http;
    let spoofed = chat::text(&topic, "v1", "not me");
    http::say(at, "/api/v1/message/rest/send", Some(&token), &spoofed)
        .await
        .assert_error(403);
    let visitor_token = visitor_token(&server, "v1").await;
    let spoofed = chat::text(&topic, DESK, "not me");
    http::say(at, "/visitor/api/v1/message/send", Some(&visitor_token), &spoofed)
        .await
        .assert_error(403);

    // As itself and under each of its aliases it may speak; of all the rest nothing was stored.
    for author in [AGENT, DESK] {
        agent.say(&chat::text(&topic, author, "me")).await;
    }
    let stored = history(&server, &token, &topic).await;
    let contents: Vec<_> = stored
        .iter()
        .map(|message| e2e::field(message, "content"))
        .collect();
    assert_eq!(contents, ["me", "me"]);
    assert_eq!(stored[0]["user"]["uid"], AGENT);
    assert_eq!(stored[1]["user"]["uid"], DESK);
    server.assert_unhurt();
}

#[tokio::test]
async fn a_payload_without_a_sender_gets_the_tokens() {
    let server = Longwire::start().await;
    let mut page = visitor(&server, "v1").await;
    let mut message = chat::text(&thread_of("v1"), "v1", "hello");
    message.user = None;
    page.say(&message).await;
    let heard = page.hear().await;
    assert_eq!(heard["user"]["uid"], "v1");
    assert_eq!(heard["status"], "SUCCESS");
}

#[tokio::test]
async fn a_token_that_expires_ends_its_connections_within_half_a_minute() {
    let server = Longwire::start().await;
    let limit = Duration::from_secs(45);
    let agent = server.token(&TokenSpec::agent(AGENT, &[DESK]).ttl("3s")).await;
    let mut five = Mqtt::connect(&server, agent_options_v5(&agent, "five")).await;
    let mut old = Mqtt::connect(&server, agent_options(&agent, "old").keep_alive(0)).await;
    let visitor = server.token(&TokenSpec::visitor("v1").ttl("3s")).await;
    let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&visitor))).await;
    let (five, old, page) = futures::join!(
        five.closed_by_server(limit),
        old.closed_by_server(limit),
        page.last_words(limit),
    );
    assert_eq!(five, Some(ReasonCode::NotAuthorized));
    assert_eq!(old, None);
    let error = page.expect("an ERROR frame");
    assert_eq!(
        (error.command, error.get("code")),
        (Command::Error, Some("unauthorized"))
    );
}

#[tokio::test]
async fn the_dev_login_knows_its_users_and_nobody_else() {
    let server = Longwire::start().await;
    let at = server.at().http;
    for (name, desk) in [("agent1", Some(DESK)), ("agent2", Some(DESK2)), ("admin", None)] {
        let body = serde_json::json!({ "username": name, "password": name });
        let data = http::post(at, "/auth/v1/login", None, &body).await.data();
        let token = data["accessToken"].as_str().unwrap();
        let user = &data["user"];
        assert_eq!(user["currentOrganization"]["uid"], chat::ORG);
        assert_eq!(user["username"], name);
        let uid = user["uid"].as_str().unwrap();
        let options = Options::v5(&format!("{uid}/web/d")).token(token);
        let mut client = Mqtt::connect(&server, options).await;
        if let Some(desk) = desk {
            client
                .say(&chat::text(&chat::agent_topic(desk, "v1"), desk, "at my desk"))
                .await;
        }
    }
    for (name, password) in [("agent1", "agent2"), ("nobody", "nobody"), ("", "")] {
        let body = serde_json::json!({ "username": name, "password": password });
        http::post(at, "/auth/v1/login", None, &body)
            .await
            .assert_error(401);
    }
}
