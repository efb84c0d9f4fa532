//! Sessions, wills, retained messages, receipts.

use contract::persistence::{CloseSession, HistoryRange, OpenSession, SaveSession, SessionKey, Will};
use model::{FrameSeq, ReceiptKind, TopicFilter, UnixMillis};

use super::*;
use crate::{NewReceipt, NewRetained, ReceiptBatch, UnreadQuery};

fn key() -> SessionKey {
    SessionKey {
        org: org(),
        user: "u".into(),
        client: "c".into(),
    }
}

fn open(clean_start: bool, expiry: u32, will: Option<u32>) -> OpenSession {
    let will = will.map(|delay| Will {
        entry: Bytes::from_static(b"will"),
        delay,
    });
    OpenSession {
        key: key(),
        clean_start,
        expiry,
        will,
        edge: "e".into(),
        identities: Vec::new(),
    }
}

fn close(epoch: u64, expiry: u32, publish_will: bool) -> CloseSession {
    CloseSession {
        key: key(),
        epoch,
        state: Bytes::new(),
        expiry,
        at: UnixMillis(1000),
        publish_will,
    }
}

/// No epoch is ever given twice, though the clock stands still and the session is forgotten between.
pub async fn epochs_grow_whatever_becomes_of_the_session(fixture: &impl Fixture) {
    let mut last = 0;
    let store = fixture.open().await;
    for (clean, expiry, forget) in [
        (false, 60, false),
        (true, 60, true),
        (true, 0, true),
        (false, 0, false),
        (false, 60, true),
        (true, 0, false),
    ] {
        let opened = store
            .open_session(open(clean, expiry, None), UnixMillis(1000))
            .await
            .unwrap();
        assert!(opened.epoch > last);
        last = opened.epoch;
        if forget {
            store.close_session(close(last, 0, false)).await.unwrap();
        }
    }
    drop(store);
    let opened = fixture
        .open()
        .await
        .open_session(open(false, 60, None), UnixMillis(2000))
        .await
        .unwrap();
    assert!(opened.epoch > last);
}

/// What an older holder does changes nothing.
pub async fn a_stale_epoch_changes_nothing(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let old = store
        .open_session(open(false, 60, Some(0)), UnixMillis(1))
        .await
        .unwrap();
    let new = store
        .open_session(open(false, 60, Some(5)), UnixMillis(1))
        .await
        .unwrap();
    assert_eq!(
        store.due_wills(UnixMillis(1), 9).await.unwrap().len(),
        1,
        "the replaced connection's will"
    );
    let save = |epoch, state: &'static [u8]| SaveSession {
        key: key(),
        epoch,
        state: Bytes::from_static(state),
    };
    let saved = store
        .save_sessions(vec![save(old.epoch, b"old"), save(new.epoch, b"new")])
        .await
        .unwrap();
    assert_eq!(saved, [false, true]);
    store.close_session(close(old.epoch, 0, true)).await.unwrap();
    assert_eq!(
        store.expire_sessions(UnixMillis(u64::MAX >> 1), 9).await.unwrap(),
        0,
        "it is connected"
    );
    let next = store
        .open_session(open(false, 60, None), UnixMillis(1))
        .await
        .unwrap();
    assert_eq!(
        (next.present, &next.state[..], next.previous_edge),
        (true, &b"new"[..], Some("e".into()))
    );
}

/// A will is due after its delay, or at once when its session ends; cancelled when the session goes on.
pub async fn wills_are_due_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let due = |at: u64| store.due_wills(UnixMillis(at), 9);
    let opened = store
        .open_session(open(false, 60, Some(10)), UnixMillis(1000))
        .await
        .unwrap();
    store.close_session(close(opened.epoch, 60, true)).await.unwrap();
    assert_eq!(due(10_999).await.unwrap(), []);
    assert_eq!(due(11_000).await.unwrap().len(), 1);
    let opened = store
        .open_session(open(false, 60, Some(10)), UnixMillis(5000))
        .await
        .unwrap();
    assert_eq!(due(90_000).await.unwrap(), [], "cancelled");
    drop(opened);
    assert_eq!(store.abandon_sessions(UnixMillis(20_000)).await.unwrap(), 1);
    assert_eq!(store.abandon_sessions(UnixMillis(20_000)).await.unwrap(), 0);
    let wills = due(30_000).await.unwrap();
    assert_eq!(wills.iter().map(|w| &w.entry[..]).collect::<Vec<_>>(), [b"will"]);
    store
        .forget_wills(wills.iter().map(|w| w.id).collect())
        .await
        .unwrap();
    assert_eq!(due(90_000).await.unwrap(), []);
    assert_eq!(store.expire_sessions(UnixMillis(79_999), 9).await.unwrap(), 0);
    assert_eq!(store.expire_sessions(UnixMillis(80_000), 9).await.unwrap(), 1);
}

