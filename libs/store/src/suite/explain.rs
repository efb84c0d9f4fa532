//! Dead edges, and what an operator asks.

use contract::persistence::{CloseSession, OpenSession, SaveSession, SessionKey, Will};
use model::{EdgeId, FrameSeq, ReceiptKind, UnixMillis};

use super::*;
use crate::{NewMark, NewReceipt, ReceiptBatch};

fn key(client: &str) -> SessionKey {
    SessionKey {
        org: org(),
        user: "u".into(),
        client: client.into(),
    }
}

fn open(client: &str, edge: &str, expiry: u32) -> OpenSession {
    OpenSession {
        key: key(client),
        clean_start: expiry == 0,
        expiry,
        will: (client == "with will").then(|| Will {
            entry: Bytes::from_static(b"will"),
            delay: 5,
        }),
        edge: edge.into(),
        identities: Vec::new(),
    }
}

/// When an edge is dead its sessions are ended, those of others are not; when it was not dead after all, it changes
/// nothing any more.
pub async fn the_sessions_of_a_dead_edge_are_ended_and_fenced(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let now = UnixMillis(1000);
    let kept = store
        .open_session(open("with will", "dead", 60), now)
        .await
        .unwrap();
    let brief = store.open_session(open("brief", "dead", 0), now).await.unwrap();
    let other = store.open_session(open("other", "alive", 60), now).await.unwrap();
    let save = |client, epoch, state| SaveSession {
        key: key(client),
        epoch,
        state: Bytes::from_static(state),
    };
    let first = save("with will", kept.epoch, b"first");
    assert_eq!(store.save_sessions(vec![first]).await.unwrap(), [true]);
    let mut edges = store.connected_edges().await.unwrap();
    edges.sort_unstable();
    assert_eq!(edges, [EdgeId::new("alive"), EdgeId::new("dead")]);

    let dead = EdgeId::new("dead");
    assert_eq!(store.abandon_edge(&dead, UnixMillis(2000)).await.unwrap(), 2);
    assert_eq!(store.abandon_edge(&dead, UnixMillis(2000)).await.unwrap(), 0);
    assert_eq!(store.connected_edges().await.unwrap(), [EdgeId::new("alive")]);
    assert_eq!(store.due_wills(UnixMillis(6999), 9).await.unwrap(), []);
    assert_eq!(store.due_wills(UnixMillis(7000), 9).await.unwrap().len(), 1);

    let saves = vec![
        save("with will", kept.epoch, b"late"),
        save("brief", brief.epoch, b"late"),
        save("other", other.epoch, b"late"),
    ];
    assert_eq!(store.save_sessions(saves).await.unwrap(), [false, false, true]);
    let close = CloseSession {
        key: key("with will"),
        epoch: kept.epoch,
        state: Bytes::from_static(b"late"),
        expiry: 0,
        at: now,
        publish_will: true,
    };
    store.close_session(close).await.unwrap();
    let rows = store
        .sessions_of(&org(), vec!["u".into(), "v".into()])
        .await
        .unwrap();
    let row = rows.iter().find(|row| row.key == key("with will")).unwrap();
    assert_eq!((&row.state[..], row.connected), (&b"first"[..], false));
    assert_eq!(row.expires_at, Some(UnixMillis(62_000)));
    assert!(row.epoch > kept.epoch);
    let again = store.open_session(open("with will", "alive", 60), UnixMillis(2000));
    let again = again.await.unwrap();
    assert_eq!((again.present, again.previous_edge), (true, None));
    assert!(again.epoch > kept.epoch);
}

/// What is stored of a user's sessions can be read.
pub async fn the_sessions_of_a_user_can_be_listed(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let opened = store
        .open_session(open("c", "e", 60), UnixMillis(1000))
        .await
        .unwrap();
    let save = SaveSession {
        key: key("c"),
        epoch: opened.epoch,
        state: Bytes::from_static(b"state"),
    };
    assert_eq!(store.save_sessions(vec![save]).await.unwrap(), [true]);
    let rows = store.sessions_of(&org(), vec!["u".into()]).await.unwrap();
    let row = crate::SessionRow {
        key: key("c"),
        epoch: opened.epoch,
        edge: "e".into(),
        connected: true,
        began_at: Some(UnixMillis(opened.epoch / 1000)),
        expiry: 60,
        expires_at: None,
        state: Bytes::from_static(b"state"),
    };
    assert_eq!(rows, std::slice::from_ref(&row));
    let again = |clean_start: bool| OpenSession {
        clean_start,
        ..open("c", "e", 60)
    };
    let began = async |open: OpenSession| {
        let opened = store.open_session(open, UnixMillis(9000)).await.unwrap();
        let rows = store.sessions_of(&org(), vec!["u".into()]).await.unwrap();
        (rows[0].began_at, Some(UnixMillis(opened.epoch / 1000)))
    };
    assert_eq!(began(again(false)).await.0, row.began_at, "it goes on");
    let (anew, now) = began(again(true)).await;
    assert_eq!(anew, now, "it begins anew");
    let other = store
        .sessions_of(&OrgId::new("other"), vec!["u".into()])
        .await
        .unwrap();
    assert_eq!(other, []);
}

