//! Several nats-servers that replicate among themselves.

use std::ops::Deref;

use serde_json::Value;

use super::{Member, NatsServer, Options, START};
use crate::proxy::{Proxy, Way};
use crate::{eventually, ports};

/// Several servers that replicate among themselves; one by itself when it is asked for one.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
    /// From each server to each other one, when they are to be separated.
    links: Vec<Link>,
    _routes: Vec<ports::Claim>,
}

#[derive(Debug)]
struct Link {
    ends: [usize; 2],
    proxy: Proxy,
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
        Self::launch(options, false).await
    }

    /// Servers whose network can be [separated](Self::separate).
    pub async fn start_apart(options: Vec<Options>) -> Self {
        Self::launch(options, true).await
    }

    async fn launch(options: Vec<Options>, apart: bool) -> Self {
        let claims: Vec<_> = options.iter().map(|_| ports::claim()).collect();
        let size = options.len();
        let pairs = || (0..size).flat_map(|from| (0..size).map(move |to| [from, to]));
        let mut links = Vec::new();
        for ends in pairs().filter(|[from, to]| apart && from != to) {
            let proxy = Proxy::start(claims[ends[1]].at(), links.len() as u64).await;
            links.push(Link { ends, proxy });
        }
        let route = |from: usize, to: usize| {
            let link = links.iter().find(|link| link.ends == [from, to]);
            link.map_or_else(|| claims[to].at(), |link| link.proxy.address())
        };
        let nodes = options.into_iter().enumerate().map(|(n, options)| {
            let member = Member {
                name: format!("nats-{}", n + 1),
                listen: claims[n].port,
                routes: (0..size).filter(|to| *to != n).map(|to| route(n, to)).collect(),
                hidden: apart,
            };
            NatsServer::launch(options, (size > 1).then_some(&member))
        });
        let nodes = nodes.collect();
        let cluster = Self {
            nodes,
            links,
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
        if self.nodes.len() == 1 {
            return;
        }
        eventually("the servers have a leader who sees them all", START, async || {
            for node in &self.nodes {
                let jsz = node.monitor("/jsz").await?;
                let meta = &jsz["meta_cluster"];
                let whole = meta["cluster_size"] == self.nodes.len();
                (whole && meta["leader"].is_string()).then_some(())?;
            }
            // Streams are placed on those whom the leader has heard of lately.
            let leader = &self.nodes[self.meta_leader().await?];
            let jsz = leader.monitor("/jsz").await?;
            let others = jsz["meta_cluster"]["replicas"].as_array()?;
            let seen = |peer: &Value| peer["current"] == true && peer["offline"] != true;
            (others.len() + 1 == self.nodes.len() && others.iter().all(seen)).then_some(())
        })
        .await;
    }

    /// Nothing passes between these servers and the others any more; each side takes the other for silent.
    ///
    /// # Panics
    /// When the servers were not started for it.
    pub fn separate(&self, some: &[usize]) {
        assert!(!self.links.is_empty(), "start them with `start_apart`");
        let between = |link: &&Link| some.contains(&link.ends[0]) != some.contains(&link.ends[1]);
        for link in self.links.iter().filter(between) {
            link.proxy.stall(Way::ToServer);
            link.proxy.stall(Way::ToClient);
        }
    }

    /// The network is whole again.
    pub fn heal(&self) {
        for link in &self.links {
            link.proxy.heal();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_servers_have_one_leader_and_another_when_it_dies() {
        let cluster = NatsCluster::start(3).await;
        let first = cluster.meta_leader().await.expect("there is one");
        cluster[first].kill().await;
        eventually("another leads", START, async || {
            cluster.meta_leader().await.filter(|leader| *leader != first)
        })
        .await;
        cluster[first].restart().await;
        cluster.is_ready().await;
    }

    #[tokio::test]
    async fn the_side_of_two_goes_on_without_the_third() {
        let cluster = NatsCluster::start_apart(vec![Options::default(); 3]).await;
        let alone = cluster.meta_leader().await.expect("there is one");
        cluster.separate(&[alone]);
        eventually("the others have another leader", START, async || {
            let other = &cluster[(alone + 1) % 3];
            let jsz = other.monitor("/jsz").await?;
            let leader = jsz["meta_cluster"]["leader"].as_str()?.to_owned();
            (leader != cluster[alone].name()).then_some(())
        })
        .await;
        cluster.heal();
        cluster.is_ready().await;
    }
}
