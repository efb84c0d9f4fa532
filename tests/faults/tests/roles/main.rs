//! Roles that die, hang, come back, come and go.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing step fails the test, and what a test saw belongs on its output"
)]

mod edges;
mod rollout;
mod services;
mod sessions;
mod zombies;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use faults::{Trial, soon};
use testkit::chat::{self, Message};
use testkit::cluster::Listener;
use testkit::mqtt::{Mqtt, Options, QoS};

/// Longer than the second after which an edge has saved what its clients told it (`edge.save_interval`).
const SAVED: Duration = Duration::from_secs(2);

/// Where the two MQTT edges are, past the balancer.
fn edges(trial: &Trial) -> [SocketAddr; 2] {
    [0, 1].map(|index| trial.role("mqtt-edge")[index].at(Listener::Mqtt))
}

/// Connects to one edge, again and again until it lets the client in.
async fn connect(address: SocketAddr, options: Options) -> Mqtt {
    soon("the edge lets the client in", async || {
        Mqtt::connect_to(address, options.clone()).await.ok()
    })
    .await
}

/// A client id of its own, a persistent session of MQTT 5.
fn persistent(client: &str) -> Options {
    Options::v5(client).persistent()
}

/// The same with a will that is sent so many seconds after the connection is gone.
fn with_will(client: &str, topic: &str, delay: u32) -> Options {
    let text = format!("{client} is gone");
    let mut options = persistent(client).will(topic, &text, QoS::AtLeastOnce, false);
    if let Some(will) = &mut options.connect.will {
        will.properties.will_delay_interval = Some(delay);
    }
    options
}

/// A chat message that was written just now, as deployed clients say it: routing need not ask whether it knows it.
fn said(topic: &str, author: &str, content: &str) -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Message {
        created_at: now.as_millis().to_string(),
        ..chat::text(topic, author, content)
    }
}

/// Everything that the watcher of a topic has been sent up to now.
async fn seen(watcher: &mut Mqtt, writer: &mut Mqtt, topic: &str) -> Vec<String> {
    let marker = chat::uid();
    writer.publish(topic, marker.clone(), QoS::AtLeastOnce).await;
    let mut seen = Vec::new();
    loop {
        let text = e2e::text(&watcher.publish_received().await);
        if text == marker {
            return seen;
        }
        seen.push(text);
    }
}
