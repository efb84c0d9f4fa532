use std::time::Duration;

use auth::Claims;
use contract::persistence::Persistence;
use model::{Position, Role};
use stomp_codec::{Command, Frame};

use crate::client::{Client, connect_frame, send_frame, subscribe_frame};
use crate::world::{ORG, Server, THREAD, World, eventually};

#[tokio::test]
async fn disconnect_is_answered_when_everything_sent_before_is_stored() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    let mut bytes = bytes::BytesMut::new();
    for i in 0..20 {
        let frame = send_frame(THREAD, &format!("m{i}"), "x").with_header("receipt", &i.to_string());
        frame.encode(visitor.version, &mut bytes);
    }
    Frame::new(Command::Disconnect)
        .with_header("receipt", "bye")
        .encode(visitor.version, &mut bytes);
    visitor.send_raw(bytes.freeze()).await;
    for i in 0..20 {
        visitor.receipt(&i.to_string()).await;
    }
    visitor.receipt("bye").await;
    visitor.ended().await;
    assert_eq!(visitor.closed, Some(1000));
}

#[tokio::test]
async fn a_server_that_leaves_settles_says_so_and_closes() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    let mut silent = Client::raw(server.at).await;
    visitor
        .send(&send_frame(THREAD, "m1", "x").with_header("receipt", "r"))
        .await;
    let mut got = [visitor.next().await.unwrap(), visitor.next().await.unwrap()];
    got.sort_by_key(|f| f.command == Command::Message);
    assert_eq!(got[0].get("receipt-id"), Some("r"));
    server.tasks.stop().stop_softly();
    let error = visitor.error("server-draining").await;
    assert!(error.get("retry-after-ms").unwrap().parse::<u64>().is_ok());
    assert_eq!(visitor.closed, Some(1012));
    silent.error("server-draining").await;
    tokio::time::timeout(Duration::from_secs(10), server.tasks.wait())
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_of_a_server_runs_on_after_the_hard_stop() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    server.tasks.stop().stop_softly();
    visitor.error("server-draining").await;
    server.tasks.wait().await;
    server.tasks.stop().stop_hard();
    let ended = async {
        while !server.tasks.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
    assert!(ended.is_ok(), "{:?} do not return", server.tasks.running());
}

#[tokio::test]
async fn what_is_in_flight_when_the_server_leaves_gets_its_receipt_first() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    for i in 0..50 {
        let frame = send_frame(THREAD, &format!("m{i}"), "x");
        visitor.send(&frame.with_header("receipt", &i.to_string())).await;
    }
    visitor.receipt("0").await;
    server.tasks.stop().stop_softly();
    // Those that it took are answered, in order; then the end, however many that were.
    let mut next = 1;
    loop {
        let frame = visitor.next().await.unwrap();
        if frame.command == Command::Error {
            assert_eq!(frame.get("code"), Some("server-draining"));
            break;
        }
        assert_eq!(frame.get("receipt-id"), Some(next.to_string().as_str()));
        next += 1;
    }
    visitor.ended().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let world = World::new().await;
    let server = world.server().await;
    let now = world.clock.unix_millis() / 1000;
    let token = world.token(&Claims::new("v1", Role::Visitor).valid_for(now, 1));
    let mut visitor = Client::connect(server.at, &[("passcode", &token)]).await;
    visitor.error("unauthorized").await;
}

const GIVEN: &str = "org/workgroup/df_wg_uid/v1";

/// An agent that is made a member of a thread, having been there when that began to want one.
async fn member(world: &World, server: &Server) -> (Client, String) {
    let token = world.token(&Claims {
        aliases: vec!["df_ag_uid".into()],
        ..Claims::new("agent1", Role::Agent)
    });
    let agent = Client::connect(server.at, &[("passcode", &token)]).await;
    let open = contract::persistence::OpenThread {
        org: ORG.into(),
        desk: "df_wg_uid".into(),
        visitor: contract::persistence::UserCard {
            uid: "v1".into(),
            ..contract::persistence::UserCard::default()
        },
        at: model::UnixMillis(world.clock.unix_millis()),
    };
    let opened = world.persistence.open_thread(open).await.unwrap();
    assert_eq!(opened.thread.topic.as_str(), GIVEN);
    eventually("the agent is a member", async || {
        let name = model::TopicName::new(GIVEN).unwrap();
        let members = world
            .persistence
            .members(&ORG.into(), &name, Position::START)
            .await
            .unwrap();
        members.all.iter().any(|m| m.user.as_str() == "agent1")
    })
    .await;
    (agent, token)
}

async fn leave(world: &World) {
    let leave = contract::persistence::ChangeThread {
        org: ORG.into(),
        thread: contract::persistence::ThreadKey::Topic(model::TopicName::new(GIVEN).unwrap()),
        by: contract::persistence::Actor {
            user: "agent1".into(),
            role: Role::Agent,
            identities: vec!["agent1".into(), "df_ag_uid".into()],
        },
        wish: contract::persistence::ThreadWish::Leave,
        uid: "leave".into(),
        at: model::UnixMillis(world.clock.unix_millis()),
    };
    world.persistence.change_thread(leave).await.unwrap();
}

