//! INVITE: another agent joins, and goes again.

use e2e::field;
use serde_json::json;
use testkit::chat::{self, DESK, DESK2, Message};

use crate::team::{Agent, Team, Visitor, WAYS, Way, about};

const GROUP: &str = "ann_only";

async fn joins(team: &Team, way: Way, ann: &mut Agent, bob: &mut Agent, visitor: &Visitor) {
    let invite = ann.to(DESK2, "INVITE", &about(&visitor.topic, json!({})));
    ann.voice(team, way).await.say(&invite).await;
    bob.hears_up_to(|heard| heard.uid == invite.uid).await;
    let yes = bob.to(
        DESK,
        "INVITE_ACCEPT",
        &about(&visitor.topic, json!({ "uid": invite.uid })),
    );
    bob.voice(team, way).await.say(&yes).await;
    let told = |heard: &Message| heard.r#type == "NOTICE" && chat::topic(heard) == visitor.topic;
    bob.hears_up_to(told).await;
    ann.hears_up_to(told).await;
}

/// What both agents hear of what the visitor, and each of them, says.
async fn all_hear(team: &Team, way: Way, ann: &mut Agent, bob: &mut Agent, visitor: &mut Visitor) {
    let by_visitor = visitor.text("to both");
    visitor.voice(team, way).await.say(&by_visitor).await;
    let by_bob = chat::text(&visitor.topic, DESK2, "from the second");
    bob.voice(team, way).await.say(&by_bob).await;
    for agent in [ann, bob] {
        let heard = agent.hears_up_to(|heard| heard.uid == by_bob.uid).await;
        let texts = heard.iter().filter(|m| m.r#type == "TEXT");
        let texts: Vec<_> = texts.map(|m| &m.uid).collect();
        assert_eq!(texts, [&by_visitor.uid, &by_bob.uid], "{}, {way:?}", agent.user);
    }
    visitor
        .hears_up_to(|heard| heard["uid"] == by_bob.uid.as_str())
        .await;
}

/// The visitor's message comes to the one that stays, and to none that has gone.
async fn only_hears(team: &Team, way: Way, stays: &mut Agent, gone: &mut Agent, visitor: &mut Visitor) {
    let message = visitor.text("to one");
    visitor.voice(team, way).await.say(&message).await;
    stays.hears_up_to(|heard| heard.uid == message.uid).await;
    let marker = stays.to(gone.desk, "TEXT", "marker");
    stays.voice(team, way).await.say(&marker).await;
    let heard = gone.hears_up_to(|heard| heard.uid == marker.uid).await;
    assert!(
        heard.iter().all(|m| m.uid != message.uid),
        "{}, {way:?}",
        gone.user
    );
    let text = chat::text(&visitor.topic, gone.desk, "too late");
    gone.voice(team, way).await.be_refused(&text, "forbidden").await;
}

#[tokio::test]
async fn who_is_invited_hears_and_speaks_beside_the_first_until_it_leaves_or_is_removed() {
    let mut team = Team::start("").await;
    team.group(GROUP, &[DESK]).await;
    for way in WAYS {
        let uid = format!("v-{way:?}");
        let mut ann = team.agent(DESK, &uid).await;
        let mut bob = team.agent(DESK2, &uid).await;
        team.asks(&uid, GROUP).await;
        let mut visitor = team.page(&uid, GROUP).await;
        let topic = visitor.topic.clone();
        joins(&team, way, &mut ann, &mut bob, &visitor).await;
        all_hear(&team, way, &mut ann, &mut bob, &mut visitor).await;
        let exit = bob.to(DESK, "INVITE_EXIT", &about(&topic, json!({})));
        bob.voice(&team, way).await.say(&exit).await;
        only_hears(&team, way, &mut ann, &mut bob, &mut visitor).await;

        // Who comes again is told again, and may be removed.
        joins(&team, way, &mut ann, &mut bob, &visitor).await;
        all_hear(&team, way, &mut ann, &mut bob, &mut visitor).await;
        let removed = about(&topic, json!({ "receiver": DESK2 }));
        let removal = ann.to(DESK2, "INVITE_REMOVE", &removed);
        ann.voice(&team, way).await.say(&removal).await;
        only_hears(&team, way, &mut ann, &mut bob, &mut visitor).await;

        // The first may leave as well, by the call: the second has it then.
        joins(&team, way, &mut ann, &mut bob, &visitor).await;
        let reply = ann
            .post(&team, "/api/v1/thread/leave", &json!({ "topic": topic }))
            .await;
        reply.data();
        only_hears(&team, way, &mut bob, &mut ann, &mut visitor).await;
        assert_eq!(team.status(&visitor).await, "CHATTING");
        let again = ann
            .post(&team, "/api/v1/thread/leave", &json!({ "topic": topic }))
            .await;
        assert!([403, 404].contains(&again.status), "{}", again.text);
        // Nothing of the staff's side came to the visitor.
        let heard = visitor.hears_up_to(|heard| heard["content"] == "to one").await;
        let kinds = heard.iter().map(|m| field(m, "type"));
        assert!(
            kinds.clone().all(|kind| !kind.starts_with("INVITE")),
            "{:?}",
            kinds.collect::<Vec<_>>()
        );
    }
    team.server.assert_unhurt();
}
