//! STOMP: durable subscriptions, the modes of acknowledgement, receipts, transactions, heart-beats.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::time::{Duration, Instant};

use bytes::BytesMut;
use e2e::{agent, field, position, thread_of, visitor, visitor_token};
use testkit::chat::{self, DESK};
use testkit::mqtt::Mqtt;
use testkit::stomp::{self, Command, Frame, Options, Stomp, Version};
use testkit::{DEADLINE, Longwire, TokenSpec, eventually, http};

/// Lets the agent write `from..to`, and returns when all of it is stored.
async fn write(agent: &mut Mqtt, topic: &str, numbers: std::ops::Range<u32>) {
    for n in numbers {
        agent.say(&chat::text(topic, DESK, &n.to_string())).await;
    }
}

fn content(frame: &Frame) -> String {
    field(&stomp::body(frame), "content").to_owned()
}

async fn expect(page: &mut Stomp, numbers: std::ops::Range<u32>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for n in numbers {
        let frame = page.message().await;
        assert_eq!(content(&frame), n.to_string());
        frames.push(frame);
    }
    frames
}

/// Waits until the progress of a visitor's subscription is stored past a message: after a connection that broke without a word,
/// what was acknowledged in the second before it may come again.
async fn is_stored(server: &Longwire, visitor: &str, message: &Frame) {
    let spec = TokenSpec {
        uid: "root",
        role: Some("admin"),
        ..TokenSpec::default()
    };
    let admin = server.token(&spec).await;
    let uid = field(&stomp::body(message), "uid").to_owned();
    let path = format!("/api/v1/admin/explain?uid={uid}&to={visitor}");
    eventually("the progress is stored", DEADLINE, async || {
        let reply = http::get(server.at().http, &path, Some(&admin)).await;
        let data = (reply.status == 200).then(|| reply.data())?;
        let recipients = data["messages"][0]["recipients"].as_array()?;
        let of = recipients.iter().find(|r| r["user"] == visitor)?;
        let sessions = of["sessions"].as_array()?;
        sessions
            .iter()
            .any(|s| s["verdict"] == "acknowledged")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_message_carries_the_headers_of_the_contract() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut page = visitor(&server, "v1").await;
    let message = chat::text(&topic, "v1", "hello");
    page.say(&message).await;
    let frame = page.message().await;
    let body = stomp::body(&frame);
    assert_eq!(frame.get("subscription"), Some("sub-0"));
    assert_eq!(frame.get("destination"), Some("/topic/org.agent.df_ag_uid.v1"));
    assert_eq!(frame.get("position"), body["position"].as_str());
    for header in ["message-id", "ack", "content-type"] {
        assert!(
            frame.get(header).is_some_and(|value| !value.is_empty()),
            "{header}: {frame:?}"
        );
    }
    assert_eq!(body["status"], "SUCCESS");
    chat::assert_is_time(field(&body, "createdAt"));
    assert!(
        body["timestamp"]
            .as_u64()
            .is_some_and(|ms| ms > 1_700_000_000_000),
        "{body}"
    );
    assert_eq!(body["extra"], message.extra.as_str(), "extra stays a string");
    assert!(position(&body) > 0);
}

#[tokio::test]
async fn a_durable_subscription_brings_what_was_not_acknowledged_and_nothing_twice() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent(&server).await;
    write(&mut agent, &topic, 100..103).await;
    // A first subscription starts at now.
    let mut page = visitor(&server, "v1").await;
    write(&mut agent, &topic, 0..6).await;
    let frames = expect(&mut page, 0..6).await;
    // With `client` an acknowledgement covers what came before it.
    page.ack(&frames[2]).await;
    page.disconnect().await;
    write(&mut agent, &topic, 6..10).await;
    let mut page = visitor(&server, "v1").await;
    let frames = expect(&mut page, 3..10).await;
    page.ack(&frames[6]).await;
    is_stored(&server, "v1", &frames[6]).await;
    page.vanish();
    let mut page = visitor(&server, "v1").await;
    write(&mut agent, &topic, 10..11).await;
    expect(&mut page, 10..11).await;
}

#[tokio::test]
async fn client_individual_acknowledges_one_message_alone() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    let connect = async || {
        let mut page = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
        page.subscribe("s", &topic, "client-individual", &[]).await;
        page
    };
    let mut page = connect().await;
    write(&mut agent, &topic, 0..4).await;
    let frames = expect(&mut page, 0..4).await;
    page.ack(&frames[1]).await;
    page.ack(&frames[3]).await;
    page.disconnect().await;
    let mut page = connect().await;
    let first = page.message().await;
    let second = page.message().await;
    assert_eq!([content(&first), content(&second)], ["0", "2"]);
    page.ack(&first).await;
    page.ack(&second).await;
    page.disconnect().await;
    let mut page = connect().await;
    write(&mut agent, &topic, 4..5).await;
    expect(&mut page, 4..5).await;
}

