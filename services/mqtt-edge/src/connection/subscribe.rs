//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use contract::persistence::BacklogLane;
use edge::delivery::Delivery;
use edge::mailbox::{Boundaries, Mail};
use model::{ChatTopic, PartitionId, Position, TopicFilter};
use mqtt_codec::{Packet, ReasonCode, RetainHandling, SubAck, Subscribe, UnsubAck, Unsubscribe, Version};
use session::Subscription;
use tracing::debug;
use wire::Entry;

use super::Connection;
use super::end::End;
use super::pending::PendingSubscribe;

impl Connection {
    pub(super) async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), End> {
        let id = subscribe
            .properties
            .subscription_identifier
            .map(mqtt_codec::SubscriptionId::get);
        let (mut reasons, mut filters, mut retained) = (Vec::new(), Vec::new(), Vec::new());
        for asked in &subscribe.subscriptions {
            match self.grant(asked, id).await {
                Ok((filter, existed)) => {
                    reasons.push(granted(asked.qos as u8));
                    let due = match asked.retain_handling {
                        RetainHandling::Send => true,
                        RetainHandling::SendIfNew => !existed,
                        RetainHandling::DoNotSend => false,
                    };
                    if due && ChatTopic::parse(&filter).is_none() {
                        retained.push((filter.clone(), asked.qos as u8));
                    }
                    filters.push((filter, existed));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        // SUBACK waits until nothing can be missed any more.
        let attach: Vec<TopicFilter> = filters.iter().map(|(filter, _)| filter.clone()).collect();
        let token = self.receiver.attach(&attach);
        self.subscribes.push(PendingSubscribe {
            token,
            packet_id: subscribe.packet_id,
            reasons,
            filters,
            retained,
        });
        Ok(())
    }

    /// Adds a granted subscription to the session; says whether there was one. It receives from here on.
    async fn grant(
        &mut self,
        asked: &mqtt_codec::Subscription,
        id: Option<u32>,
    ) -> Result<(TopicFilter, bool), ReasonCode> {
        let filter = TopicFilter::new(&asked.filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if filter.starts_with("$share/") {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        let core = self.edge.core.clone();
        match core
            .gate
            .may_subscribe(&self.who, &self.peer.client, &filter)
            .await
        {
            Ok(true) => {}
            Ok(false) => return Err(ReasonCode::NotAuthorized),
            Err(refused) => {
                debug!(detail = %refused.detail, "a subscription cannot be judged");
                return Err(ReasonCode::UnspecifiedError);
            }
        }
        let filter = canonical(filter);
        let known = self.receiver.session.subscriptions();
        if known.len() >= self.edge.config.limits.max_subscriptions
            && known.iter().all(|s| s.filter != filter)
        {
            return Err(ReasonCode::QuotaExceeded);
        }
        let start = self.receiver.start_of(&filter);
        let existed = self.receiver.session.subscribe(Subscription {
            filter: filter.clone(),
            qos: asked.qos as u8,
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            retain_handling: asked.retain_handling as u8,
            id,
            start,
        });
        Ok((filter, existed))
    }

    /// The topics of a SUBSCRIBE come live now: SUBACK, then what is retained, when it has been read.
    pub(super) async fn attached(&mut self, token: u64, boundaries: &[Boundaries]) {
        let Some(i) = self.subscribes.iter().position(|s| s.token == token) else {
            return;
        };
        let pending = self.subscribes.remove(i);
        for ((filter, existed), boundaries) in pending.filters.iter().zip(boundaries) {
            if !existed {
                self.receiver.session.subscribed_at(filter, boundaries.to_vec());
            }
        }
        self.keep_subscriptions().await;
        let suback = SubAck {
            packet_id: pending.packet_id,
            properties: Default::default(),
            reasons: pending.reasons,
        };
        self.write_packet(&Packet::SubAck(suback));
        for (filter, qos) in pending.retained {
            // As it was where this filter came live, in the partitions that it concerns.
            let of_filter = pending.filters.iter().zip(boundaries);
            let of_filter = of_filter.filter(|((f, _), _)| *f == filter).flat_map(|(_, b)| b);
            let lanes = of_filter.map(|(partition, upto)| BacklogLane {
                partition: *partition,
                after: *upto,
                upto: *upto,
            });
            let lanes = lanes.collect();
            self.ask_for_retained(filter, qos, lanes);
        }
    }

    fn ask_for_retained(&self, filter: TopicFilter, qos: u8, lanes: Vec<BacklogLane>) {
        let (core, mailbox, org) = (self.edge.core.clone(), self.mailbox.clone(), self.who.org.clone());
        // Ends with the answer; persistence bounds how long that takes.
        tokio::spawn(async move {
            let found = match core.persistence.retained(&org, &filter, lanes).await {
                Ok(found) => found,
                Err(error) => return debug!(%error, "retained messages are unavailable"),
            };
            let now = core.now();
            let entries = found
                .into_iter()
                .filter_map(|r| wire::frame::decode_entry(r.entry).ok());
            let deliveries = entries.map(|entry| {
                let partition = core.partitioning.of(&entry.org, &entry.topic);
                Arc::new(retained_delivery(partition, entry))
            });
            let deliveries: Vec<_> = deliveries.filter(|d| !d.is_expired(now)).collect();
            if !deliveries.is_empty() {
                mailbox.push(Mail::Retained(deliveries, qos));
            }
        });
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), End> {
        let mut reasons = Vec::new();
        for filter in &unsubscribe.filters {
            let existed =
                TopicFilter::new(filter).is_ok_and(|filter| self.end_subscription(&canonical(filter)));
            reasons.push(if existed {
                ReasonCode::Success
            } else {
                ReasonCode::NoSubscriptionExisted
            });
        }
        if self.peer.version == Version::V311 {
            reasons.clear();
        }
        let unsuback = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: Default::default(),
            reasons,
        };
        self.write_packet(&Packet::UnsubAck(unsuback));
        Ok(())
    }

    fn end_subscription(&mut self, filter: &TopicFilter) -> bool {
        let existed = self.receiver.unsubscribe(filter);
        if existed {
            self.receiver.detach(filter);
        }
        existed
    }
}

/// A colleague thread is kept under one topic, whichever side names it.
fn canonical(filter: TopicFilter) -> TopicFilter {
    match filter.as_topic() {
        Some(topic) => ChatTopic::canonical(&topic).to_filter(),
        None => filter,
    }
}

fn granted(qos: u8) -> ReasonCode {
    match qos {
        0 => ReasonCode::GRANTED_QOS_0,
        1 => ReasonCode::GrantedQoS1,
        _ => ReasonCode::GrantedQoS2,
    }
}

/// A delivery that stands for a retained message: it has no place of its own in what the client receives.
fn retained_delivery(partition: PartitionId, entry: Entry) -> Delivery {
    Delivery::new(partition, Position::START, None, entry)
}
