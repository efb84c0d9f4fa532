//! The people that the tests are about: an agent at a desk of the seeded organisation, and visitors who write to it.
//! Each test starts a server of its own.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing step fails the test; this crate is for tests only"
)]

use serde_json::Value;
use testkit::chat::{self, DESK};
use testkit::http::{self, Reply};
use testkit::mqtt::{Mqtt, Options, Publish, QoS};
use testkit::stomp::{self, Stomp};
use testkit::{DEADLINE, Longwire, TokenSpec, eventually};

/// The token subject of the agent who answers at [`DESK`].
pub const AGENT: &str = "u_agent";

/// A token for the agent at [`DESK`].
pub async fn agent_token(server: &Longwire) -> String {
    server.token(&TokenSpec::agent(AGENT, &[DESK])).await
}

/// A token for a visitor.
pub async fn visitor_token(server: &Longwire, uid: &str) -> String {
    server.token(&TokenSpec::visitor(uid)).await
}

/// How deployed agent pages connect: 3.1.1 over WebSocket, `{uid}/web/{device}`, a persistent session, keep alive 30.
pub fn agent_options(token: &str, device: &str) -> Options {
    Options::v311(&format!("{AGENT}/web/{device}"))
        .persistent()
        .keep_alive(30)
        .token(token)
        .websocket("/websocket")
}

/// The same agent with MQTT 5 over TCP, for what only 5 can tell.
pub fn agent_options_v5(token: &str, device: &str) -> Options {
    Options::v5(&format!("{AGENT}/test/{device}"))
        .persistent()
        .token(token)
}

/// The agent's page, connected.
pub async fn agent(server: &Longwire) -> Mqtt {
    let token = agent_token(server).await;
    Mqtt::connect(server, agent_options(&token, "d1")).await
}

/// The agent with MQTT 5, connected.
pub async fn agent_v5(server: &Longwire) -> Mqtt {
    let token = agent_token(server).await;
    Mqtt::connect(server, agent_options_v5(&token, "d5")).await
}

/// The visitor's thread with [`DESK`].
pub fn thread_of(visitor: &str) -> String {
    chat::agent_topic(DESK, visitor)
}

/// A visitor's page with a token, connected and subscribed to its thread with `ack:client`.
pub async fn visitor(server: &Longwire, uid: &str) -> Stomp {
    let token = visitor_token(server, uid).await;
    let mut stomp = Stomp::connect(server, stomp::Options::visitor(uid, Some(&token))).await;
    stomp.subscribe("sub-0", &thread_of(uid), "client", &[]).await;
    stomp
}

/// The whole log of a topic as the messages call gives it, page by page, oldest first.
///
/// # Panics
/// When a page is not as the contract says.
pub async fn history(server: &Longwire, token: &str, topic: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let query = format!("after={after}&limit=500");
        // Whoever keeps history may be catching up: it says so, and to try again.
        let reply = eventually("history has caught up", 3 * DEADLINE, async || {
            let reply = messages(server, token, topic, &query).await;
            (reply.status != 503).then_some(reply)
        })
        .await;
        let data = reply.data();
        let page = data["content"].as_array().expect("a page has content");
        all.extend(page.iter().cloned());
        if data["more"] != true {
            return all;
        }
        data["next"]
            .as_str()
            .expect("next is a decimal string")
            .clone_into(&mut after);
    }
}

/// One call for messages.
pub async fn messages(server: &Longwire, token: &str, topic: &str, query: &str) -> Reply {
    let path = format!("/api/v1/messages?topic={}&{query}", encode(topic));
    http::get(server.at().http, &path, Some(token)).await
}

/// A topic as part of a query.
pub fn encode(topic: &str) -> String {
    topic
        .replace('%', "%25")
        .replace('/', "%2F")
        .replace('+', "%2B")
        .replace('#', "%23")
}

/// A member of a JSON message as text; empty when it is not there.
pub fn field<'a>(message: &'a Value, name: &str) -> &'a str {
    message[name].as_str().unwrap_or_default()
}

/// The position of a JSON message.
///
/// # Panics
/// When it is no decimal string.
pub fn position(message: &Value) -> u64 {
    field(message, "position")
        .parse()
        .expect("a position is a decimal string")
}

/// A pair on an ordinary topic: whoever subscribes and whoever publishes, both anonymous.
pub async fn pair(server: &Longwire, topic: &str, qos: QoS) -> (Mqtt, Mqtt) {
    let mut subscriber = Mqtt::connect(server, Options::v5("subscriber")).await;
    let granted = subscriber.subscribe(topic, qos).await;
    assert_eq!(granted as u8, qos as u8, "the subscription is granted");
    let publisher = Mqtt::connect(server, Options::v5("publisher")).await;
    (subscriber, publisher)
}

/// A payload as text.
pub fn text(publish: &Publish) -> String {
    String::from_utf8_lossy(&publish.payload).into_owned()
}
