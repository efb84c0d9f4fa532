//! Where a message is, and with whom it should be.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use contract::persistence::{
    CloseSession, ExplainRequest, Explained, ExplainedRecipient, OpenSession, OpenThread, SaveSession,
    SessionKey, Tie, UserCard,
};
use model::{OrgId, Position, ReceiptKind, Role, UnixMillis, UserId};
use store::{NewMark, NewReceipt, ReceiptBatch, ReceiptStore};
use support::*;
use wire::{Entry, Kind};

const SEED: &str = "df_org_uid";
const THREAD: &str = "org/agent/df_ag_uid/v1";
const GROUP: &str = "org/workgroup/df_wg_uid/v1";

/// An entry of the seeded organisation.
fn seeded(entry: Entry) -> Entry {
    let org = SEED.to_owned();
    Entry { org, ..entry }
}

fn says(uid: &str) -> Entry {
    seeded(chat(THREAD, uid, "v1", Role::Visitor, "hello"))
}

async fn explain(world: &World, org: &str, uid: &str, also: &[&str]) -> Vec<Explained> {
    let request = ExplainRequest {
        org: OrgId::new(org),
        uid: uid.into(),
        also: also.iter().map(UserId::new).collect(),
    };
    world.api.explain(request).await.unwrap()
}

fn key(user: &str, client: &str) -> SessionKey {
    SessionKey {
        org: SEED.into(),
        user: user.into(),
        client: client.into(),
    }
}

async fn open(world: &World, key: SessionKey) -> u64 {
    let open = OpenSession {
        key,
        clean_start: false,
        expiry: 3600,
        will: None,
        edge: "edge-1".into(),
        identities: Vec::new(),
    };
    world.api.open_session(open).await.unwrap().epoch
}

fn ties(explained: &Explained) -> Vec<(&str, Tie)> {
    let recipients = explained.recipients.iter();
    recipients.map(|r| (r.user.as_str(), r.tie)).collect()
}

fn recipient<'a>(explained: &'a Explained, user: &str) -> &'a ExplainedRecipient {
    let mut recipients = explained.recipients.iter();
    recipients.find(|r| r.user.as_str() == user).unwrap()
}

#[tokio::test]
async fn a_message_is_found_by_its_uid_as_soon_as_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let at = world.append(&[says("m1")]).await[0];
    let found = explain(&world, SEED, "m1", &[]).await;
    let [message] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        (message.position, message.topic.as_str(), message.kind.as_str()),
        (at, THREAD, "TEXT")
    );
    assert_eq!(
        (message.sender.as_str(), message.sender_role, message.accepted_at),
        ("v1", Some(Role::Visitor), UnixMillis(NOW))
    );
    assert!(message.in_history && !message.recalled && message.state.is_none());
    assert_eq!(ties(message), [("agent1", Tie::Topic), ("v1", Tie::Topic)]);
    let agent = recipient(message, "agent1");
    assert_eq!(agent.aliases, ["df_ag_uid".into()]);
    assert_eq!(agent.role, Some(Role::Agent));
    assert_eq!(recipient(message, "v1").role, Some(Role::Visitor));
    assert!(explain(&world, SEED, "m2", &[]).await.is_empty());
    assert!(explain(&world, "other", "m1", &[]).await.is_empty());
    world.close().await;
}

#[tokio::test]
async fn messages_of_one_uid_come_one_by_one_and_a_streamed_answer_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let part = || {
        let topic = "org/robot/r/v1";
        seeded(typed(
            "STREAM",
            Kind::StreamPart,
            topic,
            "m1",
            "robot",
            Role::Agent,
            "x",
        ))
    };
    let elsewhere = seeded(chat("org/member/a/b", "m1", "a", Role::Agent, "hello"));
    world
        .append(&[part(), part(), part(), says("m1"), elsewhere])
        .await;
    let mut found = explain(&world, SEED, "m1", &[]).await;
    found.sort_by(|a, b| a.topic.cmp(&b.topic));
    let all: Vec<_> = found.iter().map(|m| (m.topic.as_str(), m.parts)).collect();
    assert_eq!(all, [(THREAD, 0), ("org/member/a/b", 0), ("org/robot/r/v1", 2)]);
    world.close().await;
}

#[tokio::test]
async fn a_recalled_message_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let taken_back = seeded(recall(THREAD, "r1", "m1", "v1", Role::Visitor, NOW + 1000));
    world.append(&[says("m1"), taken_back]).await;
    assert!(explain(&world, SEED, "m1", &[]).await[0].recalled);
    let recall = &explain(&world, SEED, "r1", &[]).await[0];
    assert_eq!((recall.kind.as_str(), recall.recalled), ("RECALL", false));
    world.close().await;
}

