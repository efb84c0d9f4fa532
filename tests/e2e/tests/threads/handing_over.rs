//! TRANSFER: another agent has the conversation, from one place of it on.

use std::sync::atomic::{AtomicBool, Ordering};

use e2e::{field, history, position};
use serde_json::json;
use testkit::chat::{self, DESK, DESK2, Message};

use crate::team::{Agent, Team, Visitor, WAYS, Way, about, topic};

const GROUP: &str = "ann_only";

/// The visitor writes until the conversation is handed over, and a little more.
async fn write(team: &Team, visitor: &Visitor, way: Way, is_over: &AtomicBool) -> Vec<String> {
    let mut voice = visitor.voice(team, way).await;
    let (mut sent, mut after) = (Vec::new(), 0);
    while after < 5 {
        after += usize::from(is_over.load(Ordering::Acquire));
        let message = visitor.text(&sent.len().to_string());
        voice.say(&message).await;
        sent.push(message.uid);
    }
    sent
}

/// Offers the conversation, and the colleague answers: the offer and the answer.
async fn offer(team: &Team, way: Way, ann: &Agent, bob: &mut Agent, topic: &str, answer: &str) -> Message {
    let offer = ann.to(bob.desk, "TRANSFER", &about(topic, json!({ "note": "yours" })));
    ann.voice(team, way).await.say(&offer).await;
    bob.hears_up_to(|heard| heard.uid == offer.uid).await;
    let content = about(topic, json!({ "uid": offer.uid }));
    let answer = bob.to(ann.desk, answer, &content);
    bob.voice(team, way).await.say(&answer).await;
    offer
}

