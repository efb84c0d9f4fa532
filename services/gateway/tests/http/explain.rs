use bytes::Bytes;
use contract::persistence::{
    Explained, ExplainedMember, ExplainedReceipt, ExplainedRecipient, StoredSession, Tie,
};
use model::{PartitionId, Position, ReceiptKind, Role, TopicFilter, UnixMillis};
use serde_json::{Value, json};
use session::{SavedCatchUp, SavedInflight, SavedLane, SavedPhase, SavedState, Subscription};

use crate::world::{NOW, ORG, TOPIC, World};

const EXPLAIN: &str = "/api/v1/admin/explain";
/// Where the message of these tests is.
const AT: Position = Position(1 << 20);
const PARTITION: PartitionId = PartitionId(1);
/// A minute before now it was accepted.
const ACCEPTED: u64 = NOW - 60_000;

fn admin(w: &World) -> String {
    w.token("root", Role::Admin, &[])
}

/// A TEXT of visitor v1, for agent1 who has one session.
fn message() -> Explained {
    Explained {
        partition: PARTITION,
        position: AT,
        parts: 0,
        topic: model::TopicName::new(TOPIC).unwrap(),
        sender: "v1".into(),
        sender_role: Some(Role::Visitor),
        author: "v1".into(),
        kind: "TEXT".into(),
        accepted_at: UnixMillis(ACCEPTED),
        recalled: false,
        in_history: true,
        state: None,
        receipts: Vec::new(),
        members: Vec::new(),
        recipients: vec![recipient("agent1", vec![session(progress(AT.0 + 9, AT.0 + 9))])],
    }
}

fn recipient(user: &str, sessions: Vec<StoredSession>) -> ExplainedRecipient {
    ExplainedRecipient {
        user: user.into(),
        role: Some(Role::Agent),
        aliases: vec!["df_ag_uid".into()],
        tie: Tie::Topic,
        sessions,
    }
}

/// A session that is connected and began an hour ago.
fn session(state: SavedState) -> StoredSession {
    StoredSession {
        client: "agent1/web/d1".into(),
        epoch: 7,
        edge: "mqtt-edge-1".into(),
        connected: true,
        began_at: Some(UnixMillis(NOW - 3_600_000)),
        offline_since: None,
        expires_at: None,
        state: state.encode().into(),
    }
}

fn offline(state: SavedState) -> StoredSession {
    StoredSession {
        connected: false,
        offline_since: Some(UnixMillis(NOW - 120_000)),
        expires_at: Some(UnixMillis(NOW + 86_400_000)),
        ..session(state)
    }
}

fn lane(cursor: u64, sent: u64) -> SavedLane {
    SavedLane {
        partition: PARTITION,
        cursor: Position(cursor),
        sent: Position(sent),
    }
}

fn progress(cursor: u64, sent: u64) -> SavedState {
    SavedState {
        lanes: vec![lane(cursor, sent)],
        next_id: 1,
        ..SavedState::default()
    }
}

fn in_flight(position: Position, phase: SavedPhase) -> SavedInflight {
    SavedInflight {
        packet_id: 5,
        partition: PARTITION,
        side: 0,
        position,
        phase,
    }
}

fn with_in_flight(position: Position, phase: SavedPhase) -> SavedState {
    SavedState {
        inflight: vec![in_flight(position, phase)],
        ..progress(position.0 - 1, position.0)
    }
}

fn subscribed(filter: &str, start: Vec<(PartitionId, Position)>) -> SavedState {
    let subscription = Subscription {
        filter: TopicFilter::new(filter).unwrap(),
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        id: None,
        start,
    };
    SavedState {
        subscriptions: vec![subscription],
        ..progress(AT.0 + 9, AT.0 + 9)
    }
}

fn before() -> SavedState {
    progress(AT.0 - 9, AT.0 - 9)
}

fn sessions(message: &mut Explained) -> &mut Vec<StoredSession> {
    &mut message.recipients[0].sessions
}

/// What is said of the message, and of its one recipient.
async fn asked(w: &World, message: Explained, query: &str) -> Value {
    let key = (ORG.to_owned(), "m1".to_owned());
    w.store.explained.lock().insert(key, vec![message]);
    let path = format!("{EXPLAIN}?uid=m1{query}");
    w.get(&path, Some(&admin(w))).await.data()["messages"][0].take()
}

