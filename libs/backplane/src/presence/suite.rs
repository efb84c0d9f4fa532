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

use super::{Departed, Entered, Presence, PresenceBook};

/// Makes one test of each promise: `presence_suite!(tokio::test, make)`, where `make` is an async function that returns
/// an `Arc<dyn PresenceBook>` of its own. Run it with `start_paused` where the clock of the runtime decides.
#[macro_export]
macro_rules! presence_suite {
    ($attr:meta, $make:expr) => {
        $crate::suite_tests!(presence, ($attr), ($make),
            a_user_is_found_on_every_connection_it_has
            a_connection_of_staff_is_known_as_one
            users_of_different_tenants_are_different_users
            a_connection_runs_out_when_it_is_not_refreshed
            a_refreshed_connection_outlives_its_first_term
            a_removed_connection_is_gone_at_once
            the_last_edge_to_enter_a_connection_holds_it
            an_edge_that_lost_a_connection_cannot_remove_it
            ids_that_look_like_one_another_are_kept_apart
            many_connections_are_kept_at_once
            a_user_comes_with_its_first_connection_and_goes_some_time_after_its_last
            a_user_that_returns_in_time_was_never_away
            a_user_whose_connections_run_out_goes_like_any_other
            each_departure_is_told_to_one_asker
            nobody_is_told_of_a_user_without_a_card
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
        staff: false,
    }
}

struct Who(OrgId, UserId);

fn who(org: &str, user: &str) -> Who {
    Who(org.into(), user.into())
}

fn entered(who: &Who, at: Presence, card: &str) -> Entered {
    Entered {
        org: who.0.clone(),
        user: who.1.clone(),
        at,
        card: card.to_owned(),
    }
}

async fn enter(book: &dyn PresenceBook, who: &Who, at: Presence, ttl: Duration) {
    let came = book.enter(&[entered(who, at, "")], ttl).await.unwrap();
    assert_eq!(came, [false], "told of a user without a card");
}

async fn comes(book: &dyn PresenceBook, who: &Who, at: Presence, ttl: Duration) -> bool {
    let came = book.enter(&[entered(who, at, "card")], ttl).await.unwrap();
    assert_eq!(came.len(), 1);
    came[0]
}

async fn strike(book: &dyn PresenceBook, who: &Who, connection: &str, edge: &str, linger: Duration) {
    book.remove(&who.0, &who.1, connection, &EdgeId::from(edge), linger)
        .await
        .unwrap();
}

/// Who departs until somebody does.
async fn departs(book: &dyn PresenceBook) -> Vec<Departed> {
    let deadline = Instant::now() + LONG / 2;
    loop {
        let departed = book.departed(10).await.unwrap();
        if !departed.is_empty() {
            return departed;
        }
        assert!(Instant::now() < deadline, "nobody departs");
        sleep(Duration::from_millis(20)).await;
    }
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

/// [`Presence::staff`], of each connection and not of the user; kept when it is entered again, and as it was entered last.
pub async fn a_connection_of_staff_is_known_as_one(book: Arc<dyn PresenceBook>) {
    let user = who("o", "agent");
    let staff = |connection: &str| Presence {
        staff: true,
        ..at("an edge", connection)
    };
    enter(&*book, &user, staff("1"), LONG).await;
    enter(&*book, &user, at("an edge", "2"), LONG).await;
    let both = [staff("1"), at("an edge", "2")];
    assert_eq!(found(&*book, &user).await, both);
    enter(&*book, &user, staff("1"), LONG).await;
    assert_eq!(found(&*book, &user).await, both);
    enter(&*book, &user, at("an edge", "1"), LONG).await;
    enter(&*book, &user, staff("2"), LONG).await;
    assert_eq!(found(&*book, &user).await, [at("an edge", "1"), staff("2")]);
    strike(&*book, &user, "2", "an edge", Duration::ZERO).await;
    assert_eq!(found(&*book, &user).await, [at("an edge", "1")]);
}

/// The key is (org, user).
pub async fn users_of_different_tenants_are_different_users(book: Arc<dyn PresenceBook>) {
    enter(&*book, &who("o1", "u"), at("e1", "u/web/1"), LONG).await;
    assert_eq!(found(&*book, &who("o2", "u")).await, []);
    assert_eq!(found(&*book, &who("o1", "u")).await, [at("e1", "u/web/1")]);
}

/// [`PresenceBook::enter`]: `ttl`, for one connection and not for its neighbour.
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

/// [`PresenceBook::enter`].
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
    strike(&*book, &user, "a", "e1", Duration::ZERO).await;
    assert_eq!(found(&*book, &user).await, [at("e1", "b")]);
    strike(&*book, &user, "never there", "e1", Duration::ZERO).await;
}

/// [`PresenceBook::enter`].
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
    strike(&*book, &user, "c", "e1", Duration::ZERO).await;
    assert_eq!(found(&*book, &user).await, [at("e2", "c")]);
}

/// The key is (org, user, connection), whatever characters they hold.
pub async fn ids_that_look_like_one_another_are_kept_apart(book: Arc<dyn PresenceBook>) {
    let users = [who("a:b", "c"), who("a", "b:c"), who("a", "b"), who("1:a", "b")];
    for (n, user) in users.iter().enumerate() {
        let odd = format!("c {n} \0 :1 é/{}", user.1);
        enter(&*book, user, at("edge with spaces", &odd), LONG).await;
    }
    for (n, user) in users.iter().enumerate() {
        let odd = format!("c {n} \0 :1 é/{}", user.1);
        assert_eq!(found(&*book, user).await, [at("edge with spaces", &odd)]);
        strike(&*book, user, &odd, "edge with spaces", Duration::ZERO).await;
        assert_eq!(found(&*book, user).await, []);
    }
}