/// Of what was heard, what stands in the conversation's log: uids and positions.
fn of_thread(heard: &[Message], topic: &str) -> Vec<(String, u64)> {
    let of = heard.iter().filter(|m| chat::topic(m) == topic && m.position > 0);
    of.filter(|m| m.r#type == "TEXT" || m.r#type == "NOTICE")
        .map(|m| (m.uid.clone(), m.position))
        .collect()
}

async fn is_handed_over(team: &Team, way: Way) {
    let (device, uid) = (format!("{way:?}"), format!("visitor-{way:?}"));
    let mut ann = team.agent(DESK, &device).await;
    let mut bob = team.agent(DESK2, &device).await;
    assert_eq!(team.asks(&uid, GROUP).await["user"]["uid"], DESK);
    let mut visitor = team.page(&uid, GROUP).await;
    let topic = visitor.topic.clone();
    let is_over = AtomicBool::new(false);
    let (sent, ()) = tokio::join!(write(team, &visitor, way, &is_over), async {
        offer(team, way, &ann, &mut bob, &topic, "TRANSFER_ACCEPT").await;
        is_over.store(true, Ordering::Release);
    });
    let last = sent.last().unwrap().clone();

    // The change is an entry of the conversation's log: with it one has its last, the other its first.
    let all = history(&team.server, &visitor.token, &topic).await;
    let notices: Vec<_> = all.iter().filter(|m| field(m, "type") == "NOTICE").collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let change = position(notices[0]);
    let log: Vec<_> = all
        .iter()
        .filter(|m| ["TEXT", "NOTICE"].contains(&field(m, "type")))
        .map(|m| (field(m, "uid").to_owned(), position(m)))
        .collect();
    let texts: Vec<_> = log
        .iter()
        .filter(|(_, at)| *at != change)
        .map(|(uid, _)| uid.clone())
        .collect();
    assert_eq!(texts, sent, "stored once, in order");

    let heard = bob.hears_up_to(|heard| heard.uid == last).await;
    let from: Vec<_> = log.iter().filter(|(_, at)| *at >= change).cloned().collect();
    assert_eq!(of_thread(&heard, &topic), from, "the new one, {way:?}");
    // What is sent to the former one now comes behind all that it could get of the conversation.
    let marker = bob.to(DESK, "TEXT", "thanks");
    bob.voice(team, way).await.say(&marker).await;
    let heard = ann.hears_up_to(|heard| heard.uid == marker.uid).await;
    let up_to: Vec<_> = log.iter().filter(|(_, at)| *at <= change).cloned().collect();
    assert_eq!(of_thread(&heard, &topic), up_to, "the former one, {way:?}");
    let heard = visitor.hears_up_to(|heard| heard["uid"] == last.as_str()).await;
    let heard: Vec<_> = heard.iter().filter(|m| m["type"] != "WELCOME").collect();
    let seen: Vec<_> = heard
        .iter()
        .map(|m| (field(m, "uid").to_owned(), position(m)))
        .collect();
    assert_eq!(seen, log, "the visitor, who sees nothing of the staff's side");

    // History shows each its stretch, and the former one has no voice.
    for (agent, stretch) in [(&ann, &up_to), (&bob, &from)] {
        let shown = history(&team.server, &agent.token, &topic).await;
        let shown: Vec<_> = shown
            .iter()
            .filter(|m| ["TEXT", "NOTICE"].contains(&field(m, "type")))
            .map(|m| (field(m, "uid").to_owned(), position(m)))
            .collect();
        assert_eq!(&shown, stretch, "{}", agent.user);
    }
    let late = chat::text(&topic, DESK, "one more thing");
    ann.voice(team, way).await.be_refused(&late, "forbidden").await;
    let answer = chat::text(&topic, DESK2, "here I am");
    bob.voice(team, way).await.say(&answer).await;
    let heard = visitor
        .hears_up_to(|heard| heard["uid"] == answer.uid.as_str())
        .await;
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[tokio::test]
async fn a_conversation_is_handed_over_while_its_visitor_writes() {
    let mut team = Team::start("").await;
    team.group(GROUP, &[DESK]).await;
    for way in WAYS {
        is_handed_over(&team, way).await;
    }
    team.server.assert_unhurt();
}

#[tokio::test]
async fn an_offer_that_is_refused_taken_back_or_not_answered_leaves_the_conversation_as_it_was() {
    let team = Team::start("[chat]\noffer_timeout = \"2s\"\n").await;
    team.group(GROUP, &[DESK]).await;
    let mut ann = team.agent(DESK, "d").await;
    let mut bob = team.agent(DESK2, "d").await;
    for way in WAYS {
        team.asks(&format!("v-{way:?}"), GROUP).await;
        let topic = topic(GROUP, &format!("v-{way:?}"));
        let accept = |offer: &Message, bob: &Agent| {
            bob.to(
                DESK,
                "TRANSFER_ACCEPT",
                &about(&topic, json!({ "uid": offer.uid })),
            )
        };
        let refused = offer(&team, way, &ann, &mut bob, &topic, "TRANSFER_REJECT").await;
        let late = accept(&refused, &bob);
        bob.voice(&team, way).await.be_refused(&late, "not-found").await;

        let offered = ann.to(DESK2, "TRANSFER", &about(&topic, json!({})));
        ann.voice(&team, way).await.say(&offered).await;
        // Nobody takes it for another, not even the one that offers.
        let own = ann.to(
            DESK2,
            "TRANSFER_ACCEPT",
            &about(&topic, json!({ "uid": offered.uid })),
        );
        ann.voice(&team, way).await.be_refused(&own, "forbidden").await;
        let back = ann.to(
            DESK2,
            "TRANSFER_CANCEL",
            &about(&topic, json!({ "uid": offered.uid })),
        );
        ann.voice(&team, way).await.say(&back).await;
        let late = accept(&offered, &bob);
        bob.voice(&team, way).await.be_refused(&late, "not-found").await;

        let offered = ann.to(DESK2, "TRANSFER", &about(&topic, json!({})));
        ann.voice(&team, way).await.say(&offered).await;
        let told =
            |heard: &Message| heard.r#type == "TRANSFER_TIMEOUT" && heard.content.contains(&offered.uid);
        ann.hears_up_to(told).await;
        let late = accept(&offered, &bob);
        bob.voice(&team, way).await.be_refused(&late, "not-found").await;

        let text = chat::text(&topic, DESK, "still mine");
        ann.voice(&team, way).await.say(&text).await;
        let text = chat::text(&topic, DESK2, "not mine");
        bob.voice(&team, way).await.be_refused(&text, "forbidden").await;
    }
}

#[tokio::test]
async fn an_agent_of_another_organisation_takes_no_offer_and_learns_of_none() {
    let team = Team::start("").await;
    team.group(GROUP, &[DESK]).await;
    let ann = team.agent(DESK, "d").await;
    team.asks("v1", GROUP).await;
    let topic = topic(GROUP, "v1");
    let offer = ann.to(DESK2, "TRANSFER", &about(&topic, json!({})));
    ann.voice(&team, Way::Http).await.say(&offer).await;
    let spec = testkit::TokenSpec::agent("agent2", &[DESK2]).org("other");
    let mut bob = Agent {
        token: team.server.token(&spec).await,
        ..team.agent(DESK2, "d").await
    };
    let accept = bob.to(
        DESK,
        "TRANSFER_ACCEPT",
        &about(&topic, json!({ "uid": offer.uid })),
    );
    for way in WAYS {
        bob.voice(&team, way).await.be_refused(&accept, "not-found").await;
    }
    // Whom it was offered to takes it all the same.
    bob.token = team
        .server
        .token(&testkit::TokenSpec::agent("agent2", &[DESK2]))
        .await;
    bob.voice(&team, Way::Http).await.say(&accept).await;
}
