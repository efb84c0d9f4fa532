//! The one primitive: whoever attaches gets every entry after that, once, in order, whatever is lost on the way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auth::{Acl, AclConfig, KeyRing, Verifier};
use backplane::bus::EmbeddedBus;
use backplane::checkpoint::EmbeddedCheckpoints;
use backplane::lease::EmbeddedLeases;
use backplane::presence::EmbeddedPresence;
use contract::persistence::MemberTopic;
use edge::Outcome;
use edge::line::Ticket;
use edge::mailbox::Mailbox;
use edge::receiver::{Asked, Receiver, asked_for_threads};
use edge::{Core, Outside};
use jiff::tz::TimeZone;
use model::thread::Membership;
use model::{OrgId, Origin, PartitionId, Partitioning, Position, Principal, Role, TopicName, UserId};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use routing::{Config, Deps, Service};
use runtime::clock::Clock;
use runtime::config::{ByteSize, HumanDuration, Secret};
use runtime::lifecycle::{Stop, Tasks};
use runtime::metrics::Metrics;
use session::{Limits, Output};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::{Entry, Kind, ThreadChange};

use crate::fakes::{FakeStore, MemJournal, Ways};
use crate::slow::SlowCheckpoints;

const PARTITIONS: u16 = 3;
const DESKS: u64 = 6;

pub struct World {
    pub journal: Arc<MemJournal>,
    bus: Arc<EmbeddedBus>,
    pub ways: Arc<Ways>,
    pub checkpoints: Arc<SlowCheckpoints>,
    _dir: TempDir,
    pub store: Arc<FakeStore>,
    pub leases: Arc<EmbeddedLeases>,
    clock: Clock,
    /// That of owners.
    pub owners_clock: Clock,
    /// Nobody publishes any more.
    pub quiet: Arc<AtomicBool>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let journal = MemJournal::new(PARTITIONS, seed);
        let dir = tempfile::tempdir().unwrap();
        Self {
            checkpoints: SlowCheckpoints::new(EmbeddedCheckpoints::open(dir.path()).unwrap()),
            _dir: dir,
            bus: Arc::new(EmbeddedBus::default()),
            ways: Ways::new(PARTITIONS, seed),
            store: FakeStore::new(&journal),
            leases: Arc::new(EmbeddedLeases::new()),
            clock: Clock::system(),
            owners_clock: Clock::system(),
            quiet: Arc::default(),
            journal,
        }
    }

    pub fn routing(&self, holder: u64) -> Tasks {
        self.routing_that(holder, |_| {})
    }

    pub fn routing_that(&self, holder: u64, configure: impl FnOnce(&mut Config)) -> Tasks {
        let tasks = Tasks::new(Stop::new());
        let mut config = Config::default();
        configure(&mut config);
        let deps = Deps {
            journal: self.journal.clone(),
            owners: self.ways.owners.clone(),
            checkpoints: self.checkpoints.clone(),
            salt: 7,
            bus: self.bus.clone(),
            leases: self.leases.clone(),
            persistence: self.store.clone(),
            partitioning: Partitioning::new(PARTITIONS),
            recall_window: 120_000,
            holder: format!("owner-{holder}"),
            clock: self.owners_clock.clone(),
            metrics: Metrics::new().service("routing"),
        };
        Service::new(config, deps).start(&tasks);
        tasks
    }

    /// What the agent of the desk "desk" gets from now on.
    pub async fn listen(&self, core: &Arc<Core>) -> Got {
        core.ready().await;
        let (got, (tx, rx)) = (Got::default(), oneshot::channel());
        let rng = StdRng::seed_from_u64(0);
        tokio::spawn(subscriber(core.clone(), "desk".into(), got.clone(), tx, rng));
        rx.await.unwrap();
        // Until the owners know.
        tokio::time::sleep(Duration::from_secs(1)).await;
        got
    }

    pub fn edge(&self) -> (Arc<Core>, Tasks) {
        let auth = auth::Config {
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            ..auth::Config::default()
        };
        let keys = Arc::new(KeyRing::build(&auth).unwrap());
        let outside = Outside {
            journal: self.journal.clone(),
            routing: self.ways.clone(),
            bus: self.bus.clone(),
            leases: self.leases.clone(),
            presence: Arc::new(EmbeddedPresence::new()),
            persistence: self.store.clone(),
            verifier: Arc::new(Verifier::new(&auth, keys, self.clock.clone())),
            acl: Acl::new(&AclConfig::default()),
            partitioning: Partitioning::new(PARTITIONS),
            zone: TimeZone::UTC,
            clock: self.clock.clone(),
            health: runtime::health::Health::new(),
            metrics: Metrics::new().service("edge"),
            role: "test",
        };
        let config = edge::Config {
            commit_timeout: HumanDuration::from_secs(60),
            ..edge::Config::default()
        };
        let (core, tasks) = (Core::new(config, outside), Tasks::new(Stop::new()));
        core.start(&tasks);
        (core, tasks)
    }
}

