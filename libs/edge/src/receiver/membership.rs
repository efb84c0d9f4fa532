//! What a connection receives changes while it lives: its user becomes a member of threads, and ceases to be one.

use contract::persistence::MemberTopic;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{Access, ChatTopic, OrgId, PartitionId, Position, TopicFilter, TopicName};
use wire::Kind;

use super::state::{Implied, Receiver};
use crate::delivery::Delivery;
use crate::{Refusal, audience};

/// How many subscriptions of a resumed session are judged at a time.
const JUDGED_AT_ONCE: usize = 16;

impl Receiver {
    /// A session begins in a partition where it had none: the threads of it that it was made a member of in the meantime are read
    /// from there on. For a new session that is since the threads were asked for, for a saved one since ever: had it known one, it
    /// would have had the partition.
    pub(super) fn read_from_grants(&mut self, partition: PartitionId, boundary: Position) {
        let asked = self.asked.of(partition);
        let all = self.resumed.is_some();
        for implied in &self.implied {
            let since = implied.start.iter().find(|(p, _)| *p == partition);
            if let Some((_, since)) = since.filter(|(_, at)| *at < boundary && (all || asked <= *at)) {
                self.session.catch_up(partition, implied.filter.clone(), *since);
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

    pub(super) fn imply_thread(&mut self, thread: &MemberTopic) -> Vec<TopicFilter> {
        let mut filters = audience::of_member_topic(&self.who, thread);
        filters.retain(|f| !self.implied.iter().any(|i| i.filter == *f));
        self.implied.extend(filters.iter().map(|filter| Implied {
            // The side channel lives with its thread: the position is one of its partition too.
            start: vec![(thread.partition, thread.since)],
            filter: filter.clone(),
        }));
        filters
    }

    pub(super) fn is_revoked(&self, topic: &str) -> bool {
        self.revoked.iter().any(|t| t.as_str() == topic)
    }

    /// A user became a member of a thread: its entries since then are read, and then come live. Or it ceased to be one.
    pub(super) fn membership(&mut self, delivery: &Delivery) {
        let entry = &delivery.entry;
        if !self.entitled {
            return;
        }
        let topic = TopicName::trusted(&entry.target);
        if entry.state != 1 {
            let own = ChatTopic::parse(&topic).is_some_and(|t| Access::by_topic(&self.who, &t).may_receive());
            if !own {
                side_channel(&topic).into_iter().for_each(|t| self.revoke(&t));
            }
            return;
        }
        let partition = self.core.partitioning.of(&self.who.org, &topic);
        let thread = MemberTopic {
            topic,
            partition,
            since: Position(entry.upto),
        };
        self.revoked.retain(|t| !side_channel(&thread.topic).contains(t));
        let new = self.imply_thread(&thread);
        for filter in audience::of_member_topic(&self.who, &thread) {
            // One that was implied from the beginning is read with the rest, as far as the saved session had not got
            // past it.
            let passed = match new.contains(&filter) {
                true => Some(Position::END),
                false => self.had_passed(partition, thread.since),
            };
            if let Some(upto) = passed {
                self.session
                    .catch_up_to(partition, filter.clone(), thread.since, upto);
                let token = self.attach(std::slice::from_ref(&filter));
                self.grants.push((token, partition));
            }
        }
    }

    /// How far the saved session had got in a partition without what it may see since then. From there on this connection
    /// has read with it: the thread was in the list that it began with, from a position that is not after `since`.
    fn had_passed(&self, partition: PartitionId, since: Position) -> Option<Position> {
        let mut resumed = self.resumed.iter().flatten();
        let (_, sent) = resumed.find(|(p, sent)| *p == partition && since < *sent)?;
        Some(*sent)
    }

    /// The membership of a thread changed: what the user may no longer see is not handed out any more.
    pub async fn access_changed(&mut self, org: &OrgId, topic: &TopicName) {
        if *org != self.who.org {
            return;
        }
        for topic in side_channel(topic) {
            let filter = topic.to_filter();
            let implied = self.implied.iter().any(|i| i.filter == filter);
            if !implied && self.session.subscriptions().iter().all(|s| s.filter != filter) {
                continue;
            }
            match self.core.gate.chat_access(&self.who, &topic).await {
                Ok(access) if access.may_receive() => self.revoked.retain(|t| *t != topic),
                Ok(_) => self.revoke(&topic),
                // That it ceased to be a member is told by an entry of its own topic as well.
                Err(error) => tracing::debug!(%error, "whether a thread may still be seen is not known"),
            }
        }
    }

    fn revoke(&mut self, topic: &TopicName) {
        let filter = topic.to_filter();
        self.implied.retain(|i| i.filter != filter);
        self.session.unsubscribe(&filter);
        self.core
            .attachments
            .detach(&self.mailbox, &self.who.org, [&filter]);
        if !self.is_revoked(topic) {
            self.revoked.push(topic.clone());
        }
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

/// A thread and its side channel, which has the same members.
fn side_channel(topic: &TopicName) -> [TopicName; 2] {
    [topic.clone(), TopicName::trusted(format!("{topic}_internal"))]
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
