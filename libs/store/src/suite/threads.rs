//! Threads: who takes part, what is listed, and what a session has to know.

use contract::persistence::{MemberTopic, OpenSession, SessionKey, UserCard};
use model::UnixMillis;
use model::thread::{Membership, Step};

use super::life::{Log, Talk, accept, agent, assign, at, offer, open};
use super::*;
use crate::{ThreadQuery, UnreadQuery};

async fn listed(store: &Arc<dyn Store>, who: &[&str]) -> Vec<String> {
    let query = ThreadQuery {
        org: org(),
        identities: who.iter().map(|who| (*who).into()).collect(),
        open: false,
        unreplied: false,
        offset: 0,
        limit: 99,
    };
    let (rows, total) = store.threads(query).await.unwrap();
    assert_eq!(total, rows.len() as u64);
    rows.iter().map(|row| row.topic.to_string()).collect()
}

/// Those that are open alone, when that is asked for: of a desk, of a visitor, of a member.
pub async fn open_threads_are_listed_alone(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talks = [
        Talk::group("v1"),
        Talk::group("v2"),
        Talk::new("AGENT", "desk", "v1"),
    ];
    for (talk, with) in talks.iter_mut().zip([Some("x"), Some("x"), None]) {
        let opening = open(talk, with);
        log.take(talk, opening).await;
    }
    let of = async |log: &Log, who: &str, open: bool| {
        let query = ThreadQuery {
            org: org(),
            identities: vec![who.into()],
            open,
            limit: 9,
            ..ThreadQuery::default()
        };
        let (rows, total) = log.store.threads(query).await.unwrap();
        assert_eq!(total, rows.len() as u64);
        let mut parties: Vec<_> = rows
            .iter()
            .map(|row| format!("{} {}", row.kind, row.visitor.uid))
            .collect();
        parties.sort();
        parties
    };
    assert_eq!(of(&log, "x", true).await, ["WORKGROUP v1", "WORKGROUP v2"]);
    assert_eq!(of(&log, "v1", true).await, ["AGENT v1", "WORKGROUP v1"]);
    assert_eq!(of(&log, "desk", true).await, ["AGENT v1"]);
    log.take(&mut talks[0], Step::Close).await;
    log.take(&mut talks[2], Step::Close).await;
    assert_eq!(of(&log, "x", true).await, ["WORKGROUP v2"]);
    assert_eq!(of(&log, "x", false).await, ["WORKGROUP v1", "WORKGROUP v2"]);
    for (who, all) in [("v1", 2), ("desk", 1)] {
        assert_eq!(of(&log, who, true).await, [""; 0]);
        assert_eq!(of(&log, who, false).await.len(), all);
    }
}

/// As desk, visitor or member; a workgroup's desk does not, its agents do. The most recently active come first.
pub async fn who_takes_part_in_a_thread(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let store = feed.store.clone();
    let mut log = Log::new(store.clone());
    let (own, group, pair) = ("org/agent/desk/v1", "org/workgroup/w/v1", "org/member/m1/m2");
    log.speak(&Talk::new("AGENT", "desk", "v1")).await;
    let mut talk = Talk::group("v1");
    let opening = open(&talk, Some("x"));
    log.take(&mut talk, opening).await;
    log.speak(&Talk::new("MEMBER", "m1", "m2")).await;
    for (name, role, at) in [(own, 2, 3000), (group, 2, 2000), (own, 1, 4000), (pair, 1, 5000)] {
        let entry = Entry {
            sender_role: role,
            accepted_at: at,
            ..chat(name, &format!("{at}"), "u")
        };
        feed.push(entry, TEXT);
    }
    feed.apply().await;
    let part = async |who: &[&str], unreplied: bool, offset: usize, limit: usize| {
        let query = ThreadQuery {
            org: org(),
            identities: who.iter().map(|who| (*who).into()).collect(),
            open: false,
            unreplied,
            offset,
            limit,
        };
        let (rows, total) = store.threads(query).await.unwrap();
        let names: Vec<String> = rows.iter().map(|row| row.topic.to_string()).collect();
        (names, total)
    };
    for (who, names) in [
        (&["desk"][..], &[own][..]),
        (&["v1"], &[own, group]),
        (&["w"], &[]),
        (&["x"], &[group]),
        (&["m1"], &[pair]),
        (&["m2"], &[pair]),
        (&["desk", "x", "m2", "v1"], &[pair, own, group]),
        (&["nobody"], &[]),
    ] {
        let found = part(who, false, 0, 9).await;
        assert_eq!(found.0, names, "{who:?}");
        assert_eq!(found.1, names.len() as u64);
    }
    let all = ["v1", "m1"];
    assert_eq!(part(&all, false, 1, 1).await, (vec![own.to_owned()], 3));
    assert_eq!(part(&all, false, 7, 1).await, (vec![], 3));
    assert_eq!(part(&all, true, 0, 9).await, (vec![group.to_owned()], 1));
}

