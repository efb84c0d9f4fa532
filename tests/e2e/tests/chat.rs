//! What becomes of a message after it was sent: receipts, counters, recalls, what is never stored, resends.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use e2e::{
    agent, agent_options, agent_options_v5, agent_token, agent_v5, encode, field, history, position,
    thread_of, visitor, visitor_token,
};
use serde_json::Value;
use testkit::chat::{self, DESK, Message};
use testkit::mqtt::{Ack, Mqtt, QoS, ReasonCode};
use testkit::stomp;
use testkit::{DEADLINE, Longwire, eventually, http};

fn is(kind: &str, target: &str) -> impl Fn(&Message) -> bool {
    move |message| message.r#type == kind && message.content == target
}

fn is_json(kind: &str, target: &str) -> impl Fn(&Value) -> bool {
    move |message| message["type"] == kind && message["content"] == target
}

/// The status of a message in history.
async fn status(server: &Longwire, token: &str, topic: &str, uid: &str) -> String {
    let all = history(server, token, topic).await;
    let found = all.iter().find(|message| message["uid"] == uid);
    field(found.expect("the message is in history"), "status").to_owned()
}

async fn status_becomes(server: &Longwire, token: &str, topic: &str, uid: &str, wanted: &str) {
    let what = format!("the status of the message is {wanted}");
    eventually(&what, DEADLINE, async || {
        (status(server, token, topic, uid).await == wanted).then_some(())
    })
    .await;
}

async fn unread(server: &Longwire, token: &str, path: &str) -> u64 {
    let reply = http::get(server.at().http, path, Some(token)).await;
    reply.data().as_u64().expect("a number")
}

