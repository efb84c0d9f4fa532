//! Nobody reads or writes what is not theirs, by whatever door.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use e2e::{
    AGENT, agent, agent_options_v5, agent_token, agent_v5, encode, history, text, thread_of, visitor,
    visitor_token,
};
use testkit::chat::{self, DESK, DESK2, WORKGROUP};
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode, Version};
use testkit::stomp::{self, Command, Frame, Stomp};
use testkit::{Longwire, TokenSpec, http};

/// Filters that match the thread of visitor `v1`, and are not for visitor `v2`.
const PRYING: [&str; 14] = [
    "org/agent/df_ag_uid/v1",
    "org/agent/df_ag_uid/v1_internal",
    "org/agent/df_ag_uid/v2_internal",
    "org/agent/df_ag_uid/+",
    "org/agent/+/v1",
    "org/agent/#",
    "+/agent/df_ag_uid/v1",
    "org/#",
    "#",
    "+/+/+/+",
    "$share/g/org/agent/df_ag_uid/v1",
    "$share/g/#",
    "user/v1",
    "user/u_agent/#",
];

#[tokio::test]
async fn a_visitor_cannot_subscribe_to_anything_that_another_thread_matches() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v2").await;
    for (version, refusal) in [
        (Version::V311, ReasonCode::UnspecifiedError),
        (Version::V5, ReasonCode::NotAuthorized),
    ] {
        let options = Options::new(version, "v2/web/d").token(&token);
        let mut client = Mqtt::connect(&server, options).await;
        for filter in PRYING {
            let granted = client.subscribe(filter, QoS::AtLeastOnce).await;
            if filter.starts_with("$share") {
                // Refused in any case; perhaps because nothing is shared here.
                assert!(granted as u8 >= 0x80, "{filter} over {version:?}: {granted:?}");
            } else {
                assert_eq!(granted, refusal, "{filter} over {version:?}");
            }
        }
        let own = client.subscribe("org/agent/df_ag_uid/v2", QoS::AtLeastOnce).await;
        assert_eq!(own, ReasonCode::GrantedQoS1);
        assert_eq!(
            client.subscribe("user/v2/#", QoS::AtLeastOnce).await,
            ReasonCode::GrantedQoS1
        );
        // What it was refused it does not get.
        let mut agent = agent(&server).await;
        agent
            .say(&chat::text(&thread_of("v1"), DESK, "for v1 only"))
            .await;
        let mine = chat::text(&thread_of("v2"), DESK, "for v2");
        agent.say(&mine).await;
        // A session that begins while its thread does may hear of it from its first message on.
        loop {
            let heard = client.hear().await;
            let topic = heard.thread.as_ref().map(|thread| thread.topic.as_str());
            assert_eq!(topic, Some(thread_of("v2").as_str()), "{heard:?}");
            if heard.uid == mine.uid {
                break;
            }
        }
    }
    for filter in PRYING.iter().filter(|filter| !filter.contains(['+', '#', '$'])) {
        let mut client = Stomp::connect(&server, stomp::Options::visitor("v2", Some(&token))).await;
        client.send(&stomp::subscribe_frame("s", filter, "auto")).await;
        assert_eq!(client.error().await.get("code"), Some("forbidden"), "{filter}");
    }
    for destination in [
        "/topic/org.agent.df_ag_uid.*",
        "/topic/org.agent.df_ag_uid.+",
        "/topic/#",
    ] {
        let mut client = Stomp::connect(&server, stomp::Options::visitor("v2", Some(&token))).await;
        let frame = Frame::new(Command::Subscribe)
            .with_header("id", "s")
            .with_header("destination", destination);
        client.send(&frame).await;
        client.error().await;
    }
}

