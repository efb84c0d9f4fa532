//! A subscription of a connection, from its SUBSCRIBE to its end.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use edge::delivery::Delivery;
use edge::mailbox::Mail;
use edge::receiver::Receiver;
use model::{PartitionId, Position, TopicFilter, TopicName};
use session::SavedState;
use stomp_codec::AckMode;
use tokio_util::task::AbortOnDropHandle;

use crate::cursors::{Durable, state_after};
use crate::service::Edge;

/// Live entries kept while a subscription is being attached.
const EARLY: usize = 1024;

/// A subscription.
pub(crate) struct Sub {
    /// As the client names it; without a name its destination.
    pub id: String,
    /// Whether the client named it: its messages say so.
    pub is_named: bool,
    /// Its number on this connection.
    pub number: u32,
    /// As the client wrote it.
    pub destination: String,
    /// How it is acknowledged.
    pub mode: AckMode,
    /// Packet ids given out and not acknowledged, in order. Empty in `auto` mode.
    pub unacked: VecDeque<u16>,
    /// How often each was refused.
    pub nacks: HashMap<u16, u32>,
    /// In `auto` mode: given to the socket, and acknowledged when that has written it.
    pub unwritten: Vec<u16>,
    /// The topic under which its messages are kept.
    pub topic: TopicName,
    /// The same as a filter.
    pub filter: TopicFilter,
    /// The thread, if this is its side channel and membership decides: its changes concern this too.
    pub thread: Option<TopicName>,
    /// Its partition.
    pub partition: PartitionId,
    /// What outlives the connection.
    pub durable: Option<Arc<Durable>>,
    /// The revision of the session that was reported last.
    pub reported: u32,
    /// Whether it is told who of those it talks to comes and goes.
    pub hears_presence: bool,
    /// Whether it receives yet.
    pub half: Half,
}

/// The receiving half of a subscription.
pub(crate) enum Half {
    /// From where on it comes live is not known yet.
    Waiting {
        token: u64,
        _attaching: AbortOnDropHandle<()>,
        after: Option<Position>,
        early: Vec<Mail>,
        receipt: Option<String>,
    },
    /// It receives.
    Receiving(Box<Receiver>),
}

impl Sub {
    /// What it is attached with.
    pub fn filters(&self) -> impl Iterator<Item = TopicFilter> + '_ {
        let thread = self.thread.as_ref().map(|thread| thread.to_filter());
        std::iter::once(self.filter.clone()).chain(thread)
    }

    /// The receipt that is asked for, until it begins.
    pub fn receipt(&self) -> Option<&str> {
        match &self.half {
            Half::Waiting { receipt, .. } => receipt.as_deref(),
            Half::Receiving(_) => None,
        }
    }

    fn concerns(&self, delivery: &Delivery) -> bool {
        let (topic, is_change) = (&delivery.entry.topic, delivery.entry.change.is_some());
        self.topic.as_str() == topic || (is_change && self.thread.as_deref() == Some(topic.as_str()))
    }

    /// Its receiving half, when it has begun.
    pub fn receiver(&mut self) -> Option<&mut Receiver> {
        match &mut self.half {
            Half::Receiving(receiver) => Some(receiver),
            Half::Waiting { .. } => None,
        }
    }

    /// From where on it comes live is known. Gives back the receipt that was asked for.
    pub fn begin(
        &mut self,
        edge: &Edge,
        boundary: Position,
        receiver: impl FnOnce(SavedState) -> Receiver,
    ) -> Option<String> {
        let Half::Waiting {
            after,
            early,
            receipt,
            ..
        } = &mut self.half
        else {
            return None;
        };
        let (early, receipt) = (std::mem::take(early), receipt.take());
        let state = match (&self.durable, *after) {
            (_, Some(after)) => state_after(after, boundary, self.partition, &self.filter),
            (Some(durable), None) => durable.begin(boundary),
            (None, None) => state_after(boundary, boundary, self.partition, &self.filter),
        };
        if let Some(durable) = &self.durable {
            edge.cursors.report(durable, &state);
        }
        let mut receiver = receiver(state);
        let start = Mail::Boundary(self.partition, boundary);
        for mail in std::iter::once(start).chain(early) {
            let _about_receiving = receiver.mail(mail);
        }
        self.reported = receiver.session.revision();
        self.half = Half::Receiving(Box::new(receiver));
        receipt
    }

    fn take(&mut self, mail: Mail) {
        match &mut self.half {
            Half::Receiving(receiver) => {
                let _about_receiving = receiver.mail(mail);
            }
            Half::Waiting { early, .. } => match &mail {
                // As if the mailbox had been full: what is missed is read.
                Mail::Live(delivery) if early.len() >= EARLY => {
                    if delivery.position > Position::START {
                        early.retain(|mail| !matches!(mail, Mail::Live(_)));
                        early.push(Mail::Skipped(self.partition, delivery.position));
                    }
                }
                _ => early.push(mail),
            },
        }
    }

    /// Whether there is progress, or news of messages that arrived, to report.
    pub fn has_news(&mut self) -> bool {
        let reported = self.reported;
        self.receiver()
            .is_some_and(|c| c.session.revision() != reported || c.has_delivered())
    }

    /// Tells the other pages of the visitor, and in time the store, what was acknowledged.
    pub fn share_progress(&mut self, edge: &Edge) {
        let Half::Receiving(receiver) = &mut self.half else {
            return;
        };
        let revision = receiver.session.revision();
        if revision != self.reported {
            self.reported = revision;
            if let Some(durable) = &self.durable {
                edge.cursors.report(durable, &receiver.session.save());
            }
        }
    }

    /// Reports progress, and messages that arrived.
    pub fn report(&mut self, edge: &Edge) {
        self.share_progress(edge);
        if let Some(receiver) = self.receiver() {
            if receiver.has_delivered() {
                receiver.report_delivered();
            }
            if receiver.session.is_idle() {
                receiver.session.shrink();
            }
        }
    }

    /// Ends it; what is durable of it is stored.
    pub async fn end(&mut self, edge: &Edge) {
        self.report(edge);
        edge.metrics.subscriptions.dec();
        if let Some(durable) = self.durable.take() {
            edge.cursors.leave(&durable).await;
        }
    }
}

/// Gives mail about receiving to whom it concerns.
pub(crate) fn give(subs: &mut [Sub], mail: Mail) {
    match mail {
        Mail::Live(delivery) => {
            let to = subs.iter_mut().filter(|s| s.concerns(&delivery));
            to.for_each(|s| s.take(Mail::Live(delivery.clone())));
        }
        Mail::Gap(partition) => {
            let to = subs.iter_mut().filter(|s| s.partition == partition);
            to.for_each(|s| s.take(Mail::Gap(partition)));
        }
        Mail::Boundary(partition, at) => {
            let to = subs.iter_mut().filter(|s| s.partition == partition);
            to.for_each(|s| s.take(Mail::Boundary(partition, at)));
        }
        Mail::Skipped(partition, upto) => {
            let to = subs.iter_mut().filter(|s| s.partition == partition);
            to.for_each(|s| s.take(Mail::Skipped(partition, upto)));
        }
        _ => {}
    }
}

/// Waits until one of them has read a piece of its backlog. Cancel safe.
pub(crate) async fn fetched(subs: &mut [Sub]) {
    std::future::poll_fn(|cx| {
        for receiver in subs.iter_mut().filter_map(Sub::receiver) {
            if pin!(receiver.fetched()).poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
