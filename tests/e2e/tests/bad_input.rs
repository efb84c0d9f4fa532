//! Bad input: a clear answer from the registry of errors, the end of that connection, and never harm to another.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a failing step fails the test")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use e2e::{agent, agent_options, agent_token, agent_v5, history, thread_of, visitor, visitor_token};
use futures::{SinkExt, StreamExt};
use testkit::chat::{self, DESK};
use testkit::mqtt::{Mqtt, Options, Packet, QoS, ReasonCode};
use testkit::raw;
use testkit::stomp::{self, Command, Frame, Stomp};
use testkit::{DEADLINE, Longwire};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// All a client gets before it has authenticated.
const PATIENCE: Duration = Duration::from_secs(5);
/// With the margin of a busy machine.
const CLOSED_BY: Duration = Duration::from_secs(12);

const CONNECT_V5: &[u8] = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x03raw";
const CONNECT_V311: &[u8] = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw";

fn connected(connect: &[u8], then: &[u8]) -> Bytes {
    Bytes::from([connect, then].concat())
}

/// A healthy pair of clients, to show that nobody else is hurt.
async fn assert_others_are_served(server: &mut Longwire) {
    let (mut subscriber, mut publisher) = e2e::pair(server, "healthy", QoS::AtLeastOnce).await;
    publisher.publish("healthy", "yes", QoS::AtLeastOnce).await;
    assert_eq!(e2e::text(&subscriber.publish_received().await), "yes");
    server.assert_unhurt();
}

#[tokio::test]
async fn what_is_no_mqtt_is_closed_without_ado() {
    let mut server = Longwire::start().await;
    let at = server.at().mqtt;
    let long_header = connected(b"\x10", b"\xff\xff\xff\xff\xff");
    let cases: [(&str, &[u8]); 14] = [
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("zeros", &[0; 64]),
        ("ones", &[0xff; 64]),
        (
            "tls without a certificate",
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        ),
        ("publish first", b"\x30\x07\x00\x03a/bhi"),
        ("pingreq first", b"\xc0\x00"),
        ("length of five bytes", &long_header),
        (
            "another protocol name",
            b"\x10\x0f\x00\x04MQTX\x04\x02\x00\x00\x00\x03raw",
        ),
        (
            "reserved connect flag",
            b"\x10\x0f\x00\x04MQTT\x04\x03\x00\x00\x00\x03raw",
        ),
        (
            "client id of ill-formed UTF-8",
            b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03\xffaw",
        ),
        (
            "client id with U+0000",
            b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03\x00aw",
        ),
        (
            "connect longer than announced",
            b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x03raw",
        ),
        (
            "password without user name",
            b"\x10\x11\x00\x04MQTT\x04\x42\x00\x00\x00\x03raw\x00\x00",
        ),
        ("server packet", b"\x20\x02\x00\x00"),
    ];
    for (name, bytes) in cases {
        let start = Instant::now();
        let said = raw::exchange(at, bytes, CLOSED_BY).await;
        assert!(start.elapsed() < CLOSED_BY, "{name}");
        // CONNACK with a refusal at most; what is taken for HTTP is refused in HTTP.
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 4") || (said[0] == 0x20 && said[3] != 0),
            "{name}: {said:02x?}"
        );
    }
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn an_unknown_protocol_level_is_answered_in_the_clients_dialect() {
    let server = Longwire::start().await;
    let connect = |level: u8| {
        let mut bytes = CONNECT_V311.to_vec();
        bytes[8] = level;
        bytes
    };
    let said = raw::exchange(server.at().mqtt, &connect(3), CLOSED_BY).await;
    assert_eq!(said, b"\x20\x02\x00\x01", "3.1.1 calls it return code 1");
    let said = raw::exchange(server.at().mqtt, &connect(6), CLOSED_BY).await;
    assert!(
        said.starts_with(b"\x20") && said.get(3) == Some(&0x84),
        "5 calls it 0x84: {said:02x?}"
    );
}

