//! Gives out what routing sends to this edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backplane::bus::Subscription;
use bytes::Bytes;
use model::{OrgId, PartitionId, Position, TopicFilter};
use tracing::warn;
use wire::Routed;

use crate::append::Appender;
use crate::attach::{Attachments, Subscriber};
use crate::delivery::Delivery;
use crate::link::{Follows, Listener};
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::Metrics;

/// Sorts frames into mailboxes.
pub(crate) struct Dispatcher {
    pub attachments: Arc<Attachments>,
    pub appender: Arc<Appender>,
    pub metrics: Metrics,
    pub mark: AtomicU64,
}

impl Dispatcher {
    /// Gives out what arrives on the edge's subject. Returns when the bus is closed.
    pub async fn follow(&self, frames: &mut dyn Subscription) {
        let mut lost = 0;
        let mut touched = Vec::new();
        while let Some(messages) = frames.next().await {
            if frames.lost() > lost {
                lost = frames.lost();
                self.attachments.links.iter().for_each(|link| {
                    link.suspect();
                    self.gap(link.partition);
                });
            }
            for message in messages {
                self.frame(message.payload, &mut touched);
            }
            touched.drain(..).for_each(|mailbox: Arc<Mailbox>| mailbox.wake());
            self.metrics
                .waiting
                .set(i64::try_from(self.appender.waiting_bytes()).unwrap_or(i64::MAX));
        }
    }

    fn frame(&self, payload: Bytes, touched: &mut Vec<Arc<Mailbox>>) {
        let whole = payload.len();
        let routed: Routed = match wire::frame::decode(payload) {
            Ok(routed) => routed,
            Err(error) => return warn!(%error, "ignoring an unreadable frame from routing"),
        };
        let partition = PartitionId(u16::try_from(routed.partition).unwrap_or(u16::MAX));
        let Some(link) = self.attachments.links.get(usize::from(partition.0)) else {
            return;
        };
        // Outcomes are true whatever else was lost.
        routed.settled.iter().for_each(|s| self.appender.settle(s));
        if routed.number == 0 {
            self.give_out(partition, &routed, whole, touched);
            return;
        }
        match link.follow(routed.owner_epoch, routed.stream, routed.number) {
            Follows::Yes => self.give_out(partition, &routed, whole, touched),
            Follows::Gap => self.gap(partition),
            Follows::Stale => {}
        }
    }

    /// `whole`: how many bytes the frame has.
    fn give_out(
        &self,
        partition: PartitionId,
        routed: &Routed,
        whole: usize,
        touched: &mut Vec<Arc<Mailbox>>,
    ) {
        self.metrics.received.inc_by(routed.entries.len() as u64);
        let table = self.attachments.reading();
        let mut given = 0u64;
        for entry in &routed.entries {
            let Ok(decoded) = wire::frame::decode_entry(entry.entry.clone()) else {
                continue;
            };
            let Some(filters) = table.orgs.get(decoded.org.as_str()) else {
                continue;
            };
            let prev = (entry.prev != 0).then_some(Position(entry.prev));
            let position = Position(entry.position);
            let delivery = Arc::new(Delivery::out_of(whole, partition, position, prev, decoded));
            let mark = self.mark.fetch_add(1, Ordering::Relaxed);
            filters.for_each(&delivery.entry.topic, |Subscriber(mailbox)| {
                if mailbox.mark(mark) {
                    mailbox.push_live(&delivery);
                    touched.push(mailbox.clone());
                    given += 1;
                }
            });
        }
        table.set_routed(partition, Position(routed.upto));
        drop(table);
        self.metrics.dispatched.inc_by(given);
        if touched.len() > 1 {
            touched.sort_unstable_by_key(|m| (m.number.load(Ordering::Relaxed), Arc::as_ptr(m) as usize));
            touched.dedup_by(|a, b| Arc::ptr_eq(a, b));
        }
    }

    fn tell_all(&self, mail: impl Fn() -> Mail) {
        self.attachments
            .mailboxes()
            .iter()
            .for_each(|mailbox| mailbox.push(mail()));
    }
}

impl Listener for Dispatcher {
    fn gap(&self, partition: PartitionId) {
        self.metrics.gaps.inc();
        self.tell_all(|| Mail::Gap(partition));
    }

    fn boundary(&self, partition: PartitionId, boundary: Position) {
        self.attachments.reading().set_routed(partition, boundary);
        // Connections that came after the gap was told have not heard of it.
        self.tell_all(|| Mail::Gap(partition));
        self.tell_all(|| Mail::Boundary(partition, boundary));
    }

    fn filters(&self, partition: PartitionId) -> Vec<(OrgId, TopicFilter)> {
        self.attachments.wanted(partition)
    }
}