/// A message that the agent of [`World::listen`] gets.
pub fn message_to_desk(n: u64) -> Entry {
    Entry {
        topic: format!("org/agent/desk/v{}", n % 7),
        ..message(n, 0, 0)
    }
}

fn message(n: u64, desk: u64, visitor: u64) -> Entry {
    Entry {
        kind: Kind::Chat.into(),
        org: "o".into(),
        topic: format!("org/agent/desk{desk}/v{visitor}"),
        sender: "sender".into(),
        author: "sender".into(),
        uid: format!("m{n}"),
        r#type: "TEXT".into(),
        digest: n,
        ..Entry::default()
    }
}

/// What a subscriber got, in order.
pub type Got = Arc<Mutex<Vec<(PartitionId, Position, String)>>>;

struct Subscriber {
    desk: u64,
    /// The first message that it must get.
    since: u64,
    got: Got,
    task: JoinHandle<()>,
}

/// A connection of the agent of a desk: acknowledges everything at once, but looks up only now and then. Its mailbox,
/// buffer and window are small, so that it falls behind.
async fn subscriber(core: Arc<Core>, desk: String, got: Got, begun: oneshot::Sender<()>, mut rng: StdRng) {
    let mut who = Principal::new(OrgId::new("o"), UserId::new("agent"), Role::Agent, Origin::Token);
    who.aliases = vec![UserId::new(desk)];
    let mailbox = Mailbox::new(4, 1 << 20);
    let limits = Limits {
        window: 3,
        buffer_items: 4,
        page_entries: 5,
        ..Limits::default()
    };
    core.attachments.join(&mailbox);
    let asked = asked_for_threads(&core);
    let mut receiver = Receiver::new(core, Arc::new(who), "c", mailbox.clone(), limits, None);
    receiver.begin(true, &[], asked);
    let mut begun = Some(begun);
    let (mut mail, mut write) = (Vec::new(), Vec::new());
    loop {
        if let Some(begun) = begun.take_if(|_| receiver.is_attached()) {
            begun.send(()).unwrap();
        }
        receiver.outputs(&mut write);
        let any = !write.is_empty();
        for output in write.drain(..) {
            let Output::Send {
                packet_id, item, dup, ..
            } = output
            else {
                continue;
            };
            assert!(!dup, "nothing was handed out twice");
            let delivery = &item.delivery;
            got.lock()
                .push((delivery.partition, delivery.position, delivery.entry.uid.clone()));
            if let Some(id) = packet_id {
                receiver.ack(id);
            }
        }
        if any {
            continue;
        }
        if rng.random_ratio(1, 3) {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..40))).await;
        }
        tokio::select! {
            () = mailbox.take(&mut mail) => {
                for one in mail.drain(..) {
                    receiver.mail(one);
                }
            }
            () = receiver.fetched() => {}
        }
    }
}