/// A thread that was left is listed, and nothing is unread in it; where somebody is a member, messages count from where its
/// lasting membership begins.
pub async fn what_was_left_is_listed_and_has_nothing_unread(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let store = feed.store.clone();
    let mut log = Log::new(store.clone());
    let mut talk = Talk::group("v");
    let name = talk.new.topic.clone();
    let mut say = async |log: &mut Log, n: usize| {
        for _ in 0..n {
            // What is said stands after what happened before.
            while feed
                .push(chat("org/workgroup/w/other", "", "v"), Flags::default())
                .seq()
                .0
                < log.next
            {}
            let uid = format!("m{}", log.next);
            let position = feed.push(chat(&name, &uid, "v"), TEXT);
            feed.apply().await;
            log.next = position.seq().0;
        }
    };
    let unread = async |who: &str| {
        let query = || UnreadQuery {
            org: org(),
            identities: vec![who.into()],
            anew: false,
        };
        let all = store.unread(query()).await.unwrap();
        let topics = vec![talk_name(), topic("org/workgroup/w/nothing")];
        let here = store.unread_in(query(), topics).await.unwrap();
        assert_eq!(here[1], 0);
        (all, here[0])
    };
    say(&mut log, 3).await;
    let opening = open(&talk, Some("a"));
    log.take(&mut talk, opening).await;
    say(&mut log, 2).await;
    assert_eq!(unread("a").await, (2, 2), "from where it joined");
    assert_eq!(unread("b").await, (0, 5), "whoever may ask has no part in it");
    log.take(&mut talk, offer("t", "a", &["b"], false)).await;
    log.take(&mut talk, accept("t", "b")).await;
    say(&mut log, 4).await;
    assert_eq!((unread("a").await, unread("b").await), ((0, 0), (4, 4)));
    for who in ["a", "b", "v"] {
        assert_eq!(listed(&store, &[who]).await, ["org/workgroup/w/v"], "{who}");
    }
    log.take(&mut talk, Step::Leave("b".into())).await;
    let since = log.place();
    say(&mut log, 1).await;
    log.take(&mut talk, assign("a", since)).await;
    assert_eq!(unread("a").await, (1, 1), "its first membership counts no more");
    log.take(&mut talk, Step::Close).await;
    assert_eq!(unread("a").await, (0, 0));
    assert_eq!(listed(&store, &["a", "b"]).await, ["org/workgroup/w/v"]);
}

fn talk_name() -> model::TopicName {
    topic("org/workgroup/w/v")
}

fn membership(name: &str, since: Position, until: Position) -> Membership {
    let (member, user) = agent(name);
    Membership {
        member,
        user,
        since,
        until,
    }
}

async fn known(
    log: &Log,
    who: &[&str],
    reached: Vec<(PartitionId, Position)>,
) -> Vec<(String, Vec<Membership>)> {
    let who = who.iter().map(|who| (*who).into()).collect();
    let mut found = log.store.memberships(&org(), who, reached).await.unwrap();
    found.sort_by(|a, b| a.topic.as_str().cmp(b.topic.as_str()));
    let pair = |t: MemberTopic| {
        assert_eq!(t.partition, partition(&t.topic));
        (t.topic.to_string(), t.memberships)
    };
    found.into_iter().map(pair).collect()
}

