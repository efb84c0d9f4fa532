//! The processes of an installation, their clients, and what happens to them.

mod processes;
mod publishing;
mod threads;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge::Core;
use futures::FutureExt as _;
use model::{Partitioning, Position, TopicFilter};
use runtime::lifecycle::Tasks;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, sleep};
use wire::Entry;

use crate::chance::{Chance, Faults};
use crate::connection::{self, Ask, Socket, With};
use crate::leases::Book;
use crate::ledger::Ledger;
use crate::log::Log;
use crate::net::Net;
use crate::op::{Op, What};
use crate::process::Process;
use crate::road::Road;
use crate::store::Store;
use crate::vault::Vault;

const PARTITIONS: u16 = 2;
const EDGES: usize = 3;
const SESSIONS: usize = 4;
/// Conversations of each agent with each visitor, then ordinary topics.
const TOPICS: [&str; 7] = [
    "org/agent/a0/v0",
    "org/agent/a0/v1",
    "org/agent/a1/v0",
    "org/agent/a1/v1",
    "news/0",
    "news/1",
    "news/2",
];
const CONVERSATIONS: usize = 4;
/// How long everything may take to come to rest when nothing goes wrong any more.
const REST: Duration = Duration::from_secs(120);
/// For how long a message can be taken back, in milliseconds.
const RECALL_WINDOW: u64 = 120_000;
/// When the run begins, by the clock on the wall.
const EPOCH_MILLIS: u64 = 1_800_000_000_000;

struct Edge {
    process: Arc<Process>,
    core: Arc<Core>,
    tasks: Tasks,
    ready: Arc<AtomicBool>,
    /// What its clients do there.
    running: Vec<AbortHandle>,
    sockets: Vec<Arc<Socket>>,
}

struct Owner {
    process: Arc<Process>,
    tasks: Tasks,
}

struct Message {
    entry: Entry,
    settled: Arc<AtomicBool>,
    /// Held by each attempt under way.
    under_way: Arc<()>,
}

pub struct World {
    pub chance: Arc<Chance>,
    net: Arc<Net>,
    road: Arc<Road>,
    vault: Arc<Vault>,
    book: Arc<Book>,
    log: Arc<Log>,
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    edges: Vec<Edge>,
    owners: Vec<Owner>,
    clients: Vec<Option<Arc<Socket>>>,
    messages: Vec<Message>,
    processes: u64,
    connections: u64,
    attempts: u64,
    /// Up to where members have been told of changes.
    told: Vec<Position>,
    /// What they are to be told, and the last that they were.
    notices: VecDeque<Entry>,
    last_notice: Option<usize>,
    /// Routing remembers little, so that it must ask the store.
    forgetful: bool,
    began: Instant,
}

impl World {
    pub fn new(seed: u64, print: bool) -> Self {
        let chance = Arc::new(Chance::new(seed, print));
        let partitioning = Partitioning::new(PARTITIONS);
        let log = Log::new(chance.clone(), PARTITIONS);
        let store = Store::new(chance.clone(), log.clone(), partitioning);
        let net = Net::new(chance.clone());
        tokio::spawn(net.clone().run());
        tokio::spawn(store.clone().run());
        let forgetful = chance.below(4) == 0;
        let ledger = Arc::new(Ledger::new(log.clone(), partitioning, SESSIONS, forgetful));
        let mut world = Self {
            forgetful,
            road: Road::new(chance.clone()),
            vault: Vault::new(chance.clone()),
            chance,
            net,
            book: Arc::default(),
            log,
            store,
            ledger,
            edges: Vec::new(),
            owners: Vec::new(),
            clients: vec![None; SESSIONS],
            messages: Vec::new(),
            processes: 0,
            connections: 0,
            attempts: 0,
            notices: VecDeque::new(),
            last_notice: None,
            told: vec![Position::START; usize::from(PARTITIONS)],
            began: Instant::now(),
        };
        (0..EDGES).for_each(|_| {
            let edge = world.edge();
            world.edges.push(edge);
        });
        (0..=world.chance.below(2)).for_each(|_| world.start_owner());
        world
    }

    /// Lets the processes find each other, and most clients connect.
    pub async fn begin(&mut self) {
        sleep(Duration::from_millis(100)).await;
        for session in 0..SESSIONS {
            let edge = usize::try_from(self.chance.below(4)).unwrap_or(0);
            if edge < EDGES {
                self.connect(session, edge);
            }
        }
        sleep(Duration::from_millis(100)).await;
        let (a, b) = (self.chance.below(14), self.chance.below(3));
        let faults = weather(usize::try_from(a).unwrap_or(0), usize::try_from(b).unwrap_or(0));
        self.chance.set_faults(faults);
    }