async fn simulate(seed: u64) {
    let (world, mut rng) = (World::new(seed), StdRng::seed_from_u64(seed));
    let mut routing = world.routing(0);
    let edges = [world.edge(), world.edge()];
    for (core, _) in &edges {
        core.ready().await;
    }
    // A new line heals: it brings what an earlier fault has hidden. So in some runs few end, in some none.
    let rate = [0, 1, 4][rng.random_range(0..3)];
    world.ways.ends.store(rate, Ordering::Relaxed);
    let mut subscribers: Vec<Subscriber> = Vec::new();
    let settled = Arc::new(Mutex::new(HashMap::<u64, Outcome>::new()));
    let (mut n, mut owners, mut sent) = (0, 0, Vec::new());
    for _ in 0..400 {
        match rng.random_range(0..100) {
            0..3 => {
                routing.kill();
                owners += 1;
                routing = world.routing(owners);
            }
            3..12 if subscribers.len() < 30 => {
                let (core, desk) = (
                    edges[rng.random_range(0..2)].0.clone(),
                    rng.random_range(0..DESKS),
                );
                let (got, (tx, rx)) = (Got::default(), oneshot::channel());
                let own = StdRng::seed_from_u64(rng.random());
                let task = tokio::spawn(subscriber(core, format!("desk{desk}"), got.clone(), tx, own));
                rx.await.unwrap();
                subscribers.push(Subscriber {
                    desk,
                    since: n,
                    got,
                    task,
                });
            }
            12..30 => tokio::time::sleep(Duration::from_millis(rng.random_range(0..50))).await,
            30 => tokio::time::sleep(Duration::from_secs(rng.random_range(0..8))).await,
            _ => {
                for _ in 0..rng.random_range(1..8) {
                    let core = edges[rng.random_range(0..2)].0.clone();
                    let desk = rng.random_range(0..DESKS);
                    let entry = message(n, desk, rng.random_range(0..3));
                    sent.push(desk);
                    let (settled, number) = (settled.clone(), n);
                    n += 1;
                    tokio::spawn(async move {
                        let outcome = core.submit_and_wait(entry).await;
                        settled.lock().insert(number, outcome);
                    });
                }
            }
        }
    }
    world.ways.ends.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    check(seed, &sent, &subscribers, &settled.lock());
    routing.kill();
    edges.iter().for_each(|(_, tasks)| tasks.kill());
    subscribers.iter().for_each(|s| s.task.abort());
}

