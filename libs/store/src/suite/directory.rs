//! The directory: what it holds, which changes it takes, and how they are told.

use contract::persistence::{AgentCard, AgentStatus, DeskEntry, DeskKind, DirectoryChange, UserCard};
use model::UserId;

use super::*;
use crate::{OrgDirectory, Refusal};

fn card(uid: &str, nickname: &str) -> UserCard {
    UserCard {
        uid: uid.into(),
        nickname: nickname.into(),
        avatar: format!("/{uid}.png"),
    }
}

fn agent(uid: &str, user: &str) -> AgentCard {
    AgentCard {
        card: card(uid, "Nick"),
        user: user.into(),
        status: AgentStatus::Available,
        max_threads: None,
    }
}

fn desk(uid: &str, kind: DeskKind, agents: &[&str]) -> DeskEntry {
    DeskEntry {
        card: card(uid, "Desk"),
        kind,
        agents: uids(agents),
    }
}

fn uids(uids: &[&str]) -> Vec<UserId> {
    uids.iter().map(|&uid| uid.into()).collect()
}

fn put_agent(uid: &str) -> DirectoryChange {
    DirectoryChange::PutAgent(agent(uid, &format!("user of {uid}")))
}

fn put_desk(uid: &str, agents: &[&str]) -> DirectoryChange {
    DirectoryChange::PutDesk(desk(uid, DeskKind::Workgroup, agents))
}

async fn change(store: &Arc<dyn Store>, change: DirectoryChange) -> Result<(), Refusal> {
    store.change_directory(&org(), change).await.unwrap()
}

/// The directory of one organisation.
async fn whole(store: &Arc<dyn Store>, org: &str) -> OrgDirectory {
    let orgs = store.directory_since(0).await.unwrap().orgs;
    let found = orgs.into_iter().find(|(other, _)| other.as_str() == org);
    found.map(|(_, whole)| whole).unwrap_or_default()
}

/// Every member of every entry, over a restart; a desk's agents in the order given.
pub async fn the_directory_is_what_was_put_there(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for uid in ["b", "a", "c"] {
        change(&store, put_agent(uid)).await.unwrap();
    }
    for kind in DeskKind::ALL.into_iter().filter(|kind| *kind != DeskKind::Agent) {
        let agents: &[&str] = if kind.has_agents() { &["c", "a", "b"] } else { &[] };
        let entry = DirectoryChange::PutDesk(desk(kind.name(), kind, agents));
        change(&store, entry).await.unwrap();
    }
    let more = AgentCard {
        max_threads: Some(7),
        card: card("a", "Alice"),
        ..agent("a", "another")
    };
    let away = DirectoryChange::SetStatus("a".into(), AgentStatus::Away);
    change(&store, away).await.unwrap();
    change(&store, DirectoryChange::PutAgent(more.clone()))
        .await
        .unwrap();
    change(&store, put_desk("workgroup", &["b", "a"])).await.unwrap();
    change(&store, DirectoryChange::RemoveDesk("kb".into()))
        .await
        .unwrap();
    drop(store);

    let found = whole(&fixture.open().await, ORG).await;
    let status = AgentStatus::Away;
    let kept = AgentCard { status, ..more };
    assert_eq!(found.agents[0], kept, "an agent that is changed keeps its status");
    assert_eq!(found.agents[1], agent("b", "user of b"));
    let desks: Vec<_> = found
        .desks
        .iter()
        .map(|d| (d.card.uid.as_str(), d.kind))
        .collect();
    let kinds = [
        DeskKind::KbDoc,
        DeskKind::Robot,
        DeskKind::Ticket,
        DeskKind::Unified,
        DeskKind::Workgroup,
    ];
    assert_eq!(desks, kinds.map(|kind| (kind.name(), kind)));
    assert_eq!(found.desks[2], desk("ticket", DeskKind::Ticket, &["c", "a", "b"]));
    assert_eq!(found.desks[4].agents, uids(&["b", "a"]));
}