    /// Lets something happen.
    pub async fn apply(&mut self, op: Op) {
        let Op { what, a, b } = op;
        self.chance.note("op", [what as u64, a as u64, b as u64, 0]);
        self.tell_members();
        match what {
            What::Publish => self.publish(a, b),
            What::Burst => (0..b % 12).for_each(|n| self.publish(a + n / 4, b + n)),
            What::Speak => self.speak(a, b),
            What::Change => self.change(a, b),
            What::PublishAgain => self.publish_again(a, b),
            What::Conflict => self.conflict(a, b),
            What::Wait => sleep(Duration::from_millis(a as u64 % 50)).await,
            What::WaitLong => sleep(Duration::from_millis(a as u64 * 4)).await,
            What::Connect => self.connect(a % SESSIONS, b % EDGES),
            What::Drop => self.hang_up(a % SESSIONS),
            What::Subscribe => self.ask(a % SESSIONS, Ask::Subscribe(news(b))),
            What::Unsubscribe => self.ask(a % SESSIONS, Ask::Unsubscribe(news(b))),
            What::Weather => self.chance.set_faults(weather(a, b)),
            What::LoseCheckpoint => self.vault.lose(a),
            What::StallStore => self.store.stall(Duration::from_millis(a as u64 * 6)),
            What::CrashEdge => self.crash_edge(a % EDGES),
            What::StopEdge => self.edges[a % EDGES].process.stop(),
            What::CutEdge => self.edges[a % EDGES].process.cut(true),
            What::StartOwner => {
                if self.owners.len() < 4 {
                    self.start_owner();
                }
            }
            What::KillOwner | What::LeaveOwner | What::StopOwner | What::CutOwner | What::CutLog => {
                self.owner(what, a)
            }
            What::LoseLease => self.book.lose(&format!("routing/replica/{}", a % 3)),
            What::LosePartition => self
                .book
                .lose(&format!("routing/{}", a % usize::from(PARTITIONS))),
            What::GoOn => self.go_on(a, b),
        }
    }

    fn owner(&mut self, what: What, which: usize) {
        let Some(which) = which.checked_rem(self.owners.len()) else {
            return;
        };
        let owner = &self.owners[which];
        match what {
            What::StopOwner => owner.process.stop(),
            What::CutOwner => owner.process.cut(true),
            What::CutLog => owner.process.cut_log(true),
            What::LeaveOwner => {
                let Owner { tasks, .. } = self.owners.swap_remove(which);
                tasks.stop().stop_softly();
                tokio::spawn(async move {
                    sleep(Duration::from_secs(1)).await;
                    tasks.stop().stop_hard();
                });
            }
            _ => {
                let Owner { process, tasks } = self.owners.swap_remove(which);
                process.kill();
                tasks.kill();
            }
        }
    }

    /// What was stopped or cut off is not any more.
    fn go_on(&mut self, a: usize, b: usize) {
        let process = match a % 2 {
            0 => Some(&self.edges[b % EDGES].process),
            _ => b.checked_rem(self.owners.len()).map(|o| &self.owners[o].process),
        };
        if let Some(process) = process {
            process.go_on();
            process.cut(false);
            process.cut_log(false);
        }
    }

    fn connect(&mut self, session: usize, edge: usize) {
        self.hang_up(session);
        self.connections += 1;
        let (socket, edge) = (Arc::new(Socket::default()), &mut self.edges[edge]);
        self.chance.note(
            "connect",
            [session as u64, self.connections, edge.process.number, 0],
        );
        if !edge.ready.load(Ordering::Relaxed) {
            return;
        }
        self.clients[session] = Some(socket.clone());
        edge.sockets.push(socket.clone());
        let with = With {
            core: edge.core.clone(),
            process: edge.process.clone(),
            chance: self.chance.clone(),
            ledger: self.ledger.clone(),
            socket,
            session,
            connection: self.connections,
        };
        let ledger = self.ledger.clone();
        let task = tokio::spawn(async move {
            if AssertUnwindSafe(connection::run(with))
                .catch_unwind()
                .await
                .is_err()
            {
                ledger.fail(format!("a connection of session {session} panicked"));
            }
        });
        edge.running.push(task.abort_handle());
    }