#[tokio::test]
async fn a_visitor_cannot_write_to_another_thread() {
    let mut server = Longwire::start().await;
    let other = thread_of("v1");
    let mine = thread_of("v2");
    let token = visitor_token(&server, "v2").await;

    let intruder = chat::text(&other, "v2", "let me in");
    let mut client = Mqtt::connect(&server, Options::v5("v2/web/d").token(&token)).await;
    for published_to in [&other, &mine] {
        let ack = client
            .publish(published_to, chat::encode(&intruder), QoS::AtLeastOnce)
            .await
            .unwrap();
        assert_eq!(
            ack.reason,
            ReasonCode::NotAuthorized,
            "the payload's thread counts, not {published_to}"
        );
    }
    // The other way round it is its own thread: deployed clients publish elsewhere.
    let own = chat::text(&mine, "v2", "mine");
    let ack = client
        .publish(&other, chat::encode(&own), QoS::AtLeastOnce)
        .await
        .unwrap();
    assert!((ack.reason as u8) < 0x80, "{ack:?}");

    for destination in [&other, &mine] {
        let mut page = visitor(&server, "v2").await;
        let frame = Frame::new(Command::Send)
            .with_header("destination", &format!("/app/{}", stomp::dotted(destination)))
            .with_body(chat::to_json(&intruder).to_string());
        page.send(&frame).await;
        assert_eq!(
            page.error().await.get("code"),
            Some("forbidden"),
            "sent to {destination}"
        );
    }

    let at = server.at().http;
    http::say(at, "/visitor/api/v1/message/send", Some(&token), &intruder)
        .await
        .assert_error(403);
    http::say(at, "/api/v1/message/rest/send", Some(&token), &intruder)
        .await
        .assert_error(403);

    let agent = agent_token(&server).await;
    assert_eq!(history(&server, &agent, &other).await.len(), 0);
    let stored = history(&server, &agent, &mine).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["uid"], own.uid.as_str());
    server.assert_unhurt();
}

