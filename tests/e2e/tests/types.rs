//! Who may send which type of message, over every protocol, and that nobody is told more than the server knows of a sender.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use e2e::{agent, agent_token, agent_v5, field, history, thread_of, visitor, visitor_token};
use serde_json::json;
use testkit::chat::{self, DESK, Message, Thread, User};
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode, Version};
use testkit::stomp::{self, Command, Frame, Stomp};
use testkit::{DEADLINE, Longwire, TokenSpec, http};

/// What a visitor once sent as the system, and an agent believed.
const OF_OTHERS: [&str; 8] = [
    "TRANSFER_ACCEPT",
    "NOTICE",
    "AUTO_CLOSED",
    "EVENT",
    "MEMBERSHIP",
    "ERROR",
    "notice",
    "Transfer_Accept",
];

/// A message of the visitor `v1` in which everything is claimed that can be.
fn forged(kind: &str) -> Message {
    let topic = thread_of("v1");
    let mut message = chat::message(kind, &chat::uid(), &topic, "v1", "{}");
    message.channel = "SYSTEM".into();
    message.user.as_mut().unwrap().r#type = "SYSTEM".into();
    message.thread = Some(Thread {
        uid: "another".into(),
        topic,
        r#type: "GROUP".into(),
        state: "CLOSED".into(),
        user: Some(User {
            uid: "boss".into(),
            nickname: "The boss".into(),
            r#type: "AGENT".into(),
            ..User::default()
        }),
        channel: "SYSTEM".into(),
        extra: "{\"a\":1}".into(),
    });
    message
}

async fn visitor_mqtt(server: &Longwire, version: Version) -> Mqtt {
    let token = visitor_token(server, "v1").await;
    let options = Options::new(version, &format!("v1/web/{}", chat::uid())).token(&token);
    Mqtt::connect(server, options).await
}

/// The agent hears this next: nothing of what was refused.
async fn hears_next(agent: &mut Mqtt, message: &Message) {
    assert_eq!(agent.hear().await.uid, message.uid);
}

#[tokio::test]
async fn what_is_not_a_visitors_to_send_is_refused_over_mqtt() {
    let mut server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent_v5(&server).await;
    let mut five = visitor_mqtt(&server, Version::V5).await;
    for kind in OF_OTHERS {
        let payload = chat::encode(&forged(kind));
        let ack = five.publish(&topic, payload, QoS::AtLeastOnce).await.unwrap();
        assert_eq!(ack.reason, ReasonCode::NotAuthorized, "{kind}");
        let said = format!("{:?}", ack.properties);
        assert!(said.contains(&kind.to_ascii_uppercase()), "{kind}: {said}");
        // 3.1.1 has no word for it, and never a silent acknowledgement.
        let mut three = visitor_mqtt(&server, Version::V311).await;
        three
            .start_publish(&topic, chat::encode(&forged(kind)), QoS::AtLeastOnce)
            .await;
        three.closed_by_server(DEADLINE).await;
    }
    let marker = chat::text(&topic, "v1", "marker");
    five.say(&marker).await;
    hears_next(&mut agent, &marker).await;
    server.assert_unhurt();
}

#[tokio::test]
async fn what_is_not_a_visitors_to_send_is_refused_over_stomp_and_http() {
    let mut server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    for kind in OF_OTHERS {
        let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
        page.start_say(&forged(kind)).await;
        let error = page.error().await;
        assert_eq!(error.get("code"), Some("forbidden"), "{kind}: {error:?}");
        let said = String::from_utf8_lossy(&error.body);
        assert!(said.contains(&kind.to_ascii_uppercase()), "{kind}: {said}");
        let path = "/visitor/api/v1/message/send";
        http::say(server.at().http, path, Some(&token), &forged(kind))
            .await
            .assert_error(403);
    }
    let mut page = visitor(&server, "v1").await;
    let marker = chat::text(&topic, "v1", "marker");
    page.say(&marker).await;
    hears_next(&mut agent, &marker).await;
    server.assert_unhurt();
}

