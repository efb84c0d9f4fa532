//! Finding messages by uid, and the uids of a partition.

use contract::persistence::{HistoryRange, SeenUid};
use model::{ReceiptKind, UnixMillis};

use super::*;
use crate::{NewReceipt, ReceiptBatch, TargetKey, Want};

fn target(name: &str, uid: &str, want: Want) -> TargetKey {
    TargetKey {
        org: org(),
        topic: topic(name),
        uid: uid.into(),
        want,
    }
}

fn of(kind: Kind, name: &str, uid: &str) -> Entry {
    Entry {
        kind: kind.into(),
        ..chat(name, uid, "u")
    }
}

fn edit(name: &str, uid: &str) -> Entry {
    Entry {
        target: uid.into(),
        ..of(Kind::Edit, name, uid)
    }
}

/// What is wanted of a uid is found in its topic, the earliest first, whoever sent it, and whatever stands under that uid
/// elsewhere.
pub async fn messages_are_found_in_their_topic(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let recall = feed.push(of(Kind::Recall, "t/b", "r"), Flags::SHOWN);
    let first = feed.push(chat("t/a", "m0", "u"), TEXT);
    let stream = feed.push(of(Kind::StreamPart, "t/a", "s"), Flags::SHOWN);
    for round in 1..40 {
        // Enough messages for some to be in the index and some not.
        feed.push(chat("t/a", &format!("m{round}"), "u"), TEXT);
        feed.push(chat("t/b", &format!("m{round}"), "v"), TEXT);
        feed.push(of(Kind::StreamPart, "t/a", "s"), Flags::PART);
        feed.apply().await;
    }
    let edited = feed.push(edit("t/a", "m0"), Flags::COUNTABLE);
    feed.apply().await;
    let elsewhere = TargetKey {
        org: OrgId::new("other"),
        ..target("t/a", "m0", Want::First)
    };
    let keys = vec![
        target("t/a", "m0", Want::First),
        target("t/a", "m0", Want::All),
        target("t/b", "m39", Want::First),
        target("t/b", "m0", Want::All),
        target("t/c", "m1", Want::All),
        target("t/a", "s", Want::Stream),
        target("t/a", "s", Want::All),
        target("t/a", "m1", Want::Stream),
        target("t/b", "r", Want::First),
        target("t/b", "r", Want::All),
        elsewhere,
    ];
    let wanted = [1, 2, 1, 0, 0, 1, 40, 0, 1, 0, 0];
    for from_writer in [true, false] {
        let found = match from_writer {
            true => feed
                .store
                .lookup(Service::Persistence, keys.clone())
                .await
                .unwrap(),
            false => feed.store.find(keys.clone()).await.unwrap(),
        };
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), wanted);
        let places = |n: usize| found[n].iter().map(|row| row.position).collect::<Vec<_>>();
        assert_eq!(places(0), [first]);
        assert_eq!(places(1), [first, edited]);
        assert_eq!(places(5), [stream]);
        assert_eq!(places(6)[0], stream);
        assert_eq!(places(8), [recall]);
        assert_eq!(found[2][0].entry.sender, "v");
    }
}

/// Whoever appends judges: nothing here refuses what the log has.
pub async fn a_uid_that_comes_twice_is_stored_twice(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let first = feed.push(chat("t/a", "m", "u"), TEXT);
    feed.apply().await;
    let again = feed.push(chat("t/a", "m", "u"), TEXT);
    let third = feed.push(chat("t/a", "m", "v"), TEXT);
    feed.apply().await;
    let keys = vec![target("t/a", "m", Want::First), target("t/a", "m", Want::All)];
    let found = feed.store.find(keys).await.unwrap();
    let places = |n: usize| found[n].iter().map(|row| row.position).collect::<Vec<_>>();
    assert_eq!((places(0), places(1)), (vec![first], vec![first, again, third]));
    let range = HistoryRange::After {
        position: Position::START,
        limit: 9,
    };
    let page = feed.store.history(&org(), &topic("t/a"), range).await.unwrap();
    assert_eq!((page.entries.len(), page.total), (3, 3));
}

/// All uids of a partition after a position, a page at a time.
async fn drain(
    store: &dyn Store,
    of: PartitionId,
    after: Position,
    since: u64,
    limit: usize,
) -> (Vec<SeenUid>, Position) {
    let (mut all, mut after) = (Vec::new(), after);
    loop {
        let page = store
            .uids_since(of, after, UnixMillis(since), limit)
            .await
            .unwrap();
        assert!(page.uids.len() <= limit);
        assert!(page.next > after || !page.more, "a page moves on");
        all.extend(page.uids);
        after = page.next;
        if !page.more {
            return (all, after);
        }
    }
}

