//! The directory: what the configuration enters, what administrators change while the service runs, and who sees it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backplane::bus::{Bus, BusLimits, EmbeddedBus};
use backplane::lease::EmbeddedLeases;
use contract::ErrorKind;
use contract::persistence::{
    AgentCard, AgentStatus, DeskEntry, DeskKind, DirectoryChange, DirectoryUid, OpenThread, Persistence,
    UserCard,
};
use model::{OrgId, UnixMillis};
use persistence::{Config, Deps, Service};
use runtime::health::Health;
use runtime::lifecycle::Stop;
use support::*;

/// The organisation of the seed.
fn seed() -> OrgId {
    OrgId::new("df_org_uid")
}

fn card(uid: &str) -> UserCard {
    UserCard {
        uid: uid.into(),
        nickname: format!("Nick {uid}"),
        avatar: String::new(),
    }
}

fn agent(uid: &str, user: &str) -> DirectoryChange {
    DirectoryChange::PutAgent(AgentCard {
        card: card(uid),
        user: user.into(),
        ..AgentCard::default()
    })
}

fn desk(uid: &str, kind: DeskKind, agents: &[&str]) -> DirectoryChange {
    DirectoryChange::PutDesk(DeskEntry {
        card: card(uid),
        kind,
        agents: agents.iter().map(|&uid| uid.into()).collect(),
    })
}

fn status(uid: &str, status: AgentStatus) -> DirectoryChange {
    DirectoryChange::SetStatus(uid.into(), status)
}

fn visit(desk: &str, visitor: &str) -> OpenThread {
    OpenThread {
        org: seed(),
        desk: desk.into(),
        visitor: card(visitor),
        at: UnixMillis(NOW),
    }
}

/// The agents of a desk; `None` when there is no such desk.
async fn agents_at(api: &Arc<dyn Persistence>, uid: &str) -> Option<Vec<String>> {
    let desk = api.desk(&seed(), &uid.into()).await.ok()?;
    Some(
        desk.agents
            .iter()
            .map(|agent| agent.card.uid.to_string())
            .collect(),
    )
}

/// Another replica at the same store.
async fn replica(world: &World, dir: &Path, bus: Arc<EmbeddedBus>) -> (Arc<dyn Persistence>, Stop) {
    let deps = Deps {
        presence: Arc::new(backplane::presence::EmbeddedPresence::new()),
        rules: persistence::ThreadRules::default(),
        store: Arc::new(world.store.clone()),
        routing: Arc::new(Refusing::default()),
        checkpoints: Arc::new(Shelf::open(&dir.join("others"))),
        journal: world.journal.clone(),
        leases: Arc::new(EmbeddedLeases::new()),
        bus,
        clock: world.clock.clone(),
        partitioning: partitioning(),
        holder: "other".into(),
        embedded: false,
        metrics: runtime::metrics::Metrics::new(),
        health: Health::new(),
    };
    let service = Service::build(Config::default(), deps).await.unwrap();
    let (api, stop) = (service.handle(), Stop::new());
    tokio::spawn(service.run(stop.clone()));
    (api, stop)
}

#[tokio::test]
async fn a_change_is_in_the_next_answer_and_the_others_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let (api, org) = (&world.api, seed());
    let mut told = world.bus.subscribe("directory").await.unwrap();
    let entered = api.change_directory(&org, agent("ann_uid", "ann")).await.unwrap();
    assert_eq!(entered.unwrap().agents[0].user.as_str(), "ann");
    assert_eq!(told.next().await.unwrap().len(), 1);
    api.change_directory(
        &org,
        desk("night", DeskKind::Workgroup, &["ann_uid", "df_ag_uid"]),
    )
    .await
    .unwrap();
    assert_eq!(
        agents_at(api, "night").await,
        Some(vec!["ann_uid".into(), "df_ag_uid".into()])
    );
    for (uid, what) in [
        ("ann_uid", Some(DirectoryUid::Agent)),
        ("ann", Some(DirectoryUid::User)),
        ("night", Some(DirectoryUid::Desk(DeskKind::Workgroup))),
        ("v1", None),
    ] {
        assert_eq!(api.identify(&org, &uid.into()).await.unwrap(), what, "{uid}");
    }
    let own = api
        .agents_of(&org, vec!["ann".into(), "agent1".into()])
        .await
        .unwrap();
    let own: Vec<_> = own.iter().map(|agent| agent.card.uid.as_str()).collect();
    assert_eq!(own, ["ann_uid", "df_ag_uid"]);
    assert_eq!(api.list_agents(&org, 0, 2).await.unwrap().total, 3);
    assert_eq!(api.list_desks(&org, 0, 9).await.unwrap().entries.len(), 2);

    let gone = api.change_directory(&org, DirectoryChange::RemoveDesk("night".into()));
    assert_eq!(gone.await.unwrap(), None);
    assert_eq!(agents_at(api, "night").await, None);
    world.close().await;
}

