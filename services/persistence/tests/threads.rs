//! The life of threads: opened by call and by message, given to agents, offered, closed; and what members are told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::time::Duration;

use contract::ErrorKind;
use contract::persistence::*;
use model::{Position, Role, UnixMillis, UserId};
use support::{NOW, World, chat, topic};
use wire::Kind;

const ORG: &str = "df_org_uid";
const GROUP: &str = "df_wg_uid";

fn visit(desk: &str, visitor: &str) -> OpenThread {
    OpenThread {
        org: ORG.into(),
        desk: desk.into(),
        visitor: UserCard {
            uid: visitor.into(),
            nickname: "Vera".into(),
            avatar: String::new(),
        },
        at: UnixMillis(NOW),
    }
}

fn agent_of(card: &ThreadCard) -> Option<String> {
    card.agent.as_ref().map(|agent| agent.user.to_string())
}

fn actor(user: &str) -> Actor {
    let (role, alias) = match user {
        "agent1" => (Role::Agent, "df_ag_uid"),
        "agent2" => (Role::Agent, "df_ag2_uid"),
        "admin" => (Role::Admin, "admin"),
        visitor => (Role::Visitor, visitor),
    };
    Actor {
        user: user.into(),
        role,
        identities: vec![user.into(), alias.into()],
    }
}

struct Threads {
    world: World,
    wishes: std::cell::Cell<u64>,
    _dir: tempfile::TempDir,
}

impl Threads {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            world: World::open(dir.path()).await,
            wishes: std::cell::Cell::new(0),
            _dir: dir,
        }
    }

    async fn open(&self, visitor: &str) -> OpenedThread {
        self.world.api.open_thread(visit(GROUP, visitor)).await.unwrap()
    }

    async fn wish(
        &self,
        user: &str,
        visitor: &str,
        wish: ThreadWish,
    ) -> Result<ThreadCard, contract::RpcError> {
        self.wishes.set(self.wishes.get() + 1);
        self.wish_as(&format!("wish{}", self.wishes.get()), user, visitor, wish)
            .await
    }

    async fn wish_as(
        &self,
        uid: &str,
        user: &str,
        visitor: &str,
        wish: ThreadWish,
    ) -> Result<ThreadCard, contract::RpcError> {
        let change = ChangeThread {
            org: ORG.into(),
            thread: ThreadKey::Topic(topic(&format!("org/workgroup/{GROUP}/{visitor}"))),
            by: actor(user),
            wish,
            uid: uid.to_owned(),
            at: UnixMillis(NOW),
        };
        self.world.api.change_thread(change).await
    }

    /// The uids of those who are members now.
    async fn members(&self, visitor: &str) -> Vec<String> {
        let name = topic(&format!("org/workgroup/{GROUP}/{visitor}"));
        let members = self
            .world
            .api
            .members(&ORG.into(), &name, Position::START)
            .await
            .unwrap();
        let lasting = members.all.iter().filter(|m| m.lasts());
        let mut names: Vec<String> = lasting.map(|m| m.member.to_string()).collect();
        names.sort();
        names
    }

    async fn status(&self, visitor: &str) -> String {
        let request = ThreadsRequest {
            org: ORG.into(),
            identities: vec![visitor.into()],
            open: false,
            unreplied: false,
            page: 0,
            size: 1,
        };
        let page = self.world.api.threads(request).await.unwrap();
        page.threads.first().map(|t| t.status.clone()).unwrap_or_default()
    }

    /// What was said in a thread, by type.
    async fn said(&self, visitor: &str) -> Vec<String> {
        let request = HistoryRequest {
            org: ORG.into(),
            topic: topic(&format!("org/workgroup/{GROUP}/{visitor}")),
            range: HistoryRange::After {
                position: Position::START,
                limit: 99,
            },
        };
        let page = self.world.api.history(request).await.unwrap();
        let kind = |e: &HistoryEntry| wire::frame::decode_entry(e.entry.clone()).unwrap().r#type;
        page.entries.iter().map(kind).collect()
    }

    async fn speak(&self, visitor: &str, uid: &str) -> Position {
        let mut entry = chat(
            &format!("org/workgroup/{GROUP}/{visitor}"),
            uid,
            visitor,
            Role::Visitor,
            "hello",
        );
        entry.org = ORG.into();
        self.world.append(&[entry]).await[0]
    }

    /// Waits until it is so.
    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for _ in 0..600 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to this: {what}");
    }
}

