//! The whole: nats-servers, Redis, PostgreSQL, every role as processes, and HAProxy in front.
//!
//! ```text
//! clients ─► HAProxy ─► mqtt-edge ×n  stomp-edge ×n  gateway ×n ─┐
//!                       routing ×n  persistence ×n  receipts ×n ─┴─► nats ×3  redis  postgres
//! ```
//!
//! Every address is known before anything starts, so that whatever is killed comes back at the same place. The balancer's
//! configuration is made from `deploy/haproxy.cfg`: the shipped one is what is tested.

mod balancer;
mod link;
mod replica;
mod servers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

pub use balancer::{Balancer, USUAL_PORTS};
pub use link::{Link, Links};
pub use replica::{Listener, Replica};

use crate::nats::NatsCluster;
use crate::postgres::PostgresServer;
use crate::process::Signal;
use crate::redis::RedisServer;
use crate::server::{Setup, TokenSpec};
use crate::{DataDir, Endpoints};
use servers::Servers;

/// The roles, in the order in which they are listed.
pub const ROLES: [&str; 6] = [
    "mqtt-edge",
    "stomp-edge",
    "gateway",
    "routing",
    "persistence",
    "receipts",
];

/// What to start; see [`Cluster::builder`].
#[derive(Debug)]
pub struct Builder {
    nats: usize,
    apart: bool,
    nats_room: Option<u32>,
    shared: bool,
    partitions: u16,
    /// Of each role: how many run, and how many more are only known of.
    replicas: BTreeMap<&'static str, (usize, usize)>,
    proxied: Vec<(&'static str, usize)>,
    config: Option<String>,
    env: Vec<(String, String)>,
    env_of: Vec<(&'static str, usize, String, String)>,
    data: Option<Arc<DataDir>>,
    ports: Option<balancer::Ports>,
}

impl Builder {
    /// So many servers of NATS of its own: 3 keep every stream thrice, 1 keeps it once.
    #[must_use]
    pub fn nats(mut self, servers: usize) -> Self {
        self.nats = servers;
        self
    }

    /// Servers of NATS whose network can be [separated](NatsCluster::separate).
    #[must_use]
    pub fn nats_apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Servers of NATS whose disks have so many MiB, to be filled: [`DataDir::fill`]. Needs root.
    #[must_use]
    pub fn nats_room(mut self, mib: u32) -> Self {
        self.nats_room = Some(mib);
        self
    }

    /// No servers of its own, but those that tests share, under a fresh name: quick to start, not to be broken.
    #[must_use]
    pub fn shared_servers(mut self) -> Self {
        self.shared = true;
        self
    }

    /// So many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// So many of every role.
    #[must_use]
    pub fn replicas(mut self, count: usize) -> Self {
        for (running, _) in self.replicas.values_mut() {
            *running = count;
        }
        self
    }

    /// So many of one role.
    ///
    /// # Panics
    /// When there is no such role.
    #[must_use]
    pub fn role(mut self, role: &str, count: usize) -> Self {
        self.count(role).0 = count;
        self
    }

    /// So many more of one role, which the others and the balancer know of, to be started with [`Replica::start`].
    ///
    /// # Panics
    /// When there is no such role.
    #[must_use]
    pub fn spare(mut self, role: &str, count: usize) -> Self {
        self.count(role).1 = count;
        self
    }

    fn count(&mut self, role: &str) -> &mut (usize, usize) {
        self.replicas.get_mut(role).expect("one of the six roles")
    }

    /// Puts a bad network between one replica and everything it calls: [`Replica::links`].
    #[must_use]
    pub fn proxied(mut self, role: &str, index: usize) -> Self {
        self.proxied.push((known(role), index));
        self
    }

    /// The configuration file of all, as TOML.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// An environment variable of all.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An environment variable of one replica.
    #[must_use]
    pub fn env_of(mut self, role: &str, index: usize, name: &str, value: &str) -> Self {
        self.env_of
            .push((known(role), index, name.to_owned(), value.to_owned()));
        self
    }

    /// The folder where the servers of its own keep their data, one folder each.
    #[must_use]
    pub fn data(mut self, data: Arc<DataDir>) -> Self {
        self.data = Some(data);
        self
    }

    /// The balancer at the ports that are in its file, and not at free ones.
    #[must_use]
    pub fn at_usual_ports(mut self) -> Self {
        self.ports = Some(balancer::Ports::Usual);
        self
    }

    /// Starts it all and waits until every replica is ready.
    ///
    /// # Panics
    /// When something does not start; its log is shown.
    pub async fn start(self) -> Cluster {
        let servers = match self.shared {
            true => Servers::shared().await,
            false => Servers::own(self.nats, self.apart, self.nats_room).await,
        };
        let mut env = servers.settings(self.partitions);
        // One machine, one developer: the conveniences of the dev profile, unless the file says otherwise.
        if !self
            .config
            .as_deref()
            .is_some_and(|toml| toml.contains("profile"))
        {
            env.push(("LONGWIRE_PROFILE".to_owned(), "dev".to_owned()));
        }
        let mut replicas = self.make_replicas();
        env.extend(addresses(&replicas));
        env.extend(self.env.iter().cloned());
        let setup = Setup::new(self.config.as_deref(), env, self.data.unwrap_or_default());
        for replica in replicas.values_mut().flatten() {
            let of = |(role, index, ..): &&(_, _, _, _)| (*role, *index) == (replica.role(), replica.index());
            let own: Vec<_> = self.env_of.iter().filter(of).collect();
            replica.configure(&setup, own.iter().map(|(_, _, name, value)| (name, value)));
        }
        for (role, index) in &self.proxied {
            let replica = &mut replicas.get_mut(role).expect("a known role")[*index];
            let links = Links::start(&servers, &rpc_peers(&setup)).await;
            replica.link(links);
        }
        servers.migrate(&setup).await;
        let cluster = Cluster {
            balancer: Balancer::new(&replicas, self.ports.unwrap_or_default()),
            replicas,
            setup,
            servers,
        };
        cluster.restart().await;
        cluster
    }

    fn make_replicas(&self) -> BTreeMap<&'static str, Vec<Replica>> {
        let make = |(&role, &(running, spare)): (&&'static str, &(usize, usize))| {
            let replicas = (0..running + spare).map(|index| Replica::new(role, index, index < running));
            (role, replicas.collect())
        };
        self.replicas.iter().map(make).collect()
    }
}

/// The name of a role, as long as the program.
fn known(role: &str) -> &'static str {
    ROLES
        .into_iter()
        .find(|known| *known == role)
        .expect("one of the six roles")
}

