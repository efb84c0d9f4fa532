//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use contract::ErrorKind;
use contract::persistence::SessionKey;
use edge::access::thread_of;
use edge::mailbox::Boundaries;
use edge::receiver::Receiver;
use edge::{Refusal, audience};
use model::{Access, ChatTopic, PartitionId, Position, Role, TopicFilter, TopicName};
use session::Limits;
use stomp_codec::{AckMode, Frame};

use crate::bye::Bye;
use crate::connection::Connection;
use crate::cursors::Durable;
use crate::destination;
use crate::service::Edge;
use crate::subscription::{Half, Sub};

/// Names the position that a subscription begins after.
const AFTER: &str = "longwire-after";
/// `true`: the subscription is told who of the thread comes and goes.
const PRESENCE: &str = "longwire-presence";

impl Connection {
    /// SUBSCRIBE. Its RECEIPT leaves when everything from then on is sure to come.
    pub async fn subscribe(&mut self, frame: &Frame) -> Result<(), Bye> {
        let receipt = frame.get("receipt");
        let sub = self.new_sub(frame).await.map_err(|r| Bye::refused(r, receipt))?;
        self.edge.metrics.subscriptions.inc();
        self.subs.push(sub);
        Ok(())
    }

    async fn new_sub(&mut self, frame: &Frame) -> Result<Sub, Refusal> {
        let destination = frame.get("destination").unwrap_or_default();
        let mode = AckMode::parse(frame.get("ack")).map_err(|e| Refusal::invalid(e.to_string()))?;
        let after = frame.get(AFTER).map(str::parse::<Position>).transpose();
        let after =
            after.map_err(|_| Refusal::invalid(format!("{AFTER} is not a position; 0 is the beginning")))?;
        let id = frame.get("id").unwrap_or(destination);
        if self.subs.iter().any(|s| s.id == id) {
            let detail = format!("the subscription id {id:?} is in use; give each subscription its own");
            return Err(Refusal::invalid(detail));
        }
        if self.subs.len() >= self.edge.config.limits.max_subscriptions {
            let detail = "the connection has as many subscriptions as it may; unsubscribe first";
            return Err(Refusal::new(ErrorKind::RateLimited, detail));
        }
        let topic = self.topic_of(destination).await?;
        let hears_presence = frame.get(PRESENCE) == Some("true");
        if hears_presence && !self.identity.who.is_proven() {
            let detail = format!(
                "{PRESENCE}: who comes and goes is told to users with a token that proves who they are"
            );
            return Err(Refusal::forbidden(detail));
        }
        let filter = topic.to_filter();
        self.may_receive(&topic).await?;
        let core = self.edge.core.clone();
        let partition = core.partitioning.of(&self.identity.who.org, &topic);
        let durable = self.durable(&topic, partition, &filter).await?;
        let token = self.token();
        let by_topic = ChatTopic::parse(&topic).map(|parsed| Access::by_topic(&self.identity.who, &parsed));
        let thread = thread_of(&topic);
        let thread =
            (by_topic.is_some_and(|access| !access.is_decided()) && thread != topic).then_some(thread);
        let filters: Vec<_> = [Some(filter.clone()), thread.as_ref().map(|t| t.to_filter())]
            .into_iter()
            .flatten()
            .collect();
        let attaching = core
            .attachments
            .attach(&self.mailbox, &self.identity.who.org, &filters);
        Ok(Sub {
            id: id.to_owned(),
            is_named: frame.get("id").is_some(),
            number: u32::try_from(token).unwrap_or(u32::MAX),
            destination: destination.to_owned(),
            mode,
            unacked: VecDeque::new(),
            nacks: HashMap::new(),
            unwritten: Vec::new(),
            topic,
            filter,
            thread,
            partition,
            durable,
            reported: 0,
            hears_presence,
            half: Half::Waiting {
                token,
                _attaching: attaching.tell(&self.mailbox, token),
                after,
                early: Vec::new(),
                receipt: frame.get("receipt").map(str::to_owned),
            },
        })
    }

    /// The topic of a destination, under which its messages are kept.
    async fn topic_of(&mut self, destination: &str) -> Result<TopicName, Refusal> {
        if let Some(topic) = destination::to_subscribe(destination)? {
            self.bind(&topic).await?;
            return Ok(ChatTopic::canonical(&topic));
        }
        if !self.identity.is_bound() {
            let detail = "it is not known whose messages these are; connect with login or a token";
            return Err(Refusal::forbidden(detail));
        }
        Ok(audience::of_user(&self.identity.who.user))
    }

