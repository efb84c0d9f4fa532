//! The directory in PostgreSQL, with several processes at it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;

use batches::open;
use contract::persistence::{AgentCard, DeskEntry, DeskKind, DirectoryChange, UserCard};
use store::DirectoryStore;
use testkit::postgres::database;

fn card(uid: &str) -> UserCard {
    UserCard {
        uid: uid.into(),
        ..UserCard::default()
    }
}

fn put_agent(uid: &str) -> DirectoryChange {
    DirectoryChange::PutAgent(AgentCard {
        card: card(uid),
        user: "u".into(),
        ..AgentCard::default()
    })
}

fn put_desk(uid: &str, agent: &str) -> DirectoryChange {
    DirectoryChange::PutDesk(DeskEntry {
        card: card(uid),
        kind: DeskKind::Workgroup,
        agents: vec![agent.into()],
    })
}

/// Of two that change the directory at once, the second is judged by what the first has made of it.
#[tokio::test]
async fn changes_are_made_one_after_the_other() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    let org = "o".into();
    for round in 0..20 {
        let (agent, desk) = (format!("a{round}"), format!("d{round}"));
        a.change_directory(&org, put_agent(&agent))
            .await
            .unwrap()
            .unwrap();
        let before = a.directory_since(0).await.unwrap().version;
        let (named, removed) = tokio::join!(
            a.change_directory(&org, put_desk(&desk, &agent)),
            b.change_directory(&org, DirectoryChange::RemoveAgent(agent.as_str().into()))
        );
        let (named, removed) = (named.unwrap(), removed.unwrap());
        assert!(named.is_ok() != removed.is_ok(), "{named:?} {removed:?}");
        let news = b.directory_since(before).await.unwrap();
        assert_eq!((news.version, news.orgs.len()), (before + 1, 1));
    }
}

#[tokio::test]
async fn of_processes_that_start_at_once_one_enters_the_seed() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    let seed = || vec![("o".into(), put_agent("a")), ("o".into(), put_desk("d", "a"))];
    let (one, other) = tokio::join!(a.seed_directory(seed()), b.seed_directory(seed()));
    let mut entered = [one.unwrap(), other.unwrap()];
    entered.sort_unstable();
    assert_eq!(entered, [0, 2]);
}
