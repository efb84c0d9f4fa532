//! A scripted client.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use stomp_codec::{Command, Decoder, Frame, Item, Limits, Role, Version};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

pub const DEADLINE: Duration = Duration::from_secs(10);

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    decoder: Decoder,
    buf: BytesMut,
    pub version: Version,
    pub heart_beats: u32,
    /// The close code, when the server has closed.
    pub closed: Option<u16>,
}

/// CONNECT.
pub fn connect_frame(headers: &[(&str, &str)]) -> Frame {
    let frame = Frame::new(Command::Connect)
        .with_header("accept-version", "1.0,1.1,1.2")
        .with_header("host", "localhost");
    headers
        .iter()
        .fold(frame, |frame, (n, v)| frame.with_header(n, v))
}

/// SUBSCRIBE to a topic.
pub fn subscribe_frame(id: &str, topic: &str, ack: &str) -> Frame {
    Frame::new(Command::Subscribe)
        .with_header("id", id)
        .with_header("destination", &format!("/topic/{}", topic.replace('/', ".")))
        .with_header("ack", ack)
}

/// SEND of a chat message, as a visitor's page does it.
pub fn send_frame(topic: &str, uid: &str, content: &str) -> Frame {
    Frame::new(Command::Send)
        .with_header("destination", &format!("/app/{}", topic.replace('/', ".")))
        .with_body(text(topic, uid, content).to_string())
}

/// The JSON of a chat message.
pub fn text(topic: &str, uid: &str, content: &str) -> Value {
    json!({"uid": uid, "type": "TEXT", "content": content, "status": "SENDING",
        "createdAt": "2026-01-31T04:21:50.000Z", "channel": "HTTP", "thread": {"topic": topic}})
}

/// The JSON in a frame.
pub fn body(frame: &Frame) -> Value {
    serde_json::from_slice(&frame.body).unwrap_or_else(|e| panic!("no JSON ({e}) in {frame:?}"))
}

/// The texts of messages.
pub fn contents(frames: &[Frame]) -> Vec<String> {
    let content = |f| body(f)["content"].as_str().unwrap().to_owned();
    frames.iter().map(content).collect()
}

impl Client {
    /// Opens the WebSocket.
    pub async fn open(
        at: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Option<String>), u16> {
        let mut request = format!("ws://{at}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(at).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                let protocol = protocol.map(|p| p.to_str().unwrap().to_owned());
                let limits = Limits {
                    max_body: 4 << 20,
                    ..Limits::default()
                };
                let client = Self {
                    socket,
                    decoder: Decoder::new(Role::Client, limits),
                    buf: BytesMut::new(),
                    version: Version::V12,
                    heart_beats: 0,
                    closed: None,
                };
                Ok((client, protocol))
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("opening a WebSocket: {error}"),
        }
    }

    pub async fn raw(at: SocketAddr) -> Self {
        Self::open(at, "/stomp", &[]).await.ok().unwrap().0
    }

    /// Connects as the visitor `login`, without a token.
    pub async fn visitor(at: SocketAddr, login: &str) -> Self {
        Self::connect(at, &[("login", login)]).await
    }

    pub async fn connect(at: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let mut client = Self::raw(at).await;
        client.send(&connect_frame(headers)).await;
        client.expect(Command::Connected).await;
        client
    }

