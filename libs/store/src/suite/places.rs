//! Places with agents, notices, and the threads that something is due for.

use model::UnixMillis;
use model::thread::{Membership, Step, ThreadStatus};

use super::life::{Log, Talk, accept, agent, at, offer, open};
use super::*;
use crate::{Notice, Place, StoredThread};

fn places(all: &[(&str, u32)]) -> Vec<Place> {
    let place = |(agent, most): &(&str, u32)| Place {
        agent: (*agent).into(),
        most: *most,
    };
    all.iter().map(place).collect()
}

/// A place is taken with whoever has the fewest threads and room for one more; what is taken counts until it is given back.
pub async fn a_place_is_taken_with_who_has_the_fewest(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let store = log.store.clone();
    let take = async |visitor: &str, among: &[(&str, u32)]| {
        let topic = Talk::group(visitor).new.topic;
        let taken = store
            .take_place(&org(), &topic, places(among), UnixMillis(10))
            .await;
        taken.unwrap().map_or("-".to_owned(), |agent| agent.to_string())
    };
    let both = [("a", 2), ("b", 3)];
    let mut taken = Vec::new();
    for visitor in ["v1", "v2", "v3", "v4", "v5", "v6"] {
        taken.push(take(visitor, &both).await);
    }
    assert_eq!(taken, ["a", "b", "a", "b", "b", "-"]);
    assert_eq!(take("v3", &both).await, "a", "it has it already");
    assert_eq!(take("v3", &[("b", 3)]).await, "-", "not with who may have it now");
    assert_eq!(take("v6", &both).await, "a", "so that place is free");
    assert_eq!(take("v1", &[("c", 1), ("b", 9)]).await, "c");
    assert_eq!(take("v7", &[]).await, "-");
    let other = OrgId::new("other");
    let first = Talk::group("v1").new.topic;
    let elsewhere = store
        .take_place(&other, &first, places(&both), UnixMillis(10))
        .await;
    assert_eq!(elsewhere.unwrap(), Some("a".into()));

    // A change of the thread takes the place's place: the thread is counted itself, as long as it is open.
    let mut talk = Talk::group("v1");
    let opening = open(&talk, Some("c"));
    log.take(&mut talk, opening).await;
    assert_eq!(take("v8", &[("c", 1)]).await, "-");
    assert_eq!(take("v8", &[("c", 2)]).await, "c");
    store
        .release_place(&org(), &Talk::group("v8").new.topic)
        .await
        .unwrap();
    log.take(&mut talk, offer("t", "c", &["d"], false)).await;
    log.take(&mut talk, accept("t", "d")).await;
    assert_eq!(
        (take("v8", &[("d", 1)]).await, take("v8", &[("c", 1)]).await),
        ("-".into(), "c".into())
    );
    log.take(&mut talk, Step::Close).await;
    assert_eq!(take("v9", &[("c", 1), ("d", 1)]).await, "d");
    // One who has been given away by a change that is applied again has no place to lose.
    log.apply(log.events.clone()).await;
    assert_eq!(take("v10", &[("c", 1), ("d", 1)]).await, "-");
    drop(log);
    assert_eq!(take("v9", &[("d", 1)]).await, "d", "it is kept");
}

/// Places that nobody used are given back after a while.
pub async fn places_that_were_not_used_are_given_back(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let take = async |visitor: &str, now| {
        let topic = Talk::group(visitor).new.topic;
        let taken = store
            .take_place(&org(), &topic, places(&[("a", 2)]), UnixMillis(now))
            .await;
        taken.unwrap().is_some()
    };
    assert!(take("v1", 10).await && take("v2", 20).await && !take("v3", 30).await);
    assert_eq!(store.release_places_before(UnixMillis(10)).await.unwrap(), 0);
    assert!(take("v1", 30).await, "somebody is at it still");
    assert_eq!(store.release_places_before(UnixMillis(30)).await.unwrap(), 1);
    assert!(take("v3", 40).await && !take("v2", 40).await);
    assert_eq!(store.release_places_before(UnixMillis(99)).await.unwrap(), 2);
}

/// Of those who ask at once for the last place one gets it.
pub async fn the_last_place_is_taken_once(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for round in 0..40 {
        let ask = |n: usize| {
            let (store, topic) = (store.clone(), Talk::group(&format!("v{round}-{n}")).new.topic);
            let among = places(&[(&format!("a{round}"), 1), ("full", 0)]);
            tokio::spawn(async move { store.take_place(&org(), &topic, among, UnixMillis(10)).await })
        };
        let mut taken = 0;
        for asked in (0..4).map(ask).collect::<Vec<_>>() {
            taken += usize::from(asked.await.unwrap().unwrap().is_some());
        }
        assert_eq!(taken, 1, "round {round}");
    }
}

