//! Applying the log.

use std::sync::Arc;
use std::time::Duration;

use model::{Position, UnixMillis};
use rpc::persistence::HistoryRange;

use super::*;
use crate::StoreError;

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