/// What becomes of the message with its recipient's only session, and with the recipient.
async fn told(change: impl FnOnce(&mut Explained)) -> (Value, Value) {
    let w = World::new();
    let mut message = message();
    change(&mut message);
    let recipient = asked(&w, message, "").await["recipients"][0].take();
    let session = recipient["sessions"].get(0).cloned();
    (session.unwrap_or_default(), recipient)
}

/// Checks what is said of the session: its verdict, and words of its sentence.
#[track_caller]
fn says(session: &Value, verdict: &str, words: &[&str]) {
    assert_eq!(session["verdict"], verdict, "{session}");
    let why = session["why"].as_str().unwrap();
    for word in words {
        assert!(why.contains(word), "{word:?} is not in {why:?}");
    }
}

#[tokio::test]
async fn what_is_known_of_the_message_is_told_but_not_what_it_says() {
    let w = World::new();
    let mut message = message();
    message.state = Some(ReceiptKind::Read);
    message.receipts = vec![ExplainedReceipt {
        by: "agent1".into(),
        state: ReceiptKind::Read,
        position: Some(Position(AT.0 + 2)),
    }];
    message.members = vec![ExplainedMember {
        uid: "agent2".into(),
        since: Position(9),
    }];
    let told = asked(&w, message, &format!("&org={ORG}")).await;
    let expected = [
        ("position", json!(AT.to_string())),
        ("partition", json!(1)),
        ("topic", json!(TOPIC)),
        ("sender", json!("v1")),
        ("senderRole", json!("visitor")),
        ("type", json!("TEXT")),
        ("acceptedAt", json!("2026-01-31 12:20:50")),
        ("timestamp", json!(ACCEPTED)),
        ("inHistory", json!(true)),
        ("state", json!("READ")),
        ("members", json!([{"uid": "agent2", "since": "9"}])),
        (
            "receipts",
            json!([{"by": "agent1", "state": "READ", "position": (AT.0 + 2).to_string()}]),
        ),
    ];
    for (member, value) in expected {
        assert_eq!(told[member], value, "{member}");
    }
    let to = &told["recipients"][0];
    says(to, "acknowledged", &["READ"]);
    assert_eq!(
        (&to["tie"], &to["connections"], &to["aliases"]),
        (&json!("topic"), &json!(0), &json!(["df_ag_uid"]))
    );
    assert!(told.get("content").is_none());
}

#[tokio::test]
async fn progress_past_the_message_is_an_acknowledgement() {
    let (session, recipient) = told(|_| {}).await;
    says(&session, "acknowledged", &["acknowledged it"]);
    says(&recipient, "acknowledged", &[]);
    let (session, _) = told(|m| sessions(m)[0].began_at = None).await;
    says(&session, "acknowledged", &["or the session began after it"]);
    let (session, _) = told(|m| {
        sessions(m)[0].state = with_in_flight(AT, SavedPhase::Released).encode().into();
    })
    .await;
    says(&session, "acknowledged", &["PUBREC"]);
}

#[tokio::test]
async fn what_is_sent_and_not_acknowledged_waits() {
    let state = || with_in_flight(AT, SavedPhase::AtLeastOnce);
    let (told_of, recipient) = told(|m| *sessions(m) = vec![session(state())]).await;
    says(&told_of, "waiting", &["packet 5"]);
    says(&recipient, "waiting", &[]);
    let (told_of, _) = told(|m| *sessions(m) = vec![offline(state())]).await;
    says(
        &told_of,
        "waiting",
        &["offline since 2026-01-31 12:19:50", "comes again"],
    );
    let (told_of, _) = told(|m| {
        *sessions(m) = vec![offline(state())];
        m.recalled = true;
    })
    .await;
    says(&told_of, "waiting", &["taken back"]);
}

#[tokio::test]
async fn what_is_not_sent_says_what_it_waits_for() {
    let (told_of, _) = told(|m| *sessions(m) = vec![offline(before())]).await;
    says(
        &told_of,
        "offline",
        &["offline since 2026-01-31 12:19:50", "before 2026-02-01 12:21:50"],
    );
    let (told_of, _) = told(|m| *sessions(m) = vec![session(before())]).await;
    says(&told_of, "catching-up", &["mqtt-edge-1"]);
    let full = with_in_flight(Position(AT.0 - 9), SavedPhase::AtLeastOnce);
    let (told_of, _) = told(|m| *sessions(m) = vec![session(full)]).await;
    says(&told_of, "window-full", &["1 message is before it"]);
    let (told_of, _) = told(|m| {
        *sessions(m) = vec![session(before())];
        m.recalled = true;
    })
    .await;
    says(&told_of, "recalled", &["recall instead"]);
}

