//! What a connection makes of an entry: whether it is for it, at which QoS, because of which subscriptions.

use std::sync::Arc;

use model::{ChatTopic, Position, TopicName};
use smallvec::SmallVec;
use wire::Kind;

use super::item::{Item, Matched};
use super::state::Receiver;
use crate::delivery::Delivery;
use crate::{access, audience, presence};

impl Receiver {
    /// What this connection makes of an entry; `None` if it is not for it.
    pub(super) fn item(&mut self, delivery: Arc<Delivery>) -> Option<Item> {
        self.take_change(&delivery);
        let entry = &delivery.entry;
        let heard = self.only_hears(&delivery);
        if heard && entry.change.is_none() {
            return None;
        }
        if !self.sees(&entry.topic, delivery.position) || self.is_before_beginning(&delivery) {
            return None;
        }
        let author = entry.sender == self.who.user.as_str();
        let matched = self.matched(&delivery);
        let qos = match entry.known_kind() {
            _ if heard => 0,
            Kind::Membership => 0,
            Kind::Unspecified => return None,
            Kind::Generic => matched.qos?.min(u8::try_from(entry.qos).unwrap_or(0)),
            Kind::Transient if presence::is_news(entry) && (author || !self.hears_presence()) => return None,
            Kind::Transient if delivery.is_visible_to(&self.who) => 0,
            Kind::Transient => return None,
            _ if delivery.is_visible_to(&self.who) => 1,
            _ => return None,
        };
        let note = !author && entry.known_kind() == Kind::Chat && !self.who.acts_as(&entry.author);
        Some(Item {
            delivery,
            qos,
            note,
            author,
            retained: false,
            retain: matched.retain,
            ids: matched.ids,
        })
    }

    /// Whether the connection may see what stands there. What was asked for, or given out, while a thread was its to see may come
    /// when it has left it.
    pub(super) fn sees(&self, topic: &str, position: Position) -> bool {
        if !self.entitled || self.entitlement.hides_some_of(ChatTopic::thread(topic)) {
            return self.entitlement.sees(topic, position);
        }
        let thread = ChatTopic::parse(topic).filter(|thread| thread.kind.is_service());
        let Some(thread) = thread else { return true };
        let own = thread.visitor().is_some_and(|visitor| self.who.acts_as(visitor));
        let desk = || audience::covers(&self.who, &TopicName::trusted(ChatTopic::thread(topic)));
        let implied = || self.implied.iter().any(|i| i.filter.matches(topic));
        let subscribed = || {
            self.session
                .subscriptions()
                .iter()
                .any(|s| s.filter.matches(topic))
        };
        own || desk() || subscribed() || implied()
    }

    /// Whether this is of a thread whose side channel alone is received.
    pub(super) fn only_hears(&self, delivery: &Delivery) -> bool {
        let heard = self.heard.as_ref();
        heard.is_some_and(|thread| thread.as_str() == delivery.entry.topic)
    }

    /// From now on it is told who of those it talks to comes and goes.
    pub fn hear_presence(&mut self) {
        self.hears_presence = true;
    }

    pub(super) fn hears_presence(&self) -> bool {
        let mut subscribed = self.session.subscriptions().iter();
        self.hears_presence || subscribed.any(|s| s.filter.as_str() == access::PRESENCE_FILTER)
    }

    /// What the subscriptions make of an entry, in one pass. Conversations need none, so of them only what is told beside is
    /// looked for.
    pub(super) fn matched(&self, delivery: &Delivery) -> Matched {
        let entry = &delivery.entry;
        let generic = entry.known_kind() == Kind::Generic;
        let own = !entry.client.is_empty()
            && entry.client == *self.client
            && entry.sender == self.who.user.as_str();
        let (mut matched, mut ids) = (Matched::default(), SmallVec::<[u32; 4]>::new());
        for s in self.session.subscriptions() {
            let retain = s.retain_as_published && entry.retain;
            let counts = generic || s.id.is_some() || retain;
            if !counts || (s.no_local && own) || !s.filter.matches(&entry.topic) {
                continue;
            }
            matched.qos = matched.qos.max(Some(s.qos));
            matched.retain |= retain;
            ids.extend(s.id);
        }
        if !ids.is_empty() {
            matched.ids = Some(Arc::from(&ids[..]));
        }
        matched
    }
}
