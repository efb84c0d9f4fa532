//! A session that is resumed with a token of fewer rights, and then by its rightful holder.

use model::Role;
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Mqtt, Options, QoS, Subscription, utf8};

use crate::rig::{Edge, Rig};

const DESKS: [&str; 2] = ["desk1", "desk2"];

struct Tokens {
    whole: String,
    lesser: Vec<String>,
}

fn tokens(rig: &Rig) -> Tokens {
    Tokens {
        whole: rig.token("u1", Role::Agent, &DESKS),
        lesser: vec![
            rig.token("u1", Role::Visitor, &[]),
            rig.token("u1", Role::Visitor, &DESKS),
            rig.token("u1", Role::Agent, &DESKS[..1]),
            rig.token("u1", Role::Agent, &[]),
        ],
    }
}

async fn connect(edge: &Edge, token: &str) -> Mqtt {
    let options = Options::v5("u1/web/1").persistent().token(token);
    edge.connect(options).await
}

async fn page(rig: &Rig, edge: &Edge) -> Mqtt {
    let token = rig.token("v1", Role::Visitor, &[]);
    edge.connect(Options::v5("v1/web/1").token(&token)).await
}

/// Five messages for the second desk.
async fn say_five(page: &mut Mqtt, round: &str) -> Vec<String> {
    let mut said = Vec::new();
    for n in 0..5 {
        let message = chat::text(&agent_topic(DESKS[1], "v1"), "v1", &format!("{round} {n}"));
        page.say(&message).await;
        said.push(message.content);
    }
    said
}

async fn heard(client: &mut Mqtt, round: &str, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let message = client.hear_until(|m| m.content.starts_with(round)).await;
        heard.push(message.content);
    }
    heard
}

#[tokio::test]
async fn what_a_holder_may_not_see_is_kept_for_the_one_who_may() {
    let rig = Rig::start().await;
    let (one, two) = (rig.edge().await, rig.edge().await);
    let tokens = tokens(&rig);
    let mut page = page(&rig, &one).await;
    connect(&one, &tokens.whole).await.disconnect().await;
    for (n, lesser) in tokens.lesser.iter().enumerate() {
        let round = format!("round {n}");
        let mut all = say_five(&mut page, &round).await;
        let mut client = connect(&two, lesser).await;
        assert!(
            client.connack.session_present,
            "{round}: the session is the user's"
        );
        // Both while it was away and while it is there.
        all.extend(say_five(&mut page, &format!("{round}, live")).await);
        let own = match n {
            0 | 1 => agent_topic("elsewhere", "u1"),
            _ => agent_topic("u1", "v2"),
        };
        client.say(&chat::text(&own, "u1", "own")).await;
        let first = client.hear_until(|m| m.r#type == "TEXT").await.content;
        assert_eq!(first, "own", "{round}: nothing of the desk came before");
        client.ping().await;
        client.disconnect().await;
        let mut back = connect(&one, &tokens.whole).await;
        assert_eq!(heard(&mut back, &round, 10).await, all, "{round}");
        back.ping().await;
        back.disconnect().await;
    }
}

#[tokio::test]
async fn a_subscription_that_one_holder_may_not_have_is_there_for_the_next_who_may() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let tokens = tokens(&rig);
    let mut page = page(&rig, &edge).await;
    let thread = agent_topic(DESKS[1], "v1");
    let mut whole = connect(&edge, &tokens.whole).await;
    let subscription = Subscription::new(utf8(&thread), QoS::AtLeastOnce);
    let granted = whole.subscribe_as(7, vec![subscription]).await;
    assert!(!granted[0].is_error());
    whole.subscribe("sensors/1", QoS::AtLeastOnce).await;
    whole.disconnect().await;
    let mut visitor = connect(&edge, &tokens.lesser[0]).await;
    visitor.unsubscribe("sensors/1").await;
    visitor.disconnect().await;
    let mut whole = connect(&edge, &tokens.whole).await;
    page.say(&chat::text(&thread, "v1", "to the subscription")).await;
    let publish = whole.publish_received().await;
    let ids = publish.properties.map(|p| p.subscription_identifiers.len());
    assert_eq!(ids, Some(1), "the subscription and its identifier are there");
    let sent = whole.publish("sensors/1", "x", QoS::AtLeastOnce).await.unwrap();
    assert!(!sent.reason.is_error());
    page.say(&chat::text(&thread, "v1", "next")).await;
    assert_eq!(
        chat::from_publish(&whole.publish_received().await).content,
        "next"
    );
}