    fn hang_up(&mut self, session: usize) {
        if let Some(socket) = self.clients[session].take() {
            socket.close();
        }
    }

    fn ask(&self, session: usize, ask: Ask) {
        if let Some(socket) = &self.clients[session] {
            socket.ask(ask);
        }
    }

    fn crash_edge(&mut self, which: usize) {
        let new = self.edge();
        let old = std::mem::replace(&mut self.edges[which], new);
        old.process.kill();
        old.tasks.kill();
        old.running.iter().for_each(AbortHandle::abort);
        old.sockets.iter().for_each(|socket| socket.close());
    }

    pub fn wrong(&self) -> Result<(), String> {
        self.ledger.wrong().map_or(Ok(()), Err)
    }

    /// Nothing goes wrong any more: everything must come right.
    pub async fn come_to_rest(&mut self) -> Result<(), String> {
        self.chance.set_faults(Faults::default());
        let processes = (self.edges.iter().map(|e| &e.process)).chain(self.owners.iter().map(|o| &o.process));
        for process in processes {
            process.go_on();
            process.cut(false);
            process.cut_log(false);
        }
        if self.owners.is_empty() {
            self.start_owner();
        }
        let deadline = Instant::now() + REST;
        let (mut turns, mut quiet) = (0, 0);
        // Whatever still came after a while of quiet would be too much.
        while quiet < 15 {
            self.wrong()?;
            self.tell_members();
            match self.unrest() {
                None if self.notices.is_empty() => quiet += 1,
                None => quiet = 0,
                Some(why) if Instant::now() > deadline => return Err(why),
                Some(_) => quiet = 0,
            }
            if turns % 10 == 0 {
                self.try_again();
            }
            turns += 1;
            sleep(Duration::from_millis(200)).await;
        }
        self.wrong()?;
        self.ledger.check_attempts()
    }

    fn try_again(&mut self) {
        let unsettled =
            |m: &Message| !m.settled.load(Ordering::Relaxed) && Arc::strong_count(&m.under_way) == 1;
        for which in 0..self.messages.len() {
            if unsettled(&self.messages[which]) {
                self.attempt(which, which % EDGES);
            }
        }
        for session in 0..SESSIONS {
            if self.clients[session]
                .as_ref()
                .is_none_or(|socket| socket.is_over())
            {
                self.connect(
                    session,
                    (session + usize::try_from(self.connections).unwrap_or(0)) % EDGES,
                );
            }
        }
    }

    /// Why there is no rest yet.
    fn unrest(&self) -> Option<String> {
        let stands = |s: &Option<Arc<Socket>>| s.as_ref().is_some_and(|socket| socket.stands());
        if let Some(session) = self.clients.iter().position(|s| !stands(s)) {
            return Some(format!("session {session} cannot connect"));
        }
        if let Some(m) = self.messages.iter().find(|m| !m.settled.load(Ordering::Relaxed)) {
            return Some(format!("{} is not acknowledged", m.entry.uid));
        }
        if self.edges.iter().any(|e| e.tasks.has_failed()) || self.owners.iter().any(|o| o.tasks.has_failed())
        {
            return Some("a task has failed".into());
        }
        let unanswered = |e: &Edge| {
            e.core
                .attachments
                .lines()
                .iter()
                .any(|line| line.unanswered() > 0)
        };
        if let Some(edge) = self.edges.iter().find(|e| unanswered(e)) {
            return Some(format!("edge {} waits for an outcome", edge.process.number));
        }
        self.ledger.owes()
    }
}

fn news(which: usize) -> TopicFilter {
    TopicFilter::trusted(["news/0", "news/1", "news/2", "news/+"][which % 4])
}

fn weather(a: usize, b: usize) -> Faults {
    let much = [1, 3, 10][b % 3];
    let all = Faults {
        lost: 8 * much,
        twice: 4 * much,
        slow: 5 * much,
        failed: 8 * much,
    };
    let none = Faults::default();
    match a % 14 {
        0 | 1 => Faults {
            lost: all.lost * 3,
            ..none
        },
        2 => Faults {
            twice: all.twice * 3,
            ..none
        },
        3 => Faults {
            slow: all.slow * 2,
            ..none
        },
        4 => Faults {
            failed: all.failed * 2,
            ..none
        },
        5 | 6 => all,
        _ => none,
    }
}