/// A session has to know the memberships that last, and those that end after where it has got.
pub async fn memberships_are_known_that_last_or_end_later(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talk = Talk::group("v");
    let (name, part) = (talk.new.topic.to_string(), talk.new.partition);
    let opening = open(&talk, Some("a"));
    let opened = log.take(&mut talk, opening).await;
    let first = membership("a", opened.before(), Position::END);
    assert_eq!(
        known(&log, &["a", "a", "z"], vec![]).await,
        [(name.clone(), vec![first])]
    );
    let left = log.take(&mut talk, Step::Leave("a".into())).await;
    let first = membership("a", opened.before(), left);
    assert_eq!(known(&log, &["a"], vec![]).await, []);
    assert_eq!(known(&log, &["a"], vec![(part, left)]).await, []);
    let other = PartitionId(part.0 + 1);
    assert_eq!(known(&log, &["a"], vec![(other, opened)]).await, []);
    let ended = [(name.clone(), vec![first.clone()])];
    assert_eq!(
        known(&log, &["a"], vec![(part, left.before()), (other, left)]).await,
        ended
    );
    let back = log.place();
    log.take(&mut talk, assign("a", back)).await;
    let second = membership("a", back, Position::END);
    assert_eq!(
        known(&log, &["a"], vec![(part, left)]).await,
        [(name.clone(), vec![second.clone()])]
    );
    let both = [(name, vec![first, second])];
    assert_eq!(known(&log, &["a"], vec![(part, opened)]).await, both);
    let elsewhere = OrgId::new("other");
    let none = log
        .store
        .memberships(&elsewhere, vec!["a".into()], vec![(part, opened)]);
    assert_eq!(none.await.unwrap(), []);
}

/// A thread of an agent's own desk that others have had is the agent's no more by its desk alone.
pub async fn others_have_had_a_thread_of_an_own_desk(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talk = Talk::new("AGENT", "desk", "v");
    let (name, part) = (talk.new.topic.to_string(), talk.new.partition);
    let mut untouched = Talk::new("AGENT", "desk", "u");
    let opening = open(&untouched, Some("desk"));
    log.take(&mut untouched, opening).await;
    let opening = open(&talk, Some("desk"));
    let opened = log.take(&mut talk, opening).await;
    log.take(&mut talk, offer("i", "desk", &["a"], true)).await;
    log.take(&mut talk, accept("i", "a")).await;
    log.take(&mut talk, Step::Leave("a".into())).await;
    let own = |known: Vec<(String, Vec<Membership>)>| {
        let mut of = known
            .into_iter()
            .filter(|(topic, _)| *topic == name)
            .map(|(_, m)| m);
        of.next()
    };
    let here = |place| vec![(part, place)];
    assert_eq!(listed(&log.store, &["desk"]).await.len(), 2);
    log.take(&mut talk, offer("t", "desk", &["b"], false)).await;
    let handed = log.take(&mut talk, accept("t", "b")).await;
    let ended = Membership {
        user: "desk".into(),
        ..membership("desk", Position::START, handed)
    };
    assert_eq!(
        own(known(&log, &["desk"], vec![]).await),
        Some(vec![]),
        "it is kept from it"
    );
    assert_eq!(own(known(&log, &["desk"], here(handed)).await), Some(vec![]));
    assert_eq!(
        own(known(&log, &["desk"], here(opened)).await),
        Some(vec![ended.clone()])
    );
    assert_eq!(listed(&log.store, &["desk"]).await.len(), 2, "it was its own");
    let closed = log.take(&mut talk, Step::Close).await;
    assert_eq!(own(known(&log, &["desk"], vec![]).await), None, "it is over");
    assert_eq!(own(known(&log, &["desk"], here(closed)).await), None);
    assert_eq!(
        own(known(&log, &["desk"], here(closed.before())).await),
        Some(vec![])
    );
    let back = open(&talk, Some("desk"));
    let again = log.take(&mut talk, back).await;
    let lasts = membership("desk", again.before(), Position::END);
    assert_eq!(
        own(known(&log, &["desk"], here(closed)).await),
        Some(vec![lasts.clone()])
    );
    assert_eq!(
        own(known(&log, &["desk"], here(opened)).await),
        Some(vec![ended, lasts])
    );
    // What the other one has is said as it is, and no group thread is anybody's own.
    let others = known(&log, &["b"], vec![]).await;
    assert_eq!(others, []);
    let mut group = Talk::new("WORKGROUP", "desk", "g");
    let opening = open(&group, Some("desk"));
    log.take(&mut group, opening).await;
    log.take(&mut group, Step::Leave("desk".into())).await;
    let known = known(&log, &["desk"], vec![]).await;
    assert!(
        known.iter().all(|(topic, _)| topic != group.new.topic.as_str()),
        "{known:?}"
    );
}

