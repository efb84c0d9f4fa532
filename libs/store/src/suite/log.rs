//! Applying the log.

use std::sync::Arc;
use std::time::Duration;

use contract::persistence::HistoryRange;
use model::{FrameSeq, Position, UnixMillis};

use super::*;
use crate::{LogIdentity, StoreError};

/// A store stays with the log that it was filled from: whatever is restored beside it, another log is refused, and so
/// is that log when it has lost what was applied of it.
pub async fn a_store_is_of_one_log(fixture: &impl Fixture) {
    let log = |epoch, partitions| LogIdentity { epoch, partitions };
    // Above what a signed number holds.
    let (own, new, other) = (log(u64::MAX - 1, 3), log(7, 3), log(u64::MAX - 1, 4));
    let store = fixture.open().await;
    let (a, b) = tokio::join!(store.bind_log(own), store.bind_log(own));
    a.and(b).unwrap();
    let (p, mut feed) = (partition("t/a"), Feed::new(store).await);
    for applied in [0, 2] {
        for n in 0..applied {
            feed.push(chat("t/a", &format!("{n}"), "u"), TEXT);
        }
        feed.apply().await;
        drop(feed);
        let store = fixture.open().await;
        store.bind_log(own).await.unwrap();
        for opened in [new, other] {
            let error = store.bind_log(opened).await.unwrap_err();
            let of_both = |stored, refused| (stored, refused) == (own, opened);
            assert!(
                matches!(error, StoreError::OtherLog { stored, opened } if of_both(stored, opened)),
                "{error}"
            );
        }
        store.bind_log(own).await.unwrap();
        let progress = store.progress(Service::Persistence).await.unwrap();
        for head in 0..=applied + 1 {
            let heads = [(p, FrameSeq(head))];
            let within = crate::within_log(Service::Persistence, &progress, &heads);
            assert_eq!(within.is_ok(), head >= applied, "applied {applied}, head {head}");
        }
        feed = Feed::new(store).await;
    }
}

/// Of two who bind an empty store to different logs one is refused.
pub async fn an_empty_store_is_bound_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let log = |epoch| LogIdentity { epoch, partitions: 3 };
    let (a, b) = tokio::join!(store.bind_log(log(1)), store.bind_log(log(2)));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    assert_eq!(store.bind_log(log(1)).await.is_ok(), a.is_ok());
}

/// The progress that was stored is where the rows are, also after a restart.
pub async fn progress_and_rows_go_together(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let position = feed.push(chat("t/a", "1", "u"), TEXT);
    feed.apply().await;
    let (store, at) = (feed.store.clone(), feed.at[usize::from(partition("t/a").0)]);
    assert_eq!(
        store.progress(Service::Persistence).await.unwrap(),
        [(partition("t/a"), at)]
    );
    assert_eq!(store.progress(Service::Receipts).await.unwrap(), []);
    let wait = store.wait_applied(Service::Persistence, partition("t/a"), position, Duration::ZERO);
    assert_eq!(wait.await.unwrap(), at);
    assert_eq!(
        store.durable_progress(Service::Persistence).await.unwrap(),
        [(partition("t/a"), at)]
    );
    drop((feed, store));
    let store = fixture.open().await;
    assert_eq!(
        store.progress(Service::Persistence).await.unwrap(),
        [(partition("t/a"), at)]
    );
    assert_eq!(
        store
            .last_before(&org(), &topic("t/a"), Position::END)
            .await
            .unwrap(),
        Some(position)
    );
}

/// Two replicas that both believe to own a partition cannot both apply it.
pub async fn a_batch_that_begins_elsewhere_is_refused(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (mut one, mut other) = (Feed::new(store.clone()).await, Feed::new(store.clone()).await);
    one.push(chat("t/a", "1", "u"), TEXT);
    other.push(chat("t/a", "2", "u"), TEXT);
    other.push(chat("t/b", "3", "u"), TEXT);
    one.apply().await;
    let error = store.apply(Arc::new(other.batch)).await.unwrap_err();
    assert!(matches!(error, StoreError::Misplaced { .. }), "{error}");
    let range = HistoryRange::After {
        position: Position::START,
        limit: 10,
    };
    for (name, total) in [("t/a", 1), ("t/b", 0)] {
        assert_eq!(
            store.history(&org(), &topic(name), range).await.unwrap().total,
            total,
            "{name}"
        );
    }
}

/// What follows from the messages of a topic is the same after a restart, however much of it was indexed.
pub async fn sums_survive_a_restart(fixture: &impl Fixture) {
    let range = HistoryRange::Page { number: 0, size: 5 };
    let mut before = None;
    for round in 0..6u64 {
        let mut feed = Feed::new(fixture.open().await).await;
        let page = feed.store.history(&org(), &topic("t/a"), range).await.unwrap();
        if let Some((total, last)) = before {
            assert_eq!(
                (page.total, page.entries.last().map(|e| e.position)),
                (total, last),
                "round {round}"
            );
        }
        for i in 0..(7 * round + 3) {
            feed.push(chat("t/a", &format!("{round}-{i}"), "u"), TEXT);
        }
        feed.apply().await;
        let page = feed.store.history(&org(), &topic("t/a"), range).await.unwrap();
        before = Some((page.total, page.entries.last().map(|e| e.position)));
    }
    assert_eq!(
        before.map(|(total, _)| total),
        Some((0..6).map(|round| 7 * round + 3).sum())
    );
}

/// Opaque publishes are removed by age; chat messages stay.
pub async fn old_publishes_are_removed_and_nothing_else(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    for at in 1..=20 {
        feed.push(generic("t/a", at), Flags::GENERIC);
        feed.push(chat("t/a", &format!("{at}"), "u"), TEXT);
    }
    feed.apply().await;
    assert_eq!(feed.store.prune_generic(UnixMillis(11), 4).await.unwrap(), 4);
    assert_eq!(feed.store.prune_generic(UnixMillis(11), 100).await.unwrap(), 6);
    assert_eq!(feed.store.prune_generic(UnixMillis(11), 100).await.unwrap(), 0);
    let (left, _) = super::backlog::drain(&*feed.store, "t/a", 7, Vec::new()).await;
    assert_eq!(left.len(), 30);
    drop(feed);
    let store = fixture.open().await;
    assert_eq!(
        super::backlog::drain(&*store, "#", 100, Vec::new()).await.0.len(),
        30
    );
}
