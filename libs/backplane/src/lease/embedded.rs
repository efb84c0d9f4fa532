//! The leases of one process: a table under a lock, by the clock of the runtime.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Lease, LeaseError, Leases};

/// [`Leases`] within one process. Nothing is stored: every lease is free when the process starts. So that the fence holds
/// across restarts all the same, epochs count on from the wall clock's milliseconds at the start; they repeat only if
/// that clock is set back beyond the life of the process before.
pub struct EmbeddedLeases {
    table: Mutex<Table>,
}

struct Table {
    held: HashMap<String, Held>,
    last_epoch: u64,
}

struct Held {
    lease: Lease,
    until: Instant,
}

impl EmbeddedLeases {
    /// A table of its own: the contenders share it.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            table: Mutex::new(Table {
                held: HashMap::new(),
                last_epoch: u64::try_from(now.as_millis()).unwrap_or(0),
            }),
        }
    }
}

impl Default for EmbeddedLeases {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// The lease of that name that has not run out.
    fn current(&mut self, name: &str) -> Option<&mut Held> {
        let now = Instant::now();
        self.held.get_mut(name).filter(|held| held.until > now)
    }
}

#[async_trait]
impl Leases for EmbeddedLeases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        let until = Instant::now() + ttl;
        let mut table = self.table.lock();
        if let Some(held) = table.current(name) {
            if held.lease.holder != holder {
                return Err(LeaseError::Held {
                    name: name.to_owned(),
                    holder: held.lease.holder.clone(),
                });
            }
            held.until = until;
            return Ok(held.lease.clone());
        }
        table.last_epoch += 1;
        let lease = Lease {
            name: name.to_owned(),
            holder: holder.to_owned(),
            epoch: table.last_epoch,
        };
        let held = Held {
            lease: lease.clone(),
            until,
        };
        table.held.insert(name.to_owned(), held);
        Ok(lease)
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        match self.table.lock().current(&lease.name) {
            Some(held) if held.lease == *lease => {
                held.until = Instant::now() + ttl;
                Ok(())
            }
            _ => Err(LeaseError::Lost(lease.name.clone())),
        }
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let mut table = self.table.lock();
        if table
            .held
            .get(&lease.name)
            .is_some_and(|held| held.lease == *lease)
        {
            table.held.remove(&lease.name);
        }
        Ok(())
    }

    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError> {
        Ok(self.table.lock().current(name).map(|held| held.lease.clone()))
    }
}
