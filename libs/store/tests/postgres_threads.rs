//! Threads in PostgreSQL: from before they had a life, with several processes at them, and however many are over.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;

use std::sync::Arc;

use batches::{at, config, open};
use model::thread::{Act, Change, Membership, Thread, ThreadStatus};
use model::{OrgId, PartitionId, Position, TopicName, UnixMillis};
use store::{LogBatch, LogStore, NewThread, Place, PostgresStore, ThreadEvent, ThreadStore};
use testkit::postgres::{Database, database, sql};

fn org() -> OrgId {
    OrgId::new("o")
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// Enters topics 1, 2, … of partition 1, and runs further statements.
async fn enter(database: &Database, topics: u64, more: &[&str]) {
    sql(
        &database.url,
        "INSERT INTO branches (org, name) VALUES ('o', 't')",
    )
    .await;
    let all = format!(
        "INSERT INTO topics (org, topic, branch, partition) SELECT 'o', 't/' || i, 1, 1 FROM generate_series(1, {topics}) i"
    );
    sql(&database.url, &all).await;
    for text in more {
        sql(&database.url, text).await;
    }
}

#[tokio::test]
async fn threads_from_before_they_had_a_life_go_on() {
    let database = database().await;
    let config = config(&database.url);
    PostgresStore::migrate(&config).await.unwrap();
    for version in [5, 4, 3] {
        assert_eq!(PostgresStore::revert(&config).await.unwrap(), version);
    }
    let rows = [
        "INSERT INTO threads (topic, org, uid, kind, status, desk, party, nickname, avatar, agent, created_at, version)
         VALUES (1, 'o', 'one', 'WORKGROUP', 'CHATTING', 'w', 'v', 'Ann', '', 'x', 1000, 2),
           (2, 'o', 'two', 'MEMBER', 'CHATTING', 'a', 'b', '', '', NULL, 2000, 1)",
        "INSERT INTO members (org, member, topic, since, tell, announced) VALUES ('o', 'x', 1, 70, 'user-of-x', false)",
    ];
    enter(&database, 2, &rows).await;
    let store = open(&database.url).await;
    let member = Membership::from("x".into(), "user-of-x".into(), Position(70));
    let stored = store.thread(&org(), &topic("t/1")).await.unwrap().unwrap();
    let life = Thread {
        status: ThreadStatus::Chatting,
        agent: Some("x".into()),
        members: vec![member.clone()],
        ..Thread::default()
    };
    assert_eq!((&stored.life, stored.pending), (&life, Position::START));
    assert_eq!(
        (stored.row.uid.as_str(), stored.row.partition),
        ("one", PartitionId(1))
    );
    let known = store.memberships(&org(), vec!["x".into()], vec![]).await.unwrap();
    assert_eq!(
        (known[0].partition, &known[0].memberships),
        (PartitionId(1), &vec![member])
    );
    assert_eq!(store.owed_notices(9).await.unwrap(), []);
    assert_eq!(store.idle_threads(UnixMillis(9000), 9).await.unwrap(), []);
    let lives = sql(
        &database.url,
        "SELECT uid, has_life, version, changed_at FROM threads ORDER BY uid",
    )
    .await;
    assert!(
        lives.contains("one|t|0|1000") && lives.contains("two|f|0|2000"),
        "{lives}"
    );
    // And back: what only the newer version has is lost.
    drop(store);
    for version in [5, 4, 3] {
        assert_eq!(PostgresStore::revert(&config).await.unwrap(), version);
    }
    let kept = sql(
        &database.url,
        "SELECT member, since, tell, announced FROM members",
    )
    .await;
    assert_eq!(kept, "x|70|user-of-x|t");
}

/// Of processes that ask at once for the last place one gets it.
#[tokio::test]
async fn two_processes_take_the_last_place_once() {
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    for round in 0..100 {
        let agent = format!("a{round}");
        let ask = |store: &PostgresStore, n: usize| {
            let (store, topic) = (store.clone(), topic(&format!("t/{round}/{n}")));
            let place = Place {
                agent: agent.as_str().into(),
                most: 1,
            };
            tokio::spawn(async move { store.take_place(&org(), &topic, vec![place], UnixMillis(1)).await })
        };
        let asked = [ask(&a, 0), ask(&b, 1), ask(&a, 2), ask(&b, 3)];
        let mut taken = 0;
        for asked in asked {
            taken += usize::from(asked.await.unwrap().unwrap().is_some());
        }
        assert_eq!(taken, 1, "round {round}");
    }
}

/// A membership of agent `a` in a thread begins, or ends.
fn membership(n: usize, position: Position, begins: bool) -> ThreadEvent {
    let member = Membership::from("a".into(), "u".into(), position.before());
    let (joined, ended) = if begins {
        (vec![member], vec![])
    } else {
        (vec![], vec![member])
    };
    let change = Change {
        act: if begins { Act::Assigned } else { Act::Left },
        expects: Position::START,
        status: ThreadStatus::Chatting,
        agent: None,
        joined,
        ended,
        staying: Vec::new(),
        offer: None,
        settled: None,
    };
    let name = format!("t/{n}");
    ThreadEvent {
        thread: NewThread {
            org: org(),
            topic: topic(&name),
            partition: PartitionId(1),
            uid: name,
            kind: "WORKGROUP",
            desk: "w".into(),
            party: "v".into(),
            nickname: String::new(),
            avatar: String::new(),
            has_life: true,
            at: UnixMillis(1),
        },
        position,
        change: Some(change),
    }
}

/// Whoever marks notices as told and whoever applies what ends their memberships do not wait for each other in a circle, and no
/// notice is lost between them.
#[tokio::test]
async fn notices_are_told_while_their_memberships_end() {
    const THREADS: usize = 40;
    const ROUNDS: u64 = 40;
    let database = database().await;
    let (a, b) = (open(&database.url).await, open(&database.url).await);
    let applying = tokio::spawn(async move {
        for round in 1..=ROUNDS {
            let mut order: Vec<usize> = (0..THREADS).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            let event = |n: usize| membership(n, at(round), round % 2 == 1);
            let batch = LogBatch {
                threads: order.into_iter().map(event).collect(),
                ..LogBatch::default()
            };
            a.apply(Arc::new(batch)).await.unwrap();
        }
    });
    let mut last = std::collections::HashMap::new();
    loop {
        let done = applying.is_finished();
        let mut notices = b.owed_notices(usize::MAX).await.unwrap();
        let told = notices.len();
        notices.reverse();
        for notice in &notices {
            let at = last.entry(notice.thread.clone()).or_insert(Position::START);
            let until = Some(notice.membership.until).filter(|_| !notice.membership.lasts());
            *at = until.unwrap_or(Position::START).max(*at);
        }
        b.told(notices).await.unwrap();
        if done && told == 0 {
            break;
        }
    }
    applying.await.unwrap();
    assert_eq!(last.len(), THREADS);
    assert!(
        last.values().all(|until| *until == at(ROUNDS)),
        "that each has ended was told"
    );
}

/// Agent `a` and desk `d` had ten thousand threads that are over: what is asked often does not look at them.
#[tokio::test]
async fn what_is_over_costs_nothing() {
    const OVER: u64 = 10_000;
    let database = database().await;
    PostgresStore::migrate(&config(&database.url)).await.unwrap();
    let rows = [
        "INSERT INTO members (topic, member, began, org, partition, usr, since, until, owed)
         SELECT i, 'a', 1, 'o', 1, 'u', 0, CASE WHEN i > 10000 THEN 9223372036854775807 ELSE i END,
           CASE WHEN i > 10000 THEN 1 ELSE 0 END FROM generate_series(1, 10001) i",
        "INSERT INTO threads (topic, org, partition, uid, kind, desk, party, nickname, avatar, agent, created_at, has_life, status,
           version, changed_at, pending, overridden)
         SELECT i, 'o', 1, 'u' || i, 'AGENT', 'd', 'v', '', '', 'a', 0, true, CASE WHEN i > 10000 THEN 'QUEUING' ELSE 'CLOSED' END,
           i, 1, CASE WHEN i > 10000 THEN 1 ELSE 0 END, true FROM generate_series(1, 10001) i",
    ];
    enter(&database, OVER + 1, &rows).await;
    let read = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables
                WHERE relname IN ('threads', 'members')";
    let indexes =
        "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname IN ('threads', 'members')";
    let settled = async || {
        // Counts are published when a connection ends; wait until nobody is connected.
        let connected = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND application_name = 'longwire'";
        testkit::eventually("connections end", testkit::DEADLINE, async || {
            (sql(&database.url, connected).await == "0").then_some(())
        })
        .await;
        let number = async |text| sql(&database.url, text).await.parse::<i64>().unwrap();
        number(read).await + number(indexes).await
    };
    let before = settled().await;
    let store = open(&database.url).await;
    let reached = vec![(PartitionId(1), Position(OVER - 3))];
    let who = || vec!["a".into(), "d".into()];
    let known = store.memberships(&org(), who(), reached).await.unwrap();
    assert_eq!(known.len(), 4, "three that ended after, and the one that is open");
    let uids = |threads: Vec<store::StoredThread>| threads.into_iter().map(|t| t.row.uid).collect::<Vec<_>>();
    assert_eq!(uids(store.pending_threads(9).await.unwrap()), ["u10001"]);
    assert_eq!(uids(store.waiting_threads(9).await.unwrap()), ["u10001"]);
    assert_eq!(
        uids(store.idle_threads(UnixMillis(9), 9).await.unwrap()),
        ["u10001"]
    );
    assert_eq!(
        store.place_in_queue(&org(), &topic("t/10001")).await.unwrap(),
        Some(0)
    );
    assert_eq!(store.owed_notices(9).await.unwrap().len(), 1);
    let place = Place {
        agent: "a".into(),
        most: 2,
    };
    let taken = store
        .take_place(&org(), &topic("t/x"), vec![place], UnixMillis(1))
        .await;
    assert_eq!(taken.unwrap(), Some("a".into()));
    drop(store);
    let cost = settled().await - before;
    assert!(cost < 300, "{cost} rows and places of indexes were read");
}
