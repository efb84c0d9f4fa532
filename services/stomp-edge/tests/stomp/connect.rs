use std::time::Duration;

use auth::Claims;
use backplane::presence::{Presence, PresenceBook};
use model::{OrgId, Role, UserId};
use runtime::config::HumanDuration;
use stomp_codec::{Command, Frame, Version};
use stomp_edge::Config;

use crate::client::{Client, connect_frame};
use crate::world::{ORG, World, eventually};

#[tokio::test]
async fn the_newest_common_version_and_subprotocol_are_chosen() {
    let world = World::new().await;
    let server = world.server().await;
    for (offered, version) in [
        (Some("1.0,1.1"), Some("1.1")),
        (Some("1.2,2.0"), Some("1.2")),
        (None, None),
    ] {
        let mut client = Client::raw(server.at).await;
        let mut connect = Frame::new(Command::Connect).with_header("login", "v1");
        if let Some(offered) = offered {
            connect = connect.with_header("accept-version", offered);
        }
        client.send(&connect).await;
        let connected = client.expect(Command::Connected).await;
        assert_eq!(connected.get("version"), version);
        assert!(connected.get("session").is_some() && connected.get("server").is_some());
    }
    let offered = [("sec-websocket-protocol", "v10.stomp, v12.stomp, v11.stomp")];
    let (_, chosen) = Client::open(server.at, "/mini", &offered).await.ok().unwrap();
    assert_eq!(chosen.as_deref(), Some(Version::V12.subprotocol()));
    assert_eq!(Client::open(server.at, "/stomp", &[]).await.ok().unwrap().1, None);
}

#[tokio::test]
async fn a_version_that_nobody_speaks_is_refused_with_those_that_are() {
    let world = World::new().await;
    let server = world.server().await;
    let mut client = Client::raw(server.at).await;
    let connect = Frame::new(Command::Connect).with_header("accept-version", "3.0");
    client.send(&connect).await;
    let error = client.error("invalid-payload").await;
    assert_eq!(error.get("version"), Some("1.0,1.1,1.2"));
}

#[tokio::test]
async fn a_token_is_taken_wherever_clients_can_put_it() {
    let world = World::new().await;
    let mut auth = world.auth.clone();
    auth.anonymous_visitors = Some(false);
    let server = world
        .server_on(Config::default(), edge::Config::default(), &auth)
        .await;
    let token = world.token(&Claims::new("v1", Role::Visitor));
    let bearer = format!("Bearer {token}");
    for headers in [
        vec![("login", "v1"), ("passcode", token.as_str())],
        vec![("passcode", token.as_str())],
        vec![("login", ""), ("Authorization", bearer.as_str())],
    ] {
        Client::connect(server.at, &headers).await;
    }
    let path = format!("/stomp?access_token={token}");
    let (mut client, _) = Client::open(server.at, &path, &[]).await.ok().unwrap();
    client.send(&connect_frame(&[("login", "v1")])).await;
    client.expect(Command::Connected).await;
    for headers in [
        vec![("login", "v1")],
        vec![("login", "v1"), ("passcode", "nonsense")],
        vec![("login", "v2"), ("passcode", token.as_str())],
    ] {
        let mut client = Client::raw(server.at).await;
        client.send(&connect_frame(&headers)).await;
        client.error("unauthorized").await;
        assert_eq!(client.closed, Some(1008));
    }
}

#[tokio::test]
async fn who_does_not_authenticate_in_time_is_told_to() {
    let world = World::new().await;
    let mut config = Config::default();
    config.limits.auth_timeout = HumanDuration::from_millis(100);
    let server = world.server_with(config).await;
    let mut silent = Client::raw(server.at).await;
    silent.error("unauthorized").await;
    // Beats are no authentication.
    let mut beating = Client::raw(server.at).await;
    beating.send_raw("\n\n\n").await;
    beating.error("unauthorized").await;
    let mut early = Client::raw(server.at).await;
    early
        .send(&Frame::new(Command::Begin).with_header("transaction", "t"))
        .await;
    early.error("unauthorized").await;
}

#[tokio::test]
async fn before_authentication_little_is_read() {
    let world = World::new().await;
    let server = world.server().await;
    let long_line = format!("CONNECT\nlogin:{}\n\n\0", "x".repeat(20_000));
    let many = format!("CONNECT\n{}\n\0", "a:b\n".repeat(1000));
    let endless = "\n".repeat(200_000);
    let garbage = "GET / HTTP/1.1\r\n\r\n".to_owned();
    for (bytes, code) in [
        (long_line, "payload-too-large"),
        (many, "payload-too-large"),
        (endless, "payload-too-large"),
        (garbage, "invalid-payload"),
    ] {
        let mut client = Client::raw(server.at).await;
        client.send_raw(bytes).await;
        client.error(code).await;
    }
}

