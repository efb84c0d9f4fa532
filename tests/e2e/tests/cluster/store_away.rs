//! PostgreSQL hangs: conversations go on, and only what was perhaps said before waits for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::{agent_options_v5, agent_token, field, history, position, thread_of, visitor};
use serde_json::Value;
use testkit::chat::{DESK, Message, author, undated};
use testkit::cluster::{Cluster, Replica};
use testkit::http::{self, Reply};
use testkit::mqtt::{Ack, Mqtt};
use testkit::stomp::Stomp;
use testkit::{DEADLINE, Longwire, eventually};

/// So many messages the owner of the one partition remembers exactly: what is older is known by its uid only.
const REMEMBERED: usize = 8;
/// `routing.hold`: after this time whoever has to wait for the store is told to send again.
const HOLD: Duration = Duration::from_secs(2);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(2);
const VISITOR: &str = "v1";

/// One partition, so that it is known who owns the conversation; an agent's token, and two who talk.
async fn start() -> (Longwire, String, Talk) {
    let cluster = Cluster::builder()
        .nats(1)
        .partitions(1)
        .env("LONGWIRE_ROUTING__REMEMBERED_MESSAGES", &REMEMBERED.to_string());
    let server = Longwire::from(cluster.start().await);
    let token = agent_token(&server).await;
    let talk = Talk::begin(&server, &token).await;
    (server, token, talk)
}

/// The owner of the one partition.
async fn owner(cluster: &Cluster) -> &Replica {
    eventually("somebody owns the partition", DEADLINE, async || {
        for replica in cluster.role("routing") {
            if replica.metric("longwire_routing_partitions").await == Some(1.0) {
                return Some(replica);
            }
        }
        None
    })
    .await
}

/// An agent and a visitor who talk. Everything is without a date, acknowledged, and the next thing the other is shown.
struct Talk {
    agent: Mqtt,
    page: Stomp,
    topic: String,
    /// Uids in the order of their positions.
    said: Vec<String>,
}

impl Talk {
    async fn begin(server: &Longwire, token: &str) -> Self {
        Self {
            agent: Mqtt::connect(server, agent_options_v5(token, "talks")).await,
            page: visitor(server, VISITOR).await,
            topic: thread_of(VISITOR),
            said: Vec::new(),
        }
    }

    /// What the agent said, and where it is stored.
    async fn agent_says(&mut self, content: &str) -> (Message, u64) {
        let message = undated(&self.topic, DESK, content);
        let place = place(&self.agent.say(&message).await);
        self.page_is_shown(&message).await;
        (message, place)
    }

    async fn visitor_says(&mut self, content: &str) -> Message {
        let message = undated(&self.topic, VISITOR, content);
        self.page.say(&message).await;
        self.agent_is_shown(&message).await;
        message
    }

    /// Of what the other says it is the next. Whoever says something has it echoed.
    async fn agent_is_shown(&mut self, message: &Message) {
        let theirs = |heard: &Message| heard.r#type == "TEXT" && author(heard) == VISITOR;
        let heard = self.agent.hear_until(theirs).await;
        assert_eq!(
            heard.uid, message.uid,
            "{} instead of {}",
            heard.content, message.content
        );
        self.said.push(heard.uid);
    }

    async fn page_is_shown(&mut self, message: &Message) {
        let theirs = |heard: &Value| heard["type"] == "TEXT" && heard["user"]["uid"] == DESK;
        let heard = self.page.hear_until(theirs).await;
        let content = field(&heard, "content");
        assert_eq!(
            field(&heard, "uid"),
            message.uid,
            "{content} instead of {}",
            message.content
        );
        self.said.push(message.uid.clone());
    }

    /// What history has in the end: each once, in the order in which it was shown.
    async fn ends(&mut self, server: &Longwire, token: &str) -> Vec<(String, u64)> {
        self.visitor_says("at the end").await;
        let all = stored(server, token, &self.topic).await;
        assert_eq!(
            uids(&all),
            self.said,
            "history has each once, in the order in which it was shown"
        );
        all
    }

