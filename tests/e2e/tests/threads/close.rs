//! Conversations end: by either side, by themselves; and go on with the visitor's next message.

use serde_json::json;
use testkit::chat::{self, DESK, Message};
use testkit::{DEADLINE, eventually, http};

use crate::team::{Agent, Team, Visitor, WAYS, Way};

const GROUP: &str = "ann_only";

/// Both sides are told once, and the visitor's next message, over any protocol, opens it again.
async fn ends_and_goes_on(team: &Team, way: Way, ann: &mut Agent, visitor: &mut Visitor, told: &str) {
    let heard = visitor.hears_up_to(|heard| heard["type"] == told).await;
    assert_eq!(heard.iter().filter(|m| m["type"] == told).count(), 1);
    let topic = visitor.topic.clone();
    let is_told = |m: &Message| m.r#type == told && chat::topic(m) == topic;
    ann.hears_up_to(is_told).await;
    eventually("it is closed", DEADLINE, async || {
        (team.status(visitor).await == "CLOSED").then_some(())
    })
    .await;

    let message = visitor.text("are you there?");
    visitor.voice(team, way).await.say(&message).await;
    let heard = ann.hears_up_to(|heard| heard.uid == message.uid).await;
    assert!(!heard.iter().any(is_told), "told twice");
    eventually("it is open again", DEADLINE, async || {
        (team.status(visitor).await == "CHATTING").then_some(())
    })
    .await;
    let answer = chat::text(&topic, DESK, "I am");
    ann.voice(team, way).await.say(&answer).await;
    visitor
        .hears_up_to(|heard| heard["uid"] == answer.uid.as_str())
        .await;
}

#[tokio::test]
async fn either_side_ends_a_conversation_and_the_visitors_next_message_opens_it() {
    let mut team = Team::start("").await;
    team.group(GROUP, &[DESK]).await;
    let mut ann = team.agent(DESK, "d").await;
    for way in WAYS {
        let uid = format!("v-{way:?}");
        team.asks(&uid, GROUP).await;
        let mut visitor = team.page(&uid, GROUP).await;
        let of = json!({ "topic": visitor.topic });
        for path in ["/api/v1/thread/close", "/api/v1/thread/close/topic"] {
            ann.post(&team, path, &of).await.data();
            // Again: nothing.
            ann.post(&team, path, &of).await.data();
            ends_and_goes_on(&team, way, &mut ann, &mut visitor, "AGENT_CLOSED").await;
        }
        let path = "/visitor/api/v1/thread/close";
        http::post(team.http(), path, Some(&visitor.token), &of)
            .await
            .data();
        ends_and_goes_on(&team, way, &mut ann, &mut visitor, "VISITOR_CLOSED").await;
    }
    team.server.assert_unhurt();
}

#[tokio::test]
async fn a_conversation_in_which_nothing_is_said_ends_by_itself() {
    let team = Team::start("[chat]\nauto_close = \"2s\"\n").await;
    team.group(GROUP, &[DESK]).await;
    let mut ann = team.agent(DESK, "d").await;
    for way in WAYS {
        let uid = format!("v-{way:?}");
        team.asks(&uid, GROUP).await;
        let mut visitor = team.page(&uid, GROUP).await;
        ends_and_goes_on(&team, way, &mut ann, &mut visitor, "AUTO_CLOSED").await;
    }
}

#[tokio::test]
async fn nobody_ends_a_conversation_of_others() {
    let team = Team::start("").await;
    team.group(GROUP, &[DESK]).await;
    let mut ann = team.agent(DESK, "d").await;
    let bob = team.agent(chat::DESK2, "d").await;
    team.asks("v1", GROUP).await;
    let visitor = team.page("v1", GROUP).await;
    let other = team.page("v2", GROUP).await;
    let of = json!({ "topic": visitor.topic });
    for path in [
        "/api/v1/thread/close",
        "/api/v1/thread/close/topic",
        "/api/v1/thread/leave",
    ] {
        bob.post(&team, path, &of).await.assert_error(404);
    }
    let path = "/visitor/api/v1/thread/close";
    for token in [Some(other.token.as_str()), None] {
        let reply = http::post(team.http(), path, token, &of).await;
        assert!([401, 403, 404].contains(&reply.status), "{}", reply.text);
    }
    assert_eq!(team.status(&visitor).await, "CHATTING");
    let message = visitor.text("still here");
    visitor.voice(&team, Way::Stomp).await.say(&message).await;
    let heard = ann.hears_up_to(|heard| heard.uid == message.uid).await;
    assert!(heard.iter().all(|m| !m.r#type.contains("CLOSED")));
}
