//! One role as a process.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;

use crate::cluster::Links;
use crate::daemon::{Daemon, Recipe};
use crate::server::Setup;
use crate::{binary, http, ports};

/// From the start of the process to being ready. Two cores may start a dozen of them at once.
const START: Duration = Duration::from_secs(60);

/// What a role listens for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over WebSocket.
    Ws,
    /// HTTP and STOMP.
    Http,
    /// Calls of other roles.
    Rpc,
    /// Operations.
    Ops,
}

impl Listener {
    /// What this role listens for.
    fn of(role: &str) -> &'static [Self] {
        match role {
            "mqtt-edge" => &[Self::Mqtt, Self::Ws, Self::Ops],
            "stomp-edge" | "gateway" => &[Self::Http, Self::Ops],
            "persistence" | "receipts" | "routing" => &[Self::Rpc, Self::Ops],
            _ => &[Self::Ops],
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Mqtt => "LONGWIRE_MQTT__TCP_LISTEN",
            Self::Ws => "LONGWIRE_MQTT__WS_LISTEN",
            Self::Http => "LONGWIRE_HTTP__LISTEN",
            Self::Rpc => "LONGWIRE_RPC__LISTEN",
            Self::Ops => "LONGWIRE_OPS__LISTEN",
        }
    }
}

/// One role as a process, killed when dropped.
#[derive(Debug)]
pub struct Replica {
    role: &'static str,
    index: usize,
    spare: bool,
    started: AtomicBool,
    listeners: Vec<(Listener, ports::Claim)>,
    daemon: Daemon,
    links: Option<Links>,
}

impl Deref for Replica {
    type Target = Daemon;
    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Replica {
    pub(super) fn new(role: &'static str, index: usize, runs: bool) -> Self {
        let listeners: Vec<_> = Listener::of(role)
            .iter()
            .map(|of| (*of, ports::claim()))
            .collect();
        let mut recipe = Recipe::new(&format!("{role}-{}", index + 1), "longwire");
        recipe.hide = Some("LONGWIRE_");
        let at = listeners
            .iter()
            .map(|(of, claim)| (of.variable().to_owned(), claim.at().to_string()));
        recipe.env = at.collect();
        Self {
            role,
            index,
            spare: !runs,
            started: AtomicBool::new(false),
            listeners,
            daemon: Daemon::new(recipe),
            links: None,
        }
    }

    /// Gives it the settings of all, and its own.
    pub(super) fn configure<'a>(&self, setup: &Setup, own: impl Iterator<Item = (&'a String, &'a String)>) {
        self.daemon.change(|recipe| {
            recipe.program = binary();
            recipe.args = setup.arguments(self.role);
            let mut env = setup.env().to_vec();
            // Where it listens is not for others to say.
            env.append(&mut recipe.env);
            env.extend(own.map(|(name, value)| (name.clone(), value.clone())));
            recipe.env = env;
        });
    }

    /// Has it call everything through these.
    pub(super) fn link(&mut self, links: Links) {
        for (name, value) in links.settings() {
            self.set_env(&name, &value);
        }
        self.links = Some(links);
    }

    /// Its role.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Which of its role it is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    pub(super) fn is_spare(&self) -> bool {
        self.spare
    }

    pub(super) fn was_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When its role does not listen for that.
    pub fn at(&self, listener: Listener) -> SocketAddr {
        let found = self.listeners.iter().find(|(of, _)| *of == listener);
        found.expect("the role listens for that").1.at()
    }

    /// The network between it and what it calls.
    ///
    /// # Panics
    /// When it was not started with one that can be broken.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("named to `Builder::proxied`")
    }

    /// Changes an environment variable for its next start.
    pub fn set_env(&self, name: &str, value: &str) {
        self.daemon
            .change(|recipe| recipe.env.push((name.to_owned(), value.to_owned())));
    }

    /// Has its next start run another binary.
    pub fn set_program(&self, path: &Path) {
        self.daemon.change(|recipe| path.clone_into(&mut recipe.program));
    }

    /// Starts it without waiting, again too, at the same addresses.
    pub fn launch(&self) {
        self.started.store(true, Ordering::Relaxed);
        self.daemon.launch();
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) {
        self.launch();
        self.is_ready().await;
    }

    /// Starts it again, at the same addresses, and waits until it is ready.
    pub async fn restart(&self) {
        self.start().await;
    }

    /// Waits until it says that it is ready.
    pub async fn is_ready(&self) {
        self.daemon
            .ready(START, async || self.readiness().await == Some(200))
            .await;
    }

    /// What it says to whether it is ready; `None` when it says nothing.
    pub async fn readiness(&self) -> Option<u16> {
        self.ops("/readyz").await.map(|reply| reply.status)
    }

    /// Waits until it is ready and those whom it calls answer it: without them it is ready, and lets nobody in.
    pub(super) async fn is_served(&self) {
        self.daemon
            .ready(START, async || {
                self.readiness().await == Some(200)
                    && self.check("persistence").await != Some(false)
                    && self.check("receipts").await != Some(false)
            })
            .await;
    }

    /// Whether a check of it passes; `None` when it does not have it, or says nothing.
    pub async fn check(&self, name: &str) -> Option<bool> {
        let text = self.ops("/readyz?verbose").await?.text;
        let of = |line: &str| {
            let (state, rest) = line.split_once(' ')?;
            let of = rest.split(':').next().unwrap_or(rest);
            (of == name).then_some(state == "[ok]")
        };
        text.lines().find_map(of)
    }

    /// What its operations listener says, when it says something.
    pub async fn ops(&self, path: &str) -> Option<http::Reply> {
        let ask = http::exchange(self.at(Listener::Ops), Method::GET, path, None, None);
        tokio::time::timeout(Duration::from_secs(2), ask).await.ok()?.ok()
    }

    /// The sum of a metric over its labels, when it has it.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.ops("/metrics").await?.text;
        let values: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with([' ', '{']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}
