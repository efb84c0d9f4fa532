//! HAProxy in front, as `deploy/haproxy.cfg` says.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::time::Duration;

use hyper::Method;
use tempfile::NamedTempFile;

use super::replica::{Listener, Replica};
use crate::daemon::{Daemon, Recipe};
use crate::{Endpoints, eventually, find, http, ports, workspace};

/// The program.
const PROGRAM: &str = "LONGWIRE_HAPROXY";
/// Where it listens on loopback when nobody says otherwise: the ports of `deploy/haproxy.cfg`.
pub const USUAL_PORTS: [u16; 4] = [1883, 9885, 9003, 8404];
const SETTLE: Duration = Duration::from_secs(30);

/// Where clients find it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Ports {
    /// Free ones.
    #[default]
    Free,
    /// Those of the file.
    Usual,
}

/// The load balancer, killed when dropped.
#[derive(Debug)]
pub struct Balancer {
    daemon: Daemon,
    endpoints: Endpoints,
    _config: NamedTempFile,
    _claims: Vec<ports::Claim>,
}

impl Deref for Balancer {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Balancer {
    pub(super) fn new(replicas: &BTreeMap<&'static str, Vec<Replica>>, ports: Ports) -> Self {
        let mut claims = BTreeMap::new();
        let mut bind = |usual: u16| {
            let at = match ports {
                Ports::Usual => SocketAddr::from((Ipv4Addr::LOCALHOST, usual)),
                Ports::Free => claims.entry(usual).or_insert_with(ports::claim).at(),
            };
            (usual, at)
        };
        let binds = BTreeMap::from(USUAL_PORTS.map(&mut bind));
        let text = configuration(&binds, replicas);
        let file = tempfile::Builder::new().suffix(".cfg").tempfile();
        let file = file.expect("making a configuration file");
        std::fs::write(file.path(), text).expect("writing a configuration file");
        let recipe = Recipe::new("haproxy", find::program(PROGRAM, "haproxy", None)).args([
            "-db".into(),
            "-f".into(),
            file.path().as_os_str().to_owned(),
        ]);
        let endpoints = Endpoints {
            mqtt: binds[&1883],
            ws: binds[&9885],
            http: binds[&9003],
            ops: binds[&8404],
        };
        Self {
            daemon: Daemon::new(recipe),
            endpoints,
            _config: file,
            _claims: claims.into_values().collect(),
        }
    }

    /// Where clients connect; its own statistics for operations.
    pub fn at(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Waits until it takes the replicas of these names, those that it knows, for ready, and no other.
    pub async fn has(&self, names: &[String]) {
        eventually("the balancer knows who is ready", SETTLE, async || {
            let states = self.states().await?;
            let right = |(name, up): &(String, bool)| names.contains(name) == *up;
            states.iter().all(right).then_some(())
        })
        .await;
    }

    /// The servers that it knows, and whether it takes them for ready.
    pub async fn states(&self) -> Option<Vec<(String, bool)>> {
        let ask = http::exchange(self.endpoints.ops, Method::GET, "/;csv", None, None);
        let reply = tokio::time::timeout(Duration::from_secs(2), ask)
            .await
            .ok()?
            .ok()?;
        let rows = reply
            .text
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect::<Vec<_>>());
        let servers = rows.filter(|row| row.len() > 17 && row[1] != "FRONTEND" && row[1] != "BACKEND");
        Some(
            servers
                .map(|row| (row[1].to_owned(), row[17].starts_with("UP")))
                .collect(),
        )
    }
}

/// The shipped file with these addresses in place of the usual ports, and these replicas in place of those that names
/// stand for. Everything else is as it is.
fn configuration(
    binds: &BTreeMap<u16, SocketAddr>,
    replicas: &BTreeMap<&'static str, Vec<Replica>>,
) -> String {
    let path = workspace().join("deploy/haproxy.cfg");
    let shipped = std::fs::read_to_string(path).expect("reading deploy/haproxy.cfg");
    let mut text = String::new();
    for line in shipped.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["bind", port, rest @ ..] => {
                let usual = port.trim_start_matches(':').parse::<u16>().expect("a port");
                text += &format!("    bind {} {}\n", binds[&usual], rest.join(" "));
            }
            ["server-template", _, _, of, options @ ..] => text += &servers(of, options, replicas),
            _ => {
                text += line;
                text += "\n";
            }
        }
    }
    text
}

/// One line for each replica of a role, in place of the line for all: `role:port` with its options.
fn servers(of: &str, options: &[&str], replicas: &BTreeMap<&'static str, Vec<Replica>>) -> String {
    let (role, port) = of.split_once(':').expect("a role and its port");
    let listener = match port {
        "1883" => Listener::Mqtt,
        "9885" => Listener::Ws,
        _ => Listener::Http,
    };
    // `check port 9100 resolvers …`: the port is each replica's own, and there is nothing to resolve.
    let (mut kept, mut words) = (Vec::new(), options.iter());
    while let Some(word) = words.next() {
        match *word {
            "port" | "resolvers" | "init-addr" => _ = words.next(),
            word => kept.push(word),
        }
    }
    let line = |replica: &Replica| {
        let (name, at) = (replica.name(), replica.at(listener));
        let port = replica.at(Listener::Ops).port();
        format!("    server {name} {at} port {port} {}\n", kept.join(" "))
    };
    replicas[role].iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::cluster::ROLES;

    fn shipped(name: &str) -> String {
        std::fs::read_to_string(workspace().join("deploy").join(name)).expect("it is shipped")
    }

    fn is_valid(path: &std::path::Path) {
        let mut command = Command::new(find::program(PROGRAM, "haproxy", None));
        let output = command.arg("-c").arg("-f").arg(path).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn the_shipped_file_is_valid_and_so_is_what_is_made_of_it() {
        is_valid(&workspace().join("deploy/haproxy.cfg"));
        let two = |role| {
            (
                role,
                vec![Replica::new(role, 0, true), Replica::new(role, 1, true)],
            )
        };
        let replicas: BTreeMap<_, _> = ROLES.into_iter().map(two).collect();
        let balancer = Balancer::new(&replicas, Ports::Free);
        is_valid(balancer._config.path());
        let text = std::fs::read_to_string(balancer._config.path()).unwrap();
        assert!(!text.contains("    server-template"), "{text}");
        let second = replicas["gateway"][1].at(Listener::Http).to_string();
        assert!(
            text.contains(&format!("server gateway-2 {second} port ")),
            "{text}"
        );
    }

    #[test]
    fn the_containers_are_what_the_launcher_starts() {
        let compose = shipped("compose.yaml");
        for role in ROLES {
            assert!(
                compose.contains(&format!("  {role}:\n    <<: *role\n    command: [{role}]\n")),
                "{role}"
            );
        }
        assert!(compose.contains("replicas: 2"), "two of every role");
        assert_eq!(
            compose.matches("<<: *nats").count(),
            3,
            "three servers of the log"
        );
        assert!(shipped("nats/nats.conf").contains("sync_interval: always"));
    }
}
