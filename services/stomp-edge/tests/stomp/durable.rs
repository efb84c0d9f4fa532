use auth::Claims;
use model::Role;
use runtime::config::HumanDuration;
use stomp_codec::{Command, Frame};

use crate::client::{Client, body, contents, send_frame, subscribe_frame, text};
use crate::world::{Server, THREAD, World, eventually};

async fn say(world: &World, server: &Server, texts: &[&str]) {
    let token = world.agent();
    let mut agent = Client::connect(server.at, &[("passcode", &token)]).await;
    for text in texts {
        agent
            .send(&send_frame(THREAD, text, text).with_header("receipt", text))
            .await;
        agent.receipt(text).await;
    }
    agent.leave().await;
}

#[tokio::test]
async fn a_visitor_gets_what_came_while_it_was_away_on_whichever_edge() {
    let world = World::new().await;
    let (one, two) = (world.server().await, world.server().await);
    say(&world, &one, &["before its time"]).await;
    let mut visitor = Client::visitor(one.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.leave().await;
    say(&world, &one, &["a", "b"]).await;
    let mut visitor = Client::visitor(two.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    say(&world, &one, &["c"]).await;
    let got = visitor.messages(3).await;
    assert_eq!(contents(&got), ["a", "b", "c"]);
    visitor.ack(&got[2]).await;
    visitor.leave().await;
    let mut visitor = Client::visitor(one.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.nothing_else().await;
}

#[tokio::test]
async fn a_visitor_without_a_name_begins_anew_each_time() {
    let world = World::new().await;
    let server = world.server().await;
    let mut visitor = Client::connect(server.at, &[]).await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.leave().await;
    say(&world, &server, &["missed"]).await;
    let mut visitor = Client::connect(server.at, &[]).await;
    visitor.subscribe("0", THREAD, "client").await;
    visitor.nothing_else().await;
}

#[tokio::test]
async fn a_subscription_begins_where_the_client_says() {
    let world = World::new().await;
    let server = world.server().await;
    say(&world, &server, &["a", "b", "c"]).await;
    let mut visitor = Client::visitor(server.at, "v1").await;
    let from = |id: &str, after: &str| {
        subscribe_frame(id, THREAD, "client")
            .with_header("longwire-after", after)
            .with_header("receipt", "sub")
    };
    visitor.send(&from("0", "0")).await;
    visitor.receipt("sub").await;
    let all = visitor.messages(3).await;
    assert_eq!(contents(&all), ["a", "b", "c"]);
    let prev = all[1].get("prev").map(str::to_owned);
    assert!(prev.is_none() || prev.as_deref() == all[0].get("position"));
    visitor.send(&from("1", all[1].get("position").unwrap())).await;
    visitor.receipt("sub").await;
    let last = visitor.message().await;
    assert_eq!(
        (last.get("subscription"), last.get("position")),
        (Some("1"), all[2].get("position"))
    );
    // The future is not to be had.
    visitor.send(&from("2", "9000000000000000000")).await;
    visitor.receipt("sub").await;
    say(&world, &server, &["d"]).await;
    let got = visitor.messages(3).await;
    assert_eq!(contents(&got), ["d", "d", "d"]);
}

#[tokio::test]
async fn two_pages_of_one_visitor_are_both_live_and_share_their_progress() {
    let world = World::new().await;
    let server = world.server().await;
    let mut first = Client::visitor(server.at, "v1").await;
    first.subscribe("0", THREAD, "client").await;
    let mut second = Client::visitor(server.at, "v1").await;
    second.subscribe("0", THREAD, "client").await;
    say(&world, &server, &["a", "b"]).await;
    let seen = first.messages(2).await;
    assert_eq!(contents(&second.messages(2).await), ["a", "b"]);
    first.ack(&seen[0]).await;
    first.leave().await;
    say(&world, &server, &["c"]).await;
    let seen = second.messages(1).await;
    assert_eq!(contents(&seen), ["c"]);
    // The second page has acknowledged nothing, the first one "a".
    second.leave().await;
    let mut third = Client::visitor(server.at, "v1").await;
    third.subscribe("0", THREAD, "client").await;
    let seen = third.messages(2).await;
    assert_eq!(contents(&seen), ["b", "c"]);
    third.ack(&seen[1]).await;
    third.leave().await;
    let mut fourth = Client::visitor(server.at, "v1").await;
    fourth.subscribe("0", THREAD, "client").await;
    fourth.nothing_else().await;
}

#[tokio::test]
async fn pages_on_two_edges_do_not_undo_each_others_progress() {
    let world = World::new().await;
    let (one, two) = (world.server().await, world.server().await);
    let mut first = Client::visitor(one.at, "v1").await;
    first.subscribe("0", THREAD, "client").await;
    let mut second = Client::visitor(two.at, "v1").await;
    second.subscribe("0", THREAD, "client").await;
    say(&world, &one, &["a", "b", "c"]).await;
    let (at_first, at_second) = (first.messages(3).await, second.messages(3).await);
    assert_eq!(contents(&at_first), contents(&at_second));
    // The edge that opened the session first has been fenced by now, and its page is the one that got further.
    first.ack(&at_first[1]).await;
    second.ack(&at_second[0]).await;
    second.leave().await;
    first.leave().await;
    let mut third = Client::visitor(two.at, "v1").await;
    third.subscribe("0", THREAD, "client").await;
    let left = third.messages(1).await;
    assert_eq!(contents(&left), ["c"]);
    third.nothing_else().await;
}

/// A visitor is not shown what is among staff: what it acknowledges says nothing of that.
#[tokio::test]
async fn what_one_role_has_acknowledged_the_other_has_not() {
    let world = World::new().await;
    let server = world.server().await;
    let as_agent = world.token(&Claims {
        aliases: vec!["a1".into()],
        ..Claims::new("v1", Role::Agent)
    });
    let as_visitor = world.token(&Claims::new("v1", Role::Visitor));
    for headers in [vec![], vec![("client-id", "page")]] {
        let page = |token| [vec![("passcode", token)], headers.clone()].concat();
        let mut agent = Client::connect(server.at, &page(&as_agent)).await;
        agent.subscribe("0", THREAD, "client").await;
        agent.leave().await;
        let uid = format!("m{}", headers.len());
        let mut among_staff = text(THREAD, &uid, "among staff");
        among_staff["type"] = "TRANSFER".into();
        let mut other = Client::connect(server.at, &[("passcode", &world.agent())]).await;
        let send = Frame::new(Command::Send)
            .with_header("destination", "/app/org.agent.a1.v1")
            .with_header("receipt", "sent")
            .with_body(among_staff.to_string());
        other.send(&send).await;
        other.receipt("sent").await;
        say(&world, &server, &[&format!("for both {uid}")]).await;
        let mut visitor = Client::connect(server.at, &page(&as_visitor)).await;
        let from = subscribe_frame("0", THREAD, "client").with_header("longwire-after", "0");
        visitor.send(&from).await;
        let seen = visitor.message().await;
        assert_ne!(body(&seen)["type"], "TRANSFER");
        visitor.ack(&seen).await;
        visitor.leave().await;
        let mut agent = Client::connect(server.at, &page(&as_agent)).await;
        agent.subscribe("0", THREAD, "client").await;
        let owed = agent.messages(2).await;
        assert_eq!(
            contents(&owed),
            ["among staff".to_owned(), format!("for both {uid}")]
        );
        agent.ack(&owed[1]).await;
        agent.leave().await;
    }
}

#[tokio::test]
async fn a_client_id_makes_pages_independent() {
    let world = World::new().await;
    let server = world.server().await;
    for id in ["one", "two"] {
        let mut page = Client::connect(server.at, &[("login", "v1"), ("client-id", id)]).await;
        page.subscribe("0", THREAD, "client").await;
        page.leave().await;
    }
    say(&world, &server, &["a"]).await;
    for id in ["one", "two"] {
        let mut page = Client::connect(server.at, &[("login", "v1"), ("client-id", id)]).await;
        page.subscribe("0", THREAD, "client").await;
        let seen = page.message().await;
        page.ack(&seen).await;
        page.leave().await;
    }
}

#[tokio::test]
async fn an_edge_that_is_killed_repeats_only_what_it_had_not_stored() {
    let world = World::new().await;
    let of_edge = edge::Config {
        save_interval: HumanDuration::from_millis(20),
        ..edge::Config::default()
    };
    let one = world
        .server_on(stomp_edge::Config::default(), of_edge, &world.auth)
        .await;
    let two = world.server().await;
    let mut visitor = Client::visitor(one.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    say(&world, &two, &["a", "b", "c"]).await;
    let seen = visitor.messages(3).await;
    visitor.ack(&seen[1]).await;
    visitor.nothing_else().await;
    // One write may have been under way, another one due: the third knows of the ACK.
    for text in ["d", "e", "f"] {
        let before = one.metric("stored_states_total");
        say(&world, &two, &[text]).await;
        visitor.message().await;
        eventually("the progress being stored", async || {
            one.metric("stored_states_total") > before
        })
        .await;
    }
    one.tasks.kill();
    let mut visitor = Client::visitor(two.at, "v1").await;
    visitor.subscribe("0", THREAD, "client").await;
    assert_eq!(contents(&visitor.messages(4).await), ["c", "d", "e", "f"]);
    visitor.nothing_else().await;
}
