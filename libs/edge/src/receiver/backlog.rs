//! Reading what was missed from persistence, a page at a time.

use std::sync::Arc;
use std::time::Duration;

use contract::persistence::{BacklogFilter, BacklogLane, BacklogPage, BacklogRequest};
use session::{Fetch, Page};

use super::item::Item;
use super::state::{Reading, Receiver};
use crate::delivery::Delivery;

/// How long to wait after a failed read of the backlog.
const RETRY: Duration = Duration::from_millis(500);

impl Receiver {
    pub(super) fn read(&self, fetch: Fetch) -> Reading {
        let implied = self.implied.iter().map(|i| BacklogFilter {
            filter: i.filter.clone(),
            start: i.start.clone(),
        });
        let subscribed = self.session.subscriptions().iter();
        let subscribed = subscribed.map(|s| BacklogFilter {
            filter: s.filter.clone(),
            start: s.start.clone(),
        });
        let filters = match fetch.filter {
            Some(filter) => vec![BacklogFilter {
                filter,
                start: Vec::new(),
            }],
            // A page carries the filters that have something in its partitions, not all that the session has.
            None => (implied.chain(subscribed))
                .filter(|f| {
                    let concerned = self.concerned(&f.filter);
                    fetch.lanes.iter().any(|l| concerned.contains(l.partition))
                })
                .collect(),
        };
        let lanes = fetch.lanes.iter().map(|l| BacklogLane {
            partition: l.partition,
            after: l.after,
            upto: l.upto,
        });
        let request = BacklogRequest {
            org: self.who.org.clone(),
            lanes: lanes.collect(),
            filters,
            max_entries: fetch.max_entries,
            max_bytes: fetch.max_bytes,
        };
        let persistence = self.core.persistence.clone();
        Box::pin(async move {
            let page = persistence.backlog(request).await;
            if page.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            (fetch.number, page)
        })
    }

    /// Waits for the backlog that is being read, for ever if none is, and takes it in. Cancel safe.
    pub async fn fetched(&mut self) {
        let Some(reading) = &mut self.reading else {
            return std::future::pending().await;
        };
        let (number, page) = reading.await;
        self.reading = None;
        match page {
            Ok(page) => {
                let page = self.page(page);
                self.session.page(number, page, &mut self.out);
            }
            Err(error) => {
                tracing::debug!(%error, "a backlog is not to be had yet");
                self.session.fetch_failed(number, &mut self.out);
            }
        }
    }

    pub(super) fn page(&mut self, page: BacklogPage) -> Page<Item> {
        let whole = page.entries.iter().map(|e| e.entry.len()).sum();
        let entries = page.entries.into_iter().filter_map(|e| {
            let entry = wire::frame::decode_entry(e.entry).ok()?;
            let delivery = Delivery::out_of(whole, e.partition, e.position, e.prev, entry);
            self.item(Arc::new(delivery))
        });
        Page {
            entries: entries.collect(),
            covered: page.covered,
        }
    }
}
