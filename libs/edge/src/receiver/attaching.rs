//! What a connection wants, entered into the table of its edge and attached at the owners.

use contract::persistence::MemberTopic;
use model::{Concerned, PartitionId, Position, TopicFilter};

use super::asked::Asked;
use super::state::{Fresh, Implied, Receiver};
use crate::attach::Attaching;
use crate::audience;

impl Receiver {
    /// Begins to receive: what the principal is entitled to (if `entitled`), the threads it is a member of, and what the
    /// session subscribed to before.
    /// `asked` is what [`super::asked_for_threads`] said before the threads were asked for: who became a member since then is told
    /// so, though the session begins later.
    pub fn begin(&mut self, entitled: bool, threads: &[MemberTopic], asked: Asked) {
        self.entitled = entitled;
        self.asked = asked;
        if entitled && self.resumed.is_none() {
            let partitions = self.core.partitioning.all();
            let stood = partitions.map(|p| (p, self.asked.of(p)));
            // Where this edge has been given nothing, it does not know.
            self.elsewhere = stood.filter(|(_, at)| *at > Position::START).collect();
        }
        if entitled {
            let of_principal = audience::of_principal(&self.who);
            self.implied
                .extend(of_principal.into_iter().map(|filter| Implied {
                    filter,
                    start: Vec::new(),
                }));
            for thread in threads {
                self.imply_thread(thread);
            }
            let resumed = self.resumed.iter().flatten();
            let sent = |p| resumed.clone().find(|(of, _)| *of == p).map(|(_, at)| *at);
            let threads = threads.iter().map(|thread| thread.topic.as_str());
            self.known.leave_all_but(threads, |p| sent(p).unwrap_or_default());
            self.read_granted();
        }
        let subscribed = self.session.subscriptions().iter().map(|s| s.filter.clone());
        let filters: Vec<TopicFilter> = self
            .implied
            .iter()
            .map(|i| i.filter.clone())
            .chain(subscribed)
            .collect();
        let known: Vec<PartitionId> = self.session.partitions().collect();
        let attaching = self.enter(&filters);
        // Each partition for itself: an owner that does not answer holds up its own topics only.
        for (partition, entered, attaching) in attaching.by_partition() {
            let token = self.await_boundaries(attaching);
            self.initial.push((token, partition));
            if !known.contains(&partition) {
                self.fresh.push(Fresh {
                    partition,
                    entered,
                    early: Position::START,
                    begun: false,
                });
            }
        }
        self.session.start(&mut self.out);
        // Nothing comes live in the others; what is owed of them has to be read all the same.
        let concerned = |p: &PartitionId| self.initial.iter().any(|(_, i)| i == p);
        let others: Vec<PartitionId> = known.into_iter().filter(|p| !concerned(p)).collect();
        others.into_iter().for_each(|p| self.hold(p, Position::START));
        self.release_held();
    }

    /// Whether what it received from the beginning has been attached, or is not waited for any more: from then on nothing is
    /// missed that anybody sends.
    pub fn is_attached(&self) -> bool {
        self.initial.is_empty() || self.late
    }

    /// Attaches filters; [`Left::Attached`] with the returned name tells when they are complete.
    pub fn attach(&mut self, filters: &[TopicFilter]) -> u64 {
        let attaching = self.enter(filters);
        self.await_boundaries(attaching)
    }

    pub(super) fn enter(&self, filters: &[TopicFilter]) -> Attaching {
        let attachments = &self.core.attachments;
        attachments.attach(&self.mailbox, &self.who.org, filters)
    }

    pub(super) fn await_boundaries(&mut self, attaching: Attaching) -> u64 {
        let token = self.next_attach;
        self.next_attach += 1;
        self.attaching.retain(|attach| !attach.is_finished());
        self.attaching.push(attaching.tell(&self.mailbox, token));
        token
    }

    /// Where a new subscription to `filter` begins: what is given out from now on is its. Call before [`Self::attach`].
    pub fn start_of(&self, filter: &TopicFilter) -> Vec<(PartitionId, Position)> {
        let start = |p| (p, self.core.attachments.given_out(p));
        self.concerned(filter).into_iter().map(start).collect()
    }

    pub(super) fn concerned(&self, filter: &TopicFilter) -> Concerned {
        self.core.partitioning.of_filter(&self.who.org, filter)
    }

    /// Takes filters away that neither a subscription nor the entitlement needs any more.
    pub fn detach(&self, filter: &TopicFilter) {
        if !self.implied.iter().any(|i| i.filter == *filter) {
            self.core
                .attachments
                .detach(&self.mailbox, &self.who.org, [filter]);
        }
    }

    /// Ends receiving.
    pub fn leave(&self) {
        let subscribed = self.session.subscriptions().iter().map(|s| &s.filter);
        let filters = self.implied.iter().map(|i| &i.filter).chain(subscribed);
        self.core.attachments.leave(&self.mailbox, &self.who.org, filters);
    }
}
