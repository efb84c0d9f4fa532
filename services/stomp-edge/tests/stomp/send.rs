use auth::Claims;
use model::Role;
use serde_json::json;
use stomp_codec::{Command, Frame};

use crate::client::{Client, body, connect_frame, send_frame, subscribe_frame, text};
use crate::world::{THREAD, World};

#[tokio::test]
async fn the_sender_gets_its_own_message_back_as_stored() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("sub-0", THREAD, "client").await;
    visitor.send(&send_frame(THREAD, "m1", "你好")).await;
    let echo = visitor.message().await;
    assert_eq!(echo.get("subscription"), Some("sub-0"));
    assert_eq!(echo.get("destination"), Some("/topic/org.agent.a1.v1"));
    assert_eq!(echo.get("content-type"), Some("text/plain;charset=UTF-8"));
    assert!(echo.get("message-id").is_some() && echo.get("ack").is_some());
    let message = body(&echo);
    assert_eq!(message["position"].as_str(), echo.get("position"));
    assert_eq!(message["status"], "SUCCESS");
    assert_eq!(message["content"], "你好");
    assert_eq!(message["user"]["uid"], "v1");
}

#[tokio::test]
async fn everything_may_come_in_one_segment_and_split_anywhere() {
    let world = World::new().await;
    let server = world.server().await;
    let mut client = Client::raw(server.at).await;
    let mut bytes = bytes::BytesMut::new();
    for frame in [
        connect_frame(&[("login", "v1")]),
        subscribe_frame("0", THREAD, "auto"),
        send_frame(THREAD, "m1", "at once").with_header("receipt", "r1"),
    ] {
        frame.encode(client.version, &mut bytes);
    }
    let bytes = bytes.freeze();
    for part in bytes.chunks(37) {
        client.send_raw(part.to_vec()).await;
    }
    client.expect(Command::Connected).await;
    let mut got = [client.next().await.unwrap(), client.next().await.unwrap()];
    got.sort_by_key(|f| f.command == Command::Message);
    assert_eq!(got[0].get("receipt-id"), Some("r1"));
    assert_eq!(body(&got[1])["content"], "at once");
    assert_eq!(got[1].get("ack"), None);
}

#[tokio::test]
async fn a_receipt_means_that_the_message_is_in_the_log() {
    use backplane::journal::Journal;
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor
        .send(&send_frame(THREAD, "m1", "x").with_header("receipt", "r1"))
        .await;
    visitor.receipt("r1").await;
    let partition = server.core.partitioning.of(crate::world::ORG, THREAD);
    assert!(world.journal.head(partition).await.unwrap().0 >= 1);
    // The same message again is the same message; another one under its uid is a conflict.
    visitor
        .send(&send_frame(THREAD, "m1", "x").with_header("receipt", "r2"))
        .await;
    visitor.receipt("r2").await;
    visitor
        .send(&send_frame(THREAD, "m1", "y").with_header("receipt", "r3"))
        .await;
    let error = visitor.error("conflict").await;
    assert_eq!(error.get("receipt-id"), Some("r3"));
}

#[tokio::test]
async fn the_body_says_where_a_message_belongs() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    let elsewhere = Frame::new(Command::Send)
        .with_header("destination", "/app/org.workgroup.w.v1")
        .with_body(text(THREAD, "m1", "x").to_string());
    visitor.send(&elsewhere).await;
    assert_eq!(body(&visitor.message().await)["thread"]["topic"], THREAD);
}

#[tokio::test]
async fn nobody_sends_as_another_or_into_a_thread_of_another() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    let mut message = text(THREAD, "m1", "x");
    message["user"] = json!({"uid": "a1"});
    let spoofed = Frame::new(Command::Send)
        .with_header("destination", "/app/org.agent.a1.v1")
        .with_header("receipt", "r")
        .with_body(message.to_string());
    visitor.send(&spoofed).await;
    let error = visitor.error("forbidden").await;
    assert_eq!(error.get("receipt-id"), Some("r"));
    for topic in ["org/agent/a1/v2", "org/agent/a1/v1_internal", "user/v1", "test/x"] {
        let mut visitor = Client::visitor(server.at, "v1").await;
        visitor.send(&send_frame(topic, "m2", "x")).await;
        visitor.error("forbidden").await;
    }
}