/// Whether the bus tells it of the change or not.
#[tokio::test]
async fn every_replica_sees_a_change_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let deaf = Arc::new(EmbeddedBus::new(BusLimits::default()));
    let others = [
        replica(&world, dir.path(), world.bus.clone()).await,
        replica(&world, dir.path(), deaf).await,
    ];
    for round in 0..3 {
        let uid = format!("group{round}");
        let change = desk(&uid, DeskKind::Workgroup, &["df_ag2_uid"]);
        let began = Instant::now();
        world.api.change_directory(&seed(), change).await.unwrap();
        for (api, _) in &others {
            while agents_at(api, &uid).await.is_none() {
                assert!(began.elapsed() < Duration::from_secs(1), "{uid}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }
    others.iter().for_each(|(_, stop)| stop.stop_softly());
    world.close().await;
}

/// What the configuration names is entered once; what became of it while running is how the next start finds it.
#[tokio::test]
async fn the_seed_is_not_entered_over_what_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (both, org) = (
        Some(vec!["df_ag_uid".to_owned(), "df_ag2_uid".to_owned()]),
        seed(),
    );
    let world = World::open(dir.path()).await;
    assert_eq!(agents_at(&world.api, "df_wg_uid").await, both);
    for change in [
        desk("df_wg_uid", DeskKind::Workgroup, &["df_ag2_uid"]),
        DirectoryChange::RemoveAgent("df_ag_uid".into()),
        status("df_ag2_uid", AgentStatus::Away),
    ] {
        world.api.change_directory(&org, change).await.unwrap();
    }
    world.close().await;

    let mut config = Config::default();
    let mut more = config.directory.agents[0].clone();
    (more.uid, more.user) = ("df_ag3_uid".into(), "agent3".into());
    config.directory.agents.push(more);
    let world = World::with(dir.path(), config).await;
    assert_eq!(
        agents_at(&world.api, "df_wg_uid").await,
        Some(vec!["df_ag2_uid".into()])
    );
    assert_eq!(agents_at(&world.api, "df_ag_uid").await, None, "it was removed");
    assert!(agents_at(&world.api, "df_ag3_uid").await.is_some(), "it is new");
    let kept = world.api.agents_of(&org, vec!["agent2".into()]).await.unwrap();
    assert!(kept[0].away());
    world.close().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_kind_of_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    for (change, kind, word) in [
        (agent("a/b", "u"), ErrorKind::InvalidPayload, "uid"),
        (
            desk("w", DeskKind::Workgroup, &["nobody"]),
            ErrorKind::InvalidPayload,
            "nobody",
        ),
        (
            desk("w", DeskKind::Agent, &[]),
            ErrorKind::InvalidPayload,
            "agent",
        ),
        (
            desk("df_ag_uid", DeskKind::Robot, &[]),
            ErrorKind::Conflict,
            "agent",
        ),
        (agent("df_wg_uid", "u"), ErrorKind::Conflict, "desk"),
        (
            DirectoryChange::RemoveAgent("df_ag_uid".into()),
            ErrorKind::Conflict,
            "df_wg_uid",
        ),
        (
            DirectoryChange::RemoveDesk("w".into()),
            ErrorKind::NotFound,
            "desk",
        ),
        (status("w", AgentStatus::Away), ErrorKind::NotFound, "agent"),
    ] {
        let refused = world
            .api
            .change_directory(&seed(), change.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.kind, kind, "{change:?}");
        assert!(refused.detail.contains(word), "{}", refused.detail);
    }
    // Of another organisation there is nothing.
    let (elsewhere, away) = (org(), status("df_ag_uid", AgentStatus::Away));
    let other = world.api.change_directory(&elsewhere, away).await;
    assert_eq!(other.unwrap_err().kind, ErrorKind::NotFound);
    world.close().await;
}

#[tokio::test]
async fn who_is_away_is_given_no_new_thread() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let (api, org) = (&world.api, seed());
    let set = async |uid: &str, to| {
        api.change_directory(&org, status(uid, to))
            .await
            .unwrap()
            .unwrap()
    };
    let given = async |visitor: &str| {
        let opened = api.open_thread(visit("df_wg_uid", visitor)).await.unwrap();
        opened.thread.agent.map(|agent| agent.card.uid.to_string())
    };
    world.is_there("agent1", true).await;
    world.is_there("agent2", true).await;
    let desk = set("df_ag_uid", AgentStatus::Away).await;
    assert!(desk.agents[0].away());
    for visitor in ["v1", "v2"] {
        assert_eq!(given(visitor).await.as_deref(), Some("df_ag2_uid"));
    }
    set("df_ag2_uid", AgentStatus::Away).await;
    assert_eq!(given("v3").await, None, "nobody takes it");
    set("df_ag_uid", AgentStatus::Available).await;
    let mut last = None;
    for _ in 0..500 {
        last = given("v3").await;
        if last.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        last.as_deref(),
        Some("df_ag_uid"),
        "once somebody takes threads again"
    );
    assert_eq!(
        given("v1").await.as_deref(),
        Some("df_ag2_uid"),
        "it keeps what it has"
    );
    world.close().await;
}

#[tokio::test]
async fn a_visitor_is_received_at_every_kind_of_desk_but_where_tickets_are() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(dir.path()).await;
    let others = DeskKind::ALL.into_iter().filter(|kind| *kind != DeskKind::Agent);
    for kind in others {
        let uid = format!("my_{}", kind.name());
        world
            .api
            .change_directory(&seed(), desk(&uid, kind, &[]))
            .await
            .unwrap();
        let opened = world.api.open_thread(visit(&uid, kind.name())).await;
        if kind == DeskKind::Ticket {
            assert_eq!(opened.unwrap_err().kind, ErrorKind::InvalidPayload);
            continue;
        }
        let thread = opened.unwrap().thread;
        assert_eq!(thread.topic.as_str(), format!("org/{0}/{uid}/{0}", kind.name()));
        let topic = model::ChatTopic::parse(&thread.topic).unwrap();
        assert_eq!(thread.kind, topic.kind.type_name());
    }
    world.close().await;
}