#[tokio::test]
async fn malformed_frames_are_answered_with_what_to_change() {
    let world = World::new().await;
    let server = world.server().await;
    for bytes in [
        "NONSENSE\n\n\0",
        "SEND\n\n\0",
        "SEND\ndestination:nowhere\n\nx\0",
        "SUBSCRIBE\ndestination:/topic/a\n\n\0",
        "SUBSCRIBE\nid:0\ndestination:/topic/org.agent.a1.v1\nack:perhaps\n\n\0",
        "SUBSCRIBE\nid:0\ndestination:/topic/org.agent.a1.v1\nlongwire-after:x\n\n\0",
        "SEND\ndestination:/app/a\\x\n\nx\0",
        "MESSAGE\n\n\0",
        "CONNECT\naccept-version:1.2\nhost:h\n\n\0",
        "ACK\n\n\0",
        "SEND\ndestination:/app/a\ncontent-length:5\n\nab\0cdefgh",
    ] {
        let mut client = Client::visitor(server.at, "v1").await;
        client.send_raw(bytes).await;
        client.error("invalid-payload").await;
    }
}

#[tokio::test]
async fn only_allowed_origins_and_upgrades_are_let_in() {
    let world = World::new().await;
    let config = Config {
        allowed_origins: vec!["https://shop.example".into()],
        ..Config::default()
    };
    let server = world.server_with(config).await;
    let evil = [("origin", "https://evil.example")];
    assert_eq!(Client::open(server.at, "/stomp", &evil).await.err(), Some(403));
    let good = [("origin", "https://shop.example")];
    assert!(Client::open(server.at, "/stomp", &good).await.is_ok());
    assert!(Client::open(server.at, "/stomp", &[]).await.is_ok());
    assert_eq!(Client::open(server.at, "/elsewhere", &[]).await.err(), Some(404));
}

#[tokio::test]
async fn an_edge_takes_no_more_connections_than_it_may() {
    let world = World::new().await;
    let mut config = Config::default();
    config.limits.max_connections = 1;
    let server = world.server_with(config).await;
    let first = Client::visitor(server.at, "v1").await;
    assert_eq!(Client::open(server.at, "/stomp", &[]).await.err(), Some(503));
    first.leave().await;
    eventually("the place being free again", async || {
        Client::open(server.at, "/stomp", &[]).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn both_sides_beat_and_a_client_that_stops_is_dropped() {
    let world = World::new().await;
    let config = Config {
        heart_beat: HumanDuration::from_millis(50),
        ..Config::default()
    };
    let server = world.server_with(config).await;
    let mut client = Client::connect(server.at, &[("login", "v1"), ("heart-beat", "50,50")]).await;
    for _ in 0..6 {
        client.send_raw("\n").await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    // It was kept for longer than the hundred milliseconds of silence that are allowed.
    client.nothing_else().await;
    assert!(client.heart_beats >= 2);
    client.ended().await;
    assert_eq!(client.closed, Some(1008));
    // Whoever promised nothing is kept.
    let mut quiet = Client::connect(server.at, &[("login", "v1")]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    quiet.nothing_else().await;
}

#[tokio::test]
async fn a_visitor_is_present_while_it_is_connected() {
    let world = World::new().await;
    let server = world.server().await;
    let (org, token) = (OrgId::new(ORG), world.token(&Claims::new("v1", Role::Visitor)));
    for (headers, address) in [
        ([("login", "v1"), ("passcode", "")], "unproven/v1"),
        ([("login", "v1"), ("passcode", token.as_str())], "v1"),
    ] {
        let user = UserId::new(address);
        let client = Client::connect(server.at, &headers).await;
        eventually("presence", async || {
            let found = world.presence.connections(&org, &user).await.unwrap();
            let is =
                |p: &Presence| p.connection.starts_with("v1/stomp/") && p.protocol == "stomp" && !p.staff;
            found.len() == 1 && is(&found[0])
        })
        .await;
        client.leave().await;
        eventually("absence", async || {
            world.presence.connections(&org, &user).await.unwrap().is_empty()
        })
        .await;
    }
}
