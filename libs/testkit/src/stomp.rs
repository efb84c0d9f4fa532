//! A scripted STOMP client over WebSocket. It reads from its socket only while a step waits for something.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
pub use stomp_codec::{Command, Frame, Version};
use stomp_codec::{Decoder, Item, Limits, Role};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{DEADLINE, Longwire, chat, raw, within};

/// How to connect. The default is 1.2 at `/stomp` without credentials and without heart-beats.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path, with a query perhaps.
    pub path: String,
    /// WebSocket subprotocols to offer.
    pub protocols: Vec<&'static str>,
    /// Headers of CONNECT.
    pub headers: Vec<(String, String)>,
    /// The version spoken once connected.
    pub version: Version,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: "/stomp".to_owned(),
            protocols: vec!["v12.stomp", "v11.stomp", "v10.stomp"],
            headers: Vec::new(),
            version: Version::V12,
        }
    }
}

impl Options {
    /// As a visitor's page does: `login` is its uid; with a token as `passcode` if there is one.
    pub fn visitor(uid: &str, token: Option<&str>) -> Self {
        let options = Self::default().header("login", uid);
        match token {
            Some(token) => options.header("passcode", token),
            None => options,
        }
    }

    /// With a header of CONNECT.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }
}

/// A connection.
#[derive(Debug)]
pub struct Stomp {
    socket: WebSocketStream<TcpStream>,
    decoder: Decoder,
    buf: BytesMut,
    inbox: VecDeque<Frame>,
    version: Version,
    receipts: u32,
    /// What the server said to CONNECT.
    pub connected: Frame,
    /// Heart-beats seen.
    pub heart_beats: u32,
}

impl Stomp {
    /// Connects and expects to be welcome.
    ///
    /// # Panics
    /// When it is not.
    pub async fn connect(server: &Longwire, options: Options) -> Self {
        match Self::try_connect(server, options).await {
            Ok(client) => client,
            Err(frame) => panic!("the server does not accept the connection: {frame:?}"),
        }
    }

