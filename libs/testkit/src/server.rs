//! The server under test: everything in one process, or a cluster of processes, whichever is asked for.

mod one;
mod setup;
mod token;

use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::DataDir;
use crate::cluster::{Cluster, Listener};
use crate::process::{self, Signal};
use one::One;
pub(crate) use setup::Setup;
pub use setup::{cli, run};
pub use token::TokenSpec;

/// Which shape [`Longwire`] has: `one` (the default) or `cluster`.
const SHAPE: &str = "LONGWIRE_TEST_SHAPE";
/// Fewer than the default: each is a stream to make.
const PARTITIONS: u16 = 4;

/// Where a running server listens.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// MQTT over TCP.
    pub mqtt: SocketAddr,
    /// MQTT over WebSocket.
    pub ws: SocketAddr,
    /// HTTP and STOMP.
    pub http: SocketAddr,
    /// Operations: the process's, or the balancer's statistics.
    pub ops: SocketAddr,
}

/// Whether the server under test is a cluster of processes.
///
/// # Panics
/// When `LONGWIRE_TEST_SHAPE` names no shape.
pub fn is_cluster() -> bool {
    match std::env::var(SHAPE).as_deref() {
        Ok("cluster") => true,
        Ok("one") | Err(_) => false,
        Ok(other) => panic!("{SHAPE} is `{other}`, and must be `one` or `cluster`"),
    }
}

/// Whether a test is to be left out because it is about what only one process has; says so.
pub fn only_in_one_process(why: &str) -> bool {
    if is_cluster() {
        eprintln!("left out of a cluster: {why}");
    }
    is_cluster()
}

/// How to start a server; see [`Longwire::builder`].
#[derive(Debug)]
pub struct Builder {
    data: Option<Arc<DataDir>>,
    config: Option<String>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    same_ports: bool,
}

impl Builder {
    /// The data folder; without one, the server gets a new one.
    #[must_use]
    pub fn data(mut self, data: Arc<DataDir>) -> Self {
        self.data = Some(data);
        self
    }

    /// The configuration file, as TOML.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config = Some(toml.to_owned());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `longwire all`, for [`Builder::start_and_fail`].
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Ports that nobody else takes while the server is down, for [`Longwire::restart`]. A cluster always has such.
    #[must_use]
    pub fn at_fixed_ports(mut self) -> Self {
        self.same_ports = true;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time; its log is shown.
    pub async fn start(self) -> Longwire {
        let shape = match is_cluster() {
            true => Shape::Cluster(Box::new(self.cluster().await)),
            false => {
                let same_ports = self.same_ports;
                Shape::One(Box::new(One::start(self.setup(), same_ports).await))
            }
        };
        Longwire { shape }
    }

    /// Two of every edge behind the balancer, so that clients meet a cluster; one of those that are only spoken to.
    async fn cluster(self) -> Cluster {
        let mut builder = Cluster::builder()
            .shared_servers()
            .partitions(PARTITIONS)
            .replicas(1)
            .role("mqtt-edge", 2)
            .role("stomp-edge", 2);
        if let Some(data) = self.data {
            builder = builder.data(data);
        }
        if let Some(toml) = &self.config {
            builder = builder.config(toml);
        }
        for (name, value) in &self.env {
            builder = builder.env(name, value);
        }
        builder.start().await
    }

    /// Starts `longwire all`, expecting that it ends by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn start_and_fail(self) -> Output {
        let args = self.args.clone();
        let setup = self.setup();
        let mut command = setup.command("all");
        command.args(args);
        run(command).await
    }

    fn setup(self) -> Setup {
        let mut env = one::listeners();
        env.extend(self.env);
        Setup::new(self.config.as_deref(), env, self.data.unwrap_or_default())
    }
}

#[derive(Debug)]
enum Shape {
    One(Box<One>),
    Cluster(Box<Cluster>),
}

/// A running server, of either shape. Dropping it kills it; when the test is failing, its log is printed.
#[derive(Debug)]
pub struct Longwire {
    shape: Shape,
}

impl From<Cluster> for Longwire {
    /// For clients that are written for either shape.
    fn from(cluster: Cluster) -> Self {
        Self {
            shape: Shape::Cluster(Box::new(cluster)),
        }
    }
}

impl Longwire {
    /// A server on free ports of 127.0.0.1 in the dev profile, with a data folder of its own.
    pub fn builder() -> Builder {
        Builder {
            data: None,
            config: None,
            env: Vec::new(),
            args: Vec::new(),
            same_ports: false,
        }
    }

