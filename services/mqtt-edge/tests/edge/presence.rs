//! Who comes and goes, told to those who ask.

use std::time::Duration;

use contract::persistence::ThreadsRequest;
use model::Role;
use runtime::config::HumanDuration;
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Mqtt, Options, QoS, Version};
use testkit::{DEADLINE, eventually};

use crate::rig::{Edge, Rig};

const PRESENCE: &str = "$longwire/presence";
/// Longer than a departure takes to be noticed, when users are not taken to be there for long.
const A_WHILE: Duration = Duration::from_secs(3);

async fn rig() -> Rig {
    let mut rig = Rig::start().await;
    rig.edge_config.presence_linger = HumanDuration::from_millis(200);
    rig
}

/// An agent who answers as `desk1`.
async fn agent(rig: &Rig, edge: &Edge, version: Version, device: &str) -> Mqtt {
    let token = rig.token("agent1", Role::Agent, &["desk1"]);
    let options = Options::new(version, &format!("agent1/web/{device}")).token(&token);
    edge.connect(options).await
}

async fn visitor(rig: &Rig, edge: &Edge) -> Mqtt {
    let token = rig.token("v1", Role::Visitor, &[]);
    edge.connect(Options::v5("v1/web/1").token(&token)).await
}

/// The visitor's first message, by which the agent's desk gets a thread.
async fn begin(rig: &Rig, page: &mut Mqtt) -> String {
    let first = chat::text(&agent_topic("desk1", "v1"), "v1", "hello");
    page.say(&first).await;
    let request = ThreadsRequest {
        org: "df_org_uid".into(),
        identities: vec!["desk1".into()],
        open: false,
        unreplied: false,
        page: 0,
        size: 1,
    };
    eventually("the thread is stored", DEADLINE, async || {
        let threads = rig.persistence.threads(request.clone()).await.unwrap();
        (threads.total == 1).then_some(())
    })
    .await;
    first.uid
}

/// The next that is told, as `author content`.
async fn told(client: &mut Mqtt) -> String {
    let event = client.hear_until(|message| message.r#type == "EVENT").await;
    assert_eq!(chat::topic(&event), agent_topic("desk1", "v1"));
    format!("{} {}", chat::author(&event), event.content)
}

async fn nothing_is_told(client: &mut Mqtt) {
    let end = tokio::time::Instant::now() + A_WHILE;
    while let Some(left) = end.checked_duration_since(tokio::time::Instant::now()) {
        let packet = client.receive_for(left).await;
        if let Some(testkit::mqtt::Packet::Publish(publish)) = packet {
            assert_ne!(chat::from_publish(&publish).r#type, "EVENT");
        }
    }
}

#[tokio::test]
async fn who_asks_is_told_when_the_other_party_comes_and_goes_on_whichever_edge() {
    let rig = rig().await;
    let (one, two) = (rig.edge().await, rig.edge().await);
    for version in [Version::V311, Version::V5] {
        let mut asks = agent(&rig, &one, version, "asks").await;
        assert!(!asks.subscribe(PRESENCE, QoS::AtMostOnce).await.is_error());
        let mut does_not = agent(&rig, &one, version, "does-not").await;
        let mut page = visitor(&rig, &two).await;
        if version == Version::V5 {
            // By now they share a thread.
            assert_eq!(told(&mut asks).await, "v1 ONLINE");
        }
        let first = begin(&rig, &mut page).await;
        asks.hear_until(|message| message.uid == first).await;
        page.disconnect().await;
        assert_eq!(told(&mut asks).await, "v1 OFFLINE", "{version:?}");
        let page = visitor(&rig, &two).await;
        assert_eq!(told(&mut asks).await, "v1 ONLINE", "{version:?}");
        page.vanish();
        assert_eq!(told(&mut asks).await, "v1 OFFLINE", "{version:?}");
        nothing_is_told(&mut does_not).await;
    }
}

#[tokio::test]
async fn a_visitor_knows_the_agent_by_its_desk_and_is_told_of_its_last_connection_only() {
    let rig = rig().await;
    let edge = rig.edge().await;
    let mut page = visitor(&rig, &edge).await;
    begin(&rig, &mut page).await;
    page.subscribe(PRESENCE, QoS::AtMostOnce).await;
    let first = agent(&rig, &edge, Version::V5, "1").await;
    assert_eq!(told(&mut page).await, "desk1 ONLINE");
    let second = agent(&rig, &edge, Version::V5, "2").await;
    first.disconnect().await;
    nothing_is_told(&mut page).await;
    second.disconnect().await;
    assert_eq!(told(&mut page).await, "desk1 OFFLINE");
}

#[tokio::test]
async fn a_connection_that_comes_back_in_time_is_no_news() {
    let mut rig = rig().await;
    rig.edge_config.presence_linger = HumanDuration::from_secs(60);
    let (one, two) = (rig.edge().await, rig.edge().await);
    let mut page = visitor(&rig, &one).await;
    begin(&rig, &mut page).await;
    let mut asks = agent(&rig, &one, Version::V5, "asks").await;
    asks.subscribe(PRESENCE, QoS::AtMostOnce).await;
    page.vanish();
    let page = visitor(&rig, &two).await;
    nothing_is_told(&mut asks).await;
    drop(page);
}

#[tokio::test]
async fn nobody_without_a_name_is_told_anything() {
    let rig = rig().await;
    let edge = rig.edge().await;
    let mut nobody = edge.connect(Options::v5("nobody")).await;
    assert!(nobody.subscribe(PRESENCE, QoS::AtMostOnce).await.is_error());
    let mut agent = agent(&rig, &edge, Version::V5, "1").await;
    assert!(agent.subscribe("$longwire/#", QoS::AtMostOnce).await.is_error());
}