    async fn may_receive(&mut self, topic: &TopicName) -> Result<(), Refusal> {
        let who = &self.identity.who;
        let client = self.client.as_deref().unwrap_or_default();
        let gate = &self.edge.core.gate;
        if topic.starts_with('$') || !gate.may_subscribe(who, client, &topic.to_filter()).await? {
            let user = who.user.as_str();
            return Err(Refusal::forbidden(format!("{user:?} may not receive {topic}")));
        }
        Ok(())
    }

    async fn durable(
        &mut self,
        topic: &TopicName,
        partition: PartitionId,
        filter: &TopicFilter,
    ) -> Result<Option<Arc<Durable>>, Refusal> {
        if !self.identity.is_durable {
            return Ok(None);
        }
        let who = &self.identity.who;
        let client = durable_name(topic, who.role, self.client.as_deref());
        let key = SessionKey::of(who, client);
        Ok(Some(self.edge.cursors.join(key, partition, filter).await?))
    }

    /// From where on a subscription comes live is known: it begins to receive.
    pub async fn attached(&mut self, token: u64, boundaries: Vec<Boundaries>) -> Result<(), Bye> {
        let waits = |s: &&mut Sub| matches!(s.half, Half::Waiting { token: t, .. } if t == token);
        let Some(sub) = self.subs.iter_mut().find(waits) else {
            return Ok(());
        };
        let of_partition = boundaries.into_iter().flatten();
        let of_partition = of_partition.filter(|(p, _)| *p == sub.partition);
        let boundary = of_partition.map(|(_, at)| at).max().unwrap_or_default();
        let hears_presence = sub.hears_presence;
        let topic = sub.topic.clone();
        // Whoever was a member when it asked, and is none where it begins, would not hear of that any more.
        let gate = &self.edge.core.gate;
        let members = gate.members_at(&self.identity.who, &topic, boundary).await;
        let members = members.map_err(|refusal| Bye::refused(refusal, sub.receipt()))?;
        let receipt = sub.begin(&self.edge, boundary, |state| {
            let mut receiver = Receiver::new(
                self.edge.core.clone(),
                self.identity.who.clone(),
                self.client.as_deref().unwrap_or_default(),
                self.mailbox.clone(),
                limits(&self.edge),
                Some((state, 0)),
            );
            if hears_presence {
                receiver.hear_presence();
            }
            if let Some(members) = &members {
                receiver.learn(&topic, members);
            }
            receiver
        });
        if self.throttled
            && let Some(receiver) = sub.receiver()
        {
            receiver.throttle(true);
        }
        // Where it begins is stored before anything is given out: what is not acknowledged here is owed on any edge.
        if let Some(durable) = sub.durable.clone() {
            self.edge.cursors.store(&[durable]).await;
        }
        if let Some(receipt) = receipt {
            self.receipt(&receipt);
        }
        self.report_soon();
        Ok(())
    }

    /// UNSUBSCRIBE. What is kept of a durable subscription stays.
    pub async fn unsubscribe(&mut self, frame: &Frame) -> Result<(), Bye> {
        let id = frame
            .get("id")
            .or_else(|| frame.get("destination"))
            .unwrap_or_default();
        let found = self.subs.iter().position(|s| s.id == id);
        if let Some(at) = found {
            self.drop_sub(at).await;
        }
        self.answer(frame);
        Ok(())
    }

    async fn drop_sub(&mut self, at: usize) {
        let mut sub = self.subs.remove(at);
        let edge = self.edge.clone();
        let mut unused: Vec<TopicFilter> = sub.filters().collect();
        unused.retain(|f| !self.subs.iter().flat_map(Sub::filters).any(|used| used == *f));
        let org = &self.identity.who.org;
        edge.core.attachments.detach(&self.mailbox, org, &unused);
        sub.end(&edge).await;
    }
}

/// The name of a durable subscription, among those of its user. What one role has acknowledged the others may never have
/// seen, so each has its own. Neither a topic nor a role holds a '#': nobody's client-id makes it another's.
fn durable_name(topic: &TopicName, role: Role, client: Option<&str>) -> String {
    match (role, client) {
        (Role::Visitor, None) => format!("stomp/{topic}"),
        (_, None) => format!("stomp/{topic}#{}", role.name()),
        (_, Some(client)) => format!("stomp/{topic}#{}#{client}", role.name()),
    }
}

fn limits(edge: &Edge) -> Limits {
    let limits = &edge.config.limits;
    let u32_of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Limits {
        window: limits.window,
        window_bytes: u32_of(limits.window_bytes.as_usize()),
        received: 0,
        buffer_items: u32_of(limits.buffer),
        buffer_bytes: u32_of(limits.buffer_bytes.as_usize()),
        page_entries: 128,
        page_bytes: 128 << 10,
    }
}
