//! Real nats-servers, and namespaces in one that tests share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use crate::daemon::{Daemon, Recipe};
use crate::shared::Shared;
use crate::{DataDir, eventually, find, http, ports};

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
    routes: Vec<String>,
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
    if let Some(Member { listen, routes, .. }) = member {
        let routes = routes.join(", ");
        text += &format!(
            "cluster {{\n  name: longwire\n  listen: \"127.0.0.1:{listen}\"\n  routes: [{routes}]\n}}\n"
        );
    }
    text + &options.config
}

/// Several servers that replicate among themselves.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    _routes: Vec<ports::Claim>,
}

impl Deref for NatsCluster {
    type Target = [NatsServer];
    fn deref(&self) -> &[NatsServer] {
        &self.nodes
    }
}

impl NatsCluster {
    /// So many servers (3 tolerate the loss of one), ready, with a leader.
    pub async fn start(size: usize) -> Self {
        Self::start_with(vec![Options::default(); size]).await
    }

    /// A server for each of these.
    pub async fn start_with(options: Vec<Options>) -> Self {
        let claims: Vec<_> = options.iter().map(|_| ports::claim()).collect();
        let routes: Vec<_> = claims
            .iter()
            .map(|claim| format!("\"nats://{}\"", claim.at()))
            .collect();
        let nodes = options.into_iter().enumerate().map(|(n, options)| {
            let others = routes.iter().enumerate().filter(|(other, _)| *other != n);
            let member = Member {
                name: format!("nats-{}", n + 1),
                listen: claims[n].port,
                routes: others.map(|(_, route)| route.clone()).collect(),
            };
            NatsServer::launch(options, Some(&member))
        });
        let cluster = Self {
            nodes: nodes.collect(),
            _routes: claims,
        };
        cluster.is_ready().await;
        cluster
    }

    /// Waits until every server is ready and all know each other and one leader.
    pub async fn is_ready(&self) {
        for node in &self.nodes {
            node.is_ready().await;
        }
        eventually("the servers have a leader", START, async || {
            for node in &self.nodes {
                let jsz = node.monitor("/jsz").await?;
                let meta = &jsz["meta_cluster"];
                let whole = meta["cluster_size"] == self.nodes.len();
                (whole && meta["leader"].is_string()).then_some(())?;
            }
            Some(())
        })
        .await;
    }

    /// Where clients connect, each server.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// Where each is monitored.
    pub fn monitor_urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::monitor_url).collect()
    }

    /// Which server leads this stream, as those that answer say.
    pub async fn leader_of(&self, stream: &str) -> Option<usize> {
        for node in &self.nodes {
            let Some(jsz) = node.monitor("/jsz?accounts=true&streams=true").await else {
                continue;
            };
            let accounts = jsz["account_details"].as_array().into_iter().flatten();
            let mut streams = accounts.flat_map(|a| a["stream_detail"].as_array().into_iter().flatten());
            let found = streams.find(|detail| detail["name"] == stream);
            if let Some(leader) = found.and_then(|detail| detail["cluster"]["leader"].as_str()) {
                return self.index(leader);
            }
        }
        None
    }

    /// Which server leads the cluster itself, as those that answer say.
    pub async fn meta_leader(&self) -> Option<usize> {
        for node in &self.nodes {
            if let Some(jsz) = node.monitor("/jsz").await
                && let Some(leader) = jsz["meta_cluster"]["leader"].as_str()
            {
                return self.index(leader);
            }
        }
        None
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name() == name)
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
    async fn three_servers_have_one_leader_and_another_when_it_dies() {
        let cluster = NatsCluster::start(3).await;
        let first = cluster.meta_leader().await.expect("there is one");
        cluster[first].kill().await;
        let second = eventually("another leads", START, async || {
            cluster.meta_leader().await.filter(|leader| *leader != first)
        });
        second.await;
        cluster[first].restart().await;
        cluster.is_ready().await;
    }

    #[tokio::test]
    async fn namespaces_differ_and_share_a_server() {
        let (one, other) = (server().await, server().await);
        assert_eq!(one.url, other.url);
        assert_ne!(one.name, other.name);
    }
}
