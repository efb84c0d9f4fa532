//! `kill -9` of the process under load: what was acknowledged is there, in order, once.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use e2e::{agent_options, agent_options_v5, agent_token, field, history, position, thread_of, visitor_token};
use testkit::chat::{self, DESK, Message};
use testkit::mqtt::{Mqtt, Packet, PacketId, QoS};
use testkit::stomp::{self, Command, Stomp};
use testkit::{DEADLINE, Endpoints, Longwire, eventually, http};

const VISITORS: [&str; 4] = ["k0", "k1", "k2", "k3"];
const ROUNDS: usize = 3;
/// Acknowledged messages per round, over all publishers, before the process is killed.
const PER_ROUND: usize = 1500;
const WINDOW: usize = 16;

/// What one publisher has sent to one topic, in order, and how much of it was acknowledged.
#[derive(Debug)]
struct Ledger {
    topic: String,
    author: &'static str,
    sent: Vec<Message>,
    acknowledged: HashSet<String>,
}

impl Ledger {
    fn new(topic: String, author: &'static str) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            topic,
            author,
            sent: Vec::new(),
            acknowledged: HashSet::new(),
        }))
    }

    /// What was sent and not acknowledged, in order: to be sent again first.
    fn owed(&self) -> Vec<Message> {
        let open = |message: &&Message| !self.acknowledged.contains(&message.uid);
        self.sent.iter().filter(open).cloned().collect()
    }

    fn next(&mut self) -> Message {
        let number = self.sent.len().to_string();
        let message = chat::text(&self.topic, self.author, &number);
        self.sent.push(message.clone());
        message
    }
}

type Shared = Arc<Mutex<Ledger>>;

/// The next message to send: first what is owed, then new ones.
fn take(owed: &mut std::vec::IntoIter<Message>, ledger: &Shared) -> Message {
    owed.next().unwrap_or_else(|| ledger.lock().unwrap().next())
}

fn note(ledger: &Shared, uid: String) {
    ledger.lock().unwrap().acknowledged.insert(uid);
}

async fn publish_by_mqtt(mut client: Mqtt, ledger: Shared) {
    client.acknowledging = false;
    let mut owed = ledger.lock().unwrap().owed().into_iter();
    let topic = ledger.lock().unwrap().topic.clone();
    let mut flight: BTreeMap<PacketId, String> = BTreeMap::new();
    loop {
        while flight.len() < WINDOW {
            let message = take(&mut owed, &ledger);
            let id = client
                .start_publish(&topic, chat::encode(&message), QoS::AtLeastOnce)
                .await;
            flight.insert(id.unwrap(), message.uid);
        }
        match client.receive("PUBACK").await {
            Some(Packet::PubAck(ack)) => note(&ledger, flight.remove(&ack.packet_id).unwrap()),
            Some(_) => {}
            None => return,
        }
    }
}

async fn publish_by_stomp(mut client: Stomp, ledger: Shared) {
    let mut owed = ledger.lock().unwrap().owed().into_iter();
    let mut flight: BTreeMap<String, String> = BTreeMap::new();
    loop {
        while flight.len() < WINDOW {
            let message = take(&mut owed, &ledger);
            let receipt = client.start_say(&message).await;
            flight.insert(receipt, message.uid);
        }
        match client.receive("RECEIPT").await {
            Some(frame) if frame.command == Command::Receipt => {
                note(&ledger, flight.remove(frame.get("receipt-id").unwrap()).unwrap());
            }
            Some(frame) => assert_ne!(frame.command, Command::Error, "{frame:?}"),
            None => return,
        }
    }
}

async fn publish_by_http(at: Endpoints, token: String, ledger: Shared) {
    let mut owed = ledger.lock().unwrap().owed().into_iter();
    loop {
        let message = take(&mut owed, &ledger);
        let json = chat::to_json(&message).to_string();
        let body = serde_json::json!({ "json": json, "client": "WEB" }).to_string();
        let path = "/visitor/api/v1/message/send";
        match http::exchange(at.http, hyper::Method::POST, path, Some(&token), Some(body)).await {
            Ok(reply) if reply.status == 200 => note(&ledger, message.uid),
            // Not in time: to be sent again.
            Ok(reply) if reply.status == 504 => {}
            // Leaving, or gone behind its balancer.
            Ok(reply) if matches!(reply.status, 502 | 503) => return,
            Ok(reply) => panic!("{}", reply.text),
            Err(_) => return,
        }
    }
}

/// What a session has heard: first copies, by topic, in order.
#[derive(Debug, Default)]
struct Heard {
    known: HashSet<String>,
    by_topic: BTreeMap<String, Vec<(String, u64)>>,
    again: usize,
}

