//! A consumer that reads nothing while a hundred thousand messages are written.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::collections::VecDeque;
use std::time::Duration;

use e2e::{agent_options, agent_token, thread_of, visitor_token};
use testkit::chat;
use testkit::mqtt::{Mqtt, Options, Packet, QoS};
use testkit::{Longwire, within};

const COUNT: usize = 100_000;
/// In MiB: memory may breathe; what it must not do is to hold the 140 MB of messages written between early and late.
const GROWTH: u64 = 80;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_reads_nothing_for_a_hundred_thousand_messages_costs_no_memory_and_gets_them_all() {
    let mut server = Longwire::start().await;
    let token = agent_token(&server).await;
    let options = || agent_options(&token, "slow").keep_alive(0);
    let mut slow = Mqtt::connect(&server, options()).await;
    slow.ping().await;

    let topic = thread_of("v1");
    let visitor = visitor_token(&server, "v1").await;
    let options_of_writer = Options::v5("v1/web/d").token(&visitor).receive_maximum(1);
    let mut writer = Mqtt::connect(&server, options_of_writer).await;
    let (mut early, mut late) = (0, 0);
    let write = async {
        let padding = "x".repeat(2000);
        let mut flight = VecDeque::new();
        for n in 0..COUNT {
            let message = chat::text(&topic, "v1", &format!("{n} {padding}"));
            flight.push_back(
                writer
                    .start_publish(&topic, chat::encode(&message), QoS::AtLeastOnce)
                    .await
                    .unwrap(),
            );
            while flight.len() >= 64 {
                match writer.receive("PUBACK").await {
                    Some(Packet::PubAck(ack)) => {
                        assert!((ack.reason as u8) < 0x80, "{ack:?}");
                        assert_eq!(flight.pop_front(), Some(ack.packet_id), "acknowledged in order");
                    }
                    Some(_) => {}
                    None => panic!("the server closed the writer's connection"),
                }
            }
            match n * 10 / COUNT {
                1..4 if n % 1000 == 0 => early = early.max(server.rss()),
                6.. if n % 1000 == 0 => late = late.max(server.rss()),
                _ => {}
            }
        }
        for id in flight {
            writer.acknowledged(id).await;
        }
    };
    within(
        "a hundred thousand messages to be stored",
        Duration::from_secs(120),
        write,
    )
    .await;
    let grown = |now: u64| {
        let (early, now) = (early >> 20, now >> 20);
        assert!(now < early + GROWTH, "memory grew from {early} to {now} MiB");
    };
    grown(late);

    let mut next = 0;
    let mut reconnects = 0;
    let read = async {
        while next < COUNT {
            match slow.receive("the next of the messages").await {
                Some(Packet::Publish(publish)) => {
                    let message = chat::from_publish(&publish);
                    let number: usize = message.content.split(' ').next().unwrap().parse().unwrap();
                    assert!(number <= next, "{number} comes before {next}");
                    next = next.max(number + 1);
                    slow.acknowledge(&publish).await;
                }
                Some(_) => {}
                None => {
                    reconnects += 1;
                    assert!(reconnects < 5, "the server keeps on closing");
                    slow = Mqtt::connect(&server, options()).await;
                    assert!(slow.connack.session_present);
                }
            }
        }
    };
    within("the consumer to get them all", Duration::from_secs(120), read).await;
    grown(server.rss());
    server.assert_unhurt();
}