#[tokio::test]
async fn a_topic_that_is_caught_up_on_has_its_own_progress() {
    let catching_up = |sent: u64| SavedState {
        catch_ups: vec![SavedCatchUp {
            side: 1,
            filter: TopicFilter::new(TOPIC).unwrap(),
            lane: lane(sent, sent),
            upto: Position(AT.0 + 5),
        }],
        ..progress(AT.0 + 9, AT.0 + 9)
    };
    let member = |m: &mut Explained| m.recipients[0].tie = Tie::Member(Position(7));
    let (told_of, _) = told(|m| {
        member(m);
        *sessions(m) = vec![session(catching_up(AT.0 - 1))];
    })
    .await;
    says(&told_of, "catching-up", &[]);
    let (told_of, _) = told(|m| {
        member(m);
        *sessions(m) = vec![session(catching_up(AT.0))];
    })
    .await;
    says(&told_of, "acknowledged", &[]);
}

#[tokio::test]
async fn what_came_before_is_for_history() {
    let (told_of, recipient) = told(|m| sessions(m)[0].began_at = Some(UnixMillis(NOW))).await;
    says(&told_of, "before-session", &["began at 2026-01-31 12:21:50"]);
    says(&recipient, "before-session", &[]);
    let (told_of, recipient) = told(|m| m.recipients[0].tie = Tie::Member(AT)).await;
    says(&told_of, "before-joining", &["became a member after it"]);
    says(&recipient, "before-joining", &[]);
    let (told_of, _) = told(|m| {
        m.recipients[0].tie = Tie::Stranger;
        *sessions(m) = vec![session(subscribed(TOPIC, vec![(PARTITION, AT)]))];
    })
    .await;
    says(
        &told_of,
        "before-subscribing",
        &["subscription was made after it"],
    );
    let (told_of, _) = told(|m| {
        m.recipients[0].tie = Tie::Stranger;
        *sessions(m) = vec![session(subscribed("org/agent/df_ag_uid/+", Vec::new()))];
    })
    .await;
    says(&told_of, "acknowledged", &[]);
}

#[tokio::test]
async fn who_has_no_part_in_the_thread_is_told_apart() {
    let (told_of, recipient) = told(|m| m.recipients[0].tie = Tie::Left).await;
    says(&told_of, "left", &["not a member of it any more"]);
    says(&recipient, "left", &[]);
    let (told_of, recipient) = told(|m| m.recipients[0].tie = Tie::Stranger).await;
    says(&told_of, "not-entitled", &["alias"]);
    says(&recipient, "not-entitled", &[]);
    let (_, recipient) = told(|m| {
        m.recipients[0].tie = Tie::Left;
        sessions(m).clear();
    })
    .await;
    says(&recipient, "left", &[]);
}

#[tokio::test]
async fn the_filter_by_role_hides_the_staff_side_from_visitors() {
    let (told_of, recipient) = told(|m| {
        m.kind = "TRANSFER".into();
        m.sender = "agent1".into();
        m.recipients[0].user = "v1".into();
        m.recipients[0].role = Some(Role::Visitor);
    })
    .await;
    says(&told_of, "hidden", &["visitor", "TRANSFER"]);
    says(&recipient, "hidden", &[]);
}

#[tokio::test]
async fn the_sender_gets_an_echo_which_is_no_delivery() {
    let mine = |state: SavedState| {
        told(move |m| {
            m.recipients = vec![recipient("v1", vec![session(state)])];
            m.recipients[0].role = Some(Role::Visitor);
        })
    };
    let (told_of, recipient) = mine(progress(AT.0, AT.0)).await;
    says(&told_of, "own-echo", &["is past"]);
    says(&recipient, "own-echo", &["never counts as delivered"]);
    let (told_of, _) = mine(before()).await;
    says(&told_of, "own-echo", &["not sent to this session yet"]);
    let (told_of, _) = mine(with_in_flight(AT, SavedPhase::AtLeastOnce)).await;
    says(&told_of, "own-echo", &["waits"]);
}