/// Each membership that began or ended is owed a notice until it is told; one that has ended since it was told is owed again.
pub async fn notices_are_owed_until_they_are_told(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let store = log.store.clone();
    let owed = async |limit| store.owed_notices(limit).await.unwrap();
    let short = |notices: &[Notice]| {
        let one = |n: &Notice| (n.membership.member.to_string(), n.membership.lasts());
        notices.iter().map(one).collect::<Vec<_>>()
    };
    let word = |name: &str, lasts| (name.to_owned(), lasts);
    let mut talk = Talk::group("v");
    let opening = open(&talk, Some("a"));
    let opened = log.take(&mut talk, opening).await;
    let notices = owed(9).await;
    assert_eq!(short(&notices), [word("a", true), word("v", true)]);
    let (member, user) = agent("a");
    let first = Notice {
        org: org(),
        topic: talk.new.topic.clone(),
        thread: talk.new.uid.clone(),
        membership: Membership::from(member, user, opened.before()),
    };
    assert_eq!(notices[0], first);
    assert_eq!(owed(1).await, std::slice::from_ref(&first), "the earliest first");
    store.told(vec![]).await.unwrap();
    store.told(notices.clone()).await.unwrap();
    assert_eq!(owed(9).await, []);
    log.apply(log.events.clone()).await;
    assert_eq!(owed(9).await, [], "what is applied again is not owed again");

    log.take(&mut talk, offer("t", "a", &["b"], false)).await;
    assert_eq!(owed(9).await, []);
    log.take(&mut talk, accept("t", "b")).await;
    let handed = owed(9).await;
    assert_eq!(short(&handed), [word("a", false), word("b", true)]);
    store.told(notices).await.unwrap();
    assert_eq!(owed(9).await, handed, "that it began was told before");
    log.take(&mut talk, Step::Leave("b".into())).await;
    store.told(handed).await.unwrap();
    let left = owed(9).await;
    assert_eq!(short(&left), [word("b", false)], "it has ended since");
    store.told(left).await.unwrap();
    log.take(&mut talk, Step::Close).await;
    assert_eq!(short(&owed(9).await), [word("v", false)]);
    drop(log);
    assert_eq!(
        short(&fixture.open().await.owed_notices(9).await.unwrap()),
        [word("v", false)]
    );
}

fn parties(threads: Vec<StoredThread>) -> Vec<String> {
    threads
        .into_iter()
        .map(|t| t.row.visitor.uid.to_string())
        .collect()
}

/// What is pending comes in the order in which somebody spoke, and no partition keeps another waiting.
pub async fn pending_threads_come_in_order(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let pending = async |log: &Log, limit| parties(log.store.pending_threads(limit).await.unwrap());
    assert_eq!(pending(&log, 9).await, [""; 0]);
    let mut talks: Vec<Talk> = ["v3", "v1", "v2"].into_iter().map(Talk::group).collect();
    for talk in &talks {
        log.speak(talk).await;
    }
    log.speak(&talks[0]).await;
    assert_eq!(pending(&log, 9).await, ["v3", "v1", "v2"]);
    assert_eq!(pending(&log, 2).await, ["v3", "v1"]);
    let far = (0..99).map(|n| Talk::new("AGENT", &format!("d{n}"), "far"));
    let far = far
        .into_iter()
        .find(|far| far.new.partition != talks[0].new.partition)
        .unwrap();
    log.speak(&far).await;
    assert_eq!(
        pending(&log, 2).await,
        ["v3", "far"],
        "each partition has its turn"
    );
    let opening = open(&talks[0], None);
    log.take(&mut talks[0], opening).await;
    assert_eq!(pending(&log, 9).await, ["v1", "far", "v2"]);
}

