use super::*;
use proptest::prelude::*;

fn stamp() -> Stamp {
    Stamp {
        position: Position(131_072),
        prev: Some(Position(65_537)),
        timestamp: UnixMillis(1_769_833_310_000),
    }
}

fn text(uid: &str) -> Message {
    Message {
        uid: uid.into(),
        r#type: "TEXT".into(),
        content: "你好".into(),
        ..Message::default()
    }
}

#[test]
fn what_the_visitor_page_sends_is_read() {
    let body = r#"{"uid":"m1","type":"RATE_SUBMIT","content":"m0","status":"SENDING",
        "createdAt":"2026-01-31T04:21:50.000Z","channel":"HTTP","extra":{"score":5},
        "thread":{"uid":"t","topic":"org/agent/a/v","type":"AGENT","status":"NEW","unreadCount":3,"user":null},
        "user":{"uid":"v","visitor":true}}"#;
    let m = parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let thread = m.thread.as_ref().unwrap();
    assert_eq!(
        (m.extra.as_str(), m.channel.as_str(), thread.state.as_str()),
        (r#"{"score":5}"#, "HTTP", "NEW")
    );
    assert_eq!(normalise(m).thread.unwrap().user, Some(User::default()));
}

#[test]
fn created_at_may_be_a_number_or_be_called_timestamp() {
    let read = |body: &str| parse_json(body).unwrap().created_at;
    assert_eq!(
        read(r#"{"uid":"1","type":"TEXT","createdAt":1691234567890}"#),
        "1691234567890"
    );
    assert_eq!(
        read(r#"{"uid":"1","type":"TEXT","timestamp":1691234567890}"#),
        "1691234567890"
    );
}

#[test]
fn an_envelope_is_read_whatever_its_uid_is_and_however_long() {
    for len in 1..=128 {
        for first in ["{", "a", " ", "\n"] {
            let uid: String = first.chars().chain(std::iter::repeat('0')).take(len).collect();
            let message = text(&uid);
            let read = parse(&message.encode_to_vec().into());
            assert_eq!(read.map_err(|e| e.to_string()), Ok(message), "{len} of {first:?}");
        }
    }
}

#[test]
fn what_is_no_message_says_why() {
    let error = |bytes: &[u8]| parse(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
    assert!(error(b"").contains("empty") && error(b" \n").contains("empty"));
    assert!(error(b"{\"uid\":").contains("JSON"));
    assert!(error(b"hello").contains("neither"));
    assert!(error(b"{}").contains("no uid"));
    assert!(error(br#"{"uid":"1"}"#).contains("no type"));
    assert!(error(format!(r#"{{"uid":"{}","type":"TEXT"}}"#, "x".repeat(129)).as_bytes()).contains("129"));
}

#[test]
fn the_stamp_follows_the_stored_bytes() {
    let stored = encode(&normalise(text("1")));
    let sent: Bytes = [&stored[..], &stamp_suffix(&stamp())[..]].concat().into();
    let got = Message::decode(sent).unwrap();
    assert_eq!(
        (got.position, got.prev, got.timestamp),
        (131_072, Some(65_537), 1_769_833_310_000)
    );
    assert_eq!(got.content, "你好");
}

#[test]
fn json_omits_what_is_empty_and_spells_positions_as_strings() {
    let json: serde_json::Value = serde_json::from_str(&to_json(&normalise(text("1")), &stamp())).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"uid":"1","type":"TEXT","content":"你好","thread":{"user":{}},"user":{},
            "timestamp":1_769_833_310_000u64,"position":"131072","prev":"65537"})
    );
}

#[test]
fn the_same_message_over_another_protocol_has_the_same_digest() {
    assert_eq!(digest("TEXT", "a", "t"), digest("TEXT", "a", "t"));
    assert_ne!(digest("TEXT", "a", "t"), digest("TEXT", "at", ""));
    assert_ne!(uid_key("o", "s", "u"), uid_key("os", "", "u"));
}

proptest! {
    #[test]
    fn a_message_survives_both_spellings(uid in "[a-z0-9]{1,20}", content in any::<String>(), extra in any::<String>(),
                                         topic in any::<String>(), nickname in any::<String>()) {
        let m = normalise(Message {
            uid, r#type: "TEXT".into(), content, extra, status: "SENDING".into(),
            thread: Some(Thread { topic, ..Thread::default() }),
            user: Some(User { nickname, ..User::default() }),
            ..Message::default()
        });
        prop_assert_eq!(&parse(&encode(&m)).unwrap(), &m);
        let bare = Stamp { position: Position(0), prev: None, timestamp: UnixMillis(0) };
        let mut back = parse_json(&to_json(&m, &bare)).unwrap();
        back.created_at = String::new();
        prop_assert_eq!(&normalise(back), &m);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&Bytes::from(bytes));
    }
}

#[test]
fn a_thread_has_one_uid_and_a_colleague_thread_one_for_each_side() {
    let uid = |topic: &str| thread_uid("o", &TopicName::new(topic).unwrap());
    let plain = |topic: &str| format!("{:032x}", uid_key("o", "thread", topic));
    assert_eq!(uid("org/agent/a/v"), plain("org/agent/a/v"));
    assert_eq!(uid("org/agent/a/v_internal"), uid("org/agent/a/v"));
    assert_eq!(uid("org/member/a/b"), plain("org/member/a/b"));
    assert_eq!(uid("org/member/b/a"), other_side(&uid("org/member/a/b")));
    assert_eq!(uid("org/member/b/a_internal"), uid("org/member/b/a"));
    assert_ne!(
        uid("org/agent/a/v"),
        thread_uid("p", &TopicName::new("org/agent/a/v").unwrap())
    );
}