/// A service that says things in the side channel.
async fn service(world: &World, server: &Server) -> Client {
    let token = world.token(&Claims::new("bot", Role::Service));
    Client::connect(server.at, &[("passcode", &token)]).await
}

async fn say_aside(service: &mut Client, uid: &str) {
    let message = serde_json::json!({
        "uid": uid, "type": "TEXT", "content": uid, "thread": {"topic": format!("{GIVEN}_internal")}
    });
    let send = Frame::new(Command::Send)
        .with_header("destination", "/app/org.workgroup.df_wg_uid.v1_internal")
        .with_header("receipt", uid)
        .with_body(message.to_string());
    service.send(&send).await;
    service.receipt(uid).await;
}

fn uid_of(frame: &Frame) -> serde_json::Value {
    let message: serde_json::Value = serde_json::from_slice(&frame.body).unwrap();
    message["uid"].clone()
}

#[tokio::test]
async fn a_member_that_is_removed_stops_receiving_at_once() {
    let world = World::new().await;
    let server = world.server().await;
    let (mut agent, token) = member(&world, &server).await;
    agent.subscribe("0", GIVEN, "auto").await;
    agent.nothing_else().await;
    leave(&world).await;
    // It is told that it has left, which is the last that it sees.
    let notice = agent.message().await;
    let text = String::from_utf8(notice.body.to_vec()).unwrap();
    assert!(text.contains("has left"), "{text}");
    agent.error("forbidden").await;
    let mut again = Client::connect(server.at, &[("passcode", &token)]).await;
    again.send(&subscribe_frame("0", GIVEN, "auto")).await;
    again.error("forbidden").await;
}

/// The side channel of a thread is seen as the thread is: from where one became a member of it …
#[tokio::test]
async fn a_member_that_joined_late_sees_no_more_of_the_side_channel_than_of_the_thread() {
    let world = World::new().await;
    let server = world.server().await;
    let mut service = service(&world, &server).await;
    say_aside(&mut service, "before").await;
    let (mut agent, _) = member(&world, &server).await;
    say_aside(&mut service, "after").await;
    let from = subscribe_frame("0", &format!("{GIVEN}_internal"), "auto").with_header("longwire-after", "0");
    agent.send(&from).await;
    assert_eq!(uid_of(&agent.message().await), "after");
}

/// … to where that ended, though nothing else of the thread is subscribed to.
#[tokio::test]
async fn a_member_that_is_removed_stops_receiving_the_side_channel_at_once() {
    let world = World::new().await;
    let server = world.server().await;
    let mut service = service(&world, &server).await;
    let (mut agent, _) = member(&world, &server).await;
    agent.subscribe("0", &format!("{GIVEN}_internal"), "auto").await;
    say_aside(&mut service, "before").await;
    assert_eq!(uid_of(&agent.message().await), "before");
    leave(&world).await;
    say_aside(&mut service, "after").await;
    agent.error("forbidden").await;
}

/// Whoever was removed before its subscription begins does not receive, though the store has not heard of that yet.
#[tokio::test]
async fn a_former_member_does_not_receive_because_the_store_lags() {
    let world = World::new().await;
    let server = world.server().await;
    let (_, token) = member(&world, &server).await;
    let name = model::TopicName::new(GIVEN).unwrap();
    let before = world
        .persistence
        .members(&ORG.into(), &name, Position::START)
        .await;
    leave(&world).await;
    *world.persistence.old.lock() = Some(before.unwrap());
    let mut service = service(&world, &server).await;
    for topic in [GIVEN.to_owned(), format!("{GIVEN}_internal")] {
        let mut agent = Client::connect(server.at, &[("passcode", &token)]).await;
        agent.send(&subscribe_frame("0", &topic, "auto")).await;
        say_aside(&mut service, &topic).await;
        agent.error("forbidden").await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let world = World::new().await;
    let server = world.server().await;
    let mut client = Client::raw(server.at).await;
    client.send(&connect_frame(&[("login", "v1")])).await;
    client.expect(Command::Connected).await;
    client.subscribe("0", THREAD, "client").await;
    assert_eq!(server.core.attachments.connections(), 1);
    drop(client);
    crate::world::eventually("the connection being gone", async || {
        server.core.attachments.connections() == 0
            && server.metric("connections") == 0.0
            && server.metric("subscriptions") == 0.0
    })
    .await;
}

#[tokio::test]
async fn what_a_page_sends_before_it_is_closed_is_stored() {
    let world = World::new().await;
    let server = world.server().await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    agent.subscribe("0", THREAD, "auto").await;
    let mut page = Client::visitor(server.at, "v1").await;
    let mut bytes = bytes::BytesMut::new();
    // More than may be in flight at once.
    for i in 0..600 {
        send_frame(THREAD, &format!("m{i}"), &i.to_string()).encode(page.version, &mut bytes);
    }
    page.send_raw(bytes.freeze()).await;
    drop(page);
    for i in 0..600 {
        assert_eq!(
            crate::client::body(&agent.message().await)["content"],
            i.to_string()
        );
    }
}