/// A thread shows its visitor as it is known now, and is as far as the log was applied.
pub async fn a_thread_shows_its_visitor_and_how_far_it_is(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let store = feed.store.clone();
    let mut log = Log::new(store.clone());
    let talk = Talk::group("v");
    let card = |nickname: &str, avatar: &str| UserCard {
        uid: "v".into(),
        nickname: nickname.into(),
        avatar: avatar.into(),
    };
    log.next = 1;
    let spoken = log.speak(&talk).await;
    let stored = log.stored(&talk).await;
    assert_eq!(stored.row.visitor, card("Nick", ""));
    assert_eq!(
        (stored.applied, stored.row.last, stored.row.updated_at),
        (Position::START, None, at(spoken))
    );
    store.visitor(&org(), card("Ann", "")).await.unwrap();
    assert_eq!(log.stored(&talk).await.row.visitor, card("Ann", ""));
    store.visitor(&org(), card("", "a.png")).await.unwrap();
    let position = feed.push(chat(&talk.new.topic, "m", "v"), TEXT);
    feed.apply().await;
    let stored = log.stored(&talk).await;
    assert_eq!(stored.row.visitor, card("Ann", "a.png"));
    assert_eq!(stored.applied, Position::end_of(position.seq()));
    assert_eq!(stored.row.last.map(|(at, _)| at), Some(position));
    assert_eq!(stored.row.uid, talk.new.uid);
}

/// Whoever opens a session is told of its threads: those of all its identities, whatever becomes of the session itself, and
/// nobody else's.
pub async fn whoever_opens_a_session_is_told_of_its_threads(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    for (visitor, with) in [
        ("v1", "agent1"),
        ("v2", "desk1"),
        ("v3", "agent2"),
        ("v4", "agent1"),
    ] {
        let mut talk = Talk::group(visitor);
        let opening = open(&talk, Some(with));
        log.take(&mut talk, opening).await;
        if visitor == "v4" {
            log.take(&mut talk, Step::Close).await;
        }
    }
    let mut own = Talk::new("AGENT", "desk1", "v5");
    let opening = open(&own, Some("desk1"));
    log.take(&mut own, opening).await;
    log.take(&mut own, Step::Leave("desk1".into())).await;
    for clean_start in [true, false, false, true] {
        let connect = |identities: Vec<model::UserId>| OpenSession {
            key: SessionKey {
                org: org(),
                user: "u".into(),
                client: "c".into(),
            },
            clean_start,
            expiry: 60,
            will: None,
            edge: "e".into(),
            identities,
        };
        let identities: Vec<model::UserId> = vec!["agent1".into(), "desk1".into()];
        let sorted = |mut threads: Vec<MemberTopic>| {
            threads.sort_by(|a, b| a.topic.as_str().cmp(b.topic.as_str()));
            threads
        };
        let opened = log
            .store
            .open_session(connect(identities.clone()), UnixMillis(2000))
            .await;
        let threads = sorted(opened.unwrap().threads);
        let listed = log.store.memberships(&org(), identities, vec![]).await.unwrap();
        assert_eq!(threads, sorted(listed));
        let topics: Vec<_> = threads
            .iter()
            .map(|t| (t.topic.as_str(), t.memberships.len()))
            .collect();
        let wanted = [
            ("org/agent/desk1/v5", 0),
            ("org/workgroup/w/v1", 1),
            ("org/workgroup/w/v2", 1),
        ];
        assert_eq!(topics, wanted);
        let nobody = log.store.open_session(connect(vec![]), UnixMillis(2000)).await;
        assert_eq!(nobody.unwrap().threads, []);
    }
}
