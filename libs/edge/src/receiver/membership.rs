//! What a connection receives changes while it lives: its user becomes a member of threads, and ceases to be one.

use contract::persistence::MemberTopic;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::thread::{Members, Membership};
use model::{Access, ChatTopic, PartitionId, Position, Role, TopicFilter, TopicName};
use wire::Kind;

use super::state::{Granted, Implied, Receiver};
use crate::access::thread_of;
use crate::delivery::Delivery;
use crate::{Refusal, audience};

/// How many subscriptions of a resumed session are judged at a time.
const JUDGED_AT_ONCE: usize = 16;

impl Receiver {
    /// The threads that a saved session did not know are read from where it sees them, as far as it has got without them.
    pub(super) fn read_granted(&mut self) {
        let begun: Vec<PartitionId> = self.session.partitions().collect();
        for granted in self.granted.extract_if(.., |g| begun.contains(&g.partition)) {
            self.session
                .catch_up(granted.partition, granted.filter, granted.since);
        }
    }

    /// A session begins in a partition where it had none: the threads of it that it was made a member of in the meantime are read
    /// from there on. For a new session that is since the threads were asked for, for a saved one since ever.
    pub(super) fn read_from_grants(&mut self, partition: PartitionId, boundary: Position) {
        let asked = self.asked.of(partition);
        let all = self.resumed.is_some();
        for granted in self.granted.extract_if(.., |g| g.partition == partition) {
            if granted.since < boundary && (all || asked <= granted.since) {
                self.session.catch_up(partition, granted.filter, granted.since);
            }
        }
    }

    /// If the partition in which a session begins is that of its user's own topic, the memberships that were granted after its
    /// threads had been asked for are read.
    pub(super) fn hear_of_grants(&mut self, partition: PartitionId, boundary: Position) {
        let own = audience::of_user(&self.who.user);
        let asked = self.asked.of(partition);
        if self.entitled && asked < boundary && partition == self.core.partitioning.of(&self.who.org, &own) {
            self.began = Some(boundary);
            self.session.catch_up(partition, own.to_filter(), asked);
        }
    }

    /// Whether this was sent to the user itself before the session began, and is no membership.
    pub(super) fn is_before_beginning(&self, delivery: &Delivery) -> bool {
        let entry = &delivery.entry;
        self.began.is_some_and(|boundary| delivery.position <= boundary)
            && entry.known_kind() != Kind::Membership
            && entry.topic == audience::of_user(&self.who.user).as_str()
    }

    /// Ends the subscriptions of a resumed session that would not be granted any more. Call before [`Self::begin`].
    pub async fn check_subscriptions(&mut self) -> Result<(), Refusal> {
        let filters: Vec<TopicFilter> = self
            .session
            .subscriptions()
            .iter()
            .map(|s| s.filter.clone())
            .collect();
        let judge = |filter: TopicFilter| {
            let (core, who, client) = (self.core.clone(), self.who.clone(), self.client.clone());
            async move {
                let granted = core.gate.may_subscribe(&who, &client, &filter).await?;
                Ok((!granted).then_some(filter))
            }
        };
        let ended = refused(filters, judge).await?;
        for filter in ended {
            self.session.unsubscribe(&filter);
        }
        Ok(())
    }

    /// The threads that a session has to know: those that the opening named; of one that goes on, those too whose memberships
    /// have ended since it got so far.
    pub async fn threads(&mut self, lasting: Vec<MemberTopic>) -> Result<Vec<MemberTopic>, Refusal> {
        let session = &self.session;
        let progress = session.partitions().filter_map(|p| Some((p, session.cursor(p)?)));
        let elsewhere = self.elsewhere.iter().copied();
        let elsewhere = elsewhere.filter(|(p, _)| session.cursor(*p).is_none());
        let reached: Vec<(PartitionId, Position)> = progress.chain(elsewhere).collect();
        if reached.is_empty() || !audience::has_threads(&self.who) {
            return Ok(lasting);
        }
        let identities = self.who.identities().cloned().collect();
        let persistence = &self.core.persistence;
        Ok(persistence
            .memberships(&self.who.org, identities, reached)
            .await?)
    }

    /// A thread that the connection begins with.
    pub(super) fn imply_thread(&mut self, thread: &MemberTopic) {
        if audience::covers(&self.who, &thread.topic) {
            if thread.memberships.is_empty() {
                // Somebody else was given its place, and that before the session got so far.
                self.entitlement.hide(&thread.topic);
            }
            self.entitlement.learn(&thread.topic, &thread.memberships);
            return;
        }
        let named = thread.memberships.iter();
        let named: Vec<_> = named
            .filter_map(|m| self.known.named(&thread.topic, thread.partition, m))
            .collect();
        let Some(since) = named.iter().map(|(m, _)| m.since).min() else {
            return;
        };
        for (membership, _) in &named {
            self.entitlement
                .learn(&thread.topic, std::slice::from_ref(membership));
        }
        let new = self.imply(&thread.topic, thread.partition, since);
        let unread = named.iter().filter_map(|(_, unread)| *unread).min();
        // What was saved without them knew them.
        let Some(since) = unread.filter(|_| !self.known.unsaved) else {
            return;
        };
        self.granted.extend(new.into_iter().map(|filter| Granted {
            partition: thread.partition,
            filter,
            since,
        }));
    }