#[tokio::test]
async fn auto_needs_no_acknowledgement() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    let connect = async || {
        let mut page = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
        page.subscribe("s", &topic, "auto", &[]).await;
        page
    };
    let mut page = connect().await;
    write(&mut agent, &topic, 0..5).await;
    expect(&mut page, 0..5).await;
    page.disconnect().await;
    let mut page = connect().await;
    write(&mut agent, &topic, 5..6).await;
    expect(&mut page, 5..6).await;
}

#[tokio::test]
async fn nack_brings_a_message_again() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    let mut page = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
    page.subscribe("s", &topic, "client-individual", &[]).await;
    write(&mut agent, &topic, 0..2).await;
    let frames = expect(&mut page, 0..2).await;
    page.ack(&frames[1]).await;
    page.nack(&frames[0]).await;
    let again = page.message().await;
    assert_eq!(content(&again), "0");
    page.ack(&again).await;
    write(&mut agent, &topic, 2..3).await;
    expect(&mut page, 2..3).await;
}

#[tokio::test]
async fn longwire_after_starts_where_it_says() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let mut agent = agent(&server).await;
    write(&mut agent, &topic, 0..600).await;
    let mut page = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
    page.subscribe("all", &topic, "auto", &[("longwire-after", "0")])
        .await;
    let frames = expect(&mut page, 0..600).await;
    let after = frames[399].get("position").unwrap();
    let mut page = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
    page.subscribe("some", &topic, "auto", &[("longwire-after", after)])
        .await;
    expect(&mut page, 400..600).await;
    write(&mut agent, &topic, 600..601).await;
    expect(&mut page, 600..601).await;
}

#[tokio::test]
async fn two_tabs_of_one_visitor_each_get_everything() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut agent = agent(&server).await;
    let mut first = visitor(&server, "v1").await;
    let mut second = visitor(&server, "v1").await;
    write(&mut agent, &topic, 0..20).await;
    for page in [&mut first, &mut second] {
        expect(page, 0..20).await;
    }
    let message = chat::text(&topic, "v1", "from the first tab");
    first.say(&message).await;
    for page in [&mut first, &mut second] {
        assert_eq!(stomp::body(&page.message().await)["uid"], message.uid.as_str());
    }
}

#[tokio::test]
async fn subscribe_may_follow_connect_in_the_same_message_and_a_frame_may_be_split() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = visitor_token(&server, "v1").await;
    let message = chat::text(&topic, "v1", "at once");
    let mut bytes = BytesMut::new();
    for frame in [
        Frame::new(Command::Connect)
            .with_header("accept-version", "1.2")
            .with_header("host", "h")
            .with_header("login", "v1")
            .with_header("passcode", &token),
        stomp::subscribe_frame("s", &topic, "auto"),
        stomp::send_frame(&message),
    ] {
        frame.encode(Version::V12, &mut bytes);
    }
    let bytes = bytes.freeze();
    for step in [bytes.len(), 7] {
        let mut page = Stomp::open(&server, &Options::default()).await.unwrap();
        for at in (0..bytes.len()).step_by(step) {
            page.send_raw(bytes.slice(at..bytes.len().min(at + step))).await;
        }
        let connected = page.receive("CONNECTED").await.unwrap();
        assert_eq!(connected.command, Command::Connected);
        let heard = page.receive("MESSAGE").await.unwrap();
        assert_eq!(heard.command, Command::Message);
        assert_eq!(stomp::body(&heard)["uid"], message.uid.as_str());
    }
}

#[tokio::test]
async fn a_transaction_sends_all_of_it_or_nothing() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut page = visitor(&server, "v1").await;
    let step = |command, id: &str| Frame::new(command).with_header("transaction", id);
    let within = |id: &str, text: &str| {
        stomp::send_frame(&chat::text(&topic, "v1", text)).with_header("transaction", id)
    };
    page.send(&step(Command::Begin, "gone")).await;
    page.send(&within("gone", "never")).await;
    page.send_and_wait(step(Command::Abort, "gone")).await;
    page.send(&step(Command::Begin, "kept")).await;
    page.send(&within("kept", "one")).await;
    page.send(&within("kept", "two")).await;
    page.say(&chat::text(&topic, "v1", "outside")).await;
    page.send_and_wait(step(Command::Commit, "kept")).await;
    for expected in ["outside", "one", "two"] {
        assert_eq!(page.hear().await["content"], expected);
    }
    page.send(&step(Command::Commit, "unknown")).await;
    page.error().await;
}

