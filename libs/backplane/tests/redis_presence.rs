//! The address book of a cluster keeps every promise of the seam, and a Redis that is away costs nobody more than a
//! moment.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backplane::presence::{
    Departed, Entered, Presence, PresenceBook, PresenceError, RedisConfig, RedisPresence,
};
use model::{EdgeId, OrgId, UserId};
use runtime::config::HumanDuration;
use testkit::redis::{RedisNamespace, RedisServer};
use tokio::time::{Instant, sleep, timeout};

/// A book with the server under it, which ends when nobody holds it.
struct OnServer {
    book: RedisPresence,
    _server: RedisNamespace,
}

#[async_trait]
impl PresenceBook for OnServer {
    async fn enter(&self, entered: &[Entered], ttl: Duration) -> Result<Vec<bool>, PresenceError> {
        self.book.enter(entered, ttl).await
    }

    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
        linger: Duration,
    ) -> Result<(), PresenceError> {
        self.book.remove(org, user, connection, edge, linger).await
    }

    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError> {
        self.book.connections(org, user).await
    }

    async fn departed(&self, limit: usize) -> Result<Vec<Departed>, PresenceError> {
        self.book.departed(limit).await
    }
}

async fn book() -> Arc<dyn PresenceBook> {
    let server = testkit::redis::server().await;
    let config = RedisConfig {
        url: server.url.clone(),
        // The machine of a test may be busy.
        response_timeout: HumanDuration::from_secs(10),
        connect_timeout: HumanDuration::from_secs(10),
        ..RedisConfig::default()
    };
    Arc::new(OnServer {
        book: RedisPresence::connect(&config, &server.name).unwrap(),
        _server: server,
    })
}

backplane::presence_suite!(tokio::test, book);

const TTL: Duration = Duration::from_secs(60);
/// What a question may take beyond its timeouts on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

fn on(server: &RedisServer, name: &str) -> RedisPresence {
    let config = RedisConfig {
        url: server.url(),
        ..RedisConfig::default()
    };
    RedisPresence::connect(&config, name).unwrap()
}

fn connection(user: &str, connection: &str) -> Entered {
    Entered {
        org: "o".into(),
        user: user.into(),
        at: Presence {
            edge: "e".into(),
            connection: connection.to_owned(),
            protocol: "mqtt".to_owned(),
            staff: false,
        },
        card: "card".to_owned(),
    }
}

async fn count(book: &RedisPresence, user: &str) -> Result<usize, PresenceError> {
    let found = book.connections(&"o".into(), &user.into()).await?;
    Ok(found.len())
}

/// Enters until the book takes it: how long that took.
async fn entered_again(book: &RedisPresence, entered: &[Entered]) -> Duration {
    let began = Instant::now();
    let entering = async {
        while book.enter(entered, TTL).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(30), entering)
        .await
        .expect("the book is never written again");
    began.elapsed()
}

#[tokio::test]
async fn a_book_that_is_emptied_is_rebuilt_by_entering_again() {
    let server = RedisServer::start().await;
    let book = on(&server, "one");
    let all = [connection("u", "a"), connection("u", "b"), connection("v", "a")];
    assert_eq!(book.enter(&all, TTL).await.unwrap(), [true, false, true]);
    assert_eq!(server.command("FLUSHALL").await, "+OK");
    assert_eq!(count(&book, "u").await.unwrap(), 0);
    // With it the server forgot the scripts, or will when it is told to.
    assert_eq!(server.command("SCRIPT FLUSH").await, "+OK");
    book.enter(&all, TTL).await.unwrap();
    assert_eq!(count(&book, "u").await.unwrap(), 2);
    assert_eq!(count(&book, "v").await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_is_killed_is_unknown_at_once_and_known_when_it_is_back() {
    let server = RedisServer::start().await;
    let book = on(&server, "one");
    let all = [connection("u", "a")];
    book.enter(&all, TTL).await.unwrap();
    server.kill().await;
    let began = Instant::now();
    for _ in 0..20 {
        let error = count(&book, "u").await.unwrap_err().to_string();
        assert!(error.starts_with("presence is unknown: "), "{error}");
    }
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    server.restart().await;
    let took = entered_again(&book, &all).await;
    assert!(took < SLACK, "{took:?}");
    assert_eq!(count(&book, "u").await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_was_restarted_meanwhile_is_no_error() {
    let server = RedisServer::start().await;
    let book = on(&server, "one");
    book.enter(&[connection("u", "a")], TTL).await.unwrap();
    server.kill().await;
    server.restart().await;
    assert_eq!(count(&book, "u").await.unwrap(), 0);
    book.enter(&[connection("u", "a")], TTL).await.unwrap();
    assert_eq!(count(&book, "u").await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_stands_still_holds_nobody_up() {
    let server = RedisServer::start().await;
    let book = on(&server, "one");
    let all = [connection("u", "a")];
    book.enter(&all, TTL).await.unwrap();
    server.stop();
    let began = Instant::now();
    let error = count(&book, "u").await.unwrap_err().to_string();
    assert!(error.contains("does not answer within 500ms"), "{error}");
    assert!(began.elapsed() < Duration::from_millis(500) + SLACK);
    // Whoever asks next is not kept waiting for as long.
    let began = Instant::now();
    let asked: Vec<_> = (0..200).map(|_| count(&book, "u")).collect();
    assert!(futures::future::join_all(asked).await.iter().all(Result::is_err));
    assert!(
        began.elapsed() < Duration::from_secs(1) + SLACK,
        "{:?}",
        began.elapsed()
    );
    server.cont();
    let took = entered_again(&book, &all).await;
    assert!(took < SLACK, "{took:?}");
    assert_eq!(count(&book, "u").await.unwrap(), 1);
}

#[tokio::test]
async fn an_installation_does_not_see_another_one_on_the_same_server() {
    let server = RedisServer::start().await;
    let (one, two) = (on(&server, "one"), on(&server, "two"));
    one.enter(&[connection("u", "a")], TTL).await.unwrap();
    assert_eq!(count(&two, "u").await.unwrap(), 0);
    let u = (OrgId::new("o"), UserId::new("u"));
    one.remove(&u.0, &u.1, "a", &EdgeId::new("e"), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(two.departed(10).await.unwrap(), []);
    assert_eq!(one.departed(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_of_a_user_who_has_gone_stays_behind() {
    let server = RedisServer::start().await;
    let book = on(&server, "one");
    book.enter(&[connection("u", "a")], TTL).await.unwrap();
    book.enter(&[connection("v", "a")], Duration::from_millis(50))
        .await
        .unwrap();
    book.remove(&"o".into(), &"u".into(), "a", &"e".into(), Duration::ZERO)
        .await
        .unwrap();
    let mut gone = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while gone.len() < 2 && Instant::now() < deadline {
        gone.extend(book.departed(10).await.unwrap());
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(gone.len(), 2);
    // What has run out is counted until redis comes by.
    while server.command("DBSIZE").await != ":0" {
        assert!(Instant::now() < deadline, "something stays behind");
        sleep(Duration::from_millis(10)).await;
    }
}