/// [`PresenceBook::enter`]: any number, several of one user among them, each with its answer in its place.
pub async fn many_connections_are_kept_at_once(book: Arc<dyn PresenceBook>) {
    let users: Vec<Who> = (0..700).map(|n| who("o", &format!("u{n}"))).collect();
    assert!(comes(&*book, &users[3], at("e2", "there"), LONG).await);
    let two_each = users.iter().flat_map(|user| {
        let one = |connection| entered(user, at("e1", connection), "card");
        [one("a"), one("b")]
    });
    let two_each: Vec<Entered> = two_each.collect();
    let came = book.enter(&two_each, LONG).await.unwrap();
    let expected: Vec<bool> = (0..1400).map(|n| n % 2 == 0 && n != 6).collect();
    assert_eq!(came, expected);
    let again = book.enter(&two_each, LONG).await.unwrap();
    assert_eq!(again, vec![false; 1400]);
    for user in [&users[0], &users[699]] {
        assert_eq!(found(&*book, user).await, [at("e1", "a"), at("e1", "b")]);
    }
    assert_eq!(found(&*book, &users[3]).await.len(), 3);
    assert!(book.enter(&[], LONG).await.unwrap().is_empty());
}

/// [`PresenceBook::enter`], [`PresenceBook::departed`].
pub async fn a_user_comes_with_its_first_connection_and_goes_some_time_after_its_last(
    book: Arc<dyn PresenceBook>,
) {
    let user = who("o", "u");
    assert!(comes(&*book, &user, at("e1", "a"), LONG).await);
    assert!(!comes(&*book, &user, at("e2", "b"), LONG).await);
    strike(&*book, &user, "a", "e1", Duration::ZERO).await;
    assert_eq!(book.departed(10).await.unwrap(), [], "one connection is left");
    strike(&*book, &user, "b", "e2", SHORT).await;
    assert_eq!(book.departed(10).await.unwrap(), [], "it may come back");
    let began = Instant::now();
    let gone = Departed {
        org: user.0.clone(),
        user: user.1.clone(),
        card: "card".to_owned(),
    };
    assert_eq!(departs(&*book).await, [gone]);
    assert!(
        began.elapsed() >= SHORT / 2,
        "it is taken to be there for a while"
    );
    assert!(comes(&*book, &user, at("e1", "a"), LONG).await, "it comes again");
}

/// [`PresenceBook::remove`]: `linger`.
pub async fn a_user_that_returns_in_time_was_never_away(book: Arc<dyn PresenceBook>) {
    let user = who("o", "u");
    assert!(comes(&*book, &user, at("e1", "c"), LONG).await);
    strike(&*book, &user, "c", "e1", SHORT).await;
    assert!(!comes(&*book, &user, at("e2", "c"), LONG).await);
    // The old edge is late: what it strikes out is not its own any more.
    strike(&*book, &user, "c", "e1", Duration::ZERO).await;
    sleep(SHORT + Duration::from_millis(100)).await;
    assert_eq!(book.departed(10).await.unwrap(), []);
}

/// [`PresenceBook::departed`]: an edge that dies strikes nothing out.
pub async fn a_user_whose_connections_run_out_goes_like_any_other(book: Arc<dyn PresenceBook>) {
    let (dies, lives) = (who("o", "dies"), who("o", "lives"));
    assert!(comes(&*book, &dies, at("e1", "c"), SHORT).await);
    assert!(comes(&*book, &lives, at("e1", "c"), SHORT).await);
    assert!(!comes(&*book, &lives, at("e2", "d"), LONG).await);
    let departed = departs(&*book).await;
    let who: Vec<&str> = departed.iter().map(|d| d.user.as_str()).collect();
    assert_eq!(who, ["dies"]);
    assert_eq!(found(&*book, &dies).await, []);
    assert_eq!(found(&*book, &lives).await, [at("e2", "d")]);
}

/// [`PresenceBook::departed`].
pub async fn each_departure_is_told_to_one_asker(book: Arc<dyn PresenceBook>) {
    for n in 0..5 {
        let user = who("o", &format!("u{n}"));
        assert!(comes(&*book, &user, at("e1", "c"), LONG).await);
        strike(&*book, &user, "c", "e1", Duration::ZERO).await;
    }
    let mut users = Vec::new();
    while users.len() < 5 {
        let (one, two) = tokio::join!(book.departed(2), book.departed(2));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one.len() <= 2 && two.len() <= 2);
        users.extend(one.into_iter().chain(two).map(|d| d.user));
    }
    users.sort();
    assert_eq!(users.len(), 5);
    users.dedup();
    assert_eq!(users.len(), 5, "told twice");
    assert_eq!(book.departed(10).await.unwrap(), []);
}

/// [`Entered::card`].
pub async fn nobody_is_told_of_a_user_without_a_card(book: Arc<dyn PresenceBook>) {
    let user = who("o", "u");
    enter(&*book, &user, at("e1", "c"), LONG).await;
    assert_eq!(found(&*book, &user).await.len(), 1);
    strike(&*book, &user, "c", "e1", Duration::ZERO).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(book.departed(10).await.unwrap(), []);
}