#[tokio::test]
async fn sessions_that_are_gone_or_receive_other_topics_leave_history() {
    let (told_of, recipient) = told(|m| {
        *sessions(m) = vec![StoredSession {
            expires_at: Some(UnixMillis(NOW)),
            ..offline(before())
        }];
    })
    .await;
    says(&told_of, "expired", &["ran out at 2026-01-31 12:21:50"]);
    says(&recipient, "expired", &[]);
    let (_, recipient) = told(|m| sessions(m).clear()).await;
    says(
        &recipient,
        "no-session",
        &["no stored session", "not connected", "history only"],
    );
    let stomp = |client: &str| StoredSession {
        client: client.into(),
        ..session(progress(AT.0, AT.0))
    };
    let (told_of, recipient) = told(|m| *sessions(m) = vec![stomp("stomp/user/agent1")]).await;
    says(&told_of, "not-subscribed", &["user/agent1"]);
    assert_eq!(told_of["protocol"], "stomp");
    says(&recipient, "no-session", &["receives this topic"]);
    let (told_of, _) = told(|m| *sessions(m) = vec![stomp(&format!("stomp/{TOPIC}#page1"))]).await;
    says(&told_of, "acknowledged", &[]);
    let elsewhere = SavedState {
        lanes: vec![SavedLane {
            partition: PartitionId(0),
            ..lane(9, 9)
        }],
        ..SavedState::default()
    };
    let (told_of, _) = told(|m| *sessions(m) = vec![session(elsewhere)]).await;
    says(&told_of, "not-subscribed", &["partition"]);
}

#[tokio::test]
async fn a_state_that_does_not_tell_is_said_to_be_unknown() {
    let (told_of, _) = told(|m| sessions(m)[0].state = Bytes::new()).await;
    says(&told_of, "unknown", &["nothing of its progress is stored yet"]);
    let (told_of, _) = told(|m| sessions(m)[0].state = Bytes::from_static(&[99, 1, 2])).await;
    says(&told_of, "unknown", &["cannot be read"]);
}

#[tokio::test]
async fn the_session_that_got_furthest_speaks_for_its_user() {
    let (_, recipient) = told(|m| {
        let late = StoredSession {
            began_at: Some(UnixMillis(NOW)),
            ..session(progress(AT.0 + 9, AT.0 + 9))
        };
        *sessions(m) = vec![late, offline(before())];
    })
    .await;
    says(&recipient, "offline", &[]);
}

#[tokio::test]
async fn a_question_can_be_about_one_user_or_the_one_behind_an_alias() {
    let w = World::new();
    w.book.online.lock().push((ORG.to_owned(), "agent1".to_owned()));
    let mut message = message();
    message.recipients.push(ExplainedRecipient {
        aliases: Vec::new(),
        ..recipient("v1", Vec::new())
    });
    for to in ["agent1", "df_ag_uid"] {
        let told = asked(&w, message.clone(), &format!("&to={to}")).await;
        let recipients = told["recipients"].as_array().unwrap();
        assert_eq!(recipients.len(), 1);
        assert_eq!(recipients[0]["user"], "agent1");
        assert_eq!(recipients[0]["connections"], 1);
    }
    *w.book.lost.lock() = true;
    let told = asked(&w, message, "").await;
    assert!(told["recipients"][1].get("connections").is_none());
    assert_eq!(told["recipients"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn only_an_administrator_of_the_organisation_is_told_anything() {
    let w = World::new();
    asked(&w, message(), "").await;
    let path = format!("{EXPLAIN}?uid=m1");
    w.get(&path, None)
        .await
        .assert_error(401, "unauthorized", "token");
    for token in [w.agent(), w.visitor("v1")] {
        w.get(&path, Some(&token))
            .await
            .assert_error(403, "forbidden", "administrator");
    }
    let other = w.token_in("other", "root", Role::Admin, &[]);
    w.get(&path, Some(&other))
        .await
        .assert_error(404, "not-found", "other");
    w.get(&format!("{path}&org={ORG}"), Some(&other))
        .await
        .assert_error(403, "forbidden", "organisation");
}

#[tokio::test]
async fn what_cannot_be_answered_says_what_to_check() {
    let w = World::new();
    let admin = admin(&w);
    let unknown = w.get(&format!("{EXPLAIN}?uid=nothing"), Some(&admin)).await;
    unknown.assert_error(404, "not-found", "PUBACK");
    w.get(EXPLAIN, Some(&admin))
        .await
        .assert_error(400, "invalid-payload", "uid");
    w.get(&format!("{EXPLAIN}?uid=m1&to=a/b"), Some(&admin))
        .await
        .assert_error(400, "invalid-payload", "to");
    *w.store.away.lock() = true;
    w.get(&format!("{EXPLAIN}?uid=m1"), Some(&admin))
        .await
        .assert_error(503, "unavailable", "away");
}