/// Messages, recalls and first parts, each where it stands; nothing else, and of no other partition.
pub async fn uids_come_in_the_order_of_the_log(fixture: &impl Fixture) {
    let mut random = Random(17);
    let mut feed = Feed::new(fixture.open().await).await;
    let mut wanted: Vec<(PartitionId, SeenUid)> = Vec::new();
    for n in 0..400u64 {
        let (name, uid) = (random.one_of(&["t/a", "t/b", "t/c", "t/d"]), format!("{n}"));
        let (entry, flags, told) = match random.below(7) {
            0 => (of(Kind::Recall, name, &uid), Flags::SHOWN, true),
            1 => (of(Kind::StreamPart, name, &uid), Flags::SHOWN, true),
            2 => (of(Kind::StreamPart, name, &uid), Flags::PART, false),
            3 => (edit(name, &uid), Flags::COUNTABLE, false),
            4 => (generic(name, 1000), Flags::GENERIC, false),
            _ => (chat(name, &uid, "u"), TEXT, true),
        };
        let position = feed.push(entry, flags);
        let (key, accepted_at) = (wire::envelope::uid_key(ORG, name, &uid), UnixMillis(1000));
        if told {
            wanted.push((
                partition(name),
                SeenUid {
                    position,
                    key,
                    accepted_at,
                },
            ));
        }
        if random.below(20) == 0 {
            feed.apply().await;
        }
        if random.below(100) == 0 {
            feed.apply().await;
            drop(feed);
            feed = Feed::new(fixture.open().await).await;
        }
    }
    feed.apply().await;
    for of in partitioning().all() {
        let all: Vec<_> = (wanted.iter().filter(|(p, _)| *p == of))
            .map(|(_, uid)| *uid)
            .collect();
        for limit in [1, 7, 1000] {
            // Twice: a page that is asked for again is the same.
            for _ in 0..2 {
                let (got, next) = drain(&*feed.store, of, Position::START, 0, limit).await;
                assert_eq!(got, all, "{of}, pages of {limit}");
                assert_eq!(next, feed.at[usize::from(of.0)], "up to where the log is applied");
            }
        }
        let middle = feed.at[usize::from(of.0)].seq().0 / 2;
        let after = Position::new(model::FrameSeq(middle), 0);
        let (got, _) = drain(&*feed.store, of, after, 0, 10).await;
        let rest: Vec<_> = all.iter().copied().filter(|uid| uid.position > after).collect();
        assert_eq!(got, rest, "{of} after {after}");
    }
}

/// However much there is before the window, it begins where it should.
pub async fn uids_of_the_last_days_are_told_and_no_older_ones(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    for n in 1..=300u64 {
        let accepted_at = n * 10;
        let name = ["t/a", "t/b", "t/c"][(n % 3) as usize];
        let entry = Entry {
            accepted_at,
            ..chat(name, &format!("{n}"), "u")
        };
        feed.push(entry, TEXT);
        if n % 37 == 0 {
            feed.apply().await;
        }
    }
    feed.apply().await;
    for since in [0, 5, 10, 1495, 1500, 2999, 3000, 3001] {
        let mut told = Vec::new();
        for of in partitioning().all() {
            let (got, _) = drain(&*feed.store, of, Position::START, since, 20).await;
            told.extend(got.iter().map(|uid| uid.accepted_at.0));
        }
        told.sort_unstable();
        let wanted: Vec<u64> = (1..=300).map(|n| n * 10).filter(|at| *at >= since).collect();
        assert_eq!(told, wanted, "since {since}");
    }
}

/// An edit counts as unread at its own place; reading the message that it changed reads it.
pub async fn who_reads_an_edited_message_has_read_the_edit(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let name = "org/member/a/b";
    let message = feed.push(chat(name, "m", "a"), Flags::SHOWN.with(Flags::EDITED));
    let edit = feed.push(
        Entry {
            sender: "a".into(),
            author: "a".into(),
            ..edit(name, "m")
        },
        Flags::COUNTABLE,
    );
    feed.apply().await;
    let unread = async |store: &dyn Store| {
        let ask = |anew| crate::UnreadQuery {
            org: org(),
            identities: vec!["b".into()],
            anew,
        };
        let count = store.unread_in(ask(false), vec![topic(name)]).await.unwrap()[0];
        let anew = store.unread_in(ask(true), vec![topic(name)]).await.unwrap()[0];
        assert_eq!(count, anew);
        count
    };
    assert_eq!(unread(&*feed.store).await, 1);
    let changed = Position::new(model::FrameSeq(1), 0);
    let batch = ReceiptBatch {
        advances: vec![Advance {
            partition: partition(name),
            from: Position::START,
            to: Position::end_of(changed.seq()),
        }],
        receipts: vec![NewReceipt {
            org: org(),
            topic: topic(name),
            message,
            edit: Some(edit),
            state: ReceiptKind::Read,
            by: "b".into(),
            changed,
            bytes: Bytes::from_static(b"r"),
        }],
        marks: Vec::new(),
    };
    feed.store.apply_receipts(Arc::new(batch)).await.unwrap();
    assert_eq!(unread(&*feed.store).await, 0);
}
