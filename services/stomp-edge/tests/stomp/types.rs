//! Who may send which type of message, and what others are told of a sender.

use serde_json::json;
use stomp_codec::{Command, Frame};

use crate::client::{Client, body, text};
use crate::world::{THREAD, World};

fn send(message: &serde_json::Value) -> Frame {
    Frame::new(Command::Send)
        .with_header("destination", "/app/org.agent.a1.v1")
        .with_header("receipt", "r")
        .with_body(message.to_string())
}

#[tokio::test]
async fn what_is_not_a_visitors_to_send_is_refused_and_reaches_nobody() {
    let world = World::new().await;
    let server = world.server().await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    agent.subscribe("0", THREAD, "auto").await;
    for (n, kind) in [
        "TRANSFER_ACCEPT",
        "NOTICE",
        "AUTO_CLOSED",
        "EVENT",
        "MEMBERSHIP",
        "ERROR",
        "Notice",
    ]
    .iter()
    .enumerate()
    {
        let mut forged = text(THREAD, &format!("m{n}"), "{}");
        (forged["type"], forged["channel"]) = (json!(kind), json!("SYSTEM"));
        let mut visitor = Client::visitor(server.at, "v1").await;
        visitor.send(&send(&forged)).await;
        let error = visitor.error("forbidden").await;
        assert_eq!(error.get("receipt-id"), Some("r"));
        let said = String::from_utf8_lossy(&error.body);
        assert!(said.contains(&kind.to_ascii_uppercase()), "{kind}: {said}");
    }
    let mut visitor = Client::visitor(server.at, "v1").await;
    let mut marker = text(THREAD, "marker", "hello");
    marker["channel"] = json!("SYSTEM");
    marker["user"] = json!({ "uid": "v1", "nickname": "Vera", "type": "SYSTEM" });
    marker["thread"] =
        json!({ "topic": THREAD, "uid": "another", "status": "CLOSED", "user": { "uid": "boss" } });
    visitor.send(&send(&marker)).await;
    let heard = body(&agent.message().await);
    let own = json!({ "uid": "v1", "nickname": "Vera", "type": "VISITOR" });
    assert_eq!(
        (&heard["uid"], &heard["channel"], &heard["user"]),
        (&json!("marker"), &json!("WEB"), &own)
    );
    assert_eq!(
        (&heard["thread"]["user"], heard["thread"].get("status")),
        (&own, None)
    );
    assert_ne!(heard["thread"]["uid"], "another");
}