fn check(seed: u64, sent: &[u64], subscribers: &[Subscriber], settled: &HashMap<u64, Outcome>) {
    assert_eq!(
        settled.len(),
        sent.len(),
        "seed {seed}: every message has an outcome"
    );
    let stored = |o: &Outcome| matches!(o, Outcome::Stored { duplicate: false, .. });
    assert!(settled.values().all(stored), "seed {seed}: {settled:?}");
    for s in subscribers {
        assert!(!s.task.is_finished(), "seed {seed}: a subscriber died");
        let (got, mut last) = (s.got.lock(), HashMap::new());
        for (partition, position, uid) in got.iter() {
            let before = last.insert(*partition, *position);
            assert!(
                before.is_none_or(|b| b < *position),
                "seed {seed}: {uid} at {position} after {before:?}"
            );
        }
        let uids: HashSet<&str> = got.iter().map(|(.., uid)| uid.as_str()).collect();
        let due = (0u64..).zip(sent).skip(usize::try_from(s.since).unwrap());
        let missing: Vec<u64> = due
            .filter(|(m, desk)| **desk == s.desk && !uids.contains(format!("m{m}").as_str()))
            .map(|(m, _)| m)
            .collect();
        assert!(
            missing.is_empty(),
            "seed {seed}: missing after {}: {missing:?}",
            s.since
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_attaches_gets_everything_after_that_once_and_in_order_whatever_is_lost() {
    let first = std::env::var("LONGWIRE_SEED").ok().map(|s| s.parse().unwrap());
    for seed in first.map_or(0..40, |seed| seed..seed + 1) {
        simulate(seed).await;
    }
}

/// A new session, attached.
async fn begun(core: &Arc<Core>, who: Principal, mailbox: &Arc<Mailbox>, asked: Asked) -> Receiver {
    begun_with(core, who, mailbox, &[], asked).await
}

async fn begun_with(
    core: &Arc<Core>,
    who: Principal,
    mailbox: &Arc<Mailbox>,
    threads: &[MemberTopic],
    asked: Asked,
) -> Receiver {
    core.attachments.join(mailbox);
    let (who, limits) = (Arc::new(who), Limits::default());
    let mut receiver = Receiver::new(core.clone(), who, "c", mailbox.clone(), limits, None);
    receiver.begin(true, threads, asked);
    let limit = Duration::from_secs(10);
    assert!(receiver.attached_from_the_beginning(limit).await.is_empty());
    assert!(receiver.is_attached());
    receiver
}

/// Takes what comes for a while, and acknowledges nothing.
async fn receive(receiver: &mut Receiver, mailbox: &Mailbox, got: &mut Vec<String>, time: Duration) {
    let (mut mail, mut write) = (Vec::new(), Vec::new());
    let mut over = std::pin::pin!(tokio::time::sleep(time));
    loop {
        receiver.outputs(&mut write);
        for output in write.drain(..) {
            if let Output::Send { item, .. } = output {
                got.push(item.delivery.entry.uid.clone());
            }
        }
        tokio::select! {
            () = mailbox.take(&mut mail) => mail.drain(..).for_each(|one| drop(receiver.mail(one))),
            () = receiver.fetched() => {}
            () = &mut over => return,
        }
    }
}

/// The connection had no room for what came before its edge lost the line. That it has to read this says nothing of what was
/// missed meanwhile, which the owner does not have in memory any more.
#[tokio::test(start_paused = true)]
async fn a_full_mailbox_does_not_hide_that_the_edge_has_missed_something() {
    let world = World::new(0);
    let routing = world.routing_that(0, |c| c.tail = ByteSize::bytes(1));
    let (core, edge) = world.edge();
    let (other, other_edge) = world.edge();
    core.ready().await;
    other.ready().await;
    let mut who = Principal::new(OrgId::new("o"), UserId::new("agent"), Role::Agent, Origin::Token);
    who.aliases = vec![UserId::new("desk")];
    let mailbox = Mailbox::new(1, 1 << 20);
    let asked = asked_for_threads(&core);
    let mut receiver = begun(&core, who, &mailbox, asked).await;
    // One topic, so that they are of one partition.
    let send = async |n: u64| {
        let outcome = other.submit_and_wait(message_to_desk(n * 7)).await;
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    };
    let uids: Vec<String> = (1..=5).map(|n| format!("m{}", n * 7)).collect();

    send(1).await;
    send(2).await; // finds no room
    world.ways.closed.store(true, Ordering::Relaxed);
    world.ways.end_all();
    let missed = [3, 4].map(|n| tokio::spawn(say(other.clone(), n)));
    let mut got = Vec::new();
    receive(&mut receiver, &mailbox, &mut got, Duration::from_millis(100)).await;
    world.ways.closed.store(false, Ordering::Relaxed);
    for one in missed {
        one.await.unwrap();
    }
    send(5).await;
    receive(&mut receiver, &mailbox, &mut got, Duration::from_secs(10)).await;
    assert_eq!(got, uids);
    routing.kill();
    edge.kill();
    other_edge.kill();
}

async fn say(core: Arc<Core>, n: u64) {
    let outcome = core.submit_and_wait(message_to_desk(n * 7)).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

/// A user becomes a member of a thread and a visitor writes there, before a session of the user attaches. What else was sent to the
/// user meanwhile is older than the session. `named`: the thread was among those that the user is a member of when these were
/// asked for.
async fn a_grant_while_a_session_begins(named: bool) {
    let world = World::new(2);
    let routing = world.routing(0);
    let (core, edge) = world.edge();
    core.ready().await;
    let who = Principal::new(OrgId::new("o"), UserId::new("agent"), Role::Agent, Origin::Token);
    let asked = asked_for_threads(&core);
    let thread = TopicName::trusted("org/workgroup/w/v");
    let partition = core.partitioning.of("o", &thread);
    let since = core.attachments.given_out(partition);
    let send = async |entry: Entry| {
        let outcome = core.submit_and_wait(entry).await;
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    };
    let text = |n: u64, topic: &str| Entry {
        topic: topic.into(),
        ..message(n, 0, 0)
    };
    send(text(1, "user/agent")).await;
    send(Entry {
        kind: Kind::Membership.into(),
        target: thread.to_string(),
        change: Some(ThreadChange::notice(&Membership::from(
            "agent".into(),
            "agent".into(),
            since,
        ))),
        ..text(2, "user/agent")
    })
    .await;
    send(text(3, &thread)).await;
    let mailbox = Mailbox::new(9, 1 << 20);
    let topic = thread.clone();
    let named = named.then(|| MemberTopic {
        topic,
        partition,
        memberships: vec![Membership::from("agent".into(), "agent".into(), since)],
    });
    let mut receiver = begun_with(&core, who, &mailbox, named.as_slice(), asked).await;
    send(text(4, &thread)).await;
    send(text(5, "user/agent")).await;
    let mut got = Vec::new();
    receive(&mut receiver, &mailbox, &mut got, Duration::from_secs(10)).await;
    got.sort();
    assert_eq!(got, ["m3", "m4", "m5"]);
    routing.kill();
    edge.kill();
}

#[tokio::test(start_paused = true)]
async fn a_membership_granted_while_a_session_begins_is_heard_of() {
    a_grant_while_a_session_begins(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_was_granted_and_named_before_a_session_begins_is_read_from_its_grant() {
    a_grant_while_a_session_begins(true).await;
}

/// The owner of a partition is away: the session begins at once, and gets what is sent there afterwards. What goes to other
/// partitions does not wait.
#[tokio::test(start_paused = true)]
async fn a_session_begins_without_an_owner_that_does_not_answer() {
    let world = World::new(3);
    let (core, edge) = world.edge();
    core.ready().await;
    let who = Principal::new(OrgId::new("o"), UserId::new("agent"), Role::Agent, Origin::Token);
    let mailbox = Mailbox::new(9, 1 << 20);
    let asked = asked_for_threads(&core);
    core.attachments.join(&mailbox);
    let mut receiver = Receiver::new(
        core.clone(),
        Arc::new(who),
        "c",
        mailbox.clone(),
        Limits::default(),
        None,
    );
    let before = tokio::time::Instant::now();
    receiver.begin(true, &[], asked);
    let limit = Duration::from_millis(100);
    receiver.attached_from_the_beginning(limit).await;
    assert_eq!(before.elapsed(), limit);
    assert!(receiver.has_begun_anew());
    let sent = tokio::spawn(async move {
        let text = Entry {
            topic: "user/agent".into(),
            ..message(1, 0, 0)
        };
        core.submit_and_wait(text).await
    });
    let routing = world.routing(0);
    let mut got = Vec::new();
    receive(&mut receiver, &mailbox, &mut got, Duration::from_secs(10)).await;
    assert!(matches!(sent.await.unwrap(), Outcome::Stored { .. }));
    assert_eq!(got, ["m1"]);
    routing.kill();
    edge.kill();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_waits_for_is_settled_all_the_same() {
    let world = World::new(1);
    let (core, _edge) = world.edge();
    let routing = world.routing(0);
    // At once: routing may not have heard of the edge yet.
    let outcome = core.submit_and_wait(message(1, 1, 1)).await;
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    core.submit(message(2, 1, 1), Ticket::Nobody);
    routing.kill();
}
