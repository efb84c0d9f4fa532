//! Who comes and goes, told to pages that ask.

use auth::Claims;
use contract::persistence::{Persistence, ThreadsRequest};
use model::Role;
use runtime::config::HumanDuration;
use stomp_edge::Config;

use crate::client::{Client, body, send_frame, subscribe_frame};
use crate::world::{ORG, THREAD, World, eventually};

#[tokio::test]
async fn a_subscription_that_asks_is_told_when_the_agent_comes_and_goes() {
    let world = World::new().await;
    let of_edge = edge::Config {
        presence_linger: HumanDuration::from_millis(200),
        ..edge::Config::default()
    };
    let server = world.server_on(Config::default(), of_edge, &world.auth).await;
    let token = world.token(&Claims::new("v1", Role::Visitor));
    let mut page = Client::connect(server.at, &[("passcode", &token)]).await;
    let asks = subscribe_frame("asks", THREAD, "auto")
        .with_header("longwire-presence", "true")
        .with_header("receipt", "s");
    page.send(&asks).await;
    page.receipt("s").await;
    page.subscribe("deployed", THREAD, "client").await;
    page.send(&send_frame(THREAD, "m1", "hello")).await;
    for frame in page.messages(2).await {
        assert_eq!(body(&frame)["uid"], "m1");
    }
    eventually("the thread is stored", async || {
        let request = ThreadsRequest {
            org: ORG.into(),
            identities: vec!["a1".into()],
            open: false,
            unreplied: false,
            page: 0,
            size: 1,
        };
        world.persistence.threads(request).await.unwrap().total == 1
    })
    .await;
    let agent = Client::connect(server.at, &[("passcode", &world.agent())]).await;
    assert_eq!(event(&mut page).await, "ONLINE");
    agent.leave().await;
    assert_eq!(event(&mut page).await, "OFFLINE");
    page.nothing_else().await;
}

/// What the page is told next, of agent `a1`, on the subscription that asked.
async fn event(page: &mut Client) -> String {
    let frame = page.message().await;
    assert_eq!(frame.get("subscription"), Some("asks"));
    let event = body(&frame);
    assert_eq!(event["type"], "EVENT");
    assert_eq!(event["user"]["uid"], "a1");
    assert_eq!(event["thread"]["topic"], THREAD);
    event["content"].as_str().unwrap().to_owned()
}