#[tokio::test]
async fn http_to_the_raw_port_is_answered_in_http() {
    let mut server = Longwire::start().await;
    for at in [server.at().mqtt, server.at().ws] {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let said = raw::exchange(at, request, CLOSED_BY).await;
        assert!(
            said.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&said)
        );
        let said = raw::exchange(at, b"POST /websocket HTTP/1.1\r\nHost: x\r\n\r\n", CLOSED_BY).await;
        assert!(
            said.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn malformed_packets_are_named_in_5_and_closed_in_3_1_1() {
    let mut server = Longwire::start().await;
    let cases: [(&str, &[u8], &[u8]); 8] = [
        ("second connect", CONNECT_V5, CONNECT_V5),
        (
            "topic of ill-formed UTF-8",
            b"\x30\x06\x00\x02\xc3\x28\x00x",
            b"\x30\x05\x00\x02\xc3\x28x",
        ),
        (
            "topic with U+0000",
            b"\x30\x06\x00\x02a\x00\x00x",
            b"\x30\x05\x00\x02a\x00x",
        ),
        (
            "topic with a wildcard",
            b"\x30\x06\x00\x02a+\x00x",
            b"\x30\x05\x00\x02a+x",
        ),
        (
            "QoS 3",
            b"\x36\x08\x00\x02ab\x00\x01\x00x",
            b"\x36\x07\x00\x02ab\x00\x01x",
        ),
        (
            "packet id 0",
            b"\x32\x08\x00\x02ab\x00\x00\x00x",
            b"\x32\x07\x00\x02ab\x00\x00x",
        ),
        (
            "subscribe without filters",
            b"\x82\x03\x00\x01\x00",
            b"\x82\x02\x00\x01",
        ),
        (
            "reserved flags",
            b"\x80\x08\x00\x01\x00\x00\x02ab\x01",
            b"\x80\x07\x00\x01\x00\x02ab\x01",
        ),
    ];
    for (name, five, old) in cases {
        let said = raw::exchange(server.at().mqtt, &connected(CONNECT_V5, five), CLOSED_BY).await;
        assert_eq!(said.first(), Some(&0x20), "{name}: {said:02x?}");
        let after_connack = &said[2 + usize::from(said[1])..];
        assert!(
            after_connack.first() == Some(&0xe0)
                && after_connack.get(2).is_some_and(|reason| *reason >= 0x80),
            "{name}: 5 says why before it closes: {after_connack:02x?}"
        );
        let old = if name == "second connect" {
            CONNECT_V311
        } else {
            old
        };
        let said = raw::exchange(server.at().mqtt, &connected(CONNECT_V311, old), CLOSED_BY).await;
        assert_eq!(said, b"\x20\x02\x00\x00", "{name}: 3.1.1 closes without a word");
    }
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn a_client_that_ends_in_the_middle_of_a_packet_does_no_harm() {
    let mut server = Longwire::start().await;
    let mut whole = BytesMut::from(CONNECT_V311);
    whole.put_slice(b"\x32\x0a\x00\x03a/b\x00\x01abc");
    for at in 0..whole.len() {
        let mut socket = raw::tcp(server.at().mqtt).await;
        socket.write_all(&whole[..at]).await.unwrap();
        socket.shutdown().await.unwrap();
        raw::read_to_close(&mut socket, CLOSED_BY).await;
    }
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn too_large_packets_and_topics_are_refused_with_the_registrys_codes() {
    let mut server = Longwire::start().await;
    // Announced, not even sent: 2 MiB.
    let announced = b"\x30\x80\x80\x80\x01\x00\x03a/b";
    let said = raw::exchange(server.at().mqtt, &connected(CONNECT_V5, announced), CLOSED_BY).await;
    let after_connack = &said[2 + usize::from(said[1])..];
    assert_eq!(
        (after_connack.first(), after_connack.get(2)),
        (Some(&0xe0), Some(&0x95)),
        "{after_connack:02x?}"
    );
    let said = raw::exchange(server.at().mqtt, &connected(CONNECT_V311, announced), CLOSED_BY).await;
    assert_eq!(said, b"\x20\x02\x00\x00");

    // A message of 256 KiB passes, one byte more does not.
    let (mut subscriber, mut publisher) = e2e::pair(&server, "size/+", QoS::AtLeastOnce).await;
    let largest = vec![b'x'; 256 * 1024];
    let ack = publisher
        .publish("size/x", largest.clone(), QoS::AtLeastOnce)
        .await
        .unwrap();
    assert_eq!(ack.reason as u8 & 0x80, 0, "{ack:?}");
    assert_eq!(subscriber.publish_received().await.payload.len(), largest.len());
    let mut over = largest;
    over.push(b'x');
    publisher.start_publish("size/x", over, QoS::AtLeastOnce).await;
    assert_eq!(refusal(&mut publisher).await, ReasonCode::PacketTooLarge);

    for topic in ["t".repeat(513), ["l"; 129].join("/")] {
        let mut client = Mqtt::connect(&server, Options::v5("long")).await;
        client.start_publish(&topic, "x", QoS::AtLeastOnce).await;
        assert_eq!(refusal(&mut client).await, ReasonCode::TopicNameInvalid);
        let mut client = Mqtt::connect(&server, Options::v311("long")).await;
        client.start_publish(&topic, "x", QoS::AtLeastOnce).await;
        assert!(client.receive_until_closed().await.is_empty());
    }
    for topic in ["t".repeat(512), ["l"; 128].join("/")] {
        let mut client = Mqtt::connect(&server, Options::v5("long")).await;
        let ack = client.publish(&topic, "x", QoS::AtLeastOnce).await.unwrap();
        assert_eq!(ack.reason as u8 & 0x80, 0, "{ack:?}");
    }
    assert_others_are_served(&mut server).await;
}

/// The reason of PUBACK or DISCONNECT, whichever comes.
async fn refusal(client: &mut Mqtt) -> ReasonCode {
    loop {
        match client.receive("a refusal").await {
            Some(Packet::PubAck(ack)) => return ack.reason,
            Some(Packet::Disconnect(disconnect)) => return disconnect.reason,
            Some(_) => {}
            None => panic!("the server closed without saying why"),
        }
    }
}

/// Payloads on a chat topic that are no chat message.
fn no_messages(topic: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut without_uid = chat::text(topic, DESK, "x");
    without_uid.uid = String::new();
    let mut without_type = chat::text(topic, DESK, "x");
    without_type.r#type = String::new();
    let mut endless_uid = chat::text(topic, DESK, "x");
    endless_uid.uid = "u".repeat(10_000);
    vec![
        ("empty", Vec::new()),
        ("plain text", b"hello".to_vec()),
        ("JSON of something else", b"{\"a\":1}".to_vec()),
        ("broken JSON", b"{\"uid\":\"u\",\"type\":".to_vec()),
        ("a JSON array", b"[1,2]".to_vec()),
        (
            "deep JSON",
            [b"{\"uid\":".to_vec(), b"[".repeat(100_000)].concat(),
        ),
        ("broken protobuf", b"\x0a\xff\xff\xff\xff\x0fabc".to_vec()),
        (
            "protobuf with ill-formed UTF-8",
            b"\x0a\x02\xc3\x28\x12\x04TEXT".to_vec(),
        ),
        ("no uid", chat::encode(&without_uid)),
        ("no type", chat::encode(&without_type)),
        ("an endless uid", chat::encode(&endless_uid)),
    ]
}

#[tokio::test]
async fn what_is_no_chat_message_on_a_chat_topic_is_answered_and_not_stored() {
    let mut server = Longwire::start().await;
    let topic = thread_of("v1");
    let token = agent_token(&server).await;
    let mut five = agent_v5(&server).await;
    let mut old = Mqtt::connect(&server, agent_options(&token, "old")).await;
    for (name, payload) in no_messages(&topic) {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let ack = five.publish(&topic, payload.clone(), qos).await.unwrap();
            assert_eq!(ack.reason, ReasonCode::PayloadFormatInvalid, "{name}");
        }
        old.start_publish(&topic, payload, QoS::AtMostOnce).await;
        let error = loop {
            let publish = old.publish_received().await;
            if publish.topic.as_str() == "user/u_agent" {
                break chat::decode(&publish);
            }
        };
        assert_eq!(error.r#type, "ERROR", "{name}");
        assert!(error.content.len() > 5, "{name}: it says what is wrong");
        old.ping().await;
    }
    assert_eq!(history(&server, &token, &topic).await.len(), 0);
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn a_visitors_page_is_told_of_bad_messages_and_stays_connected() {
    let mut server = Longwire::start().await;
    let topic = thread_of("v1");
    let mut page = visitor(&server, "v1").await;
    let queue = Frame::new(Command::Subscribe)
        .with_header("id", "mine")
        .with_header("destination", "/user/queue/messages");
    page.send_and_wait(queue).await;
    for (name, payload) in no_messages(&topic) {
        let frame = Frame::new(Command::Send)
            .with_header("destination", &format!("/app/{}", stomp::dotted(&topic)))
            .with_body(payload);
        page.send(&frame).await;
        let answer = page.message().await;
        assert_eq!(answer.get("subscription"), Some("mine"), "{name}");
        assert_eq!(stomp::body(&answer)["type"], "ERROR", "{name}");
    }
    page.say(&chat::text(&topic, "v1", "still here")).await;
    server.assert_unhurt();
}

#[tokio::test]
async fn broken_stomp_frames_get_error_and_the_end() {
    let mut server = Longwire::start().await;
    let token = visitor_token(&server, "v1").await;
    let send = "SEND\ndestination:/app/org.agent.df_ag_uid.v1\n";
    let many = (0..10_000).fold(send.to_owned(), |frame, n| format!("{frame}h{n}:x\n"));
    let long = format!("{send}h:{}\n\n\0", "x".repeat(100_000));
    let huge = format!("{send}content-length:999999999\n\n");
    let endless = format!("{send}\n{}", "x".repeat(300_000));
    let big = format!("{send}\n{}\0", "x".repeat(300_000));
    let cases: [(&str, String, Option<&str>); 13] = [
        ("an unknown command", "HELLO\n\n\0".into(), None),
        ("a command of the server", "MESSAGE\n\n\0".into(), None),
        ("no destination", "SEND\n\nx\0".into(), None),
        ("a header without colon", "SEND\nnonsense\n\n\0".into(), None),
        ("an unknown escape", "SEND\ndestination:\\x\n\n\0".into(), None),
        ("NUL before the blank line", format!("{send}\0"), None),
        (
            "a bad content-length",
            format!("{send}content-length:x\n\nabc\0"),
            None,
        ),
        (
            "a content-length too short",
            format!("{send}content-length:1\n\nabc\0"),
            None,
        ),
        ("ten thousand headers", many, Some("payload-too-large")),
        ("a header line of 100 KB", long, Some("payload-too-large")),
        ("a huge content-length", huge, Some("payload-too-large")),
        ("no NUL for 300 KB", endless, Some("payload-too-large")),
        ("a body of 300 KB", big, Some("payload-too-large")),
    ];
    for (name, bytes, code) in cases {
        eprintln!("{name}");
        let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
        page.send_raw(bytes.into()).await;
        let error = page.error().await;
        if code.is_some() {
            assert_eq!(error.get("code"), code, "{name}: {error:?}");
        }
        assert!(!error.body.is_empty(), "{name}: a plain body explains: {error:?}");
    }
    for (name, frame) in [
        ("SUBSCRIBE without id", "SUBSCRIBE\ndestination:/topic/a\n\n\0"),
        ("ACK of nothing", "ACK\nid:nonsense\n\n\0"),
        ("a second CONNECT", "CONNECT\naccept-version:1.2\nhost:h\n\n\0"),
        (
            "a destination elsewhere",
            "SUBSCRIBE\nid:s\ndestination:/elsewhere/a.b\n\n\0",
        ),
    ] {
        eprintln!("{name}");
        let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
        page.send_raw(frame.into()).await;
        let error = page.error().await;
        assert!(
            error.get("message").is_some_and(|message| message.len() > 5),
            "{name}: {error:?}"
        );
    }
    let mut page = Stomp::open(&server, &stomp::Options::default()).await.unwrap();
    page.send_raw("SEND\ndestination:/app/a.b\n\nx\0".into()).await;
    page.error().await;
    let mut page = Stomp::open(&server, &stomp::Options::default()).await.unwrap();
    page.send_raw(Bytes::from_static(b"\xff\xfe\xfd\0\0\0")).await;
    page.error().await;
    // A frame cut off by the end of the connection.
    let mut page = Stomp::connect(&server, stomp::Options::visitor("v1", Some(&token))).await;
    page.send_raw(send.to_owned().into()).await;
    page.vanish();
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn broken_websockets_are_closed() {
    let mut server = Longwire::start().await;
    for (at, path, protocol) in [
        (server.at().ws, "/websocket", "mqtt"),
        (server.at().http, "/stomp", "v12.stomp"),
    ] {
        // A frame of a gigabyte is announced; a frame is not masked; an unknown opcode.
        for frame in [
            &b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00abcd"[..],
            b"\x82\x05hello",
            b"\x83\x80abcd",
        ] {
            let mut socket = raw::websocket(at, path, &[protocol]).await.unwrap();
            socket.get_mut().write_all(frame).await.unwrap();
            let closed = async { while let Some(Ok(_)) = socket.next().await {} };
            testkit::within("the server to close", CLOSED_BY, closed).await;
        }
        assert!(raw::websocket(at, "/elsewhere", &[protocol]).await.is_err());
    }
    // MQTT is binary.
    let mut socket = raw::websocket(server.at().ws, "/websocket", &["mqtt"])
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let closed = async { while let Some(Ok(_)) = socket.next().await {} };
    testkit::within("the server to close", CLOSED_BY, closed).await;
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn a_client_that_does_not_authenticate_has_five_seconds() {
    let mut server = Longwire::start().await;
    let (mqtt, ws, http) = (server.at().mqtt, server.at().ws, server.at().http);
    let silent = async |at: SocketAddr, first: &[u8]| {
        let start = Instant::now();
        raw::exchange(at, first, CLOSED_BY).await;
        start.elapsed()
    };
    let upgraded = async |at: SocketAddr, path: &str, protocol: &str| {
        let start = Instant::now();
        let mut socket = raw::websocket(at, path, &[protocol]).await.unwrap();
        let closed = async { while let Some(Ok(_)) = socket.next().await {} };
        testkit::within("the server to close", CLOSED_BY, closed).await;
        start.elapsed()
    };
    let dripping = async {
        let start = Instant::now();
        let mut socket = raw::tcp(mqtt).await;
        let mut tick = tokio::time::interval(Duration::from_millis(300));
        for byte in b"\x10\xff\x7f\x00\x04MQTT\x04\x02\x00\x00"
            .iter()
            .chain([0; 60].iter())
        {
            tick.tick().await;
            if socket.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        raw::read_to_close(&mut socket, CLOSED_BY).await;
        start.elapsed()
    };
    let elapsed = futures::join!(
        silent(mqtt, b""),
        silent(mqtt, b"\x10"),
        silent(ws, b""),
        silent(ws, b"GET /websocket HTTP/1.1\r\nHost: x\r\n"),
        silent(http, b"GET /stomp HTTP/1.1\r\nHost: x\r\n"),
        upgraded(ws, "/websocket", "mqtt"),
        upgraded(http, "/stomp", "v12.stomp"),
        dripping,
    );
    let elapsed: [Duration; 8] = elapsed.into();
    for (n, time) in elapsed.into_iter().enumerate() {
        assert!(time > PATIENCE - Duration::from_secs(2), "case {n}: {time:?}");
        let limit = if n == 7 { 2 * CLOSED_BY } else { CLOSED_BY };
        assert!(time < limit, "case {n}: {time:?}");
    }
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn a_client_that_does_not_authenticate_has_64_kib() {
    let mut server = Longwire::start().await;
    let (mqtt, ws, http) = (server.at().mqtt, server.at().ws, server.at().http);
    let start = Instant::now();
    // A CONNECT of 100,000 bytes is refused when it is announced.
    raw::exchange(mqtt, b"\x10\xa0\x8d\x06\x00\x04MQTT\x04\x02", PATIENCE).await;
    let headers = [
        b"GET /websocket HTTP/1.1\r\nHost: x\r\n".to_vec(),
        b"X-Bomb: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(5_000),
    ]
    .concat();
    for at in [ws, mqtt, http] {
        let said = raw::exchange(at, &headers, PATIENCE).await;
        assert!(
            said.is_empty() || said.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    let mut page = Stomp::open(&server, &stomp::Options::default()).await.unwrap();
    let bomb = format!("CONNECT\naccept-version:1.2\nhost:{}\n\n\0", "h".repeat(70_000));
    page.send_raw(bomb.into()).await;
    page.error().await;
    let mut socket = raw::websocket(ws, "/websocket", &["mqtt"]).await.unwrap();
    let _cut = socket.send(Message::binary(vec![0x10; 70_000])).await;
    let closed = async { while let Some(Ok(_)) = socket.next().await {} };
    testkit::within("the server to close", PATIENCE, closed).await;
    assert!(start.elapsed() < 6 * PATIENCE);
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn hundreds_of_hostile_connections_leave_the_others_alone() {
    let mut server = Longwire::start().await;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut client = agent(&server).await;
    for round in 0..300 {
        let at = [
            server.at().mqtt,
            server.at().ws,
            server.at().http,
            server.at().ops,
        ][round % 4];
        let mut bytes: Vec<u8> = (0..random() % 600).map(|_| (random() >> 24) as u8).collect();
        // Half of them get further than the first packet.
        if round % 8 < 4 {
            let mut start = if random() % 2 == 0 {
                CONNECT_V5
            } else {
                CONNECT_V311
            }
            .to_vec();
            start.append(&mut bytes);
            bytes = start;
        }
        let mut socket = raw::tcp(at).await;
        let _cut = socket.write_all(&bytes).await;
        drop(socket);
        if round % 50 == 0 {
            client.ping().await;
            client
                .say(&chat::text(&thread_of("v1"), DESK, "unimpressed"))
                .await;
        }
    }
    assert_others_are_served(&mut server).await;
}

#[tokio::test]
async fn a_subscription_to_nonsense_is_refused_and_the_connection_stays() {
    let server = Longwire::start().await;
    let mut client = Mqtt::connect(&server, Options::v5("curious")).await;
    for filter in ["$share/group", "$share//x"] {
        // Ill-formed shared filters are malformed packets; the codec will not even build some of them.
        let mut other = Mqtt::connect(&server, Options::v5("other")).await;
        let mut bytes = BytesMut::new();
        bytes.put_slice(&[
            0x82,
            u8::try_from(6 + filter.len()).unwrap(),
            0,
            9,
            0,
            0,
            u8::try_from(filter.len()).unwrap(),
        ]);
        bytes.put_slice(filter.as_bytes());
        bytes.put_u8(1);
        other.send_raw(bytes.freeze()).await;
        let reason = other.closed_by_server(DEADLINE).await;
        assert!(
            reason.is_some_and(|reason| reason as u8 >= 0x80),
            "{filter}: {reason:?}"
        );
    }
    let long = "f/".repeat(400);
    let granted = client.subscribe(&long, QoS::AtLeastOnce).await;
    assert!(granted as u8 >= 0x80, "{granted:?}");
    client.ping().await;
}