/// Those wait that wait for an agent, the longest first of each desk; each has its place in the queue of its desk.
pub async fn waiting_threads_come_in_order(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talks: Vec<Talk> = ["v1", "v2", "v3", "v4"].into_iter().map(Talk::group).collect();
    talks.push(Talk::new("WORKGROUP", "x", "other"));
    for (talk, with) in talks.iter_mut().zip([None, None, Some("a"), None, None]) {
        log.speak(talk).await;
        let opening = open(talk, with);
        log.take(talk, opening).await;
    }
    let waiting = async |log: &Log, limit| parties(log.store.waiting_threads(limit).await.unwrap());
    let queue = async |log: &Log, talks: &[Talk]| {
        let mut places = Vec::new();
        for talk in talks {
            places.push(log.store.place_in_queue(&org(), &talk.new.topic).await.unwrap());
        }
        places
    };
    assert_eq!(waiting(&log, 9).await, ["v1", "other", "v2", "v4"]);
    assert_eq!(waiting(&log, 2).await, ["v1", "other"], "each desk has its turn");
    assert_eq!(
        queue(&log, &talks).await,
        [Some(0), Some(1), None, Some(2), Some(0)]
    );
    log.take(&mut talks[0], Step::Wait(ThreadStatus::Offline)).await;
    assert_eq!(
        waiting(&log, 9).await,
        ["v2", "other", "v4", "v1"],
        "by its version"
    );
    let assign = super::life::assign("a", Position::START);
    log.take(&mut talks[1], assign).await;
    log.take(&mut talks[3], Step::Close).await;
    assert_eq!(waiting(&log, 9).await, ["other", "v1"]);
    assert_eq!(queue(&log, &talks).await, [Some(0), None, None, None, Some(0)]);
    let unknown = log
        .store
        .place_in_queue(&org(), &topic("org/workgroup/w/none"))
        .await;
    assert_eq!(unknown.unwrap(), None);
}

/// A thread is idle that is open, and in which nothing was said or changed since a time.
pub async fn idle_threads_are_open_and_silent(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let mut log = Log::new(feed.store.clone());
    let mut talks: Vec<Talk> = ["v1", "v2", "v3", "v4"].into_iter().map(Talk::group).collect();
    let mut opened = Vec::new();
    for (n, talk) in talks.iter_mut().enumerate() {
        let opening = open(talk, (n != 1).then_some("a"));
        opened.push(log.take(talk, opening).await);
    }
    log.speak(&Talk::group("pending")).await;
    log.take(&mut talks[2], Step::Close).await;
    let idle = async |log: &Log, before: UnixMillis, limit| {
        parties(log.store.idle_threads(before, limit).await.unwrap())
    };
    let late = UnixMillis(90_000);
    assert_eq!(idle(&log, late, 9).await, ["v1", "v2", "v4"]);
    assert_eq!(idle(&log, late, 2).await, ["v1", "v2"]);
    let second = at(opened[1]);
    assert_eq!(
        idle(&log, second, 9).await,
        ["v1"],
        "changed at that time, not before"
    );
    assert_eq!(idle(&log, UnixMillis(second.0 + 1), 9).await, ["v1", "v2"]);
    let said = Entry {
        accepted_at: late.0,
        ..chat(&talks[0].new.topic, "m", "v1")
    };
    feed.push(said, TEXT);
    feed.apply().await;
    assert_eq!(idle(&log, late, 9).await, ["v2", "v4"]);
    assert_eq!(
        idle(&log, late, 1).await,
        ["v2"],
        "one that is not idle takes nobody's place"
    );
    assert_eq!(idle(&log, UnixMillis(late.0 + 1), 9).await, ["v1", "v2", "v4"]);
}

/// An offer is due when its time is over and it was not answered.
pub async fn offers_are_due_after_their_time(fixture: &impl Fixture) {
    let mut log = Log::new(fixture.open().await);
    let mut talks: Vec<Talk> = ["v1", "v2", "v3"].into_iter().map(Talk::group).collect();
    let until = |step: Step, at| match step {
        Step::Offer(offer) => Step::Offer(model::thread::Offer {
            expires_at: UnixMillis(at),
            ..offer
        }),
        step => step,
    };
    for (talk, expires) in talks.iter_mut().zip([300, 100, 200]) {
        let opening = open(talk, Some("a"));
        log.take(talk, opening).await;
        log.take(talk, until(offer("t", "a", &["b", "c"], false), expires))
            .await;
        log.take(talk, until(offer("later", "a", &["d"], true), expires + 50))
            .await;
    }
    let due = async |log: &Log, now, limit| {
        parties(
            log.store
                .threads_with_due_offers(UnixMillis(now), limit)
                .await
                .unwrap(),
        )
    };
    assert_eq!(due(&log, 100, 9).await, [""; 0], "up to then it may be accepted");
    assert_eq!(due(&log, 101, 9).await, ["v2"]);
    assert_eq!(due(&log, 999, 9).await, ["v2", "v3", "v1"]);
    assert_eq!(due(&log, 999, 2).await, ["v2", "v3"]);
    let over = |uid: &str| Step::Decline {
        offer: uid.into(),
        by: None,
        at: UnixMillis(201),
    };
    log.take(&mut talks[1], over("t")).await;
    log.take(&mut talks[1], over("later")).await;
    log.take(&mut talks[2], Step::Close).await;
    log.take(&mut talks[0], accept("t", "b")).await;
    assert_eq!(due(&log, 340, 9).await, [""; 0]);
    assert_eq!(due(&log, 351, 9).await, ["v1"]);
}