    /// Follows its user into a thread, if one of its role and origin may be there at all: being a member does not make it so.
    fn imply(&mut self, thread: &TopicName, partition: PartitionId, since: Position) -> Vec<TopicFilter> {
        let parsed = ChatTopic::parse(thread);
        if parsed.is_none_or(|topic| Access::by_topic(&self.who, &topic) == Access::None) {
            return Vec::new();
        }
        let mut filters = audience::of_member_topic(&self.who, thread);
        filters.retain(|f| !self.implied.iter().any(|i| i.filter == *f));
        self.implied.extend(filters.iter().map(|filter| Implied {
            // The side channel lives with its thread: the position is one of its partition too.
            start: vec![(partition, since)],
            filter: filter.clone(),
        }));
        filters
    }

    /// A change of a thread has come: from its place on it counts, whatever else is buffered.
    pub(super) fn take_change(&mut self, delivery: &Delivery) {
        let Some(change) = delivery.change() else { return };
        let topic = TopicName::trusted(&delivery.entry.topic);
        let who = &self.who;
        let began = self
            .entitlement
            .apply(&topic, delivery.position, &change, |uid| who.acts_as(uid));
        for membership in self.entitlement.ended(&topic) {
            self.known.ends(&topic, membership);
        }
        if let Some(membership) = began {
            self.rejoined.push((delivery.position, membership));
        }
    }

    /// What changes memberships is handed out. A notice makes the user's own a matter of this connection; a change of a thread by
    /// which the user sees again what had been hidden from it has that read.
    pub(super) fn membership(&mut self, delivery: &Delivery) {
        if delivery.change().is_some() {
            let found = self.rejoined.iter().position(|(at, _)| *at == delivery.position);
            if let Some((at, membership)) = found.map(|i| self.rejoined.swap_remove(i)) {
                let topic = TopicName::trusted(&delivery.entry.topic);
                let partition = delivery.partition;
                if !self.entitled || self.known.begins(&topic, partition, &membership).is_some() {
                    // The change itself is being handed out.
                    self.join(&topic, &membership, Some(at.before()));
                }
            }
            return;
        }
        if !self.entitled {
            return;
        }
        let topic = TopicName::trusted(&delivery.entry.target);
        let Some(membership) = delivery.notice() else {
            return;
        };
        if audience::covers(&self.who, &topic) {
            // Its filter brings it the changes of the thread.
            return;
        }
        if membership.lasts() {
            // Unless everything of it is read, or being read, or was.
            let partition = self.core.partitioning.of(&self.who.org, &topic);
            if let Some(since) = self.known.begins(&topic, partition, &membership) {
                self.join(&topic, &Membership { since, ..membership }, None);
            }
            return;
        }
        self.known.is_over(&topic, &membership);
        if self.covered(&topic) {
            self.entitlement.learn(&topic, &[membership]);
        }
    }

    /// The user has become a member of a thread: its entries since then are read, up to a place from which on they have come live,
    /// and then come live.
    fn join(&mut self, topic: &TopicName, membership: &Membership, live_from: Option<Position>) {
        let partition = self.core.partitioning.of(&self.who.org, topic);
        let since = membership.since;
        let hidden = self.entitlement.hides_some_of(topic);
        self.entitlement.learn(topic, std::slice::from_ref(membership));
        let filters = if self.entitled {
            self.imply(topic, partition, since);
            if !self.covered(topic) {
                return;
            }
            audience::of_member_topic(&self.who, topic)
        } else {
            self.asked_for(topic)
        };
        for filter in filters {
            // What a subscription has brought, with nothing of it hidden, is not read again. The filter of a thread may be
            // there already: of a membership that has ended, and of which not everything is acknowledged. Then what came
            // live was hidden.
            let subscribed = match hidden {
                true => None,
                false => self.subscribed_from(partition, &filter),
            };
            let upto = live_from.unwrap_or(Position::END);
            let upto = upto.min(subscribed.unwrap_or(Position::END));
            self.session.catch_up_to(partition, filter.clone(), since, upto);
            let token = self.attach(std::slice::from_ref(&filter));
            self.grants.push((token, partition));
        }
    }

    /// The subscriptions to a thread and to its side channel.
    fn asked_for(&self, thread: &TopicName) -> Vec<TopicFilter> {
        let of_thread = |f: &&TopicFilter| f.as_topic().is_some_and(|topic| thread_of(&topic) == *thread);
        let subscriptions = self.session.subscriptions().iter().map(|s| &s.filter);
        subscriptions.filter(of_thread).cloned().collect()
    }