async fn unread_becomes(server: &Longwire, token: &str, path: &str, wanted: u64) {
    let mut last = 0;
    let what = format!("{path} is {wanted}");
    eventually(&what, DEADLINE, async || {
        last = unread(server, token, path).await;
        (last == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn puback_and_receipts_carry_uid_and_position() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent_v5(&server).await;
    let property = |ack: &Ack, name: &str| {
        let properties = ack
            .properties
            .as_ref()
            .expect("a chat message's acknowledgement has properties");
        let pair = properties
            .user_properties
            .iter()
            .find(|(key, _)| key.as_str() == name);
        pair.map(|(_, value)| value.to_string())
            .expect("the property is there")
    };
    let mut last = 0;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = chat::text(&topic, DESK, "numbered");
        let ack = agent.publish(&topic, chat::encode(&message), qos).await.unwrap();
        assert_eq!(property(&ack, "uid"), message.uid);
        let position: u64 = property(&ack, "position").parse().unwrap();
        assert!(position > last);
        last = position;
        let echo = agent.hear().await;
        assert_eq!((echo.uid, echo.position), (message.uid, position));
        assert_eq!(echo.status, "SUCCESS");
        assert!(echo.timestamp > 1_700_000_000_000);
    }
    let ack = agent.publish("ordinary", "x", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(ack.properties, None, "an ordinary message has neither");
}

#[tokio::test]
async fn every_copy_of_a_message_has_the_same_position_and_the_one_before_it() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent(&server).await;
    let mut page = visitor(&server, "v1").await;
    let mut sent = Vec::new();
    for n in 0..20 {
        let message = chat::text(&topic, if n % 2 == 0 { DESK } else { "v1" }, &n.to_string());
        if n % 2 == 0 {
            agent.say(&message).await;
        } else {
            page.say(&message).await;
        }
        sent.push(message.uid);
    }
    let token = agent_token(&server).await;
    let stored = history(&server, &token, &topic).await;
    assert_eq!(stored.iter().map(|m| field(m, "uid")).collect::<Vec<_>>(), sent);
    let mut before = None;
    for message in &stored {
        let by_mqtt = agent.hear().await;
        let by_stomp = page.hear().await;
        assert_eq!(by_mqtt.uid, field(message, "uid"));
        assert_eq!(by_stomp["uid"], message["uid"]);
        assert_eq!(by_mqtt.position, position(message));
        assert_eq!(by_stomp["position"], message["position"]);
        assert_eq!(by_mqtt.created_at, field(message, "createdAt"));
        if let (Some(prev), Some(before)) = (by_mqtt.prev, before) {
            assert_eq!(prev, before, "`prev` is the position of the message before it");
        }
        assert!(before.is_none_or(|before| before < by_mqtt.position));
        before = Some(by_mqtt.position);
    }
}

#[tokio::test]
async fn receipts_move_forward_only_and_not_by_the_author() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let mut page = visitor(&server, "v1").await;
    let message = chat::text(&topic, DESK, "have you read this");
    agent.say(&message).await;
    // Its author says nothing about it that counts.
    agent
        .say_or_be_refused(&chat::about("READ", &topic, DESK, &message.uid))
        .await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let other = chat::text(&topic, DESK, "marker");
    agent.say(&other).await;
    let seen = status(&server, &token, &topic, &message.uid).await;
    assert_ne!(seen, "READ", "the author cannot read its own message");

    page.say(&chat::about("READ", &topic, "v1", &message.uid)).await;
    agent.hear_until(is("READ", &message.uid)).await;
    status_becomes(&server, &token, &topic, &message.uid, "READ").await;
    page.say(&chat::about("DELIVERED", &topic, "v1", &message.uid))
        .await;
    page.say(&chat::about("READ", &topic, "v1", &other.uid)).await;
    status_becomes(&server, &token, &topic, &other.uid, "READ").await;
    assert_eq!(
        status(&server, &token, &topic, &message.uid).await,
        "READ",
        "DELIVERED does not undo READ"
    );
    // Receipts are the state of a message, no messages of their own.
    let kinds: Vec<_> = history(&server, &token, &topic)
        .await
        .iter()
        .map(|m| field(m, "type").to_owned())
        .collect();
    assert_eq!(kinds, ["TEXT", "TEXT"]);
}

#[tokio::test]
async fn taking_a_message_counts_as_delivered_on_either_protocol() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    agent.acknowledging = false;
    let mut page = visitor(&server, "v1").await;

    let to_agent = chat::text(&topic, "v1", "to the agent");
    page.say(&to_agent).await;
    let publish = agent.publish_received().await;
    assert_eq!(chat::from_publish(&publish).uid, to_agent.uid);
    assert_eq!(
        status(&server, &token, &topic, &to_agent.uid).await,
        "SUCCESS",
        "sent, not yet taken"
    );
    agent.acknowledge(&publish).await;
    status_becomes(&server, &token, &topic, &to_agent.uid, "DELIVERED").await;

    agent.acknowledging = true;
    let to_visitor = chat::text(&topic, DESK, "to the visitor");
    agent.say(&to_visitor).await;
    let frame = loop {
        let frame = page.message().await;
        if stomp::body(&frame)["uid"] == to_visitor.uid.as_str() {
            break frame;
        }
    };
    assert_eq!(
        status(&server, &token, &topic, &to_visitor.uid).await,
        "SUCCESS",
        "sent, not yet taken"
    );
    page.ack(&frame).await;
    status_becomes(&server, &token, &topic, &to_visitor.uid, "DELIVERED").await;
}

#[tokio::test]
async fn an_author_who_was_away_gets_the_latest_state_of_each_message_once() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let mut page = visitor(&server, "v1").await;
    let mut sent = Vec::new();
    for n in 0..5 {
        let message = chat::text(&topic, DESK, &n.to_string());
        agent.say(&message).await;
        agent.hear_until(|heard| heard.uid == message.uid).await;
        sent.push(message.uid);
    }
    agent.disconnect().await;
    for uid in &sent {
        page.hear_until(|heard| heard["uid"] == uid.as_str()).await;
        for kind in ["DELIVERED", "READ", "DELIVERED", "READ"] {
            page.say(&chat::about(kind, &topic, "v1", uid)).await;
        }
    }
    status_becomes(&server, &token, &topic, &sent[4], "READ").await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let marker = chat::text(&topic, "v1", "marker");
    page.say(&marker).await;
    let mut receipts = Vec::new();
    loop {
        let heard = agent.hear_until(|_| true).await;
        match heard.r#type.as_str() {
            "DELIVERED" | "READ" => receipts.push((heard.r#type, heard.content)),
            _ if heard.uid == marker.uid && receipts.len() >= sent.len() => break,
            _ => assert_eq!(heard.uid, marker.uid, "nothing else comes: {heard:?}"),
        }
        if receipts.len() == sent.len() {
            break;
        }
    }
    receipts.sort();
    let mut expected: Vec<_> = sent.iter().map(|uid| ("READ".to_owned(), uid.clone())).collect();
    expected.sort();
    assert_eq!(receipts, expected, "the latest state of each message, once");
}