/// A uid is found wherever and by whomever it was used, within its tenant.
pub async fn a_uid_is_found_wherever_it_stands(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let first = feed.push(chat("t/a", "m", "u"), TEXT);
    feed.apply().await;
    for n in 0..30 {
        feed.push(chat("t/a", &format!("{n}"), "u"), TEXT);
    }
    feed.apply().await;
    let later = Entry {
        accepted_at: 2000,
        ..chat("t/b", "m", "v")
    };
    let second = feed.push(later, TEXT);
    feed.apply().await;
    let earlier = Entry {
        accepted_at: 500,
        ..chat("t/c", "m", "w")
    };
    let third = feed.push(earlier, TEXT);
    feed.apply().await;
    let found = feed.store.find_uid(&org(), "m").await.unwrap();
    let found: Vec<_> = (found.iter())
        .map(|s| {
            (
                s.entry.topic.as_str(),
                s.position,
                s.entry.sender.as_str(),
                s.flags,
            )
        })
        .collect();
    let wanted = [
        ("t/c", third, "w", TEXT),
        ("t/a", first, "u", TEXT),
        ("t/b", second, "v", TEXT),
    ];
    assert_eq!(found, wanted, "the earliest first");
    let elsewhere = feed.store.find_uid(&OrgId::new("other"), "m").await.unwrap();
    assert_eq!(elsewhere.len(), 0);
}

/// How far a message came with whom.
pub async fn a_message_tells_how_far_it_came_with_whom(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let name = "org/member/a/b";
    let messages: Vec<_> = (0..2)
        .map(|n| feed.push(chat(name, &format!("{n}"), "a"), TEXT))
        .collect();
    feed.apply().await;
    let entry = |by: &str| Entry {
        kind: Kind::Receipt.into(),
        ..chat(name, "", by)
    };
    let at = |n: u64| Position::new(FrameSeq(n), 0);
    let mark = |by: &str, upto, n| NewMark {
        org: org(),
        topic: topic(name),
        by: by.into(),
        upto,
        changed: at(n),
        bytes: entry(by).to_bytes(),
    };
    let read = |by: &str, n| NewReceipt {
        org: org(),
        topic: topic(name),
        message: messages[0],
        edit: None,
        state: ReceiptKind::Read,
        by: by.into(),
        changed: at(n),
        bytes: entry(by).to_bytes(),
    };
    let batch = ReceiptBatch {
        advances: vec![Advance {
            partition: partition(name),
            from: Position::START,
            to: at(9),
        }],
        receipts: vec![read("b", 3), read("c", 4)],
        marks: vec![mark("b", messages[1], 1), mark("d", messages[0], 2)],
    };
    feed.store.apply_receipts(Arc::new(batch)).await.unwrap();
    let of = async |message| {
        let rows = feed
            .store
            .receipts_of(&org(), &topic(name), message)
            .await
            .unwrap();
        let row = |r: crate::ReceiptRow| (r.by.to_string(), r.state, r.changed);
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    use ReceiptKind::{Delivered, Read};
    let told = |by: &str, state, changed: Option<u64>| (by.to_owned(), state, changed.map(at));
    assert_eq!(
        of(messages[0]).await,
        [
            told("b", Read, Some(3)),
            told("c", Read, None),
            told("d", Delivered, Some(2))
        ]
    );
    assert_eq!(of(messages[1]).await, [told("b", Delivered, Some(1))]);
}

/// A session whose first state was never saved was never confirmed to its client: it is not there.
pub async fn a_session_is_present_once_a_state_was_saved(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let now = UnixMillis(1000);
    let first = store.open_session(open("c", "e", 60), now).await.unwrap();
    assert!(!first.present);
    let second = store.open_session(open("c", "e", 60), now).await.unwrap();
    assert!(!second.present);
    let save = SaveSession {
        key: key("c"),
        epoch: second.epoch,
        state: Bytes::from_static(b"state"),
    };
    assert_eq!(store.save_sessions(vec![save]).await.unwrap(), [true]);
    let third = store.open_session(open("c", "e", 60), now).await.unwrap();
    assert_eq!((third.present, &third.state[..]), (true, &b"state"[..]));
}
