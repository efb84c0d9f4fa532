//! A thread becomes a matter of a connection that has it already.

use std::time::Duration;

use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest};
use model::{OrgId, Partitioning, Position, Role, TopicFilter};
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Options, QoS};

use crate::rig::{Edge, PARTITIONS, Rig};

/// Whether an edge has been given a notice to a user.
async fn is_told(rig: &Rig, edge: &Edge, user: &str) -> bool {
    let filter = TopicFilter::new(&format!("user/{user}")).unwrap();
    let topic = filter.as_topic().unwrap();
    let partition = Partitioning::new(PARTITIONS).of(&OrgId::new("df_org_uid"), &topic);
    let request = BacklogRequest {
        org: "df_org_uid".into(),
        lanes: vec![BacklogLane {
            partition,
            after: Position::START,
            upto: edge.core.attachments.given_out(partition),
        }],
        filters: vec![BacklogFilter {
            filter,
            start: Vec::new(),
        }],
        max_entries: 10,
        max_bytes: 1 << 20,
    };
    !rig.persistence.backlog(request).await.unwrap().entries.is_empty()
}

#[tokio::test]
async fn what_a_visitor_heard_by_its_subscription_is_not_said_again_when_it_is_told_of_its_thread() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let topic = agent_topic("desk1", "v1");
    let visitor = rig.token("v1", Role::Visitor, &[]);
    let mut visitor = edge.connect(Options::v5("v1/web/1").token(&visitor)).await;
    let granted = visitor.subscribe(&topic, QoS::AtLeastOnce).await;
    assert_eq!(granted, testkit::mqtt::ReasonCode::GrantedQoS1);
    let mut agent = edge
        .connect(Options::v5("u1/web/1").token(&rig.token("u1", Role::Agent, &["desk1"])))
        .await;
    // The thread begins by this, with the visitor as a member.
    agent.say(&chat::text(&topic, "u1", "first")).await;
    let mut heard = vec![visitor.hear().await.content];
    testkit::eventually("the visitor is told", Duration::from_secs(10), async || {
        is_told(&rig, &edge, "v1").await.then_some(())
    })
    .await;
    let service = rig.token("bot", Role::Service, &[]);
    let mut service = edge.connect(Options::v5("bot/web/1").token(&service)).await;
    service.say(&chat::text("user/v1", "bot", "told")).await;
    while heard.last().is_none_or(|last| last != "told") {
        heard.push(visitor.hear().await.content);
    }
    for content in ["second", "third"] {
        agent.say(&chat::text(&topic, "u1", content)).await;
        while heard.last().is_none_or(|last| last != content) {
            heard.push(visitor.hear().await.content);
        }
    }
    assert_eq!(heard, ["first", "told", "second", "third"]);
}