#[tokio::test]
async fn unread_and_unreplied_count_what_others_wrote() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let visitor_token = visitor_token(&server, "v1").await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let mut page = visitor(&server, "v1").await;
    let for_agent = format!("/api/v1/message/unread/count?topic={}", encode(&topic));
    let for_visitor = "/visitor/api/v1/message/unread/count?uid=v1";

    let mut asked = Vec::new();
    for n in 0..3 {
        let message = chat::text(&topic, "v1", &n.to_string());
        page.say(&message).await;
        asked.push(message.uid);
    }
    unread_becomes(&server, &token, &for_agent, 3).await;
    unread_becomes(&server, &visitor_token, for_visitor, 0).await;
    let thread = async |query: &str| {
        let path = format!("/api/v1/thread/query?pageNumber=0&pageSize=50{query}");
        let page = http::get(server.at().http, &path, Some(&token)).await.data();
        let threads = page["content"].as_array().expect("a page has content").clone();
        threads
            .into_iter()
            .find(|thread| thread["topic"] == topic.as_str())
    };
    let listed = thread("").await.expect("the thread is listed");
    assert_eq!(listed["unreadCount"], 3, "{listed}");
    assert!(
        thread("&unreplied=true").await.is_some(),
        "nobody has answered yet"
    );

    // Typing and receipts are nothing to read; the system's words neither.
    page.send(&stomp::send_frame(&chat::message(
        "TYPING",
        &chat::uid(),
        &topic,
        "v1",
        "",
    )))
    .await;
    agent
        .say(&chat::about("DELIVERED", &topic, DESK, &asked[0]))
        .await;
    agent.say(&chat::about("READ", &topic, DESK, &asked[0])).await;
    unread_becomes(&server, &token, &for_agent, 2).await;

    agent.say(&chat::text(&topic, DESK, "an answer")).await;
    unread_becomes(&server, &visitor_token, for_visitor, 1).await;
    eventually("the thread counts as answered", DEADLINE, async || {
        thread("&unreplied=true").await.is_none().then_some(())
    })
    .await;
    for uid in &asked[1..] {
        agent.say(&chat::about("READ", &topic, DESK, uid)).await;
    }
    unread_becomes(&server, &token, &for_agent, 0).await;
}

