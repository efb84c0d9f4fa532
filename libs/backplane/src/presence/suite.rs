//! What every address book promises, as tests. [`presence_suite!`](crate::presence_suite) makes them of an implementation.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use model::{EdgeId, OrgId, UserId};
use tokio::time::{Instant, sleep};

use super::{Presence, PresenceBook};

/// Makes one test of each promise: `presence_suite!(tokio::test, make)`, where `make` is an async function that returns
/// an `Arc<dyn PresenceBook>` of its own. Run it with `start_paused` where the clock of the runtime decides.
#[macro_export]
macro_rules! presence_suite {
    ($attr:meta, $make:expr) => {
        $crate::suite_tests!(presence, ($attr), ($make),
            a_user_is_found_on_every_connection_it_has
            users_of_different_tenants_are_different_users
            a_connection_runs_out_when_it_is_not_refreshed
            a_refreshed_connection_outlives_its_first_term
            a_removed_connection_is_gone_at_once
            the_last_edge_to_enter_a_connection_holds_it
            an_edge_that_lost_a_connection_cannot_remove_it
        );
    };
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(2);

fn at(edge: &str, connection: &str) -> Presence {
    Presence {
        edge: EdgeId::from(edge),
        connection: connection.to_owned(),
        protocol: "mqtt".to_owned(),
    }
}

struct Who(OrgId, UserId);

fn who(org: &str, user: &str) -> Who {
    Who(org.into(), user.into())
}

async fn enter(book: &dyn PresenceBook, who: &Who, at: Presence, ttl: Duration) {
    book.refresh(&who.0, &who.1, at, ttl).await.unwrap();
}

async fn found(book: &dyn PresenceBook, who: &Who) -> Vec<Presence> {
    let mut found = book.connections(&who.0, &who.1).await.unwrap();
    found.sort_by(|a, b| a.connection.cmp(&b.connection));
    found
}

/// [`PresenceBook::connections`].
pub async fn a_user_is_found_on_every_connection_it_has(book: Arc<dyn PresenceBook>) {
    let (agent, other) = (who("o", "agent"), who("o", "other"));
    assert_eq!(found(&*book, &agent).await, []);
    let stomp = Presence {
        protocol: "stomp".to_owned(),
        ..at("e2", "agent/stomp/1")
    };
    enter(&*book, &agent, at("e1", "agent/web/1"), LONG).await;
    enter(&*book, &agent, stomp.clone(), LONG).await;
    enter(&*book, &other, at("e1", "other/web/1"), LONG).await;
    assert_eq!(found(&*book, &agent).await, [stomp, at("e1", "agent/web/1")]);
}

/// The key is (org, user).
pub async fn users_of_different_tenants_are_different_users(book: Arc<dyn PresenceBook>) {
    enter(&*book, &who("o1", "u"), at("e1", "u/web/1"), LONG).await;
    assert_eq!(found(&*book, &who("o2", "u")).await, []);
    assert_eq!(found(&*book, &who("o1", "u")).await, [at("e1", "u/web/1")]);
}

/// [`PresenceBook::refresh`]: `ttl`, for one connection and not for its neighbour.
pub async fn a_connection_runs_out_when_it_is_not_refreshed(book: Arc<dyn PresenceBook>) {
    let user = who("o", "short");
    enter(&*book, &user, at("e1", "stays"), LONG).await;
    enter(&*book, &user, at("e1", "goes"), SHORT).await;
    assert_eq!(found(&*book, &user).await.len(), 2);
    let deadline = Instant::now() + LONG / 2;
    while found(&*book, &user).await.len() > 1 {
        assert!(Instant::now() < deadline, "the connection never runs out");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(found(&*book, &user).await, [at("e1", "stays")]);
}

/// [`PresenceBook::refresh`].
pub async fn a_refreshed_connection_outlives_its_first_term(book: Arc<dyn PresenceBook>) {
    let user = who("o", "kept");
    let end = Instant::now() + 3 * SHORT;
    while Instant::now() < end {
        enter(&*book, &user, at("e1", "c"), SHORT).await;
        sleep(SHORT / 10).await;
        assert_eq!(found(&*book, &user).await, [at("e1", "c")]);
    }
}

/// [`PresenceBook::remove`].
pub async fn a_removed_connection_is_gone_at_once(book: Arc<dyn PresenceBook>) {
    let user = who("o", "leaves");
    enter(&*book, &user, at("e1", "a"), LONG).await;
    enter(&*book, &user, at("e1", "b"), LONG).await;
    book.remove(&user.0, &user.1, "a", &EdgeId::from("e1"))
        .await
        .unwrap();
    assert_eq!(found(&*book, &user).await, [at("e1", "b")]);
    book.remove(&user.0, &user.1, "never there", &EdgeId::from("e1"))
        .await
        .unwrap();
}

/// [`PresenceBook::refresh`].
pub async fn the_last_edge_to_enter_a_connection_holds_it(book: Arc<dyn PresenceBook>) {
    let user = who("o", "moves");
    enter(&*book, &user, at("e1", "c"), LONG).await;
    enter(&*book, &user, at("e2", "c"), LONG).await;
    assert_eq!(found(&*book, &user).await, [at("e2", "c")]);
}

/// [`PresenceBook::remove`]: the late end of an old connection does not hide the new one.
pub async fn an_edge_that_lost_a_connection_cannot_remove_it(book: Arc<dyn PresenceBook>) {
    let user = who("o", "moved");
    enter(&*book, &user, at("e1", "c"), LONG).await;
    enter(&*book, &user, at("e2", "c"), LONG).await;
    book.remove(&user.0, &user.1, "c", &EdgeId::from("e1"))
        .await
        .unwrap();
    assert_eq!(found(&*book, &user).await, [at("e2", "c")]);
}