#[tokio::test]
async fn heart_beats_go_both_ways_and_silence_ends_the_connection() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v1").await;
    let options = Options::visitor("v1", Some(&token)).header("heart-beat", "10000,10000");
    let page = Stomp::connect(&server, options).await;
    assert_eq!(page.connected.get("heart-beat"), Some("10000,10000"));
    assert_eq!(page.connected.get("version"), Some("1.2"));
    drop(page);
    // The server wants something at least every ten seconds and gives it a margin; what is said of it in CONNECTED binds.
    let options = Options::visitor("v1", Some(&token)).header("heart-beat", "1000,1000");
    let mut silent = Stomp::connect(&server, options).await;
    let start = Instant::now();
    silent.closed_by_server(Duration::from_secs(60)).await;
    let after = start.elapsed();
    assert!(after > Duration::from_secs(9), "closed after {after:?}");
    assert!(silent.heart_beats >= 1, "the server sends them too");
}

#[tokio::test]
async fn a_connection_without_heart_beats_is_not_ended_by_silence() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v1").await;
    let mut quiet = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
    let options = Options::visitor("v1", Some(&token)).header("heart-beat", "10000,0");
    let mut silent = Stomp::connect(&server, options).await;
    silent.closed_by_server(Duration::from_secs(60)).await;
    quiet.subscribe("s", &thread_of("v1"), "auto", &[]).await;
}

#[tokio::test]
async fn versions_are_negotiated_and_unknown_ones_refused() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v1").await;
    for (accept, version) in [("1.0,1.1,1.2", "1.2"), ("1.1,1.0", "1.1"), ("1.2", "1.2")] {
        let mut page = Stomp::open(&server, &Options::default()).await.unwrap();
        let connect = format!("CONNECT\naccept-version:{accept}\nhost:h\nlogin:v1\npasscode:{token}\n\n\0");
        page.send_raw(connect.into()).await;
        let connected = page.receive("CONNECTED").await.unwrap();
        assert_eq!(connected.get("version"), Some(version));
    }
    let mut page = Stomp::open(&server, &Options::default()).await.unwrap();
    page.send_raw("CONNECT\naccept-version:3.0\nhost:h\n\n\0".into())
        .await;
    let error = page.error().await;
    assert!(
        error
            .get("version")
            .is_some_and(|versions| versions.contains("1.2")),
        "{error:?}"
    );
}

#[tokio::test]
async fn user_queue_messages_are_the_users_own() {
    let server = Longwire::start().await;
    let token = visitor_token(&server, "v1").await;
    let mut page = Stomp::connect(&server, Options::visitor("v1", Some(&token))).await;
    let frame = Frame::new(Command::Subscribe)
        .with_header("id", "mine")
        .with_header("destination", "/user/queue/messages");
    page.send_and_wait(frame).await;
    page.subscribe("s", &thread_of("v1"), "auto", &[]).await;
    // What the server cannot take as a chat message it answers there.
    let bad = Frame::new(Command::Send)
        .with_header("destination", "/app/org.agent.df_ag_uid.v1")
        .with_body("{\"type\":\"TEXT\"}");
    page.send(&bad).await;
    let answer = page.message().await;
    assert_eq!(answer.get("subscription"), Some("mine"));
    assert_eq!(stomp::body(&answer)["type"], "ERROR");
    page.say(&chat::text(&thread_of("v1"), "v1", "still here")).await;
}

#[tokio::test]
async fn unsubscribing_ends_a_subscription_and_only_that() {
    let server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut page = visitor(&server, "v1").await;
    let first = chat::text(&topic, "v1", "first");
    page.say(&first).await;
    assert_eq!(page.hear().await["uid"], first.uid.as_str());
    let unsubscribe = Frame::new(Command::Unsubscribe).with_header("id", "sub-0");
    page.send_and_wait(unsubscribe).await;
    page.say(&chat::text(&topic, "v1", "unheard")).await;
    page.subscribe("sub-1", &topic, "auto", &[]).await;
    let last = chat::text(&topic, "v1", "last");
    page.say(&last).await;
    let heard = page.message().await;
    assert_eq!(heard.get("subscription"), Some("sub-1"));
}
