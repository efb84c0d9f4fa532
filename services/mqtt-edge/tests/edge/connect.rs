//! Every answer to CONNECT, and what a client may do before it.

use std::time::Duration;

use model::Role;
use runtime::config::{ByteSize, HumanDuration};
use testkit::DEADLINE;
use testkit::mqtt::{Options, QoS, ReasonCode, Refused, Version};
use tokio::io::AsyncWriteExt;

use crate::rig::Rig;

fn code(refused: Result<testkit::mqtt::Mqtt, Refused>) -> Option<ReasonCode> {
    match refused {
        Ok(_) => Some(ReasonCode::Success),
        Err(Refused::ConnAck(connack)) => Some(connack.reason),
        Err(Refused::Closed) => None,
    }
}

#[tokio::test]
async fn every_connack() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let (agent, other) = (
        rig.token("agent1", Role::Agent, &["desk1"]),
        rig.token("agent2", Role::Agent, &[]),
    );
    let will = |options: Options, topic: &str| options.will(topic, "x", QoS::AtLeastOnce, false);
    for version in [Version::V311, Version::V5] {
        let with = |id: &str| Options::new(version, id);
        let cases = [
            (
                "a valid token",
                with("agent1/web/1").token(&agent),
                ReasonCode::Success,
            ),
            (
                "another form of id",
                with("anything").token(&agent),
                ReasonCode::Success,
            ),
            ("nobody, ordinary id", with("sensor"), ReasonCode::Success),
            ("nobody, no id", with(""), ReasonCode::Success),
            (
                "a token that is none",
                with("x").token("nonsense"),
                ReasonCode::BadUserNameOrPassword,
            ),
            (
                "a token with a changed signature",
                with("x").token(&format!("{}x", &agent[..agent.len() - 1])),
                ReasonCode::BadUserNameOrPassword,
            ),
            (
                "no token but a user's id",
                with("agent1/web/1"),
                ReasonCode::BadUserNameOrPassword,
            ),
            (
                "another user's token",
                with("agent1/web/1").token(&other),
                ReasonCode::NotAuthorized,
            ),
            (
                "a will that is no chat message on a conversation",
                will(with("w").token(&agent), "org/agent/desk1/v"),
                match version {
                    Version::V311 => ReasonCode::NotAuthorized,
                    Version::V5 => ReasonCode::PayloadFormatInvalid,
                },
            ),
            (
                "a will on a server's topic",
                will(with("w").token(&agent), "$SYS/x"),
                ReasonCode::NotAuthorized,
            ),
            (
                "nobody's will on a conversation",
                will(with("w"), "org/agent/desk1/v"),
                ReasonCode::NotAuthorized,
            ),
        ];
        for (what, options, expected) in cases {
            let got = code(edge.try_connect(options).await);
            assert_eq!(got, Some(expected), "{version:?}: {what}");
        }
    }
    let nameless = code(edge.try_connect(Options::v311("").persistent()).await);
    assert_eq!(nameless, Some(ReasonCode::ClientIdentifierNotValid));
    let assigned = edge.connect(Options::v5("").persistent()).await;
    assert!(assigned.connack.properties.assigned_client_identifier.is_some());
    let mut enhanced = Options::v5("x");
    enhanced.connect.properties.authentication_method = Some(testkit::mqtt::utf8("SCRAM"));
    assert!(code(edge.try_connect(enhanced).await).is_some_and(ReasonCode::is_error));
}

#[tokio::test]
async fn anonymous_clients_are_refused_where_the_configuration_says_so() {
    let mut rig = Rig::start().await;
    rig.auth.anonymous_mqtt = Some(false);
    let edge = rig.edge().await;
    for version in [Version::V311, Version::V5] {
        let got = code(edge.try_connect(Options::new(version, "sensor")).await);
        assert_eq!(got, Some(ReasonCode::BadUserNameOrPassword));
    }
}

#[tokio::test]
async fn unsupported_protocol_versions_are_told_so() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let answer = testkit::raw::exchange(
        edge.tcp,
        b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01x",
        DEADLINE,
    )
    .await;
    assert!(
        answer.starts_with(&[0x20]) && answer.iter().any(|b| *b == 0x84 || *b == 1),
        "{answer:02x?}"
    );
}

#[tokio::test]
async fn who_has_not_authenticated_has_little_time_and_few_bytes() {
    let rig = Rig::start().await;
    let edge = rig
        .edge_with(|c| {
            c.limits.auth_timeout = HumanDuration::from_millis(300);
            c.limits.max_before_auth = ByteSize::kib(64);
        })
        .await;
    for beginning in [
        &b""[..],
        b"\x10",
        b"\x10\x20\x00\x04MQ",
        b"GET /mqtt HTTP/1.1\r\n",
        b"\x16\x03",
    ] {
        let mut socket = testkit::raw::tcp(edge.tcp).await;
        socket.write_all(beginning).await.unwrap();
        testkit::raw::read_to_close(&mut socket, Duration::from_secs(5)).await;
    }
    // A CONNECT that says it is larger than that is not waited for.
    let mut socket = testkit::raw::tcp(edge.tcp).await;
    socket
        .write_all(b"\x10\xff\xff\x7f\x00\x04MQTT\x05")
        .await
        .unwrap();
    testkit::raw::read_to_close(&mut socket, Duration::from_millis(250)).await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_connection() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = auth::Claims::new("brief", Role::Agent).valid_for(now, 2);
    let token = auth::Signer::new(&rig.auth).unwrap().sign(&claims);
    let mut client = edge.connect(Options::v5("brief/web/1").token(&token)).await;
    assert_eq!(
        client.closed_by_server(Duration::from_secs(20)).await,
        Some(ReasonCode::NotAuthorized)
    );
}

#[tokio::test]
async fn a_draining_edge_tells_its_clients_and_keeps_their_sessions() {
    let rig = Rig::start().await;
    let (edge, other) = (rig.edge().await, rig.edge().await);
    let options = || Options::v5("drained").persistent();
    let mut client = edge.connect(options()).await;
    client.subscribe("drain/+", QoS::AtLeastOnce).await;
    edge.drain();
    assert_eq!(
        client.closed_by_server(DEADLINE).await,
        Some(ReasonCode::ServerShuttingDown)
    );
    let mut writer = other.connect(Options::v5("writer")).await;
    writer.publish("drain/x", "kept", QoS::AtLeastOnce).await;
    let mut client = other.connect(options()).await;
    assert!(client.connack.session_present);
    assert_eq!(crate::sessions::hear(&mut client).await, "kept");
    testkit::eventually("the connections to end", DEADLINE, async || {
        let left = edge.running();
        (!left.iter().any(|t| t.contains("connection"))).then_some(())
    })
    .await;
}
