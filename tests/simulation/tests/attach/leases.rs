//! Leases by one clock. A caller may be slow to ask and slow to hear; a lease may be lost for no reason at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backplane::lease::{Lease, LeaseError, Leases};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};

use crate::chance::Chance;
use crate::process::Process;

#[derive(Default)]
struct Table {
    held: BTreeMap<String, (Lease, Instant)>,
    last_epoch: u64,
}

/// Who holds what.
#[derive(Default)]
pub struct Book(Mutex<Table>);

impl Book {
    /// Takes a lease from its holder, who does not hear of it.
    pub fn lose(&self, name: &str) {
        self.0.lock().held.remove(name);
    }

    fn current(table: &Table, name: &str) -> Option<Lease> {
        let (lease, until) = table.held.get(name)?;
        (*until > Instant::now()).then(|| lease.clone())
    }
}

/// A process that asks for leases.
pub struct BookLeases {
    pub book: Arc<Book>,
    pub chance: Arc<Chance>,
    pub process: Arc<Process>,
}

impl BookLeases {
    async fn there(&self) -> Result<(), LeaseError> {
        self.process.pass().await;
        self.chance.pause().await;
        self.process.pass().await;
        let failed = self.chance.happens(self.chance.faults().failed / 4);
        if self.process.is_without_log() || failed {
            sleep(Duration::from_millis(200)).await;
            self.process.pass().await;
            return Err(LeaseError::Unavailable("cut off".into()));
        }
        Ok(())
    }

    /// What was done is done; whether the caller hears of it is another question.
    async fn back<T>(&self, answer: Result<T, LeaseError>) -> Result<T, LeaseError> {
        if self.chance.happens(self.chance.faults().failed / 4) {
            sleep(Duration::from_millis(200)).await;
            self.process.pass().await;
            return Err(LeaseError::Unavailable("the answer is lost".into()));
        }
        self.process.pass().await;
        answer
    }
}

#[async_trait]
impl Leases for BookLeases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        self.there().await?;
        let granted = {
            let mut table = self.book.0.lock();
            let until = Instant::now() + ttl;
            match Book::current(&table, name) {
                Some(lease) if lease.holder != holder => Err(LeaseError::Held {
                    name: name.to_owned(),
                    holder: lease.holder,
                }),
                Some(lease) => {
                    table.held.insert(name.to_owned(), (lease.clone(), until));
                    Ok(lease)
                }
                None => {
                    table.last_epoch += 1;
                    let lease = Lease {
                        name: name.to_owned(),
                        holder: holder.to_owned(),
                        epoch: table.last_epoch,
                    };
                    table.held.insert(name.to_owned(), (lease.clone(), until));
                    Ok(lease)
                }
            }
        };
        if let Ok(lease) = &granted {
            self.chance
                .note("lease", [self.process.number, lease.epoch, 0, 0]);
        }
        self.back(granted).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        self.there().await?;
        let kept = {
            let mut table = self.book.0.lock();
            match Book::current(&table, &lease.name) {
                Some(held) if held == *lease => {
                    let until = Instant::now() + ttl;
                    table.held.insert(lease.name.clone(), (held, until));
                    Ok(())
                }
                _ => Err(LeaseError::Lost(lease.name.clone())),
            }
        };
        self.back(kept).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.there().await?;
        {
            let mut table = self.book.0.lock();
            if Book::current(&table, &lease.name).is_some_and(|held| held == *lease) {
                table.held.remove(&lease.name);
            }
        }
        self.back(Ok(())).await
    }

    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError> {
        self.there().await?;
        let held = Book::current(&self.book.0.lock(), name);
        Ok(held)
    }
}