#[tokio::test]
async fn a_workgroups_threads_go_to_who_is_there_and_has_the_fewest_and_then_they_wait() {
    let threads = Threads::new().await;
    threads.world.is_there("agent1", true).await;
    let first = threads.open("v1").await;
    assert!(first.created);
    assert_eq!(
        (agent_of(&first.thread).as_deref(), first.thread.status.as_str()),
        (Some("agent1"), "CHATTING")
    );
    let again = threads.open("v1").await;
    assert_eq!(
        (again.created, &again.thread.uid, again.version),
        (false, &first.thread.uid, first.version)
    );
    threads.world.is_there("agent2", true).await;
    let mut given = Vec::new();
    for visitor in ["v2", "v3", "v4", "v5", "v6"] {
        let opened = threads.open(visitor).await;
        given.push((agent_of(&opened.thread).unwrap_or_default(), opened.queue));
    }
    let (a1, a2) = ("agent1".to_owned(), "agent2".to_owned());
    let waits = |n| (String::new(), Some(n));
    assert_eq!(
        given,
        [(a2.clone(), None), (a1, None), (a2, None), waits(0), waits(1)]
    );
    assert_eq!(threads.status("v5").await, "QUEUING");
    // Whoever becomes free gets the one that waits longest.
    threads.wish("agent1", "v3", ThreadWish::Close).await.unwrap();
    threads
        .until("v5 has an agent", async || {
            threads.members("v5").await == ["df_ag_uid", "v5"]
        })
        .await;
    assert_eq!(threads.status("v6").await, "QUEUING");
    assert_eq!(threads.said("v5").await, ["QUEUE_ACCEPT"]);
    let error = threads
        .world
        .api
        .open_thread(visit("nobody", "v1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    threads.world.close().await;
}

#[tokio::test]
async fn who_waits_is_told_its_place_whenever_that_changes() {
    let threads = Threads::new().await;
    threads.world.is_there("agent1", true).await;
    for visitor in ["v1", "v2", "v3", "v4"] {
        threads.open(visitor).await;
    }
    // By a message, which is answered by nothing.
    threads.speak("v5", "m").await;
    let places = |visitor: &str| -> Vec<(u64, u64)> {
        let told = threads.world.told.lock();
        let own = told.iter().filter(|entry| entry.topic.ends_with(visitor));
        let place = |entry: &wire::Entry| {
            assert_eq!(entry.r#type, "QUEUE_UPDATE");
            let message = wire::envelope::parse(&entry.payload).unwrap();
            let content: serde_json::Value = serde_json::from_str(&message.content).unwrap();
            let number = |name: &str| content[name].as_u64().unwrap();
            (number("position"), number("queueSize"))
        };
        own.map(place).collect()
    };
    threads
        .until("everybody is told", async || {
            ["v3", "v4", "v5"].map(|v| places(v).last().map(|(place, _)| *place))
                == [Some(1), Some(2), Some(3)]
        })
        .await;
    threads.wish("agent1", "v1", ThreadWish::Close).await.unwrap();
    threads
        .until("they have moved up", async || {
            ["v4", "v5"].map(|v| places(v).last().copied()) == [Some((1, 2)), Some((2, 2))]
        })
        .await;
    assert_eq!(
        places("v3").last().map(|(place, _)| *place),
        Some(1),
        "it has an agent"
    );
    assert!(places("v1").is_empty() && places("v2").is_empty());
    // A place that does not change is told once.
    let mut v4 = places("v4");
    v4.dedup_by_key(|(place, _)| *place);
    assert_eq!(v4.len(), places("v4").len());
    threads.world.close().await;
}

#[tokio::test]
async fn nobody_being_there_a_thread_waits_for_whoever_comes() {
    let threads = Threads::new().await;
    let opened = threads.open("v1").await;
    assert_eq!(
        (opened.thread.status.as_str(), agent_of(&opened.thread)),
        ("OFFLINE", None)
    );
    let own = threads
        .world
        .api
        .open_thread(visit("df_ag_uid", "v2"))
        .await
        .unwrap();
    assert_eq!(
        (own.thread.status.as_str(), agent_of(&own.thread).as_deref()),
        ("OFFLINE", Some("agent1"))
    );
    threads.world.is_there("agent1", true).await;
    threads
        .until("both are served", async || {
            let both = [threads.status("v1").await, threads.status("v2").await];
            both == ["CHATTING", "CHATTING"]
        })
        .await;
    threads.world.close().await;
}

#[tokio::test]
async fn a_message_opens_a_thread_and_its_agent_sees_that_message() {
    let threads = Threads::new().await;
    threads.world.is_there("agent1", true).await;
    let spoken = threads.speak("v1", "m1").await;
    threads
        .until("it has an agent", async || {
            threads.members("v1").await == ["df_ag_uid", "v1"]
        })
        .await;
    let name = topic(&format!("org/workgroup/{GROUP}/v1"));
    let members = threads
        .world
        .api
        .members(&ORG.into(), &name, Position::START)
        .await
        .unwrap();
    assert!(members.all.iter().all(|m| m.covers(spoken)));
    // The agent is told on its own topic, and so is the visitor.
    threads
        .until("both are told", async || {
            let mut told = 0;
            for user in ["agent1", "v1"] {
                let request = BacklogRequest {
                    org: ORG.into(),
                    lanes: vec![BacklogLane {
                        partition: support::partitioning().of(ORG, &topic(&format!("user/{user}"))),
                        after: Position::START,
                        upto: Position::START,
                    }],
                    filters: Vec::new(),
                    max_entries: 9,
                    max_bytes: 9999,
                };
                let partition = request.lanes[0].partition;
                let head = backplane::journal::Journal::head(&*threads.world.journal, partition)
                    .await
                    .unwrap();
                let request = BacklogRequest {
                    lanes: vec![BacklogLane {
                        upto: Position::end_of(head),
                        ..request.lanes[0]
                    }],
                    filters: vec![BacklogFilter {
                        filter: topic(&format!("user/{user}")).to_filter(),
                        start: Vec::new(),
                    }],
                    ..request
                };
                let page = threads.world.api.backlog(request).await.unwrap();
                let entries = page.entries.into_iter();
                let entries = entries.filter_map(|e| wire::frame::decode_entry(e.entry).ok());
                told += entries
                    .filter(|e| {
                        e.known_kind() == Kind::Membership && e.target == name.as_str() && e.state == 1
                    })
                    .count();
            }
            told == 2
        })
        .await;
    // Closed, and opened again by the next message.
    threads.wish("v1", "v1", ThreadWish::Close).await.unwrap();
    assert_eq!(threads.members("v1").await, [""; 0]);
    assert_eq!(threads.said("v1").await, ["TEXT", "VISITOR_CLOSED"]);
    threads.wish("v1", "v1", ThreadWish::Close).await.unwrap();
    let again = threads.speak("v1", "m2").await;
    threads
        .until("it goes on", async || {
            threads.members("v1").await == ["df_ag_uid", "v1"]
        })
        .await;
    let members = threads
        .world
        .api
        .members(&ORG.into(), &name, Position::START)
        .await
        .unwrap();
    let agent: Vec<_> = members.of(|m| m.as_str() == "df_ag_uid").cloned().collect();
    assert_eq!(agent.len(), 2);
    assert!(agent[0].covers(spoken) && !agent[0].covers(again) && agent[1].covers(again));
    threads.world.close().await;
}

#[tokio::test]
async fn a_thread_is_offered_taken_and_left_by_those_who_may() {
    let threads = Threads::new().await;
    threads.world.is_there("agent1", true).await;
    threads.open("v1").await;
    let offer = |invitation: bool, to: &str| ThreadWish::Offer {
        invitation,
        to: vec![UserId::new(to)],
        colleague: None,
    };
    let kind = |result: Result<ThreadCard, contract::RpcError>| result.unwrap_err().kind;
    // Whoever has no part in it does not even learn that it is there.
    assert_eq!(
        kind(threads.wish("agent2", "v1", offer(false, "df_ag_uid")).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(threads.wish("v2", "v1", ThreadWish::Close).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(threads.wish("agent1", "v1", offer(false, "nobody")).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(threads.wish("agent1", "v1", offer(false, "df_ag_uid")).await),
        ErrorKind::InvalidPayload
    );
    threads
        .wish_as("o1", "agent1", "v1", offer(false, GROUP))
        .await
        .unwrap();
    threads
        .wish_as("o1", "agent1", "v1", offer(false, GROUP))
        .await
        .unwrap();
    assert_eq!(threads.members("v1").await, ["df_ag_uid", "v1"]);
    assert_eq!(
        kind(threads.wish("v1", "v1", ThreadWish::Accept("o1".into())).await),
        ErrorKind::Forbidden
    );
    assert_eq!(
        kind(
            threads
                .wish("agent2", "v1", ThreadWish::Accept("o2".into()))
                .await
        ),
        ErrorKind::NotFound
    );
    threads
        .wish_as("a1", "agent2", "v1", ThreadWish::Accept("o1".into()))
        .await
        .unwrap();
    let card = threads
        .wish_as("a1", "agent2", "v1", ThreadWish::Accept("o1".into()))
        .await
        .unwrap();
    assert_eq!(agent_of(&card).as_deref(), Some("agent2"));
    assert_eq!(threads.members("v1").await, ["df_ag2_uid", "v1"]);
    assert_eq!(
        kind(threads.wish("agent1", "v1", ThreadWish::Leave).await),
        ErrorKind::NotFound
    );
    // An invitation adds.
    threads
        .wish_as("i1", "agent2", "v1", offer(true, "df_ag_uid"))
        .await
        .unwrap();
    threads
        .wish("agent1", "v1", ThreadWish::Accept("i1".into()))
        .await
        .unwrap();
    assert_eq!(threads.members("v1").await, ["df_ag2_uid", "df_ag_uid", "v1"]);
    threads.wish("agent2", "v1", ThreadWish::Leave).await.unwrap();
    assert_eq!(threads.members("v1").await, ["df_ag_uid", "v1"]);
    assert_eq!(threads.said("v1").await, ["NOTICE", "NOTICE", "NOTICE"]);
    threads.world.close().await;
}

#[tokio::test]
async fn an_offer_that_nobody_answers_ends_by_itself_and_so_does_a_thread_in_which_nothing_is_said() {
    let threads = Threads::new().await;
    threads.world.is_there("agent1", true).await;
    threads.open("v1").await;
    let offer = ThreadWish::Offer {
        invitation: false,
        to: vec!["df_ag2_uid".into()],
        colleague: None,
    };
    threads
        .wish_as("o1", "agent1", "v1", offer.clone())
        .await
        .unwrap();
    threads.world.hand.set_unix_millis(NOW + 31_000);
    threads
        .until("the offer is over", async || {
            threads.said("v1").await == ["TRANSFER_TIMEOUT"]
        })
        .await;
    let late = threads
        .wish("agent2", "v1", ThreadWish::Accept("o1".into()))
        .await;
    assert!(late.is_err());
    assert_eq!(threads.members("v1").await, ["df_ag_uid", "v1"]);
    threads.wish_as("o2", "agent1", "v1", offer).await.unwrap();
    threads
        .wish("agent2", "v1", ThreadWish::Decline("o2".into()))
        .await
        .unwrap();
    threads.world.hand.set_unix_millis(NOW + 31 * 60_000);
    threads
        .until("it is closed", async || threads.status("v1").await == "CLOSED")
        .await;
    assert_eq!(
        threads.said("v1").await.last().map(String::as_str),
        Some("AUTO_CLOSED")
    );
    threads.world.close().await;
}

#[tokio::test]
async fn a_thread_begins_at_a_desk_that_is_there_and_not_too_often() {
    let threads = Threads::new().await;
    let admit = async |name: &str| {
        let admitted = threads.world.api.admit(&ORG.into(), &topic(name)).await;
        admitted.map_err(|error| error.kind)
    };
    assert_eq!(admit("org/agent/nobody/v1").await, Err(ErrorKind::NotFound));
    assert_eq!(admit("org/agent/df_ag_uid/v1").await, Ok(()));
    for visitor in ["v1", "v1", "v1"] {
        assert_eq!(admit(&format!("org/workgroup/{GROUP}/{visitor}")).await, Ok(()));
    }
    assert_eq!(
        admit(&format!("org/workgroup/{GROUP}/v1")).await,
        Err(ErrorKind::RateLimited)
    );
    let error = threads
        .world
        .api
        .open_thread(visit(GROUP, "v1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::RateLimited);
    // One that is there is no new one.
    threads.open("v2").await;
    for _ in 0..9 {
        assert_eq!(admit(&format!("org/workgroup/{GROUP}/v2")).await, Ok(()));
    }
    threads.world.close().await;
}

#[tokio::test]
async fn of_those_who_race_for_the_last_place_one_gets_it() {
    let threads = Threads::new().await;
    threads.world.is_there("agent1", true).await;
    threads.open("v0").await;
    let visitors: Vec<String> = (1..9).map(|n| format!("v{n}")).collect();
    let opened = visitors.iter().map(|visitor| threads.open(visitor));
    let opened = futures::future::join_all(opened).await;
    let given = opened.iter().filter(|o| agent_of(&o.thread).is_some());
    assert_eq!(given.count(), 1);
    // Each that is closed makes room for one.
    threads.wish("admin", "v0", ThreadWish::Close).await.unwrap();
    threads
        .until("two are served", async || {
            let mut served = 0;
            for visitor in &visitors {
                served += usize::from(threads.status(visitor).await == "CHATTING");
            }
            served == 2
        })
        .await;
    threads.world.close().await;
}