#[tokio::test]
async fn members_are_told_with_where_they_joined_and_who_spoke_with_what_they_are_now() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let visit = OpenThread {
        org: SEED.into(),
        desk: "df_wg_uid".into(),
        visitor: UserCard {
            uid: "v1".into(),
            ..UserCard::default()
        },
        at: UnixMillis(NOW),
    };
    world.is_there("agent2", true).await;
    let opened = world.api.open_thread(visit).await.unwrap();
    let by = |uid: &str, sender: &str, author: &str| Entry {
        author: author.into(),
        ..seeded(chat(GROUP, uid, sender, Role::Agent, "hello"))
    };
    world
        .append(&[
            by("m1", "agent1", "df_ag_uid"),
            by("m2", "u_second", "df_ag2_uid"),
        ])
        .await;
    let message = &explain(&world, SEED, "m1", &["stranger"]).await[0];
    let members: Vec<_> = message
        .members
        .iter()
        .map(|m| (m.uid.as_str(), m.since))
        .collect();
    let since = opened.version.before();
    assert_eq!(members, [("df_ag2_uid", since)]);
    let member = Tie::Member(since);
    assert_eq!(
        ties(message),
        [
            ("agent1", Tie::Left),
            ("agent2", member),
            ("stranger", Tie::Stranger),
            ("u_second", member),
            ("v1", Tie::Topic),
        ]
    );
    world.close().await;
}

#[tokio::test]
async fn receipts_say_how_far_it_came_and_with_whom() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let at = world.append(&[says("m1"), says("m2")]).await;
    world.settle().await;
    let (org, name) = (OrgId::new(SEED), topic(THREAD));
    let bytes = |by: &str| {
        let sender = by.to_owned();
        let entry = Entry { sender, ..says("x") };
        entry.to_bytes()
    };
    let batch = ReceiptBatch {
        receipts: vec![NewReceipt {
            org: org.clone(),
            topic: name.clone(),
            message: at[0],
            edit: None,
            state: ReceiptKind::Read,
            by: "agent1".into(),
            changed: Position(at[1].0 + 1),
            bytes: bytes("agent1"),
        }],
        marks: vec![NewMark {
            org,
            topic: name,
            by: "u_other".into(),
            upto: at[0],
            changed: Position(at[1].0 + 2),
            bytes: bytes("u_other"),
        }],
        ..ReceiptBatch::default()
    };
    world.store.apply_receipts(Arc::new(batch)).await.unwrap();
    let message = &explain(&world, SEED, "m1", &[]).await[0];
    assert_eq!(message.state, Some(ReceiptKind::Read));
    let receipts = message.receipts.iter();
    let receipts: Vec<_> = receipts.map(|r| (r.by.as_str(), r.state)).collect();
    assert_eq!(
        receipts,
        [("agent1", ReceiptKind::Read), ("u_other", ReceiptKind::Delivered)]
    );
    assert_eq!(recipient(message, "u_other").tie, Tie::Reader);
    let later = &explain(&world, SEED, "m2", &[]).await[0];
    assert!(later.state.is_none() && later.receipts.is_empty());
    assert_eq!(
        recipient(later, "u_other").tie,
        Tie::Reader,
        "it acknowledged another"
    );
    world.close().await;
}

#[tokio::test]
async fn the_stored_sessions_of_every_recipient_are_given_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let (first, second) = (key("agent1", "agent1/web/d1"), key("agent1", "agent1/web/d2"));
    let epoch = open(&world, first.clone()).await;
    let save = SaveSession {
        key: first,
        epoch,
        state: Bytes::from_static(b"one"),
    };
    assert_eq!(world.api.save_sessions(vec![save]).await.unwrap(), [true]);
    let closed = open(&world, second.clone()).await;
    let close = CloseSession {
        key: second,
        epoch: closed,
        state: Bytes::from_static(b"two"),
        expiry: 3600,
        at: UnixMillis(NOW + 5000),
        publish_will: false,
    };
    world.api.close_session(close).await.unwrap();
    open(&world, key("v2", "stomp/org/agent/df_ag_uid/v2")).await;
    world.append(&[says("m1")]).await;
    let message = &explain(&world, SEED, "m1", &["v2"]).await[0];
    let sessions = &recipient(message, "agent1").sessions;
    let [one, two] = sessions.as_slice() else {
        panic!("{sessions:?}");
    };
    assert_eq!(
        (one.client.as_str(), one.epoch, one.connected, one.expires_at),
        ("agent1/web/d1", epoch, true, None)
    );
    assert_eq!((&one.state[..], one.edge.as_str()), (&b"one"[..], "edge-1"));
    assert_eq!((one.began_at, one.offline_since), (Some(UnixMillis(NOW)), None));
    assert_eq!(two.offline_since, Some(UnixMillis(NOW + 5000)));
    assert_eq!(
        (two.connected, two.expires_at, &two.state[..]),
        (false, Some(UnixMillis(NOW + 5000 + 3_600_000)), &b"two"[..])
    );
    assert!(recipient(message, "v1").sessions.is_empty());
    assert_eq!(recipient(message, "v2").sessions.len(), 1);
    world.close().await;
}