    pub async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(self.version, &mut bytes);
        self.send_raw(bytes.freeze()).await;
    }

    /// As one WebSocket message.
    pub async fn send_raw(&mut self, bytes: impl Into<Bytes>) {
        let bytes: Bytes = bytes.into();
        let message = match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Message::text(text),
            Err(_) => Message::Binary(bytes),
        };
        // A server that has closed is noticed by whoever reads.
        let _closed = self.socket.send(message).await;
    }

    /// The next frame; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.decode(&mut self.buf).unwrap() {
                Some(Item::Frame(frame)) => return Some(frame),
                Some(Item::HeartBeat) => {
                    self.heart_beats += 1;
                    continue;
                }
                None => {}
            }
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => self.buf.extend_from_slice(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => self.buf.extend_from_slice(&bytes),
                Some(Ok(Message::Close(frame))) => self.closed = frame.map(|f| f.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next frame, which has this command.
    pub async fn expect(&mut self, command: Command) -> Frame {
        let next = tokio::time::timeout(DEADLINE, self.next()).await;
        let frame = next.unwrap_or_else(|_| panic!("no {command} in time"));
        let frame = frame.unwrap_or_else(|| panic!("closed before {command}"));
        assert_eq!(
            frame.command,
            command,
            "{frame:?} {:?}",
            String::from_utf8_lossy(&frame.body)
        );
        frame
    }

    pub async fn receipt(&mut self, id: &str) {
        let frame = self.expect(Command::Receipt).await;
        assert_eq!(frame.get("receipt-id"), Some(id));
    }

    /// The next MESSAGE that is no DELIVERED.
    pub async fn message(&mut self) -> Frame {
        loop {
            let frame = self.expect(Command::Message).await;
            if !frame.body.starts_with(b"{") || body(&frame)["type"] != "DELIVERED" {
                return frame;
            }
            self.ack(&frame).await;
        }
    }

    pub async fn messages(&mut self, n: usize) -> Vec<Frame> {
        let mut all = Vec::new();
        for _ in 0..n {
            all.push(self.message().await);
        }
        all
    }

    /// ERROR with this code, and then the end.
    pub async fn error(&mut self, code: &str) -> Frame {
        let frame = self.expect(Command::Error).await;
        assert_eq!(
            frame.get("code"),
            Some(code),
            "{:?}",
            String::from_utf8_lossy(&frame.body)
        );
        assert!(frame.get("message").is_some() && !frame.body.is_empty());
        self.ended().await;
        frame
    }

    /// The server closes and says nothing more.
    pub async fn ended(&mut self) {
        let end = tokio::time::timeout(DEADLINE, self.next()).await;
        assert_eq!(end.expect("the server does not close"), None);
    }

    /// Nothing comes before the answer to a frame sent now.
    pub async fn nothing_else(&mut self) {
        let begin = Frame::new(Command::Begin)
            .with_header("transaction", "probe")
            .with_header("receipt", "probe");
        self.send(&begin).await;
        self.receipt("probe").await;
        let abort = Frame::new(Command::Abort).with_header("transaction", "probe");
        self.send(&abort).await;
    }

    /// Subscribes, and is sure to get everything from now on.
    pub async fn subscribe(&mut self, id: &str, topic: &str, ack: &str) {
        self.send(&subscribe_frame(id, topic, ack).with_header("receipt", "sub"))
            .await;
        self.receipt("sub").await;
    }

    pub async fn ack(&mut self, message: &Frame) {
        self.answer(Command::Ack, message).await;
    }

    pub async fn nack(&mut self, message: &Frame) {
        self.answer(Command::Nack, message).await;
    }

    async fn answer(&mut self, command: Command, message: &Frame) {
        let frame = Frame::new(command);
        let frame = match self.version {
            Version::V12 => match message.get("ack") {
                Some(id) => frame.with_header("id", id),
                None => return,
            },
            _ => frame
                .with_header("message-id", message.get("message-id").unwrap())
                .with_header("subscription", message.get("subscription").unwrap_or_default()),
        };
        self.send(&frame).await;
    }

    /// DISCONNECT, and waits for its RECEIPT.
    pub async fn leave(mut self) {
        let bye = Frame::new(Command::Disconnect).with_header("receipt", "bye");
        self.send(&bye).await;
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.next())
                .await
                .unwrap()
                .unwrap();
            if frame.command == Command::Receipt {
                break;
            }
        }
        self.ended().await;
    }
}