/// A topic has one retained message at most, as long as it lives.
pub async fn a_retained_message_is_replaced_cleared_and_expires(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let set = |name: &str, bytes: Option<&'static [u8]>, expires_at: u64| LogBatch {
        retained: vec![NewRetained {
            org: org(),
            topic: topic(name),
            partition: partition(name),
            position: Position(1),
            expires_at: UnixMillis(expires_at),
            bytes: bytes.map(Bytes::from_static),
        }],
        ..LogBatch::default()
    };
    for batch in [
        set("r/a", Some(b"1"), 0),
        set("r/a", Some(b"2"), 0),
        set("r/b", Some(b"3"), 10),
        set("r/c", None, 0),
    ] {
        store.apply(Arc::new(batch)).await.unwrap();
    }
    let count = async |store: &dyn Store, at: u64| {
        let found = store
            .retained(&org(), &TopicFilter::new("r/+").unwrap(), UnixMillis(at))
            .await
            .unwrap();
        found
            .iter()
            .map(|r| (r.topic.to_string(), r.entry.clone()))
            .collect::<Vec<_>>()
    };
    let (a, b) = (
        ("r/a".to_owned(), Bytes::from_static(b"2")),
        ("r/b".to_owned(), Bytes::from_static(b"3")),
    );
    assert_eq!(count(&*store, 9).await, [a.clone(), b]);
    assert_eq!(count(&*store, 10).await, std::slice::from_ref(&a));
    drop(store);
    let store = fixture.open().await;
    assert_eq!(count(&*store, 10).await, [a]);
    store.apply(Arc::new(set("r/a", None, 0))).await.unwrap();
    assert_eq!(count(&*store, 10).await, []);
}

fn receipts(at: &mut Position, all: &[(Position, ReceiptKind, &str)]) -> Arc<ReceiptBatch> {
    let name = "org/member/a/b";
    let mut seq = at.seq().0;
    let mut receipts = Vec::new();
    for (message, state, by) in all {
        seq += 1;
        receipts.push(NewReceipt {
            org: org(),
            topic: topic(name),
            message: *message,
            edit: None,
            state: *state,
            by: (*by).into(),
            changed: Position::new(FrameSeq(seq), 0),
            bytes: Bytes::from_static(b"r"),
        });
    }
    let step = Advance {
        partition: partition(name),
        from: *at,
        to: Position::end_of(FrameSeq(seq)),
    };
    *at = step.to;
    Arc::new(ReceiptBatch {
        advances: vec![step],
        receipts,
        marks: Vec::new(),
    })
}

/// READ is not taken back by a DELIVERED that comes late.
pub async fn receipts_move_forward_only(fixture: &impl Fixture) {
    use ReceiptKind::{Delivered, Read};
    let mut feed = Feed::new(fixture.open().await).await;
    let messages: Vec<_> = (0..3)
        .map(|n| feed.push(chat("org/member/a/b", &format!("{n}"), "a"), TEXT))
        .collect();
    feed.apply().await;
    let mut at = Position::START;
    let steps = [
        (messages[0], Read, "b"),
        (messages[0], Delivered, "b"),
        (messages[1], Delivered, "b"),
    ];
    feed.store
        .apply_receipts(receipts(&mut at, &steps))
        .await
        .unwrap();
    let range = HistoryRange::After {
        position: Position::START,
        limit: 9,
    };
    let page = feed
        .store
        .history(&org(), &topic("org/member/a/b"), range)
        .await
        .unwrap();
    let states: Vec<_> = page.entries.iter().map(|e| e.state).collect();
    assert_eq!(states, [Some(Read), Some(Delivered), None]);
    let again = receipts(&mut Position::START.clone(), &steps);
    assert!(
        feed.store.apply_receipts(again).await.is_err(),
        "a step that was made is refused"
    );
}

/// Whatever is written and read in whatever order, the count equals a count from the beginning and that of a model.
pub async fn unread_counts_equal_a_recount(fixture: &impl Fixture) {
    let mut random = Random(3);
    let mut feed = Feed::new(fixture.open().await).await;
    let (name, mut at) = ("org/member/a/b", Position::START);
    let mut unread: Vec<(Position, &str)> = Vec::new();
    for round in 0..150 {
        if random.below(3) > 0 || unread.is_empty() {
            let sender = random.one_of(&["a", "b", "c"]);
            let position = feed.push(chat(name, &format!("{round}"), sender), TEXT);
            feed.apply().await;
            unread.push((position, sender));
        } else {
            // "a" reads a message: mostly the oldest, as people do.
            let n = if random.below(3) > 0 {
                0
            } else {
                random.below(unread.len() as u64) as usize
            };
            let (message, sender) = unread[n];
            if sender != "a" {
                feed.store
                    .apply_receipts(receipts(&mut at, &[(message, ReceiptKind::Read, "a")]))
                    .await
                    .unwrap();
            }
            unread.remove(n);
        }
        let want = unread.iter().filter(|(_, sender)| *sender != "a").count() as u64;
        for anew in [false, true] {
            let query = UnreadQuery {
                org: org(),
                identities: vec!["a".into()],
                anew,
            };
            let topics = vec![topic("org/member/no/where"), topic(name)];
            let counts = feed.store.unread_in(query, topics).await;
            assert_eq!(counts.unwrap(), [0, want], "round {round}, anew {anew}");
        }
        if round % 50 == 49 {
            drop(feed);
            feed = Feed::new(fixture.open().await).await;
        }
    }
}
