//! The chat envelope in its two spellings. Protobuf is what MQTT clients send and get, JSON what STOMP and HTTP clients
//! do; either may come over any protocol. Reading is lenient where deployed clients differ from one another, writing
//! always gives one form.

mod json;

use bytes::{BufMut, Bytes, BytesMut};
use model::{ChatTopic, Position, TopicName, UnixMillis};
use prost::Message as _;
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::{Message, Thread, User};

/// Why a payload on a chat topic is no chat message. The texts are shown to the client's author.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// An empty payload.
    #[error("the payload is empty; a chat topic takes the protobuf envelope or its JSON")]
    Empty,
    /// It begins like JSON and is none, or a member has the wrong type.
    #[error("the payload is not the JSON of a chat message")]
    Json(#[source] serde_json::Error),
    /// It is neither.
    #[error("the payload is neither the protobuf envelope of a chat message nor its JSON")]
    Protobuf(#[source] prost::DecodeError),
    /// `uid` is missing or empty.
    #[error("the message has no uid; give each message its own, so that a resend is recognised")]
    NoUid,
    /// `uid` is too long to be one.
    #[error("the message's uid is {0} bytes long, 128 are allowed")]
    LongUid(usize),
    /// `type` is missing or empty.
    #[error("the message has no type, such as TEXT")]
    NoType,
}

/// Reads a payload in either spelling.
pub fn parse(payload: &Bytes) -> Result<Message, EnvelopeError> {
    let protobuf = || Message::decode(payload.clone()).map_err(EnvelopeError::Protobuf);
    let message = match payload.iter().find(|b| !b.is_ascii_whitespace()) {
        None => return Err(EnvelopeError::Empty),
        // 0x7b opens a protobuf group, which proto3 does not have. But an envelope begins with a line feed, the tag of `uid`, and
        // the length of the uid, which may be 0x7b or white space too: what is no JSON is looked at as protobuf then.
        Some(b'{') => match json::from_slice(payload) {
            Ok(message) => message,
            Err(_) if may_be_protobuf(payload) => protobuf()?,
            Err(error) => return Err(EnvelopeError::Json(error)),
        },
        Some(_) => protobuf()?,
    };
    check(message)
}

/// Whether a payload that looks like JSON may be the protobuf spelling all the same: it begins with the tag of `uid`.
pub fn may_be_protobuf(payload: &[u8]) -> bool {
    payload.first() == Some(&0x0a)
}

/// Reads the JSON spelling.
pub fn parse_json(text: &str) -> Result<Message, EnvelopeError> {
    check(json::from_slice(text.as_bytes()).map_err(EnvelopeError::Json)?)
}

fn check(message: Message) -> Result<Message, EnvelopeError> {
    match message.uid.len() {
        0 => return Err(EnvelopeError::NoUid),
        1..=128 => {}
        n => return Err(EnvelopeError::LongUid(n)),
    }
    if message.r#type.is_empty() {
        return Err(EnvelopeError::NoType);
    }
    Ok(message)
}

/// Where and when a stored message stands: what is added to its envelope on the way to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its position; [`Position::START`] for a message that is not in the log.
    pub position: Position,
    /// The position before it in its topic, when known.
    pub prev: Option<Position>,
    /// When the server accepted it.
    pub timestamp: UnixMillis,
}

/// Gives an envelope its normal form for the log: `thread`, `thread.user` and `user` set, our own fields empty. Deployed
/// MQTT clients call `getThread().getUser().getUid()` without a null check.
pub fn normalise(mut message: Message) -> Message {
    message
        .thread
        .get_or_insert_with(Thread::default)
        .user
        .get_or_insert_with(User::default);
    message.user.get_or_insert_with(User::default);
    (message.position, message.prev, message.timestamp) = (0, None, 0);
    message
}

/// The protobuf of an envelope, without stamp.
pub fn encode(message: &Message) -> Bytes {
    let mut buf = BytesMut::with_capacity(message.encoded_len());
    message.encode(&mut buf).expect("a BytesMut grows");
    buf.freeze()
}

