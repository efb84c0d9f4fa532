use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use backplane::presence::{Departed, EmbeddedPresence};
use model::{Origin, Role};
use runtime::metrics::Metrics as Registry;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};

use super::*;

/// A book that can be away or emptied, and counts what it is asked.
#[derive(Default)]
struct Book {
    inner: Mutex<Arc<EmbeddedPresence>>,
    away: AtomicBool,
    entries: AtomicU64,
}

impl Book {
    fn asked(&self) -> Result<Arc<EmbeddedPresence>, PresenceError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(PresenceError("it is away".to_owned())),
            false => Ok(self.inner.lock().clone()),
        }
    }

    fn flush(&self) {
        *self.inner.lock() = Arc::default();
    }
}

#[async_trait]
impl PresenceBook for Book {
    async fn enter(&self, entered: &[Entered], ttl: Duration) -> Result<Vec<bool>, PresenceError> {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.asked()?.enter(entered, ttl).await
    }

    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
        linger: Duration,
    ) -> Result<(), PresenceError> {
        self.asked()?.remove(org, user, connection, edge, linger).await
    }

    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError> {
        self.asked()?.connections(org, user).await
    }

    async fn departed(&self, limit: usize) -> Result<Vec<Departed>, PresenceError> {
        self.asked()?.departed(limit).await
    }
}

/// An edge's keeper at work, and what it tells: `+user` and `-user`.
struct Edge {
    keeper: Arc<Keeper>,
    told: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Edge {
    fn new(name: &str, book: &Arc<Book>) -> Self {
        let keeper = Keeper::new(
            name.into(),
            book.clone(),
            &crate::Config::default(),
            &Registry::new().service("edge"),
        );
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let (at, into) = (keeper.clone(), told.clone());
        let task = tokio::spawn(async move {
            at.keep(|who, online| {
                let sign = if online { '+' } else { '-' };
                into.lock().push(format!("{sign}{}", who.user));
            })
            .await;
        });
        Self { keeper, told, task }
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock())
    }
}

fn who(user: &str) -> Arc<Principal> {
    Arc::new(Principal {
        aliases: vec!["alias".into()],
        ..Principal::new("o".into(), user.into(), Role::Agent, Origin::Token)
    })
}

async fn count(book: &Book, user: &str) -> usize {
    let found = book.connections(&"o".into(), &user.into()).await;
    found.unwrap().len()
}

/// Long enough for what is to happen at once.
async fn soon() {
    sleep(Duration::from_millis(10)).await;
}