impl Heard {
    fn note(&mut self, message: &Message) {
        // Receipts are the state of messages, not messages.
        if message.r#type != "TEXT" {
            return;
        }
        if self.known.insert(message.uid.clone()) {
            let topic = self.by_topic.entry(chat::topic(message).to_owned()).or_default();
            topic.push((message.uid.clone(), message.position));
        } else {
            self.again += 1;
        }
    }
}

/// Reads, as the agent's page does, until the server is gone.
async fn read_until_cut(mut client: Mqtt, heard: Arc<Mutex<Heard>>) {
    while let Some(packet) = client.receive_for(DEADLINE).await {
        if let Packet::Publish(publish) = packet {
            heard.lock().unwrap().note(&chat::from_publish(&publish));
            client.acknowledge(&publish).await;
        }
    }
}

/// Reads until everything in `wanted` has been heard.
async fn read_all(client: &mut Mqtt, heard: &mut Heard, wanted: &HashSet<String>) {
    while !wanted.is_subset(&heard.known) {
        let missing = wanted.difference(&heard.known).count();
        let what = format!("the rest of what was acknowledged, {missing} messages");
        match client.receive(&what).await {
            Some(Packet::Publish(publish)) => {
                heard.note(&chat::from_publish(&publish));
                client.acknowledge(&publish).await;
            }
            Some(_) => {}
            None => panic!("the server closed while {missing} messages were missing"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_in_order_and_once() {
    let mut server = Longwire::builder().at_fixed_ports().start().await;
    let token = agent_token(&server).await;
    let mut visitors = BTreeMap::new();
    for uid in VISITORS {
        let token = visitor_token(&server, uid).await;
        // A durable subscription that will have been away all the time.
        let mut page = Stomp::connect(&server, stomp::Options::visitor(uid, Some(&token))).await;
        page.subscribe("s", &thread_of(uid), "client", &[]).await;
        page.disconnect().await;
        visitors.insert(uid, token);
    }
    let away = || agent_options_v5(&token, "away").receive_maximum(100);
    Mqtt::connect(&server, away()).await.disconnect().await;
    let heard = Arc::new(Mutex::new(Heard::default()));

    let by_mqtt = VISITORS.map(|uid| Ledger::new(thread_of(uid), DESK));
    let by_stomp = [VISITORS[0], VISITORS[1]].map(|uid| Ledger::new(thread_of(uid), uid));
    let by_http = [VISITORS[2], VISITORS[3]].map(|uid| Ledger::new(thread_of(uid), uid));
    let ledgers: Vec<Shared> = by_mqtt.iter().chain(&by_stomp).chain(&by_http).cloned().collect();
    let acknowledged = || {
        ledgers
            .iter()
            .map(|l| l.lock().unwrap().acknowledged.len())
            .sum::<usize>()
    };

    for round in 1..=ROUNDS {
        let mut tasks = tokio::task::JoinSet::new();
        let online = Mqtt::connect(&server, agent_options(&token, "online")).await;
        assert_eq!(online.connack.session_present, round > 1);
        tasks.spawn(read_until_cut(online, heard.clone()));
        for (n, ledger) in by_mqtt.iter().enumerate() {
            let options = agent_options_v5(&token, &format!("writer{n}")).receive_maximum(1);
            let client = Mqtt::connect(&server, options).await;
            tasks.spawn(publish_by_mqtt(client, ledger.clone()));
        }
        for (uid, ledger) in VISITORS.iter().zip(&by_stomp) {
            let client = Stomp::connect(&server, stomp::Options::visitor(uid, Some(&visitors[uid]))).await;
            tasks.spawn(publish_by_stomp(client, ledger.clone()));
        }
        for (uid, ledger) in VISITORS[2..].iter().zip(&by_http) {
            tasks.spawn(publish_by_http(
                server.at().clone(),
                visitors[uid].clone(),
                ledger.clone(),
            ));
        }
        eventually("enough has been acknowledged", 3 * DEADLINE, async || {
            (acknowledged() >= round * PER_ROUND).then_some(())
        })
        .await;
        server.kill().await;
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        server.restart().await;
    }
    server.assert_unhurt();

    let wanted: HashSet<String> = ledgers
        .iter()
        .flat_map(|l| l.lock().unwrap().acknowledged.clone())
        .collect();
    let mut online = Mqtt::connect(&server, agent_options(&token, "online")).await;
    let mut heard = std::mem::take(&mut *heard.lock().unwrap());
    read_all(&mut online, &mut heard, &wanted).await;

    let mut away = Mqtt::connect(&server, away()).await;
    assert!(away.connack.session_present);
    let mut backlog = Heard::default();
    read_all(&mut away, &mut backlog, &wanted).await;
    assert_eq!(backlog.again, 0, "a backlog without interruption has no copies");

    // What was stored and never acknowledged, because the process died first, may take its time to show in history.
    let mut logs = BTreeMap::new();
    for uid in VISITORS {
        let topic = thread_of(uid);
        let log = history(&server, &token, &topic).await;
        logs.insert(topic, log);
    }
    assert_history(&logs, &ledgers, &wanted);
    assert_order("the agent that was there", &heard, &logs);
    assert_order("the agent that was away", &backlog, &logs);

    for uid in VISITORS {
        let log = &logs[&thread_of(uid)];
        let mut page = Stomp::connect(&server, stomp::Options::visitor(uid, Some(&visitors[uid]))).await;
        page.subscribe("s", &thread_of(uid), "client", &[]).await;
        for expected in log {
            let heard = page.hear_until(|heard| heard["type"] == "TEXT").await;
            assert_eq!(heard["uid"], expected["uid"], "the visitor that was away, {uid}");
        }
    }
}

/// Every acknowledged uid once, nothing that nobody sent, and each publisher's messages in the order it sent them.
fn assert_history(
    logs: &BTreeMap<String, Vec<serde_json::Value>>,
    ledgers: &[Shared],
    wanted: &HashSet<String>,
) {
    let stored: Vec<&str> = logs
        .values()
        .flatten()
        .map(|message| field(message, "uid"))
        .collect();
    let unique: BTreeSet<&str> = stored.iter().copied().collect();
    assert_eq!(unique.len(), stored.len(), "no uid is twice in history");
    let lost = wanted.iter().filter(|uid| !unique.contains(uid.as_str())).count();
    assert_eq!(lost, 0, "of {} acknowledged messages", wanted.len());
    for log in logs.values() {
        assert!(log.is_sorted_by_key(position));
    }
    for ledger in ledgers {
        let ledger = ledger.lock().unwrap();
        let mine: Vec<u32> = logs[&ledger.topic]
            .iter()
            .filter(|message| message["user"]["uid"] == ledger.author)
            .map(|message| field(message, "content").parse().unwrap())
            .collect();
        assert!(mine.is_sorted(), "{} of {} in order", ledger.topic, ledger.author);
    }
}

fn assert_order(who: &str, heard: &Heard, logs: &BTreeMap<String, Vec<serde_json::Value>>) {
    for (topic, log) in logs {
        let got = heard.by_topic.get(topic).map(Vec::as_slice).unwrap_or_default();
        let stored: Vec<_> = log
            .iter()
            .map(|message| (field(message, "uid").to_owned(), position(message)))
            .collect();
        let strange = got.iter().find(|got| !stored.contains(got));
        assert_eq!(strange, None, "{who} has heard in {topic} what is not in history");
        let first_difference = got.iter().zip(&stored).position(|(got, stored)| got != stored);
        assert_eq!(
            first_difference, None,
            "{who} hears {topic} in the order of its history"
        );
    }
}

#[tokio::test]
async fn a_process_killed_again_and_again_while_it_starts_loses_nothing() {
    let mut server = Longwire::builder().at_fixed_ports().start().await;
    let token = agent_token(&server).await;
    let topic = thread_of("v1");
    let mut sent = Vec::new();
    for _ in 0..6 {
        let mut client = Mqtt::connect(&server, agent_options_v5(&token, "d1")).await;
        for _ in 0..5 {
            let message = chat::text(&topic, DESK, "again");
            client.say(&message).await;
            sent.push(message.uid);
        }
        server.kill().await;
        server.restart().await;
    }
    let stored = history(&server, &token, &topic).await;
    assert_eq!(stored.iter().map(|m| field(m, "uid")).collect::<Vec<_>>(), sent);
    assert!(stored.is_sorted_by_key(position));
    let mut client = Mqtt::connect(&server, agent_options_v5(&token, "d1")).await;
    let mut heard = HashSet::new();
    while heard.len() < sent.len() {
        match client.receive_for(DEADLINE).await {
            Some(Packet::Publish(publish)) => heard.insert(chat::from_publish(&publish).uid),
            Some(other) => panic!("{other:?} comes out of turn"),
            None => break,
        };
    }
    let missing: Vec<_> = (0..sent.len()).filter(|n| !heard.contains(&sent[*n])).collect();
    assert!(missing.is_empty(), "the session never got messages {missing:?}");
    server.assert_unhurt();
}
