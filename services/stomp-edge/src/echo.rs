//! The echo of a message that was sent again.
//!
//! To a page the echo is the receipt. It sends a message again when it has not seen the echo, because its connection broke
//! for instance; the message is not given to the thread a second time, so the page gets it here, as it was stored.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use contract::persistence::{BacklogFilter, BacklogLane, BacklogRequest};
use edge::Core;
use edge::delivery::Delivery;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream};
use model::{OrgId, Position, TopicName};

use crate::connection::Connection;
use crate::deliver;

/// Echoes that are being read.
pub(crate) type Echoes = FuturesUnordered<BoxFuture<'static, Option<Arc<Delivery>>>>;

impl Connection {
    /// Reads a stored message for a page that sent it again and listens to its topic.
    pub fn echo_again(&mut self, topic: &TopicName, position: Position) {
        if self.subs.iter().any(|s| s.topic == *topic) {
            let (core, org) = (self.edge.core.clone(), self.identity.who.org.clone());
            self.echoes
                .push(Box::pin(stored(core, org, topic.clone(), position)));
        }
    }

    /// Writes an echo.
    pub fn echo(&mut self, delivery: &Delivery) {
        if !delivery.is_visible_to(&self.identity.who) {
            return;
        }
        let (_, body) = delivery.json(&self.identity.who);
        let version = self.version;
        for sub in self.subs.iter().filter(|s| *s.topic == *delivery.entry.topic) {
            self.socket
                .put(|out| deliver::message(version, sub, 0, true, delivery, &body, out));
        }
    }
}

/// The next echo that has been read; waits for ever when there is none. Cancel safe.
pub(crate) async fn read(echoes: &mut Echoes) -> Option<Arc<Delivery>> {
    poll_fn(|cx| match Pin::new(&mut *echoes).poll_next(cx) {
        Poll::Ready(Some(delivery)) => Poll::Ready(delivery),
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    })
    .await
}

async fn stored(core: Arc<Core>, org: OrgId, topic: TopicName, position: Position) -> Option<Arc<Delivery>> {
    let partition = core.partitioning.of(&org, &topic);
    let request = BacklogRequest {
        org,
        lanes: vec![BacklogLane {
            partition,
            after: position.before(),
            upto: position,
        }],
        filters: vec![BacklogFilter {
            filter: topic.to_filter(),
            start: Vec::new(),
        }],
        max_entries: 1,
        max_bytes: usize::MAX,
    };
    let page = core.persistence.backlog(request).await;
    let page = page
        .inspect_err(|error| tracing::debug!(%error, "a message that was sent again is not echoed"))
        .ok()?;
    let found = page.entries.into_iter().find(|e| e.position == position)?;
    let entry = wire::frame::decode_entry(found.entry).ok()?;
    Some(Arc::new(Delivery::new(partition, position, found.prev, entry)))
}