#[tokio::test]
async fn a_visitor_who_says_no_name_is_the_one_of_its_first_thread() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::connect(server.at, &[("login", "")]).await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.send(&send_frame(THREAD, "m1", "x")).await;
    assert_eq!(body(&visitor.message().await)["user"]["uid"], "v1");
    visitor
        .send(&subscribe_frame("1", "org/agent/a1/v2", "auto"))
        .await;
    visitor.error("forbidden").await;
    let mut nobody = Client::connect(server.at, &[]).await;
    let own = Frame::new(Command::Subscribe)
        .with_header("id", "0")
        .with_header("destination", "/user/queue/messages");
    nobody.send(&own).await;
    nobody.error("forbidden").await;
}

#[tokio::test]
async fn what_is_no_message_is_told_as_a_message_and_the_connection_stays() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    let broken = Frame::new(Command::Send)
        .with_header("destination", "/app/org.agent.a1.v1")
        .with_body("hello");
    visitor.subscribe("0", THREAD, "auto").await;
    visitor.send(&broken).await;
    let told = visitor.message().await;
    assert_eq!(told.get("code"), Some("invalid-payload"));
    assert_eq!(told.get("subscription"), Some("0"));
    assert_eq!(body(&told)["type"], "ERROR");
    let own = Frame::new(Command::Subscribe)
        .with_header("id", "1")
        .with_header("destination", "/user/queue/messages")
        .with_header("receipt", "r");
    visitor.send(&own).await;
    visitor.receipt("r").await;
    visitor.send(&broken).await;
    assert_eq!(
        visitor.message().await.get("destination"),
        Some("/user/queue/messages")
    );
    visitor.send(&send_frame(THREAD, "m1", "fine")).await;
    assert_eq!(body(&visitor.message().await)["content"], "fine");
    // Who listens to nothing is told by ERROR.
    let mut deaf = Client::visitor(server.at, "v1").await;
    deaf.send(&broken).await;
    deaf.error("invalid-payload").await;
}

#[tokio::test]
async fn typing_reaches_who_is_there_and_is_not_stored() {
    let world = World::new().await;
    let server = world.server().await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    agent.subscribe("0", THREAD, "auto").await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    let mut typing = text(THREAD, "m1", "");
    typing["type"] = json!("TYPING");
    let frame = Frame::new(Command::Send)
        .with_header("destination", "/app/org.agent.a1.v1")
        .with_header("receipt", "r")
        .with_body(typing.to_string());
    visitor.send(&frame).await;
    visitor.receipt("r").await;
    let seen = agent.message().await;
    assert_eq!(body(&seen)["type"], "TYPING");
    assert_eq!((seen.get("position"), seen.get("ack")), (None, None));
    visitor
        .send(&subscribe_frame("0", THREAD, "auto").with_header("longwire-after", "0"))
        .await;
    visitor.nothing_else().await;
}

#[tokio::test]
async fn ordinary_topics_carry_any_text_for_users_with_a_token() {
    let world = World::new().await;
    let server = world.server().await;
    let mut user = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    user.subscribe("0", "test/x", "client-individual").await;
    let send = Frame::new(Command::Send)
        .with_header("destination", "/app/test.x")
        .with_header("receipt", "r")
        .with_body("any text");
    user.send(&send).await;
    let mut got = [user.next().await.unwrap(), user.next().await.unwrap()];
    got.sort_by_key(|f| f.command == Command::Message);
    assert_eq!(got[0].command, Command::Receipt);
    assert_eq!(&got[1].body[..], b"any text");
    assert!(got[1].get("position").is_some());
}