/// The fields that follow a stored envelope's bytes to make what an MQTT client gets. Protobuf messages may be
/// concatenated, so the stored bytes are sent as they are.
pub fn stamp_suffix(stamp: &Stamp) -> Bytes {
    let mut buf = BytesMut::with_capacity(32);
    let fields = Message {
        position: stamp.position.0,
        prev: stamp.prev.map(|p| p.0),
        timestamp: stamp.timestamp.0,
        ..Message::default()
    };
    fields.encode(&mut buf).expect("a BytesMut grows");
    buf.freeze()
}

/// The JSON that STOMP and HTTP clients get: empty members omitted, `content` and `extra` strings, `position` and
/// `prev` decimal strings, `timestamp` a number.
pub fn to_json(message: &Message, stamp: &Stamp) -> String {
    let mut out = BytesMut::with_capacity(512).writer();
    serde_json::to_writer(&mut out, &json::View { message, stamp }).expect("strings and numbers serialise");
    String::from_utf8(out.into_inner().into()).expect("JSON is UTF-8")
}

/// A hash over what makes two messages of one uid the same message: type, content, thread topic. Not the time or the
/// channel, which differ when a client resends over HTTP what it sent over its socket. Part of the storage format.
pub fn digest(message_type: &str, content: &str, topic: &str) -> u64 {
    let mut h = Xxh3::new();
    for part in [message_type, content, topic] {
        h.update(&(part.len() as u64).to_le_bytes());
        h.update(part.as_bytes());
    }
    h.digest()
}

/// The key by which a resend is recognised: (org, sender, uid), hashed to 128 bits. Part of the storage format.
pub fn uid_key(org: &str, sender: &str, uid: &str) -> u128 {
    let mut buf = Vec::with_capacity(org.len() + sender.len() + uid.len() + 2);
    for (i, part) in [org, sender, uid].into_iter().enumerate() {
        if i > 0 {
            buf.push(0);
        }
        buf.extend_from_slice(part.as_bytes());
    }
    xxh3_128(&buf)
}

/// The uid of the thread of a topic: the same whoever makes it, and for the side channel that of its thread. Of a colleague
/// thread each side has its own, that of the other read backwards, as deployed clients expect; `topic` says which side is
/// meant. Part of the storage format.
pub fn thread_uid(org: &str, topic: &TopicName) -> String {
    let canonical = ChatTopic::canonical(topic);
    let thread = ChatTopic::thread(&canonical);
    let uid = format!("{:032x}", uid_key(org, "thread", thread));
    match canonical == *topic {
        true => uid,
        false => other_side(&uid),
    }
}

/// The uid of a colleague thread as its other side has it.
pub fn other_side(thread_uid: &str) -> String {
    thread_uid.chars().rev().collect()
}

/// How uids begin that the server gives. No client may use one, so that none can occupy that of a server's message.
pub const SERVER_UID: &str = "longwire-";

/// What the server names the uids of its prompts to leave a message after: [`server_uid`].
pub const PROMPT: &str = "leave_msg";

/// Whether a uid is that of a prompt to leave a message.
pub fn is_prompt(uid: &str) -> bool {
    uid.strip_prefix(SERVER_UID)
        .and_then(|rest| rest.strip_prefix(PROMPT))
        .is_some_and(|rest| rest.starts_with('-'))
}

/// The uid of a message of the server's own, the same whenever it is made of the same parts: what is sent again is stored once.
pub fn server_uid(what: &str, parts: &[&str]) -> String {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    format!("{SERVER_UID}{what}-{:032x}", hash.digest128())
}

/// The content of what a visitor is told of its place in a queue (QUEUE, QUEUE_UPDATE): `before` others are served first, `waiting`
/// wait in all. In `text`, `{position}` stands for the place, which counts from 1.
pub fn place_in_queue(text: &str, before: u64, waiting: u64, now: UnixMillis) -> String {
    let position = before + 1;
    serde_json::json!({
        "content": text.replace("{position}", &position.to_string()),
        "position": position,
        "queueSize": waiting.max(position),
        "serverTimestamp": now.0,
    })
    .to_string()
}

#[cfg(test)]
mod tests;
