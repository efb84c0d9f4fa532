//! The chat envelope: the protobuf an agent sends and the JSON a visitor sends, and the content of either.
//!
//! Field numbers and names are those of the deployed clients. Written by hand, apart from the server's own code.

use serde::Deserialize;
use serde_json::json;

use crate::stamp::{self, Side};
use crate::template::{CREATED_MARK, UID_MARK};
use crate::token::ORG;

/// One conversation between an agent and a visitor.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    /// Makes the message uids of this run unlike those of any other.
    pub(crate) run: String,
    pub(crate) index: usize,
    /// The agent's alias, under which it writes.
    pub(crate) alias: String,
    pub(crate) visitor: String,
}

/// The side of the agent in a stamp.
pub(crate) const AGENT: Side = b'a';
/// The side of the visitor in a stamp.
pub(crate) const VISITOR: Side = b'v';

impl Chat {
    /// The thread's topic.
    pub(crate) fn topic(&self) -> String {
        format!("org/agent/{}/{}", self.alias, self.visitor)
    }

    /// The topic as STOMP destinations spell it.
    pub(crate) fn dotted(&self) -> String {
        self.topic().replace('/', ".")
    }

    fn uid(&self, side: Side) -> String {
        format!("{}-{}-{}-{UID_MARK}", self.run, self.index, side as char)
    }

    fn sender(&self, side: Side) -> (&str, &'static str) {
        if side == AGENT {
            (&self.alias, "AGENT")
        } else {
            (&self.visitor, "VISITOR")
        }
    }

    /// The protobuf envelope of a text of `size` bytes, with the marks to be filled in.
    pub(crate) fn protobuf(&self, side: Side, size: usize) -> Vec<u8> {
        let (uid, role) = self.sender(side);
        let mut thread = Vec::new();
        put(&mut thread, 1, self.topic().as_bytes());
        put(&mut thread, 2, self.topic().as_bytes());
        put(&mut thread, 3, b"AGENT");
        put(&mut thread, 5, &user(&self.visitor, "VISITOR"));
        let mut message = Vec::new();
        put(&mut message, 1, self.uid(side).as_bytes());
        put(&mut message, 2, b"TEXT");
        put(&mut message, 3, &stamp::content(side, size));
        put(&mut message, 4, b"SENDING");
        put(&mut message, 5, CREATED_MARK.as_bytes());
        put(&mut message, 6, b"WEB");
        put(&mut message, 7, &thread);
        put(&mut message, 8, &user(uid, role));
        put(&mut message, 9, format!("{{\"orgUid\":\"{ORG}\"}}").as_bytes());
        message
    }

    /// The JSON envelope of a text of `size` bytes, with the marks to be filled in.
    pub(crate) fn json(&self, side: Side, size: usize) -> String {
        let (uid, role) = self.sender(side);
        let content = String::from_utf8_lossy(&stamp::content(side, size)).into_owned();
        json!({
            "uid": self.uid(side), "type": "TEXT", "content": content, "status": "SENDING",
            "createdAt": CREATED_MARK, "channel": "WEB",
            "thread": {
                "uid": self.topic(), "topic": self.topic(), "type": "AGENT",
                "user": { "uid": self.visitor, "nickname": self.visitor, "avatar": "", "type": "VISITOR" },
            },
            "user": { "uid": uid, "nickname": uid, "avatar": "", "type": role },
            "extra": format!("{{\"orgUid\":\"{ORG}\"}}"),
        })
        .to_string()
    }
}

fn user(uid: &str, role: &str) -> Vec<u8> {
    let mut user = Vec::new();
    put(&mut user, 1, uid.as_bytes());
    put(&mut user, 2, uid.as_bytes());
    put(&mut user, 4, role.as_bytes());
    user
}

/// One length-delimited field, the only kind the envelope has.
pub(crate) fn put(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    out.push(number << 3 | 2);
    let mut size = value.len();
    while size > 0x7F {
        out.push(size as u8 | 0x80);
        size >>= 7;
    }
    out.push(size as u8);
    out.extend_from_slice(value);
}

/// The content of a protobuf envelope: its field 3.
pub(crate) fn protobuf_content(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            2 => {
                let size = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(size)?;
                if key >> 3 == 3 {
                    return Some(value);
                }
                bytes = rest;
            }
            _ => return None,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The content of a JSON envelope; ours needs no escapes.
pub(crate) fn json_content(bytes: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        content: &'a str,
    }
    serde_json::from_slice::<Envelope<'_>>(bytes)
        .ok()
        .map(|envelope| envelope.content.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    #[derive(Clone, PartialEq, prost::Message)]
    struct User {
        #[prost(string, tag = "1")]
        uid: String,
        #[prost(string, tag = "4")]
        role: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Thread {
        #[prost(string, tag = "2")]
        topic: String,
        #[prost(message, optional, tag = "5")]
        user: Option<User>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Message {
        #[prost(string, tag = "1")]
        uid: String,
        #[prost(string, tag = "3")]
        content: String,
        #[prost(string, tag = "5")]
        created_at: String,
        #[prost(message, optional, tag = "7")]
        thread: Option<Thread>,
        #[prost(message, optional, tag = "8")]
        user: Option<User>,
        #[prost(string, tag = "101")]
        later: String,
        #[prost(uint64, tag = "102")]
        number: u64,
    }

    fn chat() -> Chat {
        Chat {
            run: "r".into(),
            index: 3,
            alias: "ag".into(),
            visitor: "vi".into(),
        }
    }

    #[test]
    fn another_protobuf_library_reads_the_envelope() {
        let message = <Message as prost::Message>::decode(&chat().protobuf(AGENT, 200)[..]).unwrap();
        assert_eq!(message.uid, format!("r-3-a-{UID_MARK}"));
        assert_eq!(message.content.len(), 200);
        let thread = message.thread.unwrap();
        assert_eq!(
            (thread.topic.as_str(), thread.user.unwrap().uid.as_str()),
            ("org/agent/ag/vi", "vi")
        );
        assert_eq!(
            message.user.unwrap(),
            User {
                uid: "ag".into(),
                role: "AGENT".into()
            }
        );
    }

    #[test]
    fn content_is_found_among_fields_that_are_not_known_here() {
        let message = Message {
            number: 300,
            later: "x".into(),
            content: "hello".into(),
            ..Message::default()
        };
        assert_eq!(
            protobuf_content(&prost::Message::encode_to_vec(&message)),
            Some(&b"hello"[..])
        );
        let empty = Message {
            number: 300,
            ..Message::default()
        };
        assert_eq!(protobuf_content(&prost::Message::encode_to_vec(&empty)), None);
    }

    #[test]
    fn the_content_of_the_json_envelope_is_a_stamp() {
        let text = chat().json(VISITOR, 200);
        let content = json_content(text.as_bytes()).unwrap();
        assert_eq!(content.len(), 200);
        assert_eq!(Stamp::read(content).unwrap().side, VISITOR);
    }
}
