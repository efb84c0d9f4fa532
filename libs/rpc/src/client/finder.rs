//! Finds the replicas behind the names.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio_util::task::AbortOnDropHandle;

use super::board::Board;
use super::connection::Keeper;
use crate::Config;

/// Names are not looked up more often than this, whatever happens.
const BREATH: Duration = Duration::from_millis(500);

/// Looks the names up again and again, and has a [`Keeper`] for each address.
pub(super) struct Finder {
    board: Arc<Board>,
    names: Vec<String>,
    config: Config,
    /// What each name meant when it last meant anything.
    addresses: HashMap<String, Vec<SocketAddr>>,
    keepers: BTreeMap<SocketAddr, AbortOnDropHandle<()>>,
}

impl Finder {
    pub(super) fn new(board: Arc<Board>, names: &[String], config: &Config) -> Self {
        Self {
            board,
            names: names.to_vec(),
            config: config.clone(),
            addresses: HashMap::new(),
            keepers: BTreeMap::new(),
        }
    }

    /// Never returns. Dropped, it takes the connections with it.
    pub(super) async fn run(mut self) {
        loop {
            let unknown = self.look_up().await;
            self.keep();
            self.board.looked_up(unknown);
            let interval = self.config.resolve_interval.get();
            tokio::time::sleep(BREATH.min(interval)).await;
            let rest = interval
                .saturating_sub(BREATH)
                .mul_f64(rand::rng().random_range(0.8..1.0));
            let _either = tokio::time::timeout(rest, self.board.lost.notified()).await;
        }
    }

    /// A name that means nothing at the moment keeps what it meant: the names are a service of their own, and it fails too.
    async fn look_up(&mut self) -> Option<String> {
        let mut unknown = Vec::new();
        for name in &self.names {
            match tokio::net::lookup_host(name).await {
                Ok(found) => {
                    self.addresses.insert(name.clone(), found.collect());
                }
                Err(error) => unknown.push(format!("looking up {name}: {error}")),
            }
        }
        (!unknown.is_empty()).then(|| unknown.join(", "))
    }

    fn keep(&mut self) {
        let mut wanted: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for (name, addresses) in &self.addresses {
            wanted.extend(addresses.iter().map(|address| (*address, name.as_str())));
        }
        self.keepers.retain(|address, _| {
            let stays = wanted.contains_key(address);
            if !stays {
                self.board.remove(address);
            }
            stays
        });
        for (address, name) in wanted {
            self.keepers.entry(address).or_insert_with(|| {
                self.board.set(address, super::board::State::Connecting);
                let keeper = Keeper::new(self.board.clone(), address, name, &self.config);
                AbortOnDropHandle::new(tokio::spawn(keeper.run()))
            });
        }
    }
}
