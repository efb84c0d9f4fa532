//! The network between one replica and everything it calls.

use std::net::SocketAddr;

use super::list;
use super::servers::Servers;
use crate::proxy::{Proxy, Way};

/// What a replica calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The servers of NATS.
    Nats,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// The other roles.
    Rpc,
}

/// The proxies of one replica. The balancer and whoever else calls it come without one.
#[derive(Debug)]
pub struct Links {
    proxies: Vec<(Link, Proxy)>,
    settings: Vec<(String, String)>,
}

impl Links {
    pub(super) async fn start(servers: &Servers, rpc: &[(String, Vec<SocketAddr>)]) -> Self {
        let at = servers.at();
        let mut links = Self {
            proxies: Vec::new(),
            settings: Vec::new(),
        };
        let mut nats = Vec::new();
        for url in &at.nats {
            nats.push(links.url(Link::Nats, url).await);
        }
        let redis = links.url(Link::Redis, &at.redis).await;
        let postgres = links.url(Link::Postgres, &at.postgres).await;
        links.set("LONGWIRE_NATS__SERVERS", list(nats));
        links.set("LONGWIRE_REDIS__URL", redis);
        links.set("LONGWIRE_POSTGRES__URL", postgres);
        for (name, addresses) in rpc {
            let mut through = Vec::new();
            for address in addresses {
                through.push(links.through(Link::Rpc, *address).await.to_string());
            }
            links.set(name, list(through));
        }
        links
    }

    fn set(&mut self, name: &str, value: String) {
        self.settings.push((name.to_owned(), value));
    }

    async fn through(&mut self, link: Link, target: SocketAddr) -> SocketAddr {
        let proxy = Proxy::start(target, self.proxies.len() as u64).await;
        let address = proxy.address();
        self.proxies.push((link, proxy));
        address
    }

    /// The URL with a proxy in place of the server.
    async fn url(&mut self, link: Link, url: &str) -> String {
        let host = authority(url);
        let target = host.parse().expect("a URL of testkit names an address");
        let proxy = self.through(link, target).await;
        url.replacen(host, &proxy.to_string(), 1)
    }

    pub(super) fn settings(&self) -> Vec<(String, String)> {
        self.settings.clone()
    }

    /// The proxies of one link.
    pub fn to(&self, link: Link) -> impl Iterator<Item = &Proxy> {
        let of = self.proxies.iter().filter(move |(each, _)| *each == link);
        of.map(|(_, proxy)| proxy)
    }

    /// All proxies.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.proxies.iter().map(|(_, proxy)| proxy)
    }

    /// Closes every connection of the replica and refuses new ones.
    pub fn cut(&self) {
        self.all().for_each(Proxy::cut);
    }

    /// The network goes silent: what is sent either way does not arrive until it is healed.
    pub fn silence(&self) {
        for proxy in self.all() {
            proxy.stall(Way::ToServer);
            proxy.stall(Way::ToClient);
        }
    }

    /// The network is whole again.
    pub fn heal(&self) {
        self.all().for_each(Proxy::heal);
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a URL has a scheme");
    let host = rest.split('/').next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_and_port() {
        assert_eq!(authority("nats://127.0.0.1:4222"), "127.0.0.1:4222");
        assert_eq!(authority("postgres://me@127.0.0.1:5432/db"), "127.0.0.1:5432");
    }
}
