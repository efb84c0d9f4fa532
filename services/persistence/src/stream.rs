//! Streamed answers: many entries share a uid, each brings a piece; history shows them put together.

use bytes::Bytes;
use serde_json::{Map, Value};
use wire::{Entry, Message};

/// Adds the content of a later part to a stream as far as it has come.
pub(crate) fn append(whole: &mut Entry, part: &Entry) {
    let (Some(mut into), Some(from)) = (envelope(whole), envelope(part)) else {
        return;
    };
    into.content = join(&into.content, &from.content);
    whole.payload = wire::envelope::encode(&into);
}

/// The entry of a message that was taken back: everything but what it said.
pub(crate) fn scrub(entry: &Entry) -> Entry {
    let payload = envelope(entry).map_or_else(Bytes::new, |mut message| {
        message.content.clear();
        message.extra.clear();
        message.status = "RECALL".to_owned();
        wire::envelope::encode(&message)
    });
    Entry {
        payload,
        ..entry.clone()
    }
}

fn envelope(entry: &Entry) -> Option<Message> {
    wire::frame::decode(entry.payload.clone()).ok()
}

/// One text after the other; of two JSON objects, the texts `answer` and `reasonContent` one after the other, and
/// members that only the later one has.
fn join(whole: &str, part: &str) -> String {
    let (Some(mut into), Some(from)) = (object(whole), object(part)) else {
        return [whole, part].concat();
    };
    for (name, value) in from {
        let text = into.get(&name).and_then(Value::as_str).zip(value.as_str());
        match text {
            Some((before, after)) if name == "answer" || name == "reasonContent" => {
                let joined = [before, after].concat();
                into.insert(name, Value::String(joined));
            }
            _ if into.get(&name).is_none_or(Value::is_null) => {
                into.insert(name, value);
            }
            _ => {}
        }
    }
    Value::Object(into).to_string()
}

fn object(text: &str) -> Option<Map<String, Value>> {
    // Most pieces are plain text: do not parse those.
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_text_and_of_json_are_joined() {
        assert_eq!(join("Hel", "lo"), "Hello");
        let joined = join(
            r#"{"answer":"a","question":"q"}"#,
            r#"{"answer":"b","reasonContent":"r","question":"x"}"#,
        );
        let value: Value = serde_json::from_str(&joined).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"answer":"ab","question":"q","reasonContent":"r"})
        );
        assert_eq!(join("{no json", "{}"), "{no json{}");
    }

    #[test]
    fn a_scrubbed_message_has_lost_what_it_said() {
        let message = Message {
            uid: "1".into(),
            content: "secret".into(),
            extra: "more".into(),
            ..Message::default()
        };
        let entry = Entry {
            payload: wire::envelope::encode(&message),
            uid: "1".into(),
            ..Entry::default()
        };
        let left = envelope(&scrub(&entry)).unwrap();
        assert_eq!(
            (&*left.uid, &*left.content, &*left.extra, &*left.status),
            ("1", "", "", "RECALL")
        );
        let bad = Entry {
            payload: Bytes::from_static(&[0xff]),
            ..entry
        };
        assert!(scrub(&bad).payload.is_empty());
    }
}