#[tokio::test]
async fn a_recall_is_for_its_author_or_an_agent_of_the_thread_and_leaves_no_content() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options_v5(&token, "d1")).await;
    let mut page = visitor(&server, "v1").await;

    let by_agent = chat::text(&topic, DESK, "the agent's secret");
    agent.say(&by_agent).await;
    page.hear_until(|heard| heard["uid"] == by_agent.uid.as_str())
        .await;
    // The visitor may not take back what the agent wrote.
    let foreign = chat::about("RECALL", &topic, "v1", &by_agent.uid);
    page.send(&stomp::send_frame(&foreign)).await;
    let mut page = visitor(&server, "v1").await;
    let by_visitor = chat::text(&topic, "v1", "the visitor's secret");
    page.say(&by_visitor).await;
    let stored = history(&server, &token, &topic).await;
    assert!(
        stored.iter().any(|m| m["content"] == "the agent's secret"),
        "{stored:?}"
    );

    // The visitor its own, and the agent its own.
    page.say(&chat::about("RECALL", &topic, "v1", &by_visitor.uid))
        .await;
    agent.hear_until(is("RECALL", &by_visitor.uid)).await;
    agent
        .say(&chat::about("RECALL", &topic, DESK, &by_agent.uid))
        .await;
    page.hear_until(is_json("RECALL", &by_agent.uid)).await;
    // An agent what a visitor wrote.
    let abusive = chat::text(&topic, "v1", "abuse");
    page.say(&abusive).await;
    agent
        .say(&chat::about("RECALL", &topic, DESK, &abusive.uid))
        .await;
    page.hear_until(is_json("RECALL", &abusive.uid)).await;

    // A second recall of the same, and one of what never was.
    for target in ["no-such-message", &by_agent.uid] {
        let recall = chat::about("RECALL", &topic, DESK, target);
        agent
            .publish(&topic, chat::encode(&recall), QoS::AtLeastOnce)
            .await;
    }
    eventually(
        "history shows the recalls, not the contents",
        DEADLINE,
        async || {
            let text = serde_json::to_string(&history(&server, &token, &topic).await).unwrap();
            let clean = !text.contains("secret") && !text.contains("abuse");
            (clean && text.contains("RECALL")).then_some(())
        },
    )
    .await;
    // Nor does the backlog of somebody who was away.
    let mut other_device = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let visitor_token = visitor_token(&server, "v1").await;
    let mut replay =
        stomp::Stomp::connect(&server, stomp::Options::visitor("v1", Some(&visitor_token))).await;
    replay
        .subscribe("all", &topic, "auto", &[("longwire-after", "0")])
        .await;
    let marker = chat::text(&topic, DESK, "marker");
    other_device.say(&marker).await;
    let mut recalled = 0;
    loop {
        let heard = replay.hear().await;
        assert!(!field(&heard, "content").contains("secret"), "{heard}");
        recalled += usize::from(heard["type"] == "RECALL");
        if heard["uid"] == marker.uid.as_str() {
            break;
        }
    }
    assert!(recalled >= 3, "the recalls come, {recalled} of them");
}

#[tokio::test]
async fn a_recall_comes_in_its_time_or_not_at_all() {
    let server = Longwire::builder()
        .config("[chat]\nrecall_window = \"1s\"\n")
        .start()
        .await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options_v5(&token, "d1")).await;
    let late = chat::text(&topic, DESK, "too late");
    agent.say(&late).await;
    // The window is what is tested: it has to pass.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let recall = chat::about("RECALL", &topic, DESK, &late.uid);
    agent
        .publish(&topic, chat::encode(&recall), QoS::AtLeastOnce)
        .await;
    let early = chat::text(&topic, DESK, "in time");
    agent.say(&early).await;
    agent.say(&chat::about("RECALL", &topic, DESK, &early.uid)).await;
    eventually("the recall in time is in history", DEADLINE, async || {
        let all = history(&server, &token, &topic).await;
        (!all.iter().any(|m| m["content"] == "in time")).then_some(())
    })
    .await;
    let all = history(&server, &token, &topic).await;
    assert!(all.iter().any(|m| m["content"] == "too late"), "{all:?}");
}

#[tokio::test]
async fn typing_reaches_who_is_there_and_nobody_later() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let mut page = visitor(&server, "v1").await;
    for kind in ["TYPING", "PREVIEW", "PROCESSING"] {
        let message = chat::message(kind, &chat::uid(), &topic, DESK, "");
        agent
            .start_publish(&topic, chat::encode(&message), QoS::AtMostOnce)
            .await;
        let heard = page.hear_until(|heard| heard["type"] == kind).await;
        assert_eq!(heard["uid"], message.uid.as_str());
        let message = chat::message(kind, &chat::uid(), &topic, "v1", "draft");
        page.send(&stomp::send_frame(&message)).await;
        agent.hear_until(|heard| heard.uid == message.uid).await;
    }
    page.disconnect().await;
    agent.disconnect().await;
    let mut agent = Mqtt::connect(&server, agent_options(&token, "d1")).await;
    let typing = chat::message("TYPING", &chat::uid(), &topic, DESK, "");
    agent
        .start_publish(&topic, chat::encode(&typing), QoS::AtMostOnce)
        .await;
    let marker = chat::text(&topic, DESK, "marker");
    agent.say(&marker).await;
    let mut page = visitor(&server, "v1").await;
    assert_eq!(
        page.hear().await["uid"],
        marker.uid.as_str(),
        "what was typed before is over"
    );
    let stored = history(&server, &token, &topic).await;
    assert_eq!(stored.len(), 1, "nothing of it is stored: {stored:?}");
}

