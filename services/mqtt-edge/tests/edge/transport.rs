//! What carries the packets: TCP and WebSocket on either port, told apart by the first byte.

use futures::{SinkExt, StreamExt};
use testkit::mqtt::{Options, QoS};
use testkit::{DEADLINE, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::rig::Rig;
use crate::sessions::hear;

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";

#[tokio::test]
async fn either_port_takes_either_transport() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    for at in [edge.tcp, edge.ws] {
        for path in [None, Some("/mqtt"), Some("/websocket")] {
            let options = Options {
                websocket: path,
                ..Options::v5("either")
            };
            let mut client = testkit::mqtt::Mqtt::connect_to(at, options).await.unwrap();
            client.ping().await;
        }
        for (protocols, chosen) in [
            (&["mqtt"][..], Some("mqtt")),
            (&["mqttv3.1"], Some("mqttv3.1")),
            (&["foo", "mqtt"], Some("mqtt")),
            (&[], None),
        ] {
            let mut request = String::from(
                "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            );
            if !protocols.is_empty() {
                request += &format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", "));
            }
            let mut socket = testkit::raw::tcp(at).await;
            socket
                .write_all(format!("{request}\r\n").as_bytes())
                .await
                .unwrap();
            let mut head = Vec::new();
            let read = async {
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                String::from_utf8(head).unwrap().to_lowercase()
            };
            let head = within("the answer to an upgrade", DEADLINE, read).await;
            assert!(head.starts_with("http/1.1 101"), "{head}");
            assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
            let protocol = head
                .lines()
                .find_map(|l| l.strip_prefix("sec-websocket-protocol: ").map(str::to_owned));
            assert_eq!(protocol.as_deref(), chosen);
        }
    }
}

#[tokio::test]
async fn whoever_speaks_http_is_told_what_is_spoken_here() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    for (request, status) in [
        (&b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n"[..], "426"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (
            b"POST /websocket HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "426",
        ),
    ] {
        let answer = testkit::raw::exchange(edge.tcp, request, DEADLINE).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    for noise in [&b"\x00\x00"[..], b"\xff", b"\x30\x02\x00\x00", b"\xe0\x00"] {
        assert_eq!(testkit::raw::exchange(edge.tcp, noise, DEADLINE).await, b"");
    }
}

#[tokio::test]
async fn packets_and_websocket_frames_need_not_line_up() {
    let rig = Rig::start().await;
    let edge = rig.edge().await;
    let socket = testkit::raw::websocket(edge.ws, "/mqtt", &["mqtt"]).await;
    let mut socket = socket.unwrap();
    let mut all = CONNECT.to_vec();
    all.extend(b"\x82\x06\x00\x01\x00\x01t\x00\x30\x05\x00\x01thi\xc0\x00");
    for byte in &all {
        socket.send(Message::Binary(vec![*byte].into())).await.unwrap();
        socket.send(Message::Binary(Vec::new().into())).await.unwrap();
        socket.send(Message::Ping(Vec::new().into())).await.unwrap();
    }
    let mut said = Vec::new();
    let read = async {
        while !said.windows(2).any(|two| two == b"\xd0\x00") || !said.windows(2).any(|two| two == b"hi") {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => said.extend(bytes),
                Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    within("SUBACK, PUBLISH and PINGRESP", DEADLINE, read).await;
    assert!(said.starts_with(CONNACK), "{said:02x?}");
    // [MQTT-6.0.0-1]
    socket.send(Message::Text("text".into())).await.unwrap();
    let closed = async {
        while let Some(Ok(message)) = socket.next().await {
            assert!(!matches!(message, Message::Binary(_)), "{message:?}");
        }
    };
    within("the server to close", DEADLINE, closed).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_little_and_gets_everything_when_it_does() {
    let rig = Rig::start().await;
    let edge = rig
        .edge_with(|c| {
            c.limits.buffer = 16;
            c.limits.window = 64;
        })
        .await;
    for websocket in [None, Some("/mqtt")] {
        let options = Options {
            websocket,
            ..Options::v5("slow")
        };
        let mut slow = edge.connect(options).await;
        slow.subscribe("slow/+", QoS::AtLeastOnce).await;
        let mut writer = edge.connect(Options::v5("writer")).await;
        let payload = |n: usize| format!("{n:06}{}", "x".repeat(4000));
        for n in 0..1500 {
            // 6 MB, more than any window, buffer and socket takes.
            writer.publish("slow/x", payload(n), QoS::AtLeastOnce).await;
        }
        for n in 0..1500 {
            assert_eq!(hear(&mut slow).await[..6], payload(n)[..6]);
        }
        slow.disconnect().await;
    }
}
