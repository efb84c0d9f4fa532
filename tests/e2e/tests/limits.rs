//! Limits of rates: each protocol says it in its own words, and nothing acknowledged is dropped.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::collections::BTreeMap;

use e2e::{agent_options, agent_options_v5, agent_token, field, history, thread_of, visitor_token};
use testkit::chat::{self, DESK};
use testkit::mqtt::{Mqtt, Packet, QoS, ReasonCode};
use testkit::stomp::{self, Command, Stomp};
use testkit::{Longwire, http};

const SLOW: &str =
    "[mqtt.limits]\nconnection_rate = 10\n[stomp.limits]\nconnection_rate = 10\n[gateway]\nuser_rate = 10\n";
const BURST: usize = 200;

/// Publishes a burst and reads until everything is answered or the server has closed: the uids that were acknowledged,
/// and the first refusal.
async fn burst(client: &mut Mqtt, topic: &str) -> (Vec<String>, Option<ReasonCode>) {
    let mut flight = BTreeMap::new();
    for _ in 0..BURST {
        let message = chat::text(topic, DESK, "one of many");
        let id = client
            .start_publish(topic, chat::encode(&message), QoS::AtLeastOnce)
            .await;
        flight.insert(id.unwrap(), message.uid);
    }
    let (mut acknowledged, mut refusal) = (Vec::new(), None);
    while !flight.is_empty() {
        match client.receive("an answer to the burst").await {
            Some(Packet::PubAck(ack)) => {
                let uid = flight.remove(&ack.packet_id).unwrap();
                if (ack.reason as u8) < 0x80 {
                    acknowledged.push(uid);
                } else {
                    refusal.get_or_insert(ack.reason);
                }
            }
            Some(Packet::Publish(publish)) => client.acknowledge(&publish).await,
            Some(Packet::Disconnect(disconnect)) => {
                refusal.get_or_insert(disconnect.reason);
            }
            Some(_) => {}
            None => break,
        }
    }
    (acknowledged, refusal)
}

#[tokio::test]
async fn a_burst_beyond_the_rate_is_told_so_and_what_was_acknowledged_is_stored() {
    let mut server = Longwire::builder().config(SLOW).start().await;
    let token = agent_token(&server).await;
    let topic = thread_of("v1");

    let mut five = Mqtt::connect(&server, agent_options_v5(&token, "five")).await;
    let (mut acknowledged, refusal) = burst(&mut five, &topic).await;
    assert!(
        matches!(
            refusal,
            Some(ReasonCode::MessageRateTooHigh | ReasonCode::QuotaExceeded)
        ),
        "5 says 0x96 or 0x97: {refusal:?}"
    );
    assert!(!acknowledged.is_empty() && acknowledged.len() < BURST);

    // 3.1.1 has no word for it: slower at first, then the end.
    let mut old = Mqtt::connect(&server, agent_options(&token, "old")).await;
    let (by_old, _) = burst(&mut old, &topic).await;
    acknowledged.extend(by_old);

    let stored = history(&server, &token, &topic).await;
    for uid in &acknowledged {
        assert!(
            stored.iter().any(|message| field(message, "uid") == uid),
            "acknowledged and not stored"
        );
    }
    server.assert_unhurt();
}

#[tokio::test]
async fn stomp_and_http_say_when_to_come_back() {
    let server = Longwire::builder().config(SLOW).start().await;
    let token = visitor_token(&server, "v1").await;
    let topic = thread_of("v1");
    let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
    for _ in 0..BURST {
        page.send(&stomp::send_frame(&chat::text(&topic, "v1", "one of many")))
            .await;
    }
    let error = loop {
        let frame = page
            .receive("an ERROR")
            .await
            .expect("ERROR comes before the end");
        if frame.command == Command::Error {
            break frame;
        }
    };
    assert_eq!(error.get("code"), Some("rate-limited"), "{error:?}");
    let wait: u64 = error
        .get("retry-after-ms")
        .expect("it says when to come back")
        .parse()
        .unwrap();
    assert!(wait < 60_000, "{wait}");

    let mut refused = None;
    for _ in 0..BURST {
        let message = chat::text(&topic, "v1", "one of many");
        let reply = http::say(
            server.at().http,
            "/visitor/api/v1/message/send",
            Some(&token),
            &message,
        )
        .await;
        if reply.status != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a burst over HTTP is refused, too");
    refused.assert_error(429);
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..60).contains(&wait), "{wait}");
}