/// Where those are whom others call.
fn addresses(replicas: &BTreeMap<&'static str, Vec<Replica>>) -> Vec<(String, String)> {
    let of = |role: &str| {
        let at = replicas[role].iter().map(|replica| replica.at(Listener::Rpc));
        list(at.map(|at| at.to_string()))
    };
    vec![
        ("LONGWIRE_RPC__PERSISTENCE".to_owned(), of("persistence")),
        ("LONGWIRE_RPC__RECEIPTS".to_owned(), of("receipts")),
        ("LONGWIRE_RPC__ROUTING".to_owned(), of("routing")),
    ]
}

/// A list as the environment carries it.
pub(crate) fn list(of: impl IntoIterator<Item = String>) -> String {
    let quoted: Vec<_> = of.into_iter().map(|each| format!("'{each}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// The addresses of the replicas that are called, by setting.
fn rpc_peers(setup: &Setup) -> Vec<(String, Vec<SocketAddr>)> {
    let calls = setup
        .env()
        .iter()
        .filter(|(name, _)| name.starts_with("LONGWIRE_RPC__"));
    let parse = |list: &str| {
        let each = list
            .split(['[', ']', '\'', ',', ' '])
            .filter(|part| !part.is_empty());
        each.map(|at| at.parse().expect("an address")).collect()
    };
    calls.map(|(name, list)| (name.clone(), parse(list))).collect()
}

/// A running cluster. Dropping it kills every process of it.
#[derive(Debug)]
pub struct Cluster {
    balancer: Balancer,
    replicas: BTreeMap<&'static str, Vec<Replica>>,
    setup: Setup,
    servers: Servers,
}

impl Cluster {
    /// Three servers of NATS, Redis, PostgreSQL and two of every role, all of its own.
    pub fn builder() -> Builder {
        Builder {
            nats: 3,
            apart: false,
            nats_room: None,
            shared: false,
            partitions: 16,
            replicas: ROLES.into_iter().map(|role| (role, (2, 0))).collect(),
            proxied: Vec::new(),
            config: None,
            env: Vec::new(),
            env_of: Vec::new(),
            data: None,
            ports: None,
        }
    }

    /// Starts one with nothing changed.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Where clients connect: the balancer.
    pub fn at(&self) -> &Endpoints {
        self.balancer.at()
    }

    /// The replicas of a role, spare ones last.
    ///
    /// # Panics
    /// When there is no such role.
    pub fn role(&self, role: &str) -> &[Replica] {
        &self.replicas[known(role)]
    }

    /// Every replica.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        ROLES.into_iter().flat_map(|role| &self.replicas[role])
    }

    /// The balancer.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Its servers of NATS.
    ///
    /// # Panics
    /// When it shares those of others.
    pub fn nats(&self) -> &NatsCluster {
        &self.servers.own_ones().nats
    }

    /// Its Redis.
    ///
    /// # Panics
    /// When it shares that of others.
    pub fn redis(&self) -> &RedisServer {
        &self.servers.own_ones().redis
    }

    /// Its PostgreSQL.
    ///
    /// # Panics
    /// When it shares that of others.
    pub fn postgres(&self) -> &PostgresServer {
        &self.servers.own_ones().postgres
    }

    /// The URL of its database, for [`crate::postgres::sql`].
    pub fn database(&self) -> &str {
        &self.servers.at().postgres
    }

    /// The name before everything it has in NATS and Redis.
    pub fn name(&self) -> &str {
        &self.servers.at().name
    }

    /// Its data folder: what the dev profile keeps.
    pub fn data(&self) -> &DataDir {
        self.setup.data()
    }

    /// A command of the binary with the configuration of its replicas.
    pub fn command(&self, subcommand: &str) -> Command {
        self.setup.command(subcommand)
    }

    /// A token that its own command line signs.
    pub async fn token(&self, spec: &TokenSpec<'_>) -> String {
        spec.sign(self.command("token")).await
    }

    /// Sends a signal to every replica that runs.
    pub fn signal(&self, signal: Signal) {
        for replica in self.replicas().filter(|replica| replica.is_running()) {
            replica.signal(signal);
        }
    }

    /// Kills every replica that runs, all at once.
    pub async fn kill(&self) {
        self.signal(Signal::KILL);
        for replica in self.replicas().filter(|replica| replica.was_started()) {
            replica.ended(crate::DEADLINE).await;
        }
    }

    /// Starts every replica that does not run, spare ones excepted, and waits until the balancer has them all.
    pub async fn restart(&self) {
        let started: Vec<_> = self
            .replicas()
            .filter(|replica| !replica.is_spare() && !replica.is_running())
            .collect();
        for replica in &started {
            replica.launch();
        }
        if !self.balancer.is_running() {
            self.balancer.launch();
        }
        for replica in &started {
            replica.is_served().await;
        }
        self.is_balanced().await;
    }

    /// Waits until the balancer takes every replica that runs for ready.
    pub async fn is_balanced(&self) {
        let running = self.replicas().filter(|replica| replica.is_running());
        let names: Vec<_> = running.map(|replica| replica.name()).collect();
        self.balancer.has(&names).await;
    }

    /// Asks every replica to end, edges first, and waits until all have.
    pub async fn terminate(&self) {
        for role in ROLES {
            let running: Vec<_> = self
                .role(role)
                .iter()
                .filter(|replica| replica.is_running())
                .collect();
            let ends = running.iter().map(|replica| replica.terminate());
            futures::future::join_all(ends).await;
        }
    }
}
