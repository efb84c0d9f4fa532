//! Who may send which type of message, and what others are told of a sender.

use model::Role;
use testkit::DEADLINE;
use testkit::chat::{self, agent_topic};
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode, Refused, Version};

use crate::rig::{Edge, Rig};

/// What visitors once sent as the system, and agents believed.
const OF_OTHERS: [&str; 7] = [
    "TRANSFER_ACCEPT",
    "NOTICE",
    "AUTO_CLOSED",
    "EVENT",
    "MEMBERSHIP",
    "ERROR",
    "notice",
];

async fn connect(rig: &Rig, edge: &Edge, user: &str, role: Role, version: Version) -> Mqtt {
    edge.connect(options(rig, user, role, version)).await
}

fn options(rig: &Rig, user: &str, role: Role, version: Version) -> Options {
    let aliases: &[&str] = if role == Role::Agent { &["desk"] } else { &[] };
    let token = rig.token(user, role, aliases);
    Options::new(version, &format!("{user}/web/{}", chat::uid())).token(&token)
}

#[tokio::test]
async fn what_is_not_a_visitors_to_send_is_refused_and_reaches_nobody() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let topic = agent_topic("desk", "v");
    let mut agent = connect(&rig, &edge, "u", Role::Agent, Version::V5).await;
    let mut visitor = connect(&rig, &edge, "v", Role::Visitor, Version::V5).await;
    for kind in OF_OTHERS {
        let mut forged = chat::message(kind, &chat::uid(), &topic, "v", "{}");
        forged.channel = "SYSTEM".into();
        let ack = visitor
            .publish(&topic, chat::encode(&forged), QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(ack.reason, ReasonCode::NotAuthorized, "{kind}");
        let said = format!("{:?}", ack.properties);
        assert!(said.contains(&kind.to_ascii_uppercase()), "{kind}: {said}");
        let mut old = connect(&rig, &edge, "v", Role::Visitor, Version::V311).await;
        old.start_publish(&topic, chat::encode(&forged), QoS::AtLeastOnce)
            .await;
        old.closed_by_server(DEADLINE).await;
        // Nor by dying.
        let will = chat::to_json(&forged).to_string();
        let dying =
            options(&rig, "v", Role::Visitor, Version::V5).will(&topic, &will, QoS::AtLeastOnce, false);
        match edge.try_connect(dying).await {
            Err(Refused::ConnAck(ack)) => assert_eq!(ack.reason, ReasonCode::NotAuthorized, "{kind}"),
            other => panic!("{kind}: {other:?}"),
        }
    }
    let mut marker = chat::text(&topic, "v", "marker");
    marker.channel = "SYSTEM".into();
    marker.thread.as_mut().unwrap().state = "CLOSED".into();
    visitor.say(&marker).await;
    let heard = agent.hear().await;
    assert_eq!(
        (heard.uid.as_str(), heard.channel.as_str()),
        (marker.uid.as_str(), "WEB")
    );
    let thread = heard.thread.unwrap();
    assert_eq!((thread.state.as_str(), thread.user), ("", heard.user));
    assert_ne!(thread.uid, marker.thread.unwrap().uid);
}

#[tokio::test]
async fn a_service_publishes_as_a_robot_to_a_conversation_and_to_a_user() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let topic = agent_topic("desk", "v");
    let mut agent = connect(&rig, &edge, "u", Role::Agent, Version::V5).await;
    let mut service = connect(&rig, &edge, "crm", Role::Service, Version::V5).await;
    let mut answer = chat::message("ROBOT", &chat::uid(), &topic, "helper", "{}");
    answer.channel = "SYSTEM".into();
    answer.user.as_mut().unwrap().r#type = "ROBOT".into();
    service.say(&answer).await;
    let heard = agent.hear().await;
    let user = heard.user.unwrap();
    assert_eq!((user.uid.as_str(), user.r#type.as_str()), ("helper", "ROBOT"));
    assert_eq!(
        (
            heard.channel.as_str(),
            heard.thread.unwrap().user.unwrap().uid.as_str()
        ),
        ("SYSTEM", "v")
    );
    let mut notice = chat::message("NOTICE", &chat::uid(), "user/u", "crm", "maintenance");
    notice.user.as_mut().unwrap().r#type = String::new();
    service.say(&notice).await;
    assert_eq!(agent.hear().await.user.unwrap().r#type, "SYSTEM");
    // It is not shown what does not name it.
    let granted = service.subscribe(&topic, QoS::AtLeastOnce).await;
    assert_eq!(granted, ReasonCode::NotAuthorized);
    answer.uid = chat::uid();
    answer.user.as_mut().unwrap().uid = "v".into();
    let ack = service
        .publish(&topic, chat::encode(&answer), QoS::AtLeastOnce)
        .await;
    assert_eq!(
        ack.unwrap().reason,
        ReasonCode::NotAuthorized,
        "it is not the visitor"
    );
}