#[tokio::test]
async fn one_uid_sent_three_times_over_three_protocols_is_one_message() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    let mut page = visitor(&server, "v1").await;
    let options = testkit::mqtt::Options::v5("v1/web/d").token(&token);
    let mut mqtt = Mqtt::connect(&server, options).await;
    mqtt.subscribe(&topic, QoS::AtLeastOnce).await;

    let message = chat::text(&topic, "v1", "once");
    page.say(&message).await;
    let at = server.at().http;
    let stored = http::say(at, "/visitor/api/v1/message/send", Some(&token), &message)
        .await
        .data();
    let stored: Value = serde_json::from_str(stored.as_str().expect("JSON as text")).unwrap();
    let ack = mqtt.say(&message).await;
    let properties = ack
        .properties
        .expect("a resend is acknowledged with properties too");
    let place = properties
        .user_properties
        .iter()
        .find(|(key, _)| key.as_str() == "position")
        .unwrap();
    assert_eq!(
        place.1.as_str(),
        field(&stored, "position"),
        "the resend gets the first one's position"
    );
    page.say(&message).await;
    let marker = chat::text(&topic, "v1", "marker");
    mqtt.say(&marker).await;
    for expected in [&message, &marker] {
        assert_eq!(agent.hear().await.uid, expected.uid);
        assert_eq!(page.hear().await["uid"], expected.uid.as_str());
        assert_eq!(mqtt.hear().await.uid, expected.uid);
    }
    assert_eq!(history(&server, &token, &topic).await.len(), 2);
}

#[tokio::test]
async fn a_uid_with_another_content_is_a_conflict() {
    let mut server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut agent = Mqtt::connect(&server, agent_options_v5(&token, "d1")).await;
    let first = chat::text(&topic, DESK, "first");
    agent.say(&first).await;
    agent.hear_until(|heard| heard.uid == first.uid).await;
    let mut second = first.clone();
    second.content = "second".to_owned();

    let ack = agent
        .publish(&topic, chat::encode(&second), QoS::AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(ack.reason, ReasonCode::ImplementationSpecificError);
    let said = ack
        .properties
        .map(|p| format!("{:?}", p.user_properties))
        .unwrap_or_default();
    assert!(said.contains("conflict"), "a user property says why: {said}");
    let at = server.at().http;
    http::say(at, "/api/v1/message/rest/send", Some(&token), &second)
        .await
        .assert_error(409);

    let mut old_page = Mqtt::connect(&server, agent_options(&token, "old")).await;
    old_page
        .start_publish(&topic, chat::encode(&second), QoS::AtLeastOnce)
        .await;
    let echo = old_page
        .hear_until(|heard| heard.uid == second.uid && heard.status == "ERROR")
        .await;
    assert_eq!(echo.status, "ERROR", "3.1.1 is told by an echo");

    let mut page = visitor(&server, "v1").await;
    let mine = chat::text(&topic, "v1", "mine");
    page.say(&mine).await;
    let mut other = mine.clone();
    other.content = "other".to_owned();
    page.start_say(&other).await;
    assert_eq!(page.error().await.get("code"), Some("conflict"));

    // Clients key by uid: in its topic it is one message, whoever sends it, and whatever the other says.
    for content in ["theirs", "first"] {
        let mut page = visitor(&server, "v1").await;
        let mut theirs = first.clone();
        theirs.user.as_mut().unwrap().uid = "v1".to_owned();
        theirs.content = content.to_owned();
        page.start_say(&theirs).await;
        assert_eq!(page.error().await.get("code"), Some("conflict"));
    }
    let stored = history(&server, &token, &topic).await;
    let contents: Vec<_> = stored.iter().map(|m| field(m, "content")).collect();
    assert_eq!(contents, ["first", "mine"]);
    server.assert_unhurt();
}

#[tokio::test]
async fn a_resend_marked_dup_that_never_arrived_before_is_stored() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent_v5(&server).await;
    let message = chat::text(&topic, DESK, "dup but new");
    let id = agent.next_id();
    let publish = testkit::mqtt::Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: testkit::mqtt::utf8(&topic),
        packet_id: Some(id),
        properties: None,
        payload: chat::encode(&message).into(),
    };
    agent.send(&testkit::mqtt::Packet::Publish(publish)).await;
    agent.acknowledged(id).await;
    assert_eq!(agent.hear().await.uid, message.uid);
}

