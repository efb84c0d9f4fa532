//! The JSON spelling. Reading accepts what any deployed client sends: numbers where strings are meant, objects where
//! JSON text is meant, old member names, nulls, members we do not know.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Stamp;
use crate::{Message, Thread, User};

pub(super) fn from_slice(bytes: &[u8]) -> Result<Message, serde_json::Error> {
    let read: MessageIn = serde_json::from_slice(bytes)?;
    Ok(Message {
        uid: read.uid,
        r#type: read.r#type,
        content: read.content,
        status: read.status,
        created_at: if read.created_at.is_empty() {
            read.timestamp
        } else {
            read.created_at
        },
        channel: if read.channel.is_empty() {
            read.client
        } else {
            read.channel
        },
        thread: read.thread.map(thread),
        user: read.user.map(user),
        extra: read.extra,
        ..Message::default()
    })
}

fn thread(t: ThreadIn) -> Thread {
    Thread {
        uid: t.uid,
        topic: t.topic,
        r#type: t.r#type,
        state: if t.status.is_empty() { t.state } else { t.status },
        user: t.user.map(user),
        channel: if t.channel.is_empty() { t.client } else { t.channel },
        extra: t.extra,
    }
}

fn user(u: UserIn) -> User {
    User {
        uid: u.uid,
        nickname: u.nickname,
        avatar: u.avatar,
        r#type: u.r#type,
        extra: u.extra,
    }
}

/// A string; a number, boolean, object or array becomes its JSON text, null becomes empty.
fn text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Null => String::new(),
        Value::String(s) => s,
        other => other.to_string(),
    })
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct MessageIn {
    #[serde(deserialize_with = "text")]
    uid: String,
    #[serde(deserialize_with = "text")]
    r#type: String,
    #[serde(deserialize_with = "text")]
    content: String,
    #[serde(deserialize_with = "text")]
    status: String,
    #[serde(deserialize_with = "text")]
    created_at: String,
    #[serde(deserialize_with = "text")]
    timestamp: String,
    #[serde(deserialize_with = "text")]
    channel: String,
    #[serde(deserialize_with = "text")]
    client: String,
    thread: Option<ThreadIn>,
    user: Option<UserIn>,
    #[serde(deserialize_with = "text")]
    extra: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ThreadIn {
    #[serde(deserialize_with = "text")]
    uid: String,
    #[serde(deserialize_with = "text")]
    topic: String,
    #[serde(deserialize_with = "text")]
    r#type: String,
    #[serde(deserialize_with = "text")]
    status: String,
    #[serde(deserialize_with = "text")]
    state: String,
    user: Option<UserIn>,
    #[serde(deserialize_with = "text")]
    channel: String,
    #[serde(deserialize_with = "text")]
    client: String,
    #[serde(deserialize_with = "text")]
    extra: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UserIn {
    #[serde(deserialize_with = "text")]
    uid: String,
    #[serde(deserialize_with = "text")]
    nickname: String,
    #[serde(deserialize_with = "text")]
    avatar: String,
    #[serde(deserialize_with = "text")]
    r#type: String,
    #[serde(deserialize_with = "text")]
    extra: String,
}

/// A stored message as clients see it.
pub(super) struct View<'a> {
    pub message: &'a Message,
    pub stamp: &'a Stamp,
}

/// Writes the members that are not empty.
fn members<M: SerializeMap>(map: &mut M, pairs: &[(&'static str, &str)]) -> Result<(), M::Error> {
    pairs
        .iter()
        .filter(|(_, v)| !v.is_empty())
        .try_for_each(|(k, v)| map.serialize_entry(k, v))
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (m, stamp) = (self.message, self.stamp);
        let mut map = s.serialize_map(None)?;
        members(&mut map, &[("uid", &m.uid), ("type", &m.r#type)])?;
        // An empty text is a text: clients read `content` without asking whether it is there.
        map.serialize_entry("content", &m.content)?;
        members(
            &mut map,
            &[
                ("status", &m.status),
                ("createdAt", &m.created_at),
                ("channel", &m.channel),
            ],
        )?;
        if let Some(thread) = &m.thread {
            map.serialize_entry("thread", &ThreadView(thread))?;
        }
        if let Some(user) = &m.user {
            map.serialize_entry("user", &UserView(user))?;
        }
        members(&mut map, &[("extra", &m.extra)])?;
        map.serialize_entry("timestamp", &stamp.timestamp.0)?;
        if stamp.position.0 != 0 {
            map.serialize_entry("position", &stamp.position.to_string())?;
        }
        if let Some(prev) = stamp.prev {
            map.serialize_entry("prev", &prev.to_string())?;
        }
        map.end()
    }
}

struct ThreadView<'a>(&'a Thread);

impl Serialize for ThreadView<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let t = self.0;
        let mut map = s.serialize_map(None)?;
        members(
            &mut map,
            &[
                ("uid", &t.uid),
                ("topic", &t.topic),
                ("type", &t.r#type),
                ("status", &t.state),
            ],
        )?;
        if let Some(user) = &t.user {
            map.serialize_entry("user", &UserView(user))?;
        }
        members(&mut map, &[("channel", &t.channel), ("extra", &t.extra)])?;
        map.end()
    }
}

struct UserView<'a>(&'a User);

impl Serialize for UserView<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let u = self.0;
        let mut map = s.serialize_map(None)?;
        let pairs = [
            ("uid", &*u.uid),
            ("nickname", &u.nickname),
            ("avatar", &u.avatar),
            ("type", &u.r#type),
        ];
        members(&mut map, &pairs)?;
        members(&mut map, &[("extra", &u.extra)])?;
        map.end()
    }
}
