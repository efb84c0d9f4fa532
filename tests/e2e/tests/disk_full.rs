//! A data folder without room: nothing is acknowledged that is not stored, operators are told, and it goes on by itself.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::Arc;
use std::time::Duration;

use e2e::{agent_options_v5, agent_token, field, history, thread_of};
use testkit::chat::{self, DESK};
use testkit::mqtt::{Mqtt, Packet, QoS};
use testkit::{DEADLINE, DataDir, Longwire, eventually, http, only_in_one_process};

#[tokio::test]
async fn a_full_disk_stops_acknowledgements_says_so_and_room_resumes_them() {
    if only_in_one_process("its log is in the data folder") {
        return;
    }
    let Some(data) = DataDir::small(512) else { return };
    let data = Arc::new(data);
    let mut server = Longwire::builder()
        .data(data.clone())
        .at_fixed_ports()
        .start()
        .await;
    let token = agent_token(&server).await;
    let topic = thread_of("v1");
    let options = || agent_options_v5(&token, "d1");
    let mut client = Mqtt::connect(&server, options()).await;
    client.say(&chat::text(&topic, DESK, "before")).await;
    let ballast = data.fill(4 << 20);

    // Until an acknowledgement stays out. Each message is larger than what file systems keep in reserve.
    let mut acknowledged = Vec::new();
    let mut open = None;
    for n in 0..400 {
        let message = chat::text(&topic, DESK, &format!("{n} {}", "x".repeat(100 * 1024)));
        let Some(id) = client
            .start_publish(&topic, chat::encode(&message), QoS::AtLeastOnce)
            .await
        else {
            continue;
        };
        if !is_acknowledged(&mut client, id).await {
            open = Some(message);
            break;
        }
        acknowledged.push(message.uid);
    }
    let open = open.expect("a full disk stops acknowledgements");
    let ready = eventually("/readyz says that it is not ready", DEADLINE, async || {
        let reply = http::get(server.at().ops, "/readyz?verbose", None).await;
        (reply.status == 503).then_some(reply.text)
    })
    .await;
    let says_why = ["space", "full", "disk", "storage", "journal"]
        .iter()
        .any(|word| ready.to_lowercase().contains(word));
    assert!(says_why, "{ready}");
    assert_eq!(
        http::get(server.at().ops, "/livez", None).await.status,
        200,
        "restarting would not help"
    );
    assert!(server.is_running());

    std::fs::remove_file(ballast).unwrap();
    eventually("it is ready again", 2 * DEADLINE, async || {
        let reply = http::get(server.at().ops, "/readyz", None).await;
        (reply.status == 200).then_some(())
    })
    .await;
    // The client does what clients do: it connects again and sends again what was not acknowledged.
    let mut client = Mqtt::connect(&server, options()).await;
    client.say(&open).await;
    client.say(&chat::text(&topic, DESK, "after")).await;
    let stored = history(&server, &token, &topic).await;
    let uids: Vec<_> = stored.iter().map(|m| field(m, "uid")).collect();
    for uid in &acknowledged {
        assert!(uids.contains(&uid.as_str()), "what was acknowledged is stored");
    }
    assert_eq!(
        uids.iter().filter(|uid| **uid == open.uid).count(),
        1,
        "stored once"
    );
    assert_eq!(stored.last().map(|m| field(m, "content")), Some("after"));

    // And a restart finds it all.
    server.kill().await;
    server.restart().await;
    let again = history(&server, &token, &topic).await;
    assert_eq!(again, stored);
    server.assert_unhurt();
}

/// Whether PUBACK comes; the end of the connection or five seconds of silence mean no.
async fn is_acknowledged(client: &mut Mqtt, id: testkit::mqtt::PacketId) -> bool {
    loop {
        match client.receive_for(Duration::from_secs(5)).await {
            Some(Packet::PubAck(ack)) if ack.packet_id == id => return (ack.reason as u8) < 0x80,
            Some(Packet::Publish(publish)) => client.acknowledge(&publish).await,
            Some(Packet::Disconnect(_)) | None => return false,
            Some(_) => {}
        }
    }
}
