use stomp_codec::{Command, Frame};

use crate::client::{Client, contents, send_frame};
use crate::world::{THREAD, World};

async fn say(server: &crate::world::Server, agent: &str, range: std::ops::Range<u32>) {
    let mut agent = Client::connect(server.at, &[("passcode", agent)]).await;
    for i in range {
        let frame = send_frame(THREAD, &format!("m{i}"), &format!("{i}"));
        agent.send(&frame.with_header("receipt", &format!("r{i}"))).await;
        agent.receipt(&format!("r{i}")).await;
    }
    agent.leave().await;
}

#[tokio::test]
async fn an_ack_in_client_mode_covers_what_came_before_it() {
    let world = World::new().await;
    let server = world.server().await;
    let agent = world.agent();
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    say(&server, &agent, 0..5).await;
    let got = visitor.messages(5).await;
    visitor.ack(&got[2]).await;
    visitor.leave().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("x", THREAD, "client").await;
    let again = visitor.messages(2).await;
    assert_eq!(contents(&again), ["3", "4"]);
    assert_eq!(again[0].get("redelivered"), Some("true"));
    visitor.nothing_else().await;
}

#[tokio::test]
async fn an_ack_in_client_individual_mode_is_for_one() {
    let world = World::new().await;
    let server = world.server().await;
    let agent = world.agent();
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client-individual").await;
    say(&server, &agent, 0..5).await;
    let got = visitor.messages(5).await;
    for i in [4, 1, 2] {
        visitor.ack(&got[i]).await;
    }
    visitor.leave().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client-individual").await;
    assert_eq!(contents(&visitor.messages(2).await), ["0", "3"]);
    visitor.nothing_else().await;
}

#[tokio::test]
async fn in_auto_mode_what_was_written_is_acknowledged() {
    let world = World::new().await;
    let server = world.server().await;
    let agent = world.agent();
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    say(&server, &agent, 0..3).await;
    visitor.messages(3).await;
    visitor.leave().await;
    say(&server, &agent, 3..5).await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    assert_eq!(contents(&visitor.messages(2).await), ["3", "4"]);
    visitor.nothing_else().await;
}

#[tokio::test]
async fn a_refused_message_comes_again_but_not_for_ever() {
    let world = World::new().await;
    let config = stomp_edge::Config {
        max_redeliveries: 2,
        ..stomp_edge::Config::default()
    };
    let server = world.server_with(config).await;
    let agent = world.agent();
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client-individual").await;
    say(&server, &agent, 0..2).await;
    let mut got = visitor.messages(2).await;
    visitor.ack(&got[1]).await;
    for _ in 0..2 {
        visitor.nack(&got[0]).await;
        got[0] = visitor.message().await;
        assert_eq!(got[0].get("redelivered"), Some("true"));
    }
    visitor.nack(&got[0]).await;
    visitor.nothing_else().await;
    visitor.leave().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client-individual").await;
    assert_eq!(contents(&visitor.messages(1).await), ["0"]);
}

#[tokio::test]
async fn a_nack_in_client_mode_brings_back_all_before_it() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    say(&server, &world.agent(), 0..3).await;
    let got = visitor.messages(3).await;
    visitor.nack(&got[1]).await;
    let again = visitor.messages(2).await;
    assert_eq!(contents(&again), ["0", "1"]);
    // All three are acknowledged by the last one sent.
    visitor.ack(&again[1]).await;
    visitor.leave().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.nothing_else().await;
}

#[tokio::test]
async fn acks_for_nothing_are_counted_and_ignored() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    visitor.subscribe("0", THREAD, "auto").await;
    for id in ["undefined", "1-1-1", "99-1-1"] {
        visitor
            .send(&Frame::new(Command::Ack).with_header("id", id))
            .await;
    }
    visitor.nothing_else().await;
    assert!(server.metric("ignored_acks_total") >= 3.0);
    let foreign = Frame::new(Command::Ack).with_header("id", "nonsense");
    visitor.send(&foreign).await;
    visitor.error("invalid-payload").await;
}

#[tokio::test]
async fn older_versions_acknowledge_by_message_id() {
    let world = World::new().await;
    let server = world.server().await;
    for (version, accept) in [
        (stomp_codec::Version::V11, "1.1"),
        (stomp_codec::Version::V10, "1.0"),
    ] {
        let connect = || async {
            let mut visitor = Client::raw(server.at).await;
            visitor.version = version;
            let frame = Frame::new(Command::Connect)
                .with_header("login", "v1")
                .with_header("accept-version", accept);
            visitor.send(&frame).await;
            visitor.expect(Command::Connected).await;
            visitor.subscribe("0", THREAD, "client").await;
            visitor
        };
        let mut visitor = connect().await;
        let uid = |i: u32| format!("{accept}-{i}");
        for i in 0..2 {
            visitor.send(&send_frame(THREAD, &uid(i), &uid(i))).await;
        }
        let got = visitor.messages(2).await;
        assert_eq!(got[0].get("ack"), None);
        visitor.ack(&got[0]).await;
        visitor.leave().await;
        let mut visitor = connect().await;
        let again = visitor.messages(1).await;
        assert_eq!(contents(&again), [uid(1)]);
        visitor.ack(&again[0]).await;
        visitor.leave().await;
    }
}

#[tokio::test]
async fn an_ack_counts_at_once_for_the_next_page_though_the_last_one_hangs() {
    let world = World::new().await;
    let server = world.server().await;
    let mut hanging = Client::visitor(server.at, "v1").await;
    hanging.subscribe("0", THREAD, "client").await;
    say(&server, &world.agent(), 0..3).await;
    let got = hanging.messages(3).await;
    hanging.ack(&got[1]).await;
    hanging.nothing_else().await;
    let mut next = Client::visitor(server.at, "v1").await;
    next.subscribe("0", THREAD, "client").await;
    assert_eq!(contents(&next.messages(1).await), ["2"]);
    next.nothing_else().await;
}
