use stomp_codec::{Command, Frame};

use crate::client::{Client, body, contents, send_frame, subscribe_frame};
use crate::world::{THREAD, World};

#[tokio::test]
async fn who_may_not_receive_a_topic_is_told_so() {
    let world = World::new().await;
    let server = world.server().await;
    for topic in [
        "org/agent/a1/v2",
        "org/agent/a1/v1_internal",
        "org/agent/a1",
        "user/v2",
        "$SYS/x",
    ] {
        let mut visitor = Client::visitor(server.at, "v1").await;
        let frame = subscribe_frame("0", topic, "auto").with_header("receipt", "r");
        visitor.send(&frame).await;
        let error = visitor.error("forbidden").await;
        assert_eq!(error.get("receipt-id"), Some("r"), "{topic}");
    }
}

#[tokio::test]
async fn a_topic_subscribed_twice_comes_twice_and_ends_one_by_one() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("a", THREAD, "auto").await;
    visitor.subscribe("b", THREAD, "auto").await;
    visitor.send(&send_frame(THREAD, "m1", "x")).await;
    let mut to: Vec<_> = visitor
        .messages(2)
        .await
        .iter()
        .map(|f| f.get("subscription").unwrap().to_owned())
        .collect();
    to.sort();
    assert_eq!(to, ["a", "b"]);
    let unsubscribe = |id| {
        Frame::new(Command::Unsubscribe)
            .with_header("id", id)
            .with_header("receipt", "u")
    };
    visitor.send(&unsubscribe("a")).await;
    visitor.receipt("u").await;
    visitor.send(&send_frame(THREAD, "m2", "y")).await;
    assert_eq!(visitor.message().await.get("subscription"), Some("b"));
    visitor.send(&unsubscribe("b")).await;
    visitor.receipt("u").await;
    visitor
        .send(&send_frame(THREAD, "m3", "z").with_header("receipt", "r"))
        .await;
    visitor.receipt("r").await;
    visitor.nothing_else().await;
    visitor.send(&subscribe_frame("c", THREAD, "auto")).await;
    // What is durable of a subscription stays when it ends.
    assert_eq!(contents(&visitor.messages(1).await), ["z"]);
    visitor.send(&subscribe_frame("c", THREAD, "auto")).await;
    visitor.error("invalid-payload").await;
}

#[tokio::test]
async fn a_backlog_larger_than_every_window_comes_whole_and_in_order() {
    let world = World::new().await;
    let server = world.server().await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    const N: usize = 1500;
    for i in 0..N {
        let frame = send_frame(THREAD, &format!("m{i}"), &i.to_string());
        match i {
            _ if i == N - 1 => agent.send(&frame.with_header("receipt", "last")).await,
            _ => agent.send(&frame).await,
        }
    }
    agent.receipt("last").await;
    for mode in ["auto", "client", "client-individual"] {
        let mut visitor = Client::visitor(server.at, "v1").await;
        visitor
            .send(&subscribe_frame("0", THREAD, mode).with_header("longwire-after", "0"))
            .await;
        for i in 0..N {
            let frame = visitor.message().await;
            assert_eq!(body(&frame)["content"], i.to_string(), "{mode}");
            visitor.ack(&frame).await;
        }
        visitor.leave().await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_nothing() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    let filler = "x".repeat(20_000);
    const N: usize = 600;
    for i in 0..N {
        let frame = send_frame(THREAD, &format!("m{i}"), &format!("{i} {filler}"));
        match i % 50 {
            49 => {
                agent.send(&frame.with_header("receipt", "r")).await;
                agent.receipt("r").await;
            }
            _ => agent.send(&frame).await,
        }
    }
    for i in 0..N {
        let frame = visitor.message().await;
        assert!(
            body(&frame)["content"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{i} "))
        );
    }
}

#[tokio::test]
async fn the_recipients_ack_tells_the_sender_that_it_was_delivered() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    agent.subscribe("0", THREAD, "auto").await;
    agent.send(&send_frame(THREAD, "m1", "x")).await;
    assert_eq!(body(&agent.expect(Command::Message).await)["content"], "x");
    let seen = visitor.message().await;
    visitor.ack(&seen).await;
    let receipt = body(&agent.expect(Command::Message).await);
    assert_eq!(
        (&receipt["type"], &receipt["content"]),
        (&"DELIVERED".into(), &"m1".into())
    );
    assert_eq!(receipt["user"]["uid"], "v1");
}