    /// So much that the owner remembers nothing exactly of what was said before.
    async fn talk_much(&mut self) {
        for n in 0..REMEMBERED / 2 {
            self.agent_says(&format!("question {n}")).await;
            self.visitor_says(&format!("answer {n}")).await;
        }
    }
}

/// Where a message is stored, as its acknowledgement says.
fn place(ack: &Ack) -> u64 {
    let properties = ack
        .properties
        .as_ref()
        .expect("an acknowledgement of 5 has properties");
    let mut pairs = properties.user_properties.iter();
    let pair = pairs.find(|(name, _)| name.as_str() == "position");
    pair.and_then(|(_, value)| value.as_str().parse().ok())
        .expect("a position")
}

/// The agent sends by HTTP.
async fn by_http(at: SocketAddr, token: String, message: Message) -> Reply {
    http::say(at, "/api/v1/message/rest/send", Some(&token), &message).await
}

/// What a 200 says of where the message is stored.
fn place_by_http(reply: &Reply) -> u64 {
    let data = reply.data();
    let stored: Value = serde_json::from_str(data.as_str().expect("text within JSON")).unwrap();
    position(&stored)
}

/// Sends by HTTP until the store answers again: where the message is stored.
async fn is_stored(server: &Longwire, token: &str, message: &Message) -> u64 {
    eventually("the store answers again", 2 * DEADLINE, async || {
        let reply = by_http(server.at().http, token.to_owned(), message.clone()).await;
        (reply.status == 200).then(|| place_by_http(&reply))
    })
    .await
}

/// The uids and the places of everything in history.
async fn stored(server: &Longwire, token: &str, topic: &str) -> Vec<(String, u64)> {
    let log = history(server, token, topic).await;
    let each = log
        .iter()
        .map(|message| (field(message, "uid").to_owned(), position(message)));
    each.collect()
}

fn uids(stored: &[(String, u64)]) -> Vec<&str> {
    stored.iter().map(|(uid, _)| uid.as_str()).collect()
}

/// P9, P4: nothing of a conversation says when it was written, its owner dies while PostgreSQL hangs, and it goes on.
/// What is new is accepted and shown. What is sent again is stored and shown once, whether its sender is told at once
/// where the first is, because the new owner remembers it, or to try again, because it only knows that there was one.
#[tokio::test]
async fn a_conversation_without_dates_goes_on_while_the_store_hangs_and_its_owner_dies() {
    let (server, token, mut talk) = start().await;
    let cluster = server.cluster();
    let (old, old_place) = talk.agent_says("old").await;
    talk.talk_much().await;
    let of_visitor = talk.visitor_says("the visitor's last").await;
    let (of_agent, recent_place) = talk.agent_says("the agent's last").await;

    cluster.postgres().stop();
    let in_flight = undated(&talk.topic, VISITOR, "in flight");
    let receipt = talk.page.start_say(&in_flight).await;
    owner(cluster).await.kill().await;
    let killed = Instant::now();
    talk.page.receipt(&receipt).await;
    talk.agent_is_shown(&in_flight).await;
    println!(
        "  what was in flight: acknowledged and shown after {:.1?}",
        killed.elapsed()
    );

    let again = Instant::now();
    assert_eq!(
        place(&talk.agent.say(&of_agent).await),
        recent_place,
        "the first one's place"
    );
    talk.page.say(&of_visitor).await;
    println!(
        "  what is remembered: two resends acknowledged in {:.1?}",
        again.elapsed()
    );
    let asked = Instant::now();
    by_http(server.at().http, token.clone(), old.clone())
        .await
        .assert_error(503);
    let told = asked.elapsed();
    println!("  what is only known: told to try again after {told:.1?}");
    assert!(told < HOLD + SLACK, "told to try again after {told:?}");
    talk.talk_much().await;

    cluster.postgres().cont();
    assert_eq!(
        is_stored(&server, &token, &old).await,
        old_place,
        "the first one's place"
    );
    let all = talk.ends(&server, &token).await;
    for (message, place) in [(&old, old_place), (&of_agent, recent_place)] {
        assert!(all.contains(&(message.uid.clone(), place)), "{}", message.content);
    }
}

