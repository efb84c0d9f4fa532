//! How processes are made: each has the real service within, and its own way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auth::{Acl, AclConfig, KeyRing, Verifier};
use backplane::presence::EmbeddedPresence;
use edge::{Core, Outside};
use jiff::tz::TimeZone;
use model::Partitioning;
use routing::Owners;
use runtime::clock::Clock;
use runtime::config::{ByteSize, HumanDuration, Secret};
use runtime::health::Health;
use runtime::lifecycle::{Stop, Tasks};
use runtime::metrics::Metrics;

use super::{Edge, Owner, PARTITIONS, RECALL_WINDOW, World};
use crate::leases::BookLeases;
use crate::log::ProcessJournal;
use crate::net::NetBus;
use crate::process::Process;
use crate::road::EdgeRoad;
use crate::store::StoreRpc;
use crate::vault::ProcessVault;

impl World {
    fn process(&mut self) -> Arc<Process> {
        self.processes += 1;
        Arc::new(Process::new(self.processes))
    }

    pub(super) fn edge(&mut self) -> Edge {
        let process = self.process();
        let auth = auth::Config {
            secret: Secret::new("0123456789abcdef0123456789abcdef"),
            ..auth::Config::default()
        };
        let keys = Arc::new(KeyRing::build(&auth).expect("a key"));
        let clock = Clock::system();
        let outside = Outside {
            journal: self.journal(&process),
            routing: Arc::new(EdgeRoad {
                road: self.road.clone(),
                process: process.clone(),
            }),
            bus: self.bus(&process),
            leases: self.leases(&process),
            presence: Arc::new(EmbeddedPresence::new()),
            persistence: self.persistence(&process),
            verifier: Arc::new(Verifier::new(&auth, keys, clock.clone())),
            acl: Acl::new(&AclConfig::default()),
            partitioning: Partitioning::new(PARTITIONS),
            zone: TimeZone::UTC,
            clock,
            health: Health::new(),
            metrics: Metrics::new().service("edge"),
            role: "edge",
        };
        let config = edge::Config {
            commit_timeout: HumanDuration::from_secs(5),
            lease: HumanDuration::from_secs(6),
            fence_after: HumanDuration::from_secs(8),
            ..edge::Config::default()
        };
        let (core, tasks) = (Core::new(config, outside), Tasks::new(Stop::new()));
        core.start(&tasks);
        let ready = Arc::new(AtomicBool::new(false));
        let (waiting, is_ready) = (core.clone(), ready.clone());
        let waiter = tokio::spawn(async move {
            waiting.ready().await;
            is_ready.store(true, Ordering::Relaxed);
        });
        Edge {
            process,
            core,
            tasks,
            ready,
            running: vec![waiter.abort_handle()],
            sockets: Vec::new(),
        }
    }

    fn journal(&self, process: &Arc<Process>) -> Arc<ProcessJournal> {
        let (log, process) = (self.log.clone(), process.clone());
        Arc::new(ProcessJournal { log, process })
    }

    fn bus(&self, process: &Arc<Process>) -> Arc<NetBus> {
        let (net, process) = (self.net.clone(), process.clone());
        Arc::new(NetBus { net, process })
    }

    fn leases(&self, process: &Arc<Process>) -> Arc<BookLeases> {
        let (book, chance, process) = (self.book.clone(), self.chance.clone(), process.clone());
        Arc::new(BookLeases {
            book,
            chance,
            process,
        })
    }

    fn persistence(&self, process: &Arc<Process>) -> Arc<StoreRpc> {
        let (store, process) = (self.store.clone(), process.clone());
        Arc::new(StoreRpc { store, process })
    }

    pub(super) fn start_owner(&mut self) {
        let process = self.process();
        let owners = Owners::new(Partitioning::new(PARTITIONS));
        self.road.add(&process, &owners);
        let deps = routing::Deps {
            journal: self.journal(&process),
            owners,
            checkpoints: Arc::new(ProcessVault {
                vault: self.vault.clone(),
                process: process.clone(),
            }),
            salt: 7,
            bus: self.bus(&process),
            leases: self.leases(&process),
            persistence: self.persistence(&process),
            partitioning: Partitioning::new(PARTITIONS),
            recall_window: RECALL_WINDOW,
            holder: format!("owner-{}", process.number),
            clock: Clock::system(),
            metrics: Metrics::new().service("routing"),
        };
        let mut config = routing::Config {
            checkpoint_interval: HumanDuration::from_millis(500),
            ..routing::Config::default()
        };
        if self.forgetful {
            (config.remembered_messages, config.replayed_frames) = (8, 3);
            config.tail = ByteSize::bytes(2000);
        }
        let tasks = Tasks::new(Stop::new());
        routing::Service::new(config, deps).start(&tasks);
        self.owners.push(Owner { process, tasks });
    }
}
