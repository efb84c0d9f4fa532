//! Applies batches of the log to the store.

use std::sync::Arc;

use async_trait::async_trait;
use consumer::{Apply, Item, Patience};
use store::{Advance, LogBatch, Service, Store, StoreError};
use tokio::time::Instant;

use crate::Policy;
use crate::core::Core;
use crate::fold::{fold, questions};
use crate::metrics::{Metrics, Outcome};
use crate::threads::Threads;

pub(crate) struct Applier {
    core: Arc<Core>,
    store: Arc<dyn Store>,
    patience: Patience,
    policy: Policy,
    metrics: Metrics,
    threads: Threads,
}

impl Applier {
    pub fn new(core: Arc<Core>) -> Self {
        Self {
            store: core.deps.store.clone(),
            patience: Patience::new(core.store_check.clone()),
            policy: core.policy(),
            metrics: core.metrics.clone(),
            threads: Threads::default(),
            core,
        }
    }
}

#[async_trait]
impl Apply for Applier {
    fn undecodable(&mut self) {
        self.metrics.count(Outcome::Undecodable, 1);
    }

    async fn apply(&mut self, items: Vec<Item>, advances: Vec<Advance>) -> Result<(), StoreError> {
        let (started, count) = (Instant::now(), items.len());
        let keys = questions(&items);
        let found = loop {
            let answer = self.store.lookup(Service::Persistence, keys.clone()).await;
            if let Some(answer) = self.patience.again(answer).await {
                break answer?;
            }
        };
        let batch = fold(items, found, self.policy, &mut self.threads, &self.metrics);
        let batch = Arc::new(LogBatch { advances, ..batch });
        let of_threads = !batch.threads.is_empty();
        loop {
            let answer = self.store.apply(batch.clone()).await;
            if let Some(answer) = self.patience.again(answer).await {
                match &answer {
                    Err(_) => self.threads.clear(),
                    Ok(()) if of_threads => self.core.threads_changed(&batch.threads).await,
                    Ok(()) => {}
                }
                self.metrics.batch.observe(count as f64);
                self.metrics.apply.observe(started.elapsed().as_secs_f64());
                return answer;
            }
        }
    }
}