/// What may have been accepted before is held while the store hangs, and with it what its sender says after it in that
/// topic. Others are not held, nor is its sender elsewhere. After [`HOLD`] those that were are told to send again.
#[tokio::test]
async fn what_looks_like_a_repetition_holds_back_its_senders_later_messages_of_that_topic_only() {
    let (server, token, mut talk) = start().await;
    let cluster = server.cluster();
    let mut elsewhere = visitor(&server, "v2").await;
    let (old, old_place) = talk.agent_says("old").await;
    talk.talk_much().await;
    let owner = owner(cluster).await;
    cluster.postgres().stop();

    let began = Instant::now();
    let repetition = tokio::spawn(by_http(server.at().http, token.clone(), old.clone()));
    holds(owner, 1).await;
    let later = undated(&talk.topic, DESK, "later");
    let after_it = tokio::spawn(by_http(server.at().http, token.clone(), later.clone()));
    holds(owner, 2).await;

    let meanwhile = Instant::now();
    talk.visitor_says("the other one, there").await;
    let there = undated(&thread_of("v2"), DESK, "the same one, elsewhere");
    talk.agent.say(&there).await;
    let shown = elsewhere.hear_until(|heard| heard["type"] == "TEXT").await;
    assert_eq!(field(&shown, "uid"), there.uid);
    let took = meanwhile.elapsed();
    println!("  two messages that nothing holds back: acknowledged and shown in {took:.1?}");
    assert!(took < HOLD / 2, "nothing holds these back: {took:?}");

    for (reply, who) in [(repetition, "the repetition"), (after_it, "what came after it")] {
        reply.await.unwrap().assert_error(503);
        let told = began.elapsed();
        println!("  {who}: told to send again after {told:.1?}");
        assert!(told >= HOLD && told < HOLD + SLACK, "{who}: {told:?}");
    }

    cluster.postgres().cont();
    assert_eq!(
        is_stored(&server, &token, &old).await,
        old_place,
        "the first one's place"
    );
    let later_place = is_stored(&server, &token, &later).await;
    talk.page_is_shown(&later).await;
    let all = talk.ends(&server, &token).await;
    assert!(all.contains(&(later.uid.clone(), later_place)));
}

/// Waits until the owner holds so many messages back.
async fn holds(owner: &Replica, count: u32) {
    eventually(&format!("the owner holds {count} back"), HOLD, async || {
        let held = owner.metric("longwire_routing_held_submissions_total").await;
        (held == Some(f64::from(count))).then_some(())
    })
    .await;
}

/// Over MQTT and STOMP the word is the end of the connection, and comes as soon as by HTTP.
#[tokio::test]
async fn whoever_is_held_too_long_is_told_so_in_time_over_mqtt_and_stomp() {
    let (server, token, mut talk) = start().await;
    let cluster = server.cluster();
    let mut repeats = Mqtt::connect(&server, agent_options_v5(&token, "repeats")).await;
    let (of_agent, _) = talk.agent_says("old").await;
    let of_visitor = talk.visitor_says("old as well").await;
    talk.talk_much().await;
    cluster.postgres().stop();
    let began = Instant::now();
    let payload = testkit::chat::encode(&of_agent);
    repeats
        .start_publish(&talk.topic, payload, testkit::mqtt::QoS::AtLeastOnce)
        .await;
    talk.page.start_say(&of_visitor).await;
    let mqtt = async {
        let reason = repeats.closed_by_server(3 * DEADLINE).await;
        (reason, began.elapsed())
    };
    let stomp = async {
        let last = talk.page.last_words(3 * DEADLINE).await;
        (last, began.elapsed())
    };
    let ((reason, by_mqtt), (last, by_stomp)) = tokio::join!(mqtt, stomp);
    println!("  told over MQTT after {by_mqtt:.1?} ({reason:?}), over STOMP after {by_stomp:.1?}");
    assert_eq!(reason, Some(testkit::mqtt::ReasonCode::ServerBusy));
    assert_eq!(last.unwrap().command, testkit::stomp::Command::Error);
    assert!(by_mqtt < HOLD + SLACK && by_stomp < HOLD + SLACK);
}