#[tokio::test]
async fn transactions_send_on_commit_and_nothing_on_abort() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    let frame = |command, tx: &str| Frame::new(command).with_header("transaction", tx);
    for tx in ["a", "b"] {
        visitor.send(&frame(Command::Begin, tx)).await;
        for i in 0..2 {
            let send = send_frame(THREAD, &format!("{tx}{i}"), &format!("{tx}{i}"));
            visitor.send(&send.with_header("transaction", tx)).await;
        }
    }
    visitor.nothing_else().await;
    visitor
        .send(&frame(Command::Abort, "b").with_header("receipt", "aborted"))
        .await;
    visitor.receipt("aborted").await;
    visitor
        .send(&frame(Command::Commit, "a").with_header("receipt", "committed"))
        .await;
    let (mut texts, mut committed) = (Vec::new(), false);
    while texts.len() < 2 || !committed {
        let frame = visitor.next().await.unwrap();
        match frame.command {
            Command::Message => texts.push(body(&frame)["content"].as_str().unwrap().to_owned()),
            _ => committed = frame.get("receipt-id") == Some("committed"),
        }
    }
    assert_eq!(texts, ["a0", "a1"]);
    visitor.send(&frame(Command::Commit, "b")).await;
    visitor.error("invalid-payload").await;
}

#[tokio::test]
async fn too_large_and_too_fast_are_told_apart() {
    let world = World::new().await;
    let mut config = stomp_edge::Config::default();
    config.limits.connection_rate = 2;
    let server = world.server_with(config).await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    let large = send_frame(THREAD, "m1", &"x".repeat(300 * 1024));
    visitor.send(&large).await;
    visitor.error("payload-too-large").await;
    let mut larger = Client::visitor(server.at, "v1").await;
    larger.send(&send_frame(THREAD, "m1", &"x".repeat(2 << 20))).await;
    larger.error("payload-too-large").await;
    let mut fast = Client::visitor(server.at, "v1").await;
    for i in 0..5 {
        fast.send(&send_frame(THREAD, &format!("m{i}"), "x")).await;
    }
    let error = fast.error("rate-limited").await;
    assert!(error.get("retry-after-ms").unwrap().parse::<u64>().unwrap() <= 500);
}

#[tokio::test]
async fn a_large_message_passes_however_it_is_cut() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    let content = "x".repeat(200 * 1024);
    let mut bytes = bytes::BytesMut::new();
    send_frame(THREAD, "m1", &content).encode(visitor.version, &mut bytes);
    for part in bytes.chunks(10_000) {
        visitor.send_raw(part.to_vec()).await;
    }
    assert_eq!(body(&visitor.message().await)["content"], content);
}

#[tokio::test]
async fn agents_and_visitors_talk_and_visitors_are_not_shown_the_staff_side() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    let token = world.token(&Claims {
        aliases: vec!["a1".into()],
        name: Some("Ann".into()),
        ..Claims::new("u1", Role::Agent)
    });
    let mut agent = Client::connect(server.at, &[("login", "u1"), ("passcode", &token)]).await;
    let mut transfer = text(THREAD, "t1", "{}");
    transfer["type"] = json!("TRANSFER");
    for message in [transfer, text(THREAD, "m1", "hello")] {
        let frame = Frame::new(Command::Send)
            .with_header("destination", "/app/org.agent.a1.v1")
            .with_body(message.to_string());
        agent.send(&frame).await;
    }
    let seen = body(&visitor.message().await);
    assert_eq!(
        (&seen["content"], &seen["user"]["nickname"]),
        (&json!("hello"), &json!("Ann"))
    );
}

#[tokio::test]
async fn who_sends_a_message_again_gets_its_echo_again_and_nobody_else_does() {
    let world = World::new().await;
    let server = world.server().await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    agent.subscribe("0", THREAD, "auto").await;
    let mut visitor = Client::connect(server.at, &[("login", "")]).await;
    visitor
        .send(&send_frame(THREAD, "m1", "x").with_header("receipt", "r"))
        .await;
    visitor.receipt("r").await;
    let first = agent.message().await;
    // It has not seen the echo.
    drop(visitor);
    let mut visitor = Client::connect(server.at, &[("login", "")]).await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.send(&send_frame(THREAD, "m1", "x")).await;
    let echo = visitor.message().await;
    assert_eq!(echo.get("redelivered"), Some("true"));
    assert_eq!(body(&echo), body(&first));
    visitor.ack(&echo).await;
    visitor.nothing_else().await;
    agent.nothing_else().await;
}
