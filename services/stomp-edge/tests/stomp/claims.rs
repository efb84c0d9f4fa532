//! Visitors that say who they are and do not show it.

use std::sync::atomic::Ordering;

use auth::Claims;
use backplane::presence::PresenceBook;
use contract::persistence::{Persistence, Standing};
use model::{OrgId, Role, UserId};
use runtime::config::HumanDuration;
use stomp_codec::{Command, Frame};
use stomp_edge::Config;

use crate::client::{Client, connect_frame, contents, send_frame, subscribe_frame};
use crate::world::{ORG, Server, THREAD, World, eventually};

fn visitors_token(world: &World, uid: &str) -> String {
    world.token(&Claims::new(uid, Role::Visitor))
}

/// What `POST /visitor/api/v1/init` gives for a claim.
fn claimed_token(world: &World, uid: &str) -> String {
    world.token(&Claims {
        unproven: true,
        ..Claims::new(uid, Role::Visitor)
    })
}

async fn refused(server: &Server, headers: &[(&str, &str)], code: &str) {
    let mut client = Client::raw(server.at).await;
    client.send(&connect_frame(headers)).await;
    client.error(code).await;
}

/// Waits until it is stored that the uid has been used with a token.
async fn proven(world: &World, uid: &str) {
    eventually("the proof is stored", async || {
        let standing = world.persistence.standing(&ORG.into(), &uid.into()).await;
        standing == Ok(Standing::Proven)
    })
    .await;
}

#[tokio::test]
async fn a_uid_of_the_directory_is_no_visitors_to_log_in_with() {
    let world = World::new().await;
    let server = world.server().await;
    for uid in ["agent1", "agent2", "admin", "df_ag_uid", "df_wg_uid"] {
        refused(&server, &[("login", uid)], "forbidden").await;
        refused(&server, &[("passcode", &claimed_token(&world, uid))], "forbidden").await;
        let mut nameless = Client::connect(server.at, &[]).await;
        nameless
            .send(&subscribe_frame("0", &format!("org/agent/a1/{uid}"), "auto"))
            .await;
        nameless.error("forbidden").await;
        for address in [UserId::new(uid), UserId::unproven(&uid.into())] {
            let found = world.presence.connections(&OrgId::new(ORG), &address).await;
            assert_eq!(found.unwrap(), [], "{address} is online");
        }
    }
    Client::connect(server.at, &[("login", "agent2"), ("org", "other")]).await;
}

#[tokio::test]
async fn a_uid_that_has_shown_a_token_is_of_no_use_without_one() {
    let world = World::new().await;
    let server = world.server().await;
    let (own, claimed) = (visitors_token(&world, "v1"), claimed_token(&world, "v1"));
    Client::visitor(server.at, "v1").await.leave().await;
    Client::connect(server.at, &[("passcode", &claimed)])
        .await
        .leave()
        .await;
    Client::connect(server.at, &[("passcode", &own)])
        .await
        .leave()
        .await;
    proven(&world, "v1").await;
    refused(&server, &[("login", "v1")], "unauthorized").await;
    refused(&server, &[("passcode", &claimed)], "unauthorized").await;
    let mut nameless = Client::connect(server.at, &[]).await;
    nameless.send(&send_frame(THREAD, "m1", "hello")).await;
    nameless.error("unauthorized").await;
    Client::connect(server.at, &[("passcode", &own)])
        .await
        .leave()
        .await;
    Client::visitor(server.at, "v2").await;
    Client::connect(server.at, &[("login", "v1"), ("org", "other")]).await;
}

#[tokio::test]
async fn a_claim_has_its_own_threads_and_nothing_else_with_or_without_a_token_for_it() {
    let world = World::new().await;
    let server = world.server().await;
    let token = claimed_token(&world, "v1");
    for headers in [
        [("login", "v1"), ("passcode", "")],
        [("login", "v1"), ("passcode", &token)],
    ] {
        let mut client = Client::connect(server.at, &headers).await;
        client.subscribe("0", THREAD, "client").await;
        let user_queue = Frame::new(Command::Subscribe)
            .with_header("id", "1")
            .with_header("destination", "/user/queue/messages")
            .with_header("receipt", "sub");
        client.send(&user_queue).await;
        client.receipt("sub").await;
        for topic in [
            "sensors/1",
            "user/v2",
            "org/agent/a1/v2",
            "org/df_org_uid",
            "org/member/v1/b",
        ] {
            let mut client = Client::connect(server.at, &headers).await;
            client.send(&subscribe_frame("0", topic, "auto")).await;
            client.error("forbidden").await;
        }
        let mut client = Client::connect(server.at, &headers).await;
        client
            .send(&subscribe_frame("0", THREAD, "auto").with_header("longwire-presence", "true"))
            .await;
        client.error("forbidden").await;
        for topic in ["sensors/1", "org/agent/a1/v2", "user/v1"] {
            let mut client = Client::connect(server.at, &headers).await;
            client.send(&send_frame(topic, "m1", "x")).await;
            client.error("forbidden").await;
        }
    }
}

#[tokio::test]
async fn a_claim_that_is_connected_ends_when_the_uid_is_proven() {
    let world = World::new().await;
    let of_edge = edge::Config {
        claim_check: HumanDuration::from_millis(50),
        ..edge::Config::default()
    };
    let server = world.server_on(Config::default(), of_edge, &world.auth).await;
    let mut claim = Client::visitor(server.at, "v1").await;
    let mut nameless = Client::connect(server.at, &[]).await;
    nameless.subscribe("0", THREAD, "auto").await;
    let mut other = Client::visitor(server.at, "v2").await;
    let own = visitors_token(&world, "v1");
    let mut page = Client::connect(server.at, &[("passcode", &own)]).await;
    claim.error("unauthorized").await;
    nameless.error("unauthorized").await;
    page.nothing_else().await;
    other.nothing_else().await;
}

#[tokio::test]
async fn a_claim_consumes_nothing_of_who_proved_to_be_the_visitor() {
    let world = World::new().await;
    let server = world.server().await;
    let own = visitors_token(&world, "v1");
    let mut page = Client::connect(server.at, &[("passcode", &own)]).await;
    page.subscribe("0", THREAD, "client").await;
    page.leave().await;
    let mut agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    for n in ["1", "2", "3"] {
        agent
            .send(&send_frame(THREAD, n, n).with_header("receipt", n))
            .await;
        agent.receipt(n).await;
    }
    // As long as nobody had stored that the uid is proven.
    world.persistence.blind.store(true, Ordering::Relaxed);
    let mut claim = Client::visitor(server.at, "v1").await;
    claim
        .send(&subscribe_frame("0", THREAD, "client").with_header("longwire-after", "0"))
        .await;
    let all = claim.messages(3).await;
    claim.ack(&all[2]).await;
    claim.leave().await;
    let mut page = Client::connect(server.at, &[("passcode", &own)]).await;
    page.subscribe("0", THREAD, "client").await;
    assert_eq!(contents(&page.messages(3).await), ["1", "2", "3"]);
    page.nothing_else().await;
}