#[tokio::test]
async fn a_visitor_cannot_read_the_history_and_counters_of_another() {
    let server = Longwire::start().await;
    let other = thread_of("v1");
    let mut agent = agent(&server).await;
    agent.say(&chat::text(&other, DESK, "for v1 only")).await;
    let token = visitor_token(&server, "v2").await;
    let at = server.at().http;
    let topic = encode(&other);
    for path in [
        format!("/visitor/api/v1/message/thread/topic?topic={topic}&pageNumber=0&pageSize=10"),
        format!("/api/v1/message/query/topic?topic={topic}&pageNumber=0&pageSize=10"),
        format!("/api/v1/messages?topic={topic}&after=0&limit=10"),
        format!("/visitor/api/v1/messages?topic={topic}&after=0&limit=10"),
        format!("/api/v1/message/unread/count?topic={topic}"),
        format!("/visitor/api/v1/message/unread/count?uid=v1&topic={topic}"),
    ] {
        let reply = http::get(at, &path, Some(&token)).await;
        reply.assert_error(403);
        assert!(!reply.text.contains("for v1 only"));
    }
    // With wildcards in place of a topic neither.
    for topic in ["org%2Fagent%2Fdf_ag_uid%2F%2B", "%23", ""] {
        let path = format!("/visitor/api/v1/messages?topic={topic}&after=0&limit=10");
        let reply = http::get(at, &path, Some(&token)).await;
        assert!(matches!(reply.status, 400 | 403), "{topic}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_will_cannot_be_left_to_another_thread() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v2").await;
    let other = thread_of("v1");
    let json = chat::to_json(&chat::text(&other, "v2", "my last words")).to_string();
    let options = Options::v5("v2/web/d")
        .token(&token)
        .will(&other, &json, QoS::AtLeastOnce, false);
    // Either the connection is refused, or the will is never published.
    if let Ok(client) = Mqtt::try_connect(&server, options).await {
        client.vanish();
    }
    let mut agent = agent(&server).await;
    let marker = chat::text(&other, DESK, "marker");
    agent.say(&marker).await;
    assert_eq!(agent.hear().await.uid, marker.uid);
}

#[tokio::test]
async fn an_agent_has_its_own_desks_and_its_own_mailbox_only() {
    let server = Longwire::start().await;
    let mut client = agent_v5(&server).await;
    for filter in [
        "org/agent/df_ag2_uid/+",
        "org/agent/df_ag2_uid/v1",
        "org/agent/+/+",
        "user/u_agent2",
        "user/#",
        "#",
    ] {
        let granted = client.subscribe(filter, QoS::AtLeastOnce).await;
        assert_eq!(granted, ReasonCode::NotAuthorized, "{filter}");
    }
    assert_eq!(
        client.subscribe("org/agent/df_ag_uid/+", QoS::AtLeastOnce).await,
        ReasonCode::GrantedQoS1
    );
    assert_eq!(
        client.subscribe("user/u_agent/messages", QoS::AtMostOnce).await,
        ReasonCode::Success
    );
    let topic = chat::agent_topic(DESK2, "v1");
    let ack = client
        .publish(
            &topic,
            chat::encode(&chat::text(&topic, AGENT, "x")),
            QoS::AtLeastOnce,
        )
        .await;
    assert_eq!(ack.unwrap().reason, ReasonCode::NotAuthorized);
    // A mailbox is for its owner to read and for services to write.
    let note = chat::encode(&chat::text("user/u_agent", AGENT, "note to myself"));
    let ack = client.publish("user/u_agent", note, QoS::AtLeastOnce).await;
    assert_eq!(ack.unwrap().reason, ReasonCode::NotAuthorized);
    for topic in ["$SYS/x", "$internal"] {
        let ack = client.publish(topic, "x", QoS::AtLeastOnce).await;
        assert_eq!(ack.unwrap().reason, ReasonCode::NotAuthorized, "{topic}");
    }
}

#[tokio::test]
async fn organisations_never_see_each_other() {
    let server = Longwire::start().await;
    let theirs = server
        .token(&TokenSpec::agent(AGENT, &[DESK]).org("other_org"))
        .await;
    let mut stranger = Mqtt::connect(&server, agent_options_v5(&theirs, "d5")).await;
    let mut ours = agent_v5(&server).await;
    for client in [&mut stranger, &mut ours] {
        client.subscribe("shared/name", QoS::AtLeastOnce).await;
    }
    let topic = thread_of("v1");
    let ours_first = chat::text(&topic, DESK, "ours");
    ours.say(&ours_first).await;
    ours.publish("shared/name", "ours", QoS::AtLeastOnce).await;
    ours.publish_retained("shared/retained", "ours").await;
    let theirs_first = chat::text(&topic, DESK, "theirs");
    stranger.say(&theirs_first).await;
    stranger.publish("shared/name", "theirs", QoS::AtLeastOnce).await;
    for (client, chat_uid, plain) in [
        (&mut stranger, &theirs_first.uid, "theirs"),
        (&mut ours, &ours_first.uid, "ours"),
    ] {
        let mut got = [client.publish_received().await, client.publish_received().await];
        got.sort_by_key(|publish| publish.topic.as_str() == "shared/name");
        assert_eq!(chat::from_publish(&got[0]).uid, *chat_uid);
        assert_eq!(text(&got[1]), plain);
    }
    stranger.subscribe("shared/retained", QoS::AtLeastOnce).await;
    stranger.ping().await;
    assert_eq!(stranger.waiting().count(), 0);
    let ours_token = agent_token(&server).await;
    let stored = |messages: Vec<serde_json::Value>| {
        messages
            .iter()
            .map(|m| e2e::field(m, "content").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(stored(history(&server, &ours_token, &topic).await), ["ours"]);
    assert_eq!(stored(history(&server, &theirs, &topic).await), ["theirs"]);
    let claims_another_org = chat::text(&topic, DESK, "foreign extra");
    let mut message = claims_another_org.clone();
    message.extra = format!("{{\"orgUid\":\"{}\"}}", chat::ORG);
    stranger.say(&message).await;
    assert_eq!(
        history(&server, &ours_token, &topic).await.len(),
        1,
        "`extra.orgUid` moves nothing"
    );
}

#[tokio::test]
async fn what_colleagues_arrange_never_reaches_a_visitor() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut page = visitor(&server, "v1").await;
    let mut agent = agent_v5(&server).await;
    let hidden = [
        "TRANSFER",
        "TRANSFER_ACCEPT",
        "INVITE",
        "INVITE_REMOVE",
        "INVITE_KBASE",
    ];
    for kind in hidden {
        agent
            .say(&chat::message(kind, &chat::uid(), &topic, DESK, "{}"))
            .await;
    }
    let invitation = chat::message("INVITE_VISITOR", &chat::uid(), &topic, DESK, "{}");
    agent.say(&invitation).await;
    assert_eq!(page.hear().await["uid"], invitation.uid.as_str(), "live");
    page.vanish();
    let mut page = visitor(&server, "v1").await;
    for kind in hidden {
        agent
            .say(&chat::message(kind, &chat::uid(), &topic, DESK, "{}"))
            .await;
    }
    let marker = chat::text(&topic, DESK, "marker");
    agent.say(&marker).await;
    let next = page
        .hear_until(|heard| heard["uid"] != invitation.uid.as_str())
        .await;
    assert_eq!(next["uid"], marker.uid.as_str(), "after a reconnect");
    let token = visitor_token(&server, "v1").await;
    let kinds: Vec<_> = history(&server, &token, &topic)
        .await
        .iter()
        .map(|m| e2e::field(m, "type").to_owned())
        .collect();
    assert_eq!(kinds, ["INVITE_VISITOR", "TEXT"], "in history");
    let mut replay = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
    replay
        .subscribe("all", &topic, "auto", &[("longwire-after", "0")])
        .await;
    assert_eq!(replay.hear().await["type"], "INVITE_VISITOR", "in a replay");
    assert_eq!(replay.hear().await["type"], "TEXT", "in a replay");
}

#[tokio::test]
async fn a_workgroup_thread_is_its_members_and_its_visitors() {
    let server = Longwire::start().await;
    let at = server.at().http;
    let token = visitor_token(&server, "v1").await;
    let mut agents = Vec::new();
    for (name, desk) in [("agent1", DESK), ("agent2", DESK2)] {
        let body = serde_json::json!({ "username": name, "password": name });
        let login = http::post(at, "/auth/v1/login", None, &body).await.data();
        let token = login["accessToken"].as_str().unwrap().to_owned();
        let uid = e2e::field(&login["user"], "uid");
        let options = Options::v5(&format!("{uid}/web/d")).persistent().token(&token);
        agents.push((desk, token, Mqtt::connect(&server, options).await));
    }
    let body = serde_json::json!({ "uid": "v1", "orgUid": chat::ORG, "sid": WORKGROUP, "type": "1" });
    let data = http::post(at, "/visitor/api/v1/thread", Some(&token), &body)
        .await
        .data();
    let topic = format!("org/workgroup/{WORKGROUP}/v1");
    assert_eq!(data["thread"]["topic"], topic.as_str());
    assert_eq!(data["thread"]["type"], "WORKGROUP");
    let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
    page.subscribe("s", &topic, "client", &[]).await;
    let message = chat::text(&topic, "v1", "is anybody there");
    page.say(&message).await;
    // One of the two of the workgroup is given the thread, at the latest when it is known that it is there.
    let has_it = async |token: &str| {
        let path = "/api/v1/thread/query?pageNumber=0&pageSize=50";
        let threads = http::get(at, path, Some(token)).await.data();
        let mine = threads["content"].as_array().unwrap();
        mine.iter().any(|thread| thread["topic"] == topic.as_str())
    };
    let given = testkit::eventually("somebody has the thread", testkit::DEADLINE, async || {
        for (n, (_, token, _)) in agents.iter().enumerate() {
            if has_it(token).await {
                return Some(n);
            }
        }
        None
    })
    .await;
    let (desk, _, mut client) = agents.swap_remove(given);
    client.hear_until(|heard| heard.uid == message.uid).await;
    let answer = chat::text(&topic, desk, "yes");
    client.say(&answer).await;
    page.hear_until(|heard| heard["uid"] == answer.uid.as_str()).await;
    client.hear_until(|heard| heard.uid == answer.uid).await;
    let (desk, _, mut colleague) = agents.remove(0);
    let uninvited = chat::encode(&chat::text(&topic, desk, "no"));
    let refused = colleague.publish(&topic, uninvited, QoS::AtLeastOnce).await;
    assert_eq!(refused.unwrap().reason, ReasonCode::NotAuthorized);
    let outsider = visitor_token(&server, "v2").await;
    let mut other = Stomp::connect(&server, stomp::Options::visitor("v2", Some(&outsider))).await;
    other.send(&stomp::subscribe_frame("s", &topic, "client")).await;
    assert_eq!(other.error().await.get("code"), Some("forbidden"));
}

#[tokio::test]
async fn a_refused_publish_of_3_1_1_closes_and_is_never_acknowledged() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v2").await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut client = Mqtt::connect(&server, Options::v311("v2/web/d").token(&token)).await;
        let other = thread_of("v1");
        client
            .start_publish(&other, chat::encode(&chat::text(&other, "v2", "x")), qos)
            .await;
        let said = client.receive_until_closed().await;
        assert!(said.is_empty(), "{said:?}");
    }
}