/// And changes nothing.
pub async fn a_change_of_the_directory_that_does_not_fit_is_refused(fixture: &impl Fixture) {
    let store = fixture.open().await;
    for there in [put_agent("a"), put_desk("d", &["a"]), put_desk("e", &["a"])] {
        change(&store, there).await.unwrap();
    }
    // What others have is of no use.
    let elsewhere = OrgId::new("other");
    store
        .change_directory(&elsewhere, put_agent("z"))
        .await
        .unwrap()
        .unwrap();
    let before = store.directory_since(0).await.unwrap();
    let status = |uid: &str| DirectoryChange::SetStatus(uid.into(), AgentStatus::Away);
    for (refused, why) in [
        (
            put_desk("f", &["x", "a", "z"]),
            Refusal::UnknownAgents(uids(&["x", "z"])),
        ),
        (put_desk("a", &[]), Refusal::IsAgent),
        (put_agent("d"), Refusal::IsDesk),
        (
            DirectoryChange::RemoveAgent("a".into()),
            Refusal::Named(uids(&["d", "e"])),
        ),
        (
            DirectoryChange::RemoveAgent("z".into()),
            Refusal::Missing("agent"),
        ),
        (
            DirectoryChange::RemoveAgent("d".into()),
            Refusal::Missing("agent"),
        ),
        (DirectoryChange::RemoveDesk("a".into()), Refusal::Missing("desk")),
        (status("d"), Refusal::Missing("agent")),
    ] {
        assert_eq!(change(&store, refused).await, Err(why));
    }
    assert_eq!(store.directory_since(0).await.unwrap(), before);
    change(&store, put_desk("d", &[])).await.unwrap();
    change(&store, DirectoryChange::RemoveDesk("e".into()))
        .await
        .unwrap();
    change(&store, DirectoryChange::RemoveAgent("a".into()))
        .await
        .unwrap();
    assert_eq!(whole(&store, ORG).await.agents, []);
}

/// What an administrator changed or removed is not undone by the next start, which seeds again.
pub async fn a_seed_is_entered_once_whatever_became_of_it(fixture: &impl Fixture) {
    let seed = |changes: Vec<DirectoryChange>| changes.into_iter().map(|c| (org(), c)).collect::<Vec<_>>();
    let first = || {
        vec![
            put_agent("a"),
            put_agent("b"),
            put_agent("c"),
            put_desk("d", &["a", "b", "c"]),
        ]
    };
    let store = fixture.open().await;
    change(&store, DirectoryChange::PutAgent(agent("c", "own")))
        .await
        .unwrap();
    assert_eq!(
        store.seed_directory(seed(first())).await.unwrap(),
        3,
        "one is there"
    );
    assert_eq!(whole(&store, ORG).await.agents[2].user.as_str(), "own");

    change(&store, put_desk("d", &["a"])).await.unwrap();
    change(&store, DirectoryChange::RemoveAgent("b".into()))
        .await
        .unwrap();
    let renamed = AgentCard {
        card: card("a", "Alice"),
        ..agent("a", "u")
    };
    change(&store, DirectoryChange::PutAgent(renamed.clone()))
        .await
        .unwrap();
    drop(store);

    let store = fixture.open().await;
    let before = store.directory_since(0).await.unwrap();
    assert_eq!(store.seed_directory(seed(first())).await.unwrap(), 0);
    assert_eq!(store.seed_directory(Vec::new()).await.unwrap(), 0);
    assert_eq!(store.directory_since(0).await.unwrap(), before);
    let mut more = first();
    more.push(put_desk("e", &["b", "a"]));
    assert_eq!(store.seed_directory(seed(more)).await.unwrap(), 1);
    let now = whole(&store, ORG).await;
    assert_eq!(
        (&now.agents[0], now.agents.len()),
        (&renamed, 2),
        "the removed one stays away"
    );
    assert_eq!(
        now.desks[1].agents,
        uids(&["a"]),
        "a new desk gets the agents that are there"
    );
}

/// Those that have, each whole, and no others; what changes nothing is no news.
pub async fn the_directory_tells_which_organisations_have_changed(fixture: &impl Fixture) {
    let store = fixture.open().await;
    assert_eq!(
        store.directory_since(0).await.unwrap(),
        crate::DirectoryNews::default()
    );
    let put = async |org: &str, change| {
        let changed = store.change_directory(&OrgId::new(org), change).await;
        changed.unwrap().unwrap();
    };
    put("b", put_agent("a")).await;
    put("a", put_agent("a")).await;
    let names = |news: &crate::DirectoryNews| {
        news.orgs
            .iter()
            .map(|(org, _)| org.to_string())
            .collect::<Vec<_>>()
    };
    let all = store.directory_since(0).await.unwrap();
    assert_eq!(names(&all), ["a", "b"]);
    let available = DirectoryChange::SetStatus("a".into(), AgentStatus::Available);
    put("a", available).await;
    assert_eq!(
        names(&store.directory_since(all.version).await.unwrap()),
        [] as [&str; 0]
    );

    put("b", DirectoryChange::RemoveAgent("a".into())).await;
    let news = store.directory_since(all.version).await.unwrap();
    assert!(news.version > all.version);
    assert_eq!(news.orgs, [(OrgId::new("b"), OrgDirectory::default())]);
    let last = store.directory_since(news.version).await.unwrap();
    assert_eq!((last.version, last.orgs), (news.version, vec![]));
}
