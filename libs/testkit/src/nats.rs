//! Real nats-servers, and namespaces in one that tests share.

mod cluster;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use crate::daemon::{Daemon, Recipe};
use crate::shared::Shared;
use crate::{DataDir, find, http, ports};
pub use cluster::NatsCluster;

/// The URL of a running server to use instead of starting one.
pub(crate) const URL: &str = "LONGWIRE_TEST_NATS";
/// The URL of its monitoring port.
pub(crate) const MONITOR: &str = "LONGWIRE_TEST_NATS_MONITOR";
/// The program.
const PROGRAM: &str = "LONGWIRE_NATS_SERVER";

const START: Duration = Duration::from_secs(30);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sync_interval`: `always` makes an acknowledgement mean that it is on disk.
    pub sync_interval: String,
    /// Where its streams are; without one, a new folder.
    pub data: Option<Arc<DataDir>>,
    /// `max_file_store`. With the default, a server takes three quarters of the disk at its start.
    pub max_file_store: Option<String>,
    /// Further lines of its configuration.
    pub config: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync_interval: "always".to_owned(),
            data: None,
            max_file_store: None,
            config: String::new(),
        }
    }
}

/// Where a server is in a cluster.
#[derive(Debug)]
struct Member {
    name: String,
    listen: u16,
    routes: Vec<SocketAddr>,
    /// Its own address is told to nobody: every route is one of those above.
    hidden: bool,
}

/// A nats-server with JetStream, killed when dropped.
#[derive(Debug)]
pub struct NatsServer {
    daemon: Daemon,
    client: ports::Claim,
    monitor: ports::Claim,
    data: Arc<DataDir>,
    _config: tempfile::NamedTempFile,
}

impl Deref for NatsServer {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl NatsServer {
    /// A server by itself, ready.
    pub async fn start(options: Options) -> Self {
        let server = Self::launch(options, None);
        server.is_ready().await;
        server
    }

    fn launch(options: Options, member: Option<&Member>) -> Self {
        let data = options.data.clone().unwrap_or_default();
        let (client, monitor) = (ports::claim(), ports::claim());
        let text = configuration(&options, &data, client.port, monitor.port, member);
        let file = tempfile::Builder::new().suffix(".conf").tempfile();
        let file = file.expect("making a configuration file");
        std::fs::write(file.path(), text).expect("writing a configuration file");
        let name = member.map_or("nats-server", |member| &member.name);
        let recipe = Recipe::new(name, program()).args(["-c".into(), file.path().as_os_str().to_owned()]);
        let daemon = Daemon::new(recipe);
        daemon.launch();
        Self {
            daemon,
            client,
            monitor,
            data,
            _config: file,
        }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://{}", self.client.at())
    }

    /// Where clients connect, as an address.
    pub fn address(&self) -> SocketAddr {
        self.client.at()
    }

    /// Where it is monitored.
    pub fn monitor_url(&self) -> String {
        format!("http://{}", self.monitor.at())
    }

    /// Its folder.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// Starts it again, at the same ports and with the same data, and waits until it is ready.
    pub async fn restart(&self) {
        self.relaunch();
        self.is_ready().await;
    }

    /// Starts it again without waiting: a server without a quorum is not ready.
    pub fn relaunch(&self) {
        self.daemon.launch();
    }

    /// Waits until it says that it is healthy: its streams are recovered, and in a cluster it is up to date.
    pub async fn is_ready(&self) {
        self.daemon
            .ready(
                START,
                async || matches!(self.ask("/healthz").await, Some(reply) if reply.status == 200),
            )
            .await;
    }

    /// What its monitoring port says, when it says something.
    pub async fn monitor(&self, path: &str) -> Option<Value> {
        let reply = self.ask(path).await?;
        serde_json::from_str(&reply.text).ok()
    }

    async fn ask(&self, path: &str) -> Option<http::Reply> {
        let ask = http::exchange(self.monitor.at(), Method::GET, path, None, None);
        tokio::time::timeout(Duration::from_secs(2), ask).await.ok()?.ok()
    }
}

fn configuration(
    options: &Options,
    data: &DataDir,
    client: u16,
    monitor: u16,
    member: Option<&Member>,
) -> String {
    let name = member.map_or("nats", |member| &member.name);
    let folder = data.path().display();
    let sync = &options.sync_interval;
    let mut text = format!(
        "server_name: {name}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\nmax_payload: 8MB\n\
         jetstream {{\n  store_dir: \"{folder}\"\n  sync_interval: {sync}\n"
    );
    if let Some(max) = &options.max_file_store {
        text += &format!("  max_file_store: {max}\n");
    }
    text += "}\n";
    if let Some(member) = member {
        text += &member.configuration();
    }
    text + &options.config
}

impl Member {
    fn configuration(&self) -> String {
        let routes: Vec<_> = self.routes.iter().map(|at| format!("\"nats://{at}\"")).collect();
        let (listen, routes) = (self.listen, routes.join(", "));
        // Clients keep to the servers they were told.
        let mut text = format!(
            "cluster {{\n  name: longwire\n  listen: \"127.0.0.1:{listen}\"\n  routes: [{routes}]\n  no_advertise: true\n"
        );
        if self.hidden {
            // A port where nobody is.
            text += "  advertise: \"127.0.0.1:1\"\n";
        }
        text + "}\n"
    }
}

/// A name in a server that no other test uses.
#[derive(Debug)]
pub struct NatsNamespace {
    /// Where clients connect.
    pub url: String,
    /// Where the server is monitored.
    pub monitor_url: String,
    /// The prefix of everything: `cluster.name`.
    pub name: String,
    _server: Option<Arc<NatsServer>>,
}

/// A fresh name in the server of `LONGWIRE_TEST_NATS`, or in one of this process.
pub async fn server() -> NatsNamespace {
    static OWN: Shared<NatsServer> = Shared::new();
    let name = crate::shared::fresh_name();
    if let Ok(url) = std::env::var(URL) {
        return NatsNamespace {
            url,
            monitor_url: std::env::var(MONITOR).unwrap_or_default(),
            name,
            _server: None,
        };
    }
    let server = OWN
        .get(async || NatsServer::start(Options::default()).await)
        .await;
    NatsNamespace {
        url: server.url(),
        monitor_url: server.monitor_url(),
        name,
        _server: Some(server),
    }
}

/// The program: `LONGWIRE_NATS_SERVER`, the one that tests/install.sh put beside the Python clients, or of the path.
fn program() -> PathBuf {
    let installed = crate::target_dir()
        .parent()
        .map(|target| target.join("e2e-python/bin/nats-server"));
    find::program(PROGRAM, "nats-server", installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_comes_back_at_the_same_place() {
        let server = NatsServer::start(Options::default()).await;
        let (url, pid) = (server.url(), server.pid());
        server.kill().await;
        assert!(!server.is_running());
        server.restart().await;
        assert_eq!(server.url(), url);
        assert_ne!(server.pid(), pid);
        let varz = server.monitor("/varz").await.expect("it is monitored");
        assert_eq!(varz["jetstream"]["config"]["sync_always"], true, "{varz}");
    }

    #[tokio::test]
    async fn namespaces_differ_and_share_a_server() {
        let (one, other) = (server().await, server().await);
        assert_eq!(one.url, other.url);
        assert_ne!(one.name, other.name);
    }
}