async fn after(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_in_the_book_while_it_lives_and_its_coming_and_going_are_told_once() {
    let book: Arc<Book> = Arc::default();
    let (one, two) = (Edge::new("one", &book), Edge::new("two", &book));
    let first = one.keeper.enter(&who("u"), "a", "mqtt");
    soon().await;
    let second = two.keeper.enter(&who("u"), "b", "stomp");
    soon().await;
    assert_eq!(count(&book, "u").await, 2);
    assert_eq!((one.told(), two.told()), (vec!["+u".to_owned()], vec![]));
    drop(first);
    soon().await;
    assert_eq!(count(&book, "u").await, 1);
    after(200).await;
    assert_eq!(count(&book, "u").await, 1, "kept beyond its time to live");
    drop(second);
    soon().await;
    assert_eq!(count(&book, "u").await, 0);
    after(4).await;
    assert!(one.told().is_empty() && two.told().is_empty(), "it may come back");
    after(3).await;
    assert_eq!([one.told(), two.told()].concat(), ["-u"]);
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_to_whichever_edge_tells_nothing() {
    let book: Arc<Book> = Arc::default();
    let (one, two) = (Edge::new("one", &book), Edge::new("two", &book));
    let mut present = one.keeper.enter(&who("u"), "a", "mqtt");
    soon().await;
    assert_eq!(one.told(), ["+u"]);
    for edge in [&one, &two, &one] {
        drop(present);
        after(4).await;
        present = edge.keeper.enter(&who("u"), "a", "mqtt");
        after(20).await;
        assert_eq!(count(&book, "u").await, 1);
    }
    assert!(one.told().is_empty() && two.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_does_not_strike_out_the_one_that_took_its_name() {
    let book: Arc<Book> = Arc::default();
    let edge = Edge::new("one", &book);
    let old = edge.keeper.enter(&who("u"), "a", "mqtt");
    soon().await;
    let new = edge.keeper.enter(&who("u"), "a", "mqtt");
    drop(old);
    soon().await;
    assert_eq!(count(&book, "u").await, 1);
    drop(new);
    soon().await;
    assert_eq!(count(&book, "u").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_book_that_is_emptied_is_complete_again_within_30_seconds_and_nobody_is_told() {
    let book: Arc<Book> = Arc::default();
    let edge = Edge::new("one", &book);
    let users = ["u", "v", "w"].map(who);
    let present = users.each_ref().map(|u| edge.keeper.enter(u, "a", "mqtt"));
    soon().await;
    assert_eq!(edge.told().len(), 3);
    book.flush();
    assert_eq!(count(&book, "u").await, 0);
    after(11).await;
    for user in &users {
        assert_eq!(count(&book, &user.user).await, 1);
    }
    after(60).await;
    assert!(edge.told().is_empty());
    drop(present);
}

#[tokio::test(start_paused = true)]
async fn a_book_that_was_away_is_complete_a_second_after_it_is_back() {
    let book: Arc<Book> = Arc::default();
    let edge = Edge::new("one", &book);
    let old = edge.keeper.enter(&who("u"), "a", "mqtt");
    soon().await;
    book.away.store(true, Ordering::Relaxed);
    book.flush();
    let new = edge.keeper.enter(&who("v"), "a", "mqtt");
    drop(edge.keeper.enter(&who("w"), "a", "mqtt"));
    after(300).await;
    book.away.store(false, Ordering::Relaxed);
    after(2).await;
    assert_eq!(count(&book, "u").await, 1);
    assert_eq!(count(&book, "v").await, 1);
    assert_eq!(count(&book, "w").await, 0);
    assert_eq!(edge.told(), ["+u", "+v"], "who came meanwhile is told of late");
    drop((old, new));
}

#[tokio::test(start_paused = true)]
async fn who_was_on_an_edge_that_died_is_told_to_be_gone_by_another_one() {
    let book: Arc<Book> = Arc::default();
    let (one, two) = (Edge::new("one", &book), Edge::new("two", &book));
    let present = one.keeper.enter(&who("u"), "a", "mqtt");
    soon().await;
    one.task.abort();
    after(80).await;
    assert!(two.told().is_empty());
    after(20).await;
    assert_eq!(two.told(), ["-u"]);
    assert_eq!(count(&book, "u").await, 0);
    drop(present);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_connections_are_kept_with_a_few_questions() {
    let book: Arc<Book> = Arc::default();
    let edge = Edge::new("one", &book);
    let present: Vec<Present> = (0..5000)
        .map(|n| edge.keeper.enter(&who(&format!("u{n}")), "a", "mqtt"))
        .collect();
    soon().await;
    let began = book.entries.load(Ordering::Relaxed);
    assert!(began <= 6, "{began} questions to enter them");
    advance(Duration::from_secs(11)).await;
    soon().await;
    let renewed = book.entries.load(Ordering::Relaxed) - began;
    assert!((5..=7).contains(&renewed), "{renewed} questions to keep them");
    drop(present);
    soon().await;
    assert_eq!(count(&book, "u17").await, 0);
}

#[test]
fn a_card_says_who_has_gone_and_those_without_conversations_have_none() {
    let departed = |who: &Principal| Departed {
        org: who.org.clone(),
        user: who.user.clone(),
        card: news::card(who),
    };
    let agent = Principal {
        nickname: "Ann".to_owned(),
        ..(*who("u")).clone()
    };
    assert_eq!(news::principal(departed(&agent)), Some(agent));
    let anonymous = Principal::new("o".into(), "x".into(), Role::Visitor, Origin::AnonymousMqtt);
    assert_eq!(news::card(&anonymous), "");
    assert_eq!(news::principal(departed(&anonymous)), None);
}