#[tokio::test]
async fn parts_of_a_streamed_answer_share_a_uid_and_all_arrive() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent(&server).await;
    let mut page = visitor(&server, "v1").await;
    let uid = chat::uid();
    for n in 0..20 {
        let kind = if n < 19 {
            "ROBOT_STREAM"
        } else {
            "ROBOT_STREAM_END"
        };
        let part = chat::message(kind, &uid, &topic, DESK, &format!("{{\"answer\":\"{n}\"}}"));
        agent.say(&part).await;
    }
    for n in 0..20 {
        let heard = page.hear().await;
        assert_eq!(heard["content"], format!("{{\"answer\":\"{n}\"}}"));
    }
}

#[tokio::test]
async fn colleagues_see_one_thread_each_from_its_own_side() {
    let server = Longwire::start().await;
    let a = server.token(&testkit::TokenSpec::agent("ua", &["ma"])).await;
    let b = server.token(&testkit::TokenSpec::agent("ub", &["mb"])).await;
    let options = |uid: &str, token: &str| {
        testkit::mqtt::Options::v5(&format!("{uid}/web/d"))
            .persistent()
            .token(token)
    };
    let mut anna = Mqtt::connect(&server, options("ua", &a)).await;
    let mut berta = Mqtt::connect(&server, options("ub", &b)).await;
    let mut message = chat::text("org/member/ma/mb", "ma", "lunch?");
    message.thread.as_mut().unwrap().r#type = "MEMBER".to_owned();
    anna.say(&message).await;
    let echo = anna.hear_until(|heard| heard.uid == message.uid).await;
    assert_eq!(chat::topic(&echo), "org/member/ma/mb");
    let seen = berta.hear_until(|heard| heard.uid == message.uid).await;
    assert_eq!(chat::topic(&seen), "org/member/mb/ma");
    let thread = seen.thread.unwrap();
    assert_eq!(thread.user.unwrap().uid, "ma", "the other party is the sender");
    let own_uid = echo.thread.unwrap().uid;
    assert_ne!(
        own_uid,
        message.thread.as_ref().unwrap().uid,
        "the server names threads"
    );
    assert_eq!(
        thread.uid,
        own_uid.chars().rev().collect::<String>(),
        "the uid of the reversed thread is reversed"
    );

    let mut answer = chat::text("org/member/mb/ma", "mb", "at noon");
    answer.thread.as_mut().unwrap().r#type = "MEMBER".to_owned();
    berta.say(&answer).await;
    let heard = anna.hear_until(|heard| heard.uid == answer.uid).await;
    assert_eq!(chat::topic(&heard), "org/member/ma/mb");

    // One log, whichever side asks by whichever name.
    let both = [message.uid.as_str(), answer.uid.as_str()];
    for (token, topic) in [(&a, "org/member/ma/mb"), (&b, "org/member/mb/ma")] {
        let stored = history(&server, token, topic).await;
        assert_eq!(
            stored.iter().map(|m| field(m, "uid")).collect::<Vec<_>>(),
            both,
            "{topic}"
        );
        assert!(stored.iter().all(|m| m["thread"]["topic"] == topic), "{stored:?}");
    }
    let c = server.token(&testkit::TokenSpec::agent("uc", &["mc"])).await;
    let reply = e2e::messages(&server, &c, "org/member/ma/mb", "after=0&limit=10").await;
    reply.assert_error(403);
}
