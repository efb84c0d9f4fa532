//! The whole of `make cluster`: every role as processes on three nats-servers, Redis and PostgreSQL, behind HAProxy.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing step fails the test, and what a test measured belongs on its output"
)]

mod directory;
mod owners;
mod store_away;

use e2e::{agent_options, agent_token, field, history, thread_of, visitor, visitor_token};
use testkit::chat::{DESK, from_publish, text};
use testkit::cluster::{Cluster, Listener};
use testkit::mqtt::{Mqtt, Options};
use testkit::{DEADLINE, Longwire, cli, eventually, http, run, workspace};

/// Only one of these at a time: it takes the whole machine.
#[tokio::test]
async fn a_conversation_goes_on_when_edges_and_a_server_of_the_log_are_killed() {
    let server = Longwire::from(Cluster::start().await);
    let cluster = server.cluster();
    let token = agent_token(&server).await;
    // Everything is to be had under one host and port.
    let index = http::get(cluster.at().http, "/openapi.json", None).await;
    assert_eq!(index.status, 200, "the gateway's");
    let home = cluster.role("mqtt-edge")[0].at(Listener::Ws);
    let mut agent = Mqtt::connect_to(home, agent_options(&token, "d1"))
        .await
        .expect("an edge");
    let mut page = visitor(&server, "v1").await;
    let topic = thread_of("v1");

    page.say(&text(&topic, "v1", "one")).await;
    hears(&mut agent, "one").await;

    cluster.role("mqtt-edge")[0].kill().await;
    page.say(&text(&topic, "v1", "two")).await;
    let mut agent = reconnect(cluster, agent_options(&token, "d1")).await;
    assert!(agent.connack.session_present, "the session outlives its edge");
    hears(&mut agent, "two").await;

    let leader = cluster.nats().meta_leader().await.expect("there is one");
    cluster.nats()[leader].kill().await;
    // The page falls back to HTTP and sends again, with the same uid, until it is told that the message is stored.
    let (path, three) = ("/visitor/api/v1/message/send", text(&topic, "v1", "three"));
    let token_v1 = visitor_token(&server, "v1").await;
    eventually("the log takes messages again", 2 * DEADLINE, async || {
        let reply = http::say(cluster.at().http, path, Some(&token_v1), &three).await;
        (reply.status == 200).then_some(())
    })
    .await;
    hears(&mut agent, "three").await;
    cluster.nats()[leader].restart().await;

    agent.say(&text(&topic, DESK, "four")).await;
    cluster.restart().await;
    eventually("history has all of it", DEADLINE, async || {
        let log = history(&server, &token, &topic).await;
        let said: Vec<_> = log.iter().map(|message| field(message, "content")).collect();
        (said == ["one", "two", "three", "four"]).then_some(())
    })
    .await;
    cluster.terminate().await;
}

/// Connects through the balancer, which may take a moment to see who is gone.
async fn reconnect(cluster: &Cluster, options: Options) -> Mqtt {
    eventually("the agent is connected again", 2 * DEADLINE, async || {
        Mqtt::connect_to(cluster.at().http, options.clone()).await.ok()
    })
    .await
}

/// Waits for what the visitor says. What was acknowledged within the second before an edge died may come again.
async fn hears(agent: &mut Mqtt, wanted: &str) {
    loop {
        let message = from_publish(&agent.publish_received().await);
        if message.r#type == "TEXT" && message.content == wanted {
            return;
        }
    }
}

#[tokio::test]
async fn the_example_configuration_of_a_cluster_is_valid() {
    let mut command = cli();
    command
        .args(["config", "check", "--config"])
        .arg(workspace().join("deploy/cluster.toml"))
        .env(
            "LONGWIRE_AUTH__SECRET",
            "0123456789abcdef0123456789abcdef0123456789abcdef",
        );
    let checked = run(command).await;
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}
