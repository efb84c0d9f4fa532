//! Visitors who wait: their places, and that each place that becomes free is one visitor's.

use serde_json::{Value, json};
use testkit::chat::{self, DESK, DESK2};

use crate::team::{Team, Visitor, WAYS};

const GROUP: &str = "one_at_a_time";

/// The place that a message tells of.
fn place(message: &Value) -> u64 {
    let content: Value = serde_json::from_str(message["content"].as_str().unwrap()).unwrap();
    content["position"].as_u64().unwrap()
}

async fn is_told(visitor: &mut Visitor, wanted: u64) {
    visitor
        .hears_up_to(|heard| heard["type"] == "QUEUE_UPDATE" && place(heard) == wanted)
        .await;
}

#[tokio::test]
async fn who_waits_is_told_its_place_and_served_in_turn_from_its_first_message_on() {
    let mut team = Team::start("").await;
    let one = json!({ "userUid": "agent1", "nickname": "Ann", "maxThreads": 1 });
    team.put(&format!("agents/{DESK}"), one).await;
    // The visitor with whom the desk is tried has the agent's only place.
    let mut ann = team.agent(DESK, "d").await;
    team.group(GROUP, &[DESK]).await;
    let mut visitors = Vec::new();
    for (place_of, way) in (1..).zip(WAYS) {
        let uid = format!("v-{way:?}");
        let mut visitor = team.page(&uid, GROUP).await;
        let greeted = team.asks(&uid, GROUP).await;
        assert_eq!(greeted["type"], "QUEUE", "{greeted}");
        is_told(&mut visitor, place_of).await;
        let message = visitor.text("is anybody there?");
        visitor.voice(&team, way).await.say(&message).await;
        assert_eq!(team.status(&visitor).await, "QUEUING");
        visitors.push((visitor, message));
    }
    let mut busy = crate::team::topic(GROUP, &format!("first-{GROUP}"));
    for i in 0..visitors.len() {
        let closed = json!({ "topic": busy });
        ann.post(&team, "/api/v1/thread/close", &closed).await.data();
        let (visitor, message) = &mut visitors[i];
        visitor.hears_up_to(|heard| heard["type"] == "QUEUE_ACCEPT").await;
        busy.clone_from(&visitor.topic);
        let heard = ann.hears_up_to(|heard| heard.r#type == "QUEUE_ACCEPT").await;
        assert_eq!(
            chat::topic(heard.last().unwrap()),
            busy,
            "the one that waits longest"
        );
        let said = heard.iter().filter(|m| m.uid == message.uid);
        assert_eq!(said.count(), 1, "what it said while it waited");
        for (next, (visitor, _)) in (1..).zip(&mut visitors[i + 1..]) {
            is_told(visitor, next).await;
            assert_eq!(team.status(visitor).await, "QUEUING");
        }
    }
    team.server.assert_unhurt();
}

#[tokio::test]
async fn who_waits_for_a_desk_whose_agents_are_away_is_given_to_the_first_who_comes() {
    let team = Team::start("").await;
    let ann = team.agent(DESK, "d").await;
    let set = |status: &str| json!({ "status": status });
    ann.post(&team, "/api/v1/agent/status", &set("AWAY")).await.data();
    testkit::eventually("the agent is away", testkit::DEADLINE, async || {
        let path = "/api/v1/agent/query";
        let known = testkit::http::get(team.http(), path, Some(&ann.token))
            .await
            .data();
        (known["status"] == "AWAY").then_some(())
    })
    .await;
    team.group("both", &[DESK, DESK2]).await;
    team.asks("v1", "both").await;
    let mut visitor = team.page("v1", "both").await;
    let message = visitor.text("hello?");
    visitor.voice(&team, WAYS[0]).await.say(&message).await;
    assert_eq!(team.status(&visitor).await, "OFFLINE");
    let mut bob = team.agent(DESK2, "d").await;
    visitor.hears_up_to(|heard| heard["type"] == "QUEUE_ACCEPT").await;
    let heard = bob.hears_up_to(|heard| heard.uid == message.uid).await;
    assert_eq!(heard.iter().filter(|m| m.uid == message.uid).count(), 1);
}