#[tokio::test]
async fn what_a_visitor_claims_of_itself_and_its_thread_is_not_what_an_agent_hears() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent(&server).await;
    let token = visitor_token(&server, "v1").await;
    let opening = json!({ "uid": "v1", "orgUid": chat::ORG, "sid": DESK, "type": "0" });
    let opened = http::post(server.at().http, "/visitor/api/v1/thread", Some(&token), &opening).await;
    let opened = opened.data();
    let mut over_mqtt = visitor_mqtt(&server, Version::V5).await;
    let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
    let (first, second, third) = (forged("TEXT"), forged("Text"), forged("TEXT"));
    over_mqtt.say(&first).await;
    let frame = Frame::new(Command::Send)
        .with_header("destination", &format!("/app/{}", stomp::dotted(&topic)))
        .with_body(chat::encode(&second));
    page.send_and_wait(frame).await;
    http::say(
        server.at().http,
        "/visitor/api/v1/message/send",
        Some(&token),
        &third,
    )
    .await
    .data();
    for sent in [&first, &second, &third] {
        let heard = agent.hear_until(|heard| heard.uid == sent.uid).await;
        assert_eq!((heard.r#type.as_str(), heard.channel.as_str()), ("TEXT", "WEB"));
        let (user, thread) = (heard.user.unwrap(), heard.thread.unwrap());
        assert_eq!((user.uid.as_str(), user.r#type.as_str()), ("v1", "VISITOR"));
        assert_eq!(thread.user, Some(user));
        assert_eq!(
            thread.uid,
            field(&opened["thread"], "uid"),
            "as the thread is listed"
        );
        assert_eq!((thread.topic, thread.r#type.as_str()), (topic.clone(), "AGENT"));
        assert_eq!((thread.state, thread.channel, thread.extra), <_>::default());
    }
}

#[tokio::test]
async fn types_are_the_same_in_any_case() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = agent_v5(&server).await;
    let mut page = visitor(&server, "v1").await;
    let text = chat::message("Text", &chat::uid(), &topic, "v1", "hello");
    page.say(&text).await;
    assert_eq!(agent.hear().await.r#type, "TEXT");
    // What visitors are not shown, in whatever case.
    agent
        .say(&chat::message("transfer", &chat::uid(), &topic, DESK, "{}"))
        .await;
    // It is never stored, and a receipt is no message.
    agent
        .publish(
            &topic,
            chat::encode(&chat::message("typing", &chat::uid(), &topic, DESK, "")),
            QoS::AtLeastOnce,
        )
        .await;
    page.hear_until(|heard| {
        assert_ne!(heard["type"], "TRANSFER");
        heard["type"] == "TYPING"
    })
    .await;
    agent.say(&chat::about("read", &topic, DESK, &text.uid)).await;
    let heard = page.hear_until(|heard| heard["type"] == "READ").await;
    assert_eq!(field(&heard, "content"), text.uid);
    agent.say(&chat::about("recall", &topic, DESK, &text.uid)).await;
    page.hear_until(|heard| heard["type"] == "RECALL").await;
    let stored = history(&server, &token, &topic).await;
    let kinds: Vec<_> = stored.iter().map(|m| field(m, "type")).collect();
    assert_eq!(kinds, ["TEXT", "TRANSFER", "RECALL"]);
    assert_eq!(field(&stored[0], "status"), "RECALL");
}

#[tokio::test]
async fn either_side_calls_the_other_and_the_staffs_side_stays_hidden() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent_v5(&server).await;
    let mut page = visitor(&server, "v1").await;
    for kind in [
        "INVITE_AUDIO",
        "INVITE_VIDEO_ACCEPT",
        "WEBRTC_AUDIO_INVITE",
        "INVITE_VISITOR_ACCEPT",
    ] {
        let call = chat::message(kind, &chat::uid(), &topic, DESK, "{}");
        agent.say(&call).await;
        let heard = page.hear_until(|heard| heard["uid"] == call.uid.as_str()).await;
        assert_eq!(heard["type"], kind);
        let answer = chat::message(kind, &chat::uid(), &topic, "v1", "{}");
        page.say(&answer).await;
        agent.hear_until(|heard| heard.uid == answer.uid).await;
    }
    for kind in ["INVITE", "INVITE_GROUP", "TRANSFER", "invite_cancel"] {
        agent
            .say(&chat::message(kind, &chat::uid(), &topic, DESK, "{}"))
            .await;
    }
    let marker = chat::text(&topic, DESK, "marker");
    agent.say(&marker).await;
    let heard = page.hear_until(|heard| heard["user"]["uid"] == DESK).await;
    assert_eq!(heard["uid"], marker.uid.as_str());
}

#[tokio::test]
async fn a_service_speaks_as_a_robot_over_http_and_mqtt_and_as_nobodys_double() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let spec = TokenSpec {
        uid: "crm",
        role: Some("service"),
        ..TokenSpec::default()
    };
    let token = server.token(&spec).await;
    let mut page = visitor(&server, "v1").await;
    let mut agent = agent(&server).await;
    let say = |kind: &str, author: &str, of: &str| {
        let mut message = chat::message(kind, &chat::uid(), &topic, author, "{}");
        message.channel = "SYSTEM".into();
        message.user.as_mut().unwrap().r#type = of.into();
        message
    };
    let mut service = Mqtt::connect(&server, Options::v5("crm/bot/1").token(&token)).await;
    let over_http = say("ROBOT", "helper", "ROBOT");
    let path = "/api/v1/message/rest/send";
    http::say(server.at().http, path, Some(&token), &over_http)
        .await
        .data();
    let over_mqtt = say("SYSTEM", "helper", "SYSTEM");
    service.say(&over_mqtt).await;
    for (sent, of) in [(&over_http, "ROBOT"), (&over_mqtt, "SYSTEM")] {
        let heard = page.hear_until(|heard| heard["uid"] == sent.uid.as_str()).await;
        assert_eq!(
            (&heard["user"]["uid"], &heard["user"]["type"]),
            (&json!("helper"), &json!(of))
        );
        assert_eq!(
            (&heard["channel"], &heard["thread"]["user"]["uid"]),
            (&json!("SYSTEM"), &json!("v1"))
        );
        agent.hear_until(|heard| heard.uid == sent.uid).await;
    }
    for (author, of) in [(DESK, "ROBOT"), ("v1", "ROBOT"), ("agent2", "AGENT")] {
        http::say(server.at().http, path, Some(&token), &say("TEXT", author, of))
            .await
            .assert_error(403);
    }
    http::say(
        server.at().http,
        path,
        Some(&token),
        &say("ERROR", "helper", "SYSTEM"),
    )
    .await
    .assert_error(403);
}
