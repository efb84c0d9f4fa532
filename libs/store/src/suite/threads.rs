//! Threads: to whom they are given, and who takes part.

use model::UnixMillis;

use super::*;
use crate::{Assign, NewThread, OpenedRow, ThreadQuery};

fn thread(name: &str, kind: &'static str, desk: &str, party: &str, agent: Option<&str>) -> NewThread {
    NewThread {
        org: org(),
        topic: topic(name),
        partition: partition(name),
        uid: format!("thread {name}"),
        kind,
        desk: desk.into(),
        party: party.into(),
        nickname: "Nick".into(),
        avatar: String::new(),
        agent: agent.map(str::to_owned),
        at: UnixMillis(1000),
    }
}

fn assign(agent: &str, online: bool) -> Assign {
    Assign {
        agent: format!("{agent}_uid").into(),
        user: agent.into(),
        online,
    }
}

/// A thread goes to the agent with the fewest of those who are there, and stays with it.
pub async fn a_thread_is_given_to_who_has_the_fewest(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let give = async |visitor: &str, to: Vec<Assign>| -> OpenedRow {
        let new = thread(
            &format!("org/workgroup/w/{visitor}"),
            "WORKGROUP",
            "w",
            visitor,
            None,
        );
        store.open_thread(new, to).await.unwrap()
    };
    let both = || vec![assign("a", true), assign("b", true)];
    let agent = |opened: &OpenedRow| opened.thread.agent.as_ref().unwrap().to_string();
    let mut given = Vec::new();
    for visitor in ["v1", "v2", "v3"] {
        given.push(agent(&give(visitor, both()).await));
    }
    assert_eq!(given, ["a_uid", "b_uid", "a_uid"]);
    let there = give("v4", vec![assign("b", false), assign("a", true)]).await;
    assert_eq!(agent(&there), "a_uid", "who is there, however many it has");
    let nobody = give("v5", vec![assign("a", false), assign("b", false)]).await;
    assert_eq!(agent(&nobody), "b_uid");
    assert_eq!((nobody.created, nobody.changed), (true, true));
    assert_eq!(nobody.joined, ["b".into()]);

    let again = give("v5", both()).await;
    assert_eq!(
        (again.created, again.changed, agent(&again)),
        (false, false, "b_uid".into())
    );
    assert_eq!(again.joined, ["b".into()], "it was not told yet");
    let name = topic("org/workgroup/w/v5");
    store.announced(&org(), &name, vec!["b".into()]).await.unwrap();
    assert_eq!(give("v5", both()).await.joined, []);
    let membership = store.membership(&org(), &name).await.unwrap();
    assert_eq!(
        (membership.version, membership.members),
        (2, vec!["b_uid".into()])
    );
    let waits = give("v6", Vec::new()).await;
    assert_eq!((waits.thread.agent, waits.changed), (None, false));
}

/// As desk, visitor, agent or member; a workgroup's desk does not, its agents do. The most recently active come first.
pub async fn who_takes_part_in_a_thread(fixture: &impl Fixture) {
    let mut feed = Feed::new(fixture.open().await).await;
    let store = feed.store.clone();
    let (own, group, pair) = ("org/agent/desk/v1", "org/workgroup/w/v1", "org/member/m1/m2");
    let threads = [
        (thread(own, "AGENT", "desk", "v1", Some("agent")), vec![]),
        (
            thread(group, "WORKGROUP", "w", "v1", None),
            vec![assign("x", true)],
        ),
        (thread(pair, "MEMBER", "m1", "m2", None), vec![]),
    ];
    for (thread, assign) in threads {
        store.open_thread(thread, assign).await.unwrap();
    }
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
        (&["agent"], &[own]),
        (&["v1"], &[own, group]),
        (&["w"], &[]),
        (&["x_uid"], &[group]),
        (&["m1"], &[pair]),
        (&["m2"], &[pair]),
        (&["desk", "x_uid", "m2", "v1"], &[pair, own, group]),
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