    /// Connects, perhaps in vain.
    ///
    /// # Errors
    /// The ERROR frame, `None` when the server closed without one.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub async fn try_connect(server: &Longwire, options: Options) -> Result<Self, Option<Frame>> {
        Self::connect_to(server.at().http, options).await
    }

    /// Connects to an address, perhaps in vain.
    ///
    /// # Errors
    /// The ERROR frame, `None` when the server closed without one.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub async fn connect_to(address: SocketAddr, options: Options) -> Result<Self, Option<Frame>> {
        let mut client = Self::open_at(address, &options).await?;
        let mut connect = Frame::new(Command::Connect)
            .with_header("accept-version", options.version.as_str())
            .with_header("host", "localhost");
        for (name, value) in &options.headers {
            connect = connect.with_header(name, value);
        }
        client.send(&connect).await;
        match client.receive("CONNECTED").await {
            Some(frame) if frame.command == Command::Connected => {
                client.connected = frame;
                client.decoder.set_version(options.version);
                Ok(client)
            }
            other => Err(other),
        }
    }

    /// Opens the WebSocket and sends nothing yet.
    ///
    /// # Errors
    /// `None` when the server refuses the upgrade.
    pub async fn open(server: &Longwire, options: &Options) -> Result<Self, Option<Frame>> {
        Self::open_at(server.at().http, options).await
    }

    async fn open_at(address: SocketAddr, options: &Options) -> Result<Self, Option<Frame>> {
        let socket = raw::websocket(address, &options.path, &options.protocols).await;
        let Ok(socket) = socket else { return Err(None) };
        let limits = Limits {
            max_body: 4 << 20,
            ..Limits::default()
        };
        Ok(Self {
            socket,
            decoder: Decoder::new(Role::Client, limits),
            buf: BytesMut::new(),
            inbox: VecDeque::new(),
            version: options.version,
            receipts: 0,
            connected: Frame::new(Command::Connected),
            heart_beats: 0,
        })
    }

    /// Sends a frame. A connection that the server has closed swallows it; the next step that reads will tell.
    ///
    /// # Panics
    /// When the server does not take it in time.
    pub async fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(self.version, &mut bytes);
        self.send_raw(bytes.freeze()).await;
    }

    /// Sends any text or bytes as one WebSocket message.
    ///
    /// # Panics
    /// When the server does not take it in time.
    pub async fn send_raw(&mut self, bytes: Bytes) {
        let message = match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Message::text(text),
            Err(_) => Message::Binary(bytes),
        };
        let sent = self.socket.send(message);
        let _closed = within("the server to take a frame", DEADLINE, sent).await;
    }

    /// The next frame, out of turn ones first; `None` when the server has closed.
    ///
    /// # Panics
    /// When nothing comes in time; the message says `what` was waited for.
    pub async fn receive(&mut self, what: &str) -> Option<Frame> {
        if let Some(frame) = self.inbox.pop_front() {
            return Some(frame);
        }
        within(what, DEADLINE, self.read()).await
    }

    /// The next frame if one comes within `time`.
    pub async fn receive_for(&mut self, time: Duration) -> Option<Frame> {
        if let Some(frame) = self.inbox.pop_front() {
            return Some(frame);
        }
        tokio::time::timeout(time, self.read()).await.ok().flatten()
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.decode(&mut self.buf) {
                Ok(Some(Item::Frame(frame))) => return Some(frame),
                Ok(Some(Item::HeartBeat)) => {
                    self.heart_beats += 1;
                    continue;
                }
                Ok(None) => {}
                Err(error) => panic!("the server sent what is no frame: {error}"),
            }
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => self.buf.extend_from_slice(text.as_bytes()),
                Some(Ok(Message::Binary(bytes))) => self.buf.extend_from_slice(&bytes),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Reads until a frame of the wanted kind comes; others wait for their turn.
    ///
    /// # Panics
    /// When it does not come in time, or the server sends ERROR or closes.
    pub async fn await_frame(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        if let Some(index) = self.inbox.iter().position(&wanted) {
            return self.inbox.remove(index).expect("just found");
        }
        let wait = async {
            loop {
                let Some(frame) = self.read().await else {
                    panic!("the server closed the connection before {what}")
                };
                if wanted(&frame) {
                    return frame;
                }
                assert!(
                    frame.command != Command::Error,
                    "the server says ERROR before {what}: {frame:?}"
                );
                self.inbox.push_back(frame);
            }
        };
        within(what, DEADLINE, wait).await
    }

    /// The same frame with a `receipt` header of its own, and that header.
    fn with_receipt(&mut self, frame: Frame) -> (Frame, String) {
        self.receipts += 1;
        let receipt = format!("receipt-{}", self.receipts);
        (frame.with_header("receipt", &receipt), receipt)
    }

    /// Sends a frame and waits for its RECEIPT.
    pub async fn send_and_wait(&mut self, frame: Frame) {
        let (frame, receipt) = self.with_receipt(frame);
        self.send(&frame).await;
        self.receipt(&receipt).await;
    }

    /// Waits for a RECEIPT.
    pub async fn receipt(&mut self, receipt: &str) {
        self.await_frame("RECEIPT", |frame| {
            frame.command == Command::Receipt && frame.get("receipt-id") == Some(receipt)
        })
        .await;
    }

    /// Subscribes and waits for the RECEIPT.
    pub async fn subscribe(&mut self, id: &str, topic: &str, ack: &str, headers: &[(&str, &str)]) {
        let mut frame = subscribe_frame(id, topic, ack);
        for (name, value) in headers {
            frame = frame.with_header(name, value);
        }
        self.send_and_wait(frame).await;
    }

    /// Sends a chat message as a visitor's page does and waits for the RECEIPT.
    pub async fn say(&mut self, message: &wire::Message) {
        let frame = send_frame(message);
        self.send_and_wait(frame).await;
    }

    /// Sends a chat message with a `receipt` header and does not wait: the header.
    pub async fn start_say(&mut self, message: &wire::Message) -> String {
        let (frame, receipt) = self.with_receipt(send_frame(message));
        self.send(&frame).await;
        receipt
    }

    /// The next MESSAGE, not acknowledged.
    async fn any_message(&mut self) -> Frame {
        self.await_frame("MESSAGE", |frame| frame.command == Command::Message)
            .await
    }

    /// The next MESSAGE, not acknowledged, but DELIVERED, which the server tells of itself whenever somebody acknowledges.
    ///
    /// # Panics
    /// When a body is no JSON.
    pub async fn message(&mut self) -> Frame {
        loop {
            let frame = self.any_message().await;
            if body(&frame)["type"] != "DELIVERED" {
                return frame;
            }
        }
    }

    /// The chat message in the next MESSAGE but DELIVERED, acknowledged.
    ///
    /// # Panics
    /// When a body is no JSON.
    pub async fn hear(&mut self) -> Value {
        self.hear_until(|message| message["type"] != "DELIVERED").await
    }

    /// The next chat message for which `wanted` holds; others are passed over. All are acknowledged.
    pub async fn hear_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.any_message().await;
            self.ack(&frame).await;
            let message = body(&frame);
            if wanted(&message) {
                return message;
            }
        }
    }

    /// ACK of a MESSAGE, if it asks for one.
    pub async fn ack(&mut self, message: &Frame) {
        self.answer(Command::Ack, message).await;
    }

    /// NACK of a MESSAGE.
    pub async fn nack(&mut self, message: &Frame) {
        self.answer(Command::Nack, message).await;
    }

    async fn answer(&mut self, command: Command, message: &Frame) {
        let frame = Frame::new(command);
        let frame = if self.version == Version::V12 {
            let Some(ack) = message.get("ack") else { return };
            frame.with_header("id", ack)
        } else {
            frame
                .with_header("message-id", message.get("message-id").unwrap_or_default())
                .with_header("subscription", message.get("subscription").unwrap_or_default())
        };
        self.send(&frame).await;
    }

    /// Waits for ERROR and for the end of the connection.
    ///
    /// # Panics
    /// When the server does not send it, or leaves the connection open.
    pub async fn error(&mut self) -> Frame {
        let error = self
            .await_frame("ERROR", |frame| frame.command == Command::Error)
            .await;
        assert!(error.get("message").is_some(), "ERROR has a message: {error:?}");
        self.closed_by_server(DEADLINE).await;
        error
    }

    /// Waits until the server closes.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn closed_by_server(&mut self, deadline: Duration) {
        self.last_words(deadline).await;
    }

    /// Waits until the server closes: the last frame that came until then.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn last_words(&mut self, deadline: Duration) -> Option<Frame> {
        let wait = async {
            let mut last = self.inbox.pop_back();
            while let Some(frame) = self.read().await {
                last = Some(frame);
            }
            last
        };
        within("the server to close the connection", deadline, wait).await
    }

    /// Leaves politely, waiting for the RECEIPT of DISCONNECT.
    pub async fn disconnect(mut self) {
        self.send_and_wait(Frame::new(Command::Disconnect)).await;
        // Its peer may have closed first.
        let _closed = self.socket.close(None).await;
    }

    /// Is gone without a word.
    pub fn vanish(self) {
        drop(self);
    }
}

/// The dotted form of a topic.
pub fn dotted(topic: &str) -> String {
    topic.replace('/', ".")
}

/// SUBSCRIBE to a thread.
pub fn subscribe_frame(id: &str, topic: &str, ack: &str) -> Frame {
    Frame::new(Command::Subscribe)
        .with_header("id", id)
        .with_header("destination", &format!("/topic/{}", dotted(topic)))
        .with_header("ack", ack)
}

/// SEND of a chat message.
pub fn send_frame(message: &wire::Message) -> Frame {
    Frame::new(Command::Send)
        .with_header("destination", &format!("/app/{}", dotted(chat::topic(message))))
        .with_body(chat::to_json(message).to_string())
}

/// The chat message in a MESSAGE.
///
/// # Panics
/// When its body is no JSON.
pub fn body(frame: &Frame) -> Value {
    match serde_json::from_slice(&frame.body) {
        Ok(json) => json,
        Err(error) => panic!("the body is not JSON ({error}): {frame:?}"),
    }
}