    /// From where on a subscription has brought what a topic's filter brings. Of one that was saved it is not known after a while;
    /// it began before the connection did.
    fn subscribed_from(&self, partition: PartitionId, filter: &TopicFilter) -> Option<Position> {
        let topic = filter.as_topic()?;
        let subscriptions = self.session.subscriptions().iter();
        let begun = subscriptions.filter(|s| s.filter.matches(&topic)).map(|s| {
            let start = s.start.iter().chain(self.resumed.iter().flatten());
            start.clone().find(|(p, _)| *p == partition).map(|(_, at)| *at)
        });
        begun.flatten().min()
    }

    /// A visitor writes in one of its threads: it receives it from now on, whoever is away that could tell it.
    pub fn writes_in(&mut self, topic: &TopicName) {
        if !self.entitled || self.who.role != Role::Visitor || self.covered(topic) {
            return;
        }
        let partition = self.core.partitioning.of(&self.who.org, topic);
        let since = self.core.attachments.given_out(partition);
        let membership = Membership::from(self.who.user.clone(), self.who.user.clone(), since);
        self.known.begins(topic, partition, &membership);
        self.join(topic, &membership, Some(since));
    }

    fn covered(&self, topic: &TopicName) -> bool {
        let filter = topic.to_filter();
        self.implied.iter().any(|i| i.filter == filter)
    }

    /// Lets go of threads whose last membership has ended and of which everything up to there is acknowledged.
    pub(super) fn leave_ended(&mut self) {
        let mut left = Vec::new();
        for implied in &self.implied {
            let Some((partition, _)) = implied.start.first() else {
                continue;
            };
            let Some(topic) = implied.filter.as_topic() else {
                continue;
            };
            let thread = thread_of(&topic);
            let ended = self.entitlement.ended_at(&thread);
            let acknowledged = self.session.cursor(*partition);
            let passed = ended.is_some_and(|at| acknowledged.is_some_and(|cursor| at <= cursor));
            if passed && !self.session.is_catching_up(&implied.filter) {
                left.push((implied.filter.clone(), thread));
            }
        }
        for (filter, thread) in left {
            self.implied.retain(|i| i.filter != filter);
            self.known.leave(&thread);
            let subscribed = self
                .session
                .subscriptions()
                .iter()
                .any(|s| s.filter.matches(&thread));
            if subscribed {
                continue;
            }
            self.core
                .attachments
                .detach(&self.mailbox, &self.who.org, [&filter]);
            let still = self.implied.iter().any(|i| i.filter.matches(&thread));
            if !still && !audience::covers(&self.who, &thread) {
                self.entitlement.forget(&thread);
            }
        }
    }

    /// Learns who of its user is, and was, a member of the thread whose topic, or side channel, it subscribes to. The changes of the
    /// thread must come to it from where the subscription begins: the side channel has none.
    pub fn learn(&mut self, topic: &TopicName, members: &Members) {
        let own: Vec<Membership> = members.of(|uid| self.who.acts_as(uid)).cloned().collect();
        let thread = thread_of(topic);
        self.entitlement.learn(&thread, &own);
        if thread != *topic {
            self.implied.push(Implied {
                filter: thread.to_filter(),
                start: Vec::new(),
            });
            self.heard = Some(thread);
        }
    }

    /// Whether the user was a member of a thread, and is no more.
    pub fn has_left(&self, topic: &TopicName) -> bool {
        self.entitlement.has_ended(topic)
    }
}

/// Those that are not granted. A number of them are judged at a time, as each may have to ask the store.
/// `judge` gives back a filter that is not granted.
async fn refused<F>(
    filters: Vec<TopicFilter>,
    judge: impl FnMut(TopicFilter) -> F,
) -> Result<Vec<TopicFilter>, Refusal>
where
    F: Future<Output = Result<Option<TopicFilter>, Refusal>>,
{
    let judged = stream::iter(filters.into_iter().map(judge)).buffered(JUDGED_AT_ONCE);
    judged
        .try_filter_map(|refused| std::future::ready(Ok(refused)))
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn the_subscriptions_of_a_resumed_session_are_judged_together_a_bounded_number_at_a_time() {
        let filters: Vec<TopicFilter> = (0..50).map(|i| TopicFilter::trusted(format!("t/{i}"))).collect();
        let (now, most) = (&Cell::new(0), &Cell::new(0));
        let judge = |filter: TopicFilter| async move {
            now.set(now.get() + 1);
            most.set(now.get().max(most.get()));
            tokio::task::yield_now().await;
            now.set(now.get() - 1);
            Ok(filter.ends_with('7').then_some(filter))
        };
        let want: Vec<TopicFilter> = filters.iter().filter(|f| f.ends_with('7')).cloned().collect();
        let ended = refused(filters.clone(), judge).await.map_err(|r| r.detail);
        assert_eq!((ended, most.get()), (Ok(want), JUDGED_AT_ONCE));
        let unknown = refused(filters, |_| async { Err(Refusal::invalid("not known")) }).await;
        assert!(unknown.is_err());
    }
}