    /// Starts one with nothing changed.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Its parts, to be broken one by one.
    ///
    /// # Panics
    /// When it is one process.
    pub fn cluster(&self) -> &Cluster {
        match &self.shape {
            Shape::One(_) => panic!("one process is no cluster"),
            Shape::Cluster(cluster) => cluster,
        }
    }

    /// Where it listens.
    pub fn at(&self) -> &Endpoints {
        match &self.shape {
            Shape::One(one) => one.at(),
            Shape::Cluster(cluster) => cluster.at(),
        }
    }

    /// The operations listeners of its processes.
    pub fn ops(&self) -> Vec<SocketAddr> {
        match &self.shape {
            Shape::One(one) => vec![one.at().ops],
            Shape::Cluster(cluster) => cluster
                .replicas()
                .map(|replica| replica.at(Listener::Ops))
                .collect(),
        }
    }

    /// Its data folder.
    pub fn data(&self) -> &DataDir {
        match &self.shape {
            Shape::One(one) => one.setup().data(),
            Shape::Cluster(cluster) => cluster.data(),
        }
    }

    /// Its processes that run.
    fn pids(&self) -> Vec<u32> {
        match &self.shape {
            Shape::One(one) => vec![one.pid()],
            Shape::Cluster(cluster) => {
                let running = cluster.replicas().filter(|replica| replica.is_running());
                running.map(|replica| replica.pid()).collect()
            }
        }
    }

    /// Its resident memory in bytes, mapped files not counted. Of a cluster, that of its edges and of routing: what a client
    /// costs. Persistence and receipts hold what they are about to apply, however fast their readers are.
    pub fn rss(&self) -> u64 {
        match &self.shape {
            Shape::One(one) => process::rss(one.pid()),
            Shape::Cluster(cluster) => {
                let live = ["mqtt-edge", "stomp-edge", "gateway", "routing"];
                let replicas = live.into_iter().flat_map(|role| cluster.role(role));
                let running = replicas.filter(|replica| replica.is_running());
                running.map(|replica| process::rss(replica.pid())).sum()
            }
        }
    }

    /// Another command of the same binary with the same data and configuration.
    pub fn command(&self, subcommand: &str) -> Command {
        match &self.shape {
            Shape::One(one) => one.setup().command(subcommand),
            Shape::Cluster(cluster) => cluster.command(subcommand),
        }
    }

    /// Sends it a signal, every process of it.
    pub fn signal(&self, signal: Signal) {
        for pid in self.pids() {
            process::signal(pid, signal);
        }
    }

    /// Whether it still runs, every process of it.
    ///
    /// # Panics
    /// When the operating system does not tell.
    pub fn is_running(&mut self) -> bool {
        match &mut self.shape {
            Shape::One(one) => one.is_running(),
            Shape::Cluster(cluster) => cluster.replicas().all(|replica| replica.is_running()),
        }
    }

    /// Kills it as a power cut would, as far as processes go, and waits until it is gone.
    ///
    /// # Panics
    /// When it was gone already.
    pub async fn kill(&mut self) {
        match &mut self.shape {
            Shape::One(one) => one.kill().await,
            Shape::Cluster(cluster) => cluster.kill().await,
        }
    }

    /// Waits until it ends by itself: how, or how the first process did that did not do well.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        match &mut self.shape {
            Shape::One(one) => one.ended(deadline).await,
            Shape::Cluster(cluster) => {
                let ends = cluster.replicas().map(|replica| replica.ended(deadline));
                let ends = futures::future::join_all(ends).await;
                let worst = ends.iter().find(|status| !status.success());
                *worst.or(ends.first()).expect("a cluster has replicas")
            }
        }
    }

    /// Starts it again on the same data, with the same configuration, and at the same ports if it was
    /// [started at fixed ones](Builder::at_fixed_ports).
    ///
    /// # Panics
    /// When it still runs, or is not ready in time.
    pub async fn restart(&mut self) {
        match &mut self.shape {
            Shape::One(one) => one.restart().await,
            Shape::Cluster(cluster) => cluster.restart().await,
        }
    }

    /// Everything it has logged, of all its lives and processes.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        match &self.shape {
            Shape::One(one) => one.log(),
            Shape::Cluster(cluster) => cluster.replicas().map(|replica| replica.log()).collect(),
        }
    }

    /// Fails when the server has panicked or is gone.
    ///
    /// # Panics
    /// Then.
    pub fn assert_unhurt(&mut self) {
        assert!(self.is_running(), "the server has ended");
        let log = self.log();
        assert!(!log.contains("panicked"), "the server has panicked");
    }

    /// A token that its own command line signs.
    pub async fn token(&self, spec: &TokenSpec<'_>) -> String {
        spec.sign(self.command("token")).await
    }
}
