//! Threads that are opened, offered, handed on, left and closed, by several at once, while everything else goes on; and their
//! members, who are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::thread::{Act, Membership, Offer, Step, ThreadStatus};
use model::{Partitioning, Position, TopicName, UnixMillis, UserId};
use wire::{Entry, Kind, ThreadChange};

use super::{EDGES, Message, PARTITIONS, World};
use crate::life::{Life, THREADS, user_of};
use crate::log::Placed;

/// The uids under which agents serve.
const AGENTS: [&str; 2] = ["m0", "m1"];

impl World {
    /// The visitor of a thread, or an agent, whether or not it is a member, says something there.
    pub(super) fn speak(&mut self, edge: usize, what: usize) {
        let (topic, number) = (THREADS[what % 2], self.messages.len());
        let author = match what / 2 % 4 {
            0 => AGENTS[0],
            1 => AGENTS[1],
            _ => ["v0", "v1"][what % 2],
        };
        self.say(
            edge,
            Entry {
                kind: Kind::Chat.into(),
                topic: topic.into(),
                uid: format!("t{number}"),
                sender: user_of(author),
                author: author.into(),
                r#type: "TEXT".into(),
                digest: number as u64,
                ..Entry::default()
            },
        );
    }

    fn say(&mut self, edge: usize, entry: Entry) {
        self.messages.push(Message {
            entry: Entry {
                org: "o".into(),
                qos: 1,
                ..entry
            },
            settled: Arc::default(),
            under_way: Arc::default(),
        });
        self.attempt(self.messages.len() - 1, edge % EDGES);
    }

    /// Somebody changes a thread, or two do that know the same of it: what they know may be old.
    pub(super) fn change(&mut self, a: usize, b: usize) {
        let topic = THREADS[a % 2];
        let partition = Partitioning::new(PARTITIONS).of("o", &TopicName::trusted(topic));
        // Threads do not change faster than members are told. Of a membership that is over before its member is told of it, what is
        // older may come after what is newer (delivery.md).
        if !self.everybody_is_told() {
            return;
        }
        let known = match b % 3 {
            0 => self.store.applied_in(partition),
            _ => self.log.head(partition),
        };
        let life = Life::of(&self.log, partition, topic, known);
        let several = 1 + usize::from(b.is_multiple_of(4));
        for n in 0..several {
            let step = step(&life, topic, a / 2 + 7 * n, format!("c{}", self.messages.len()));
            let Ok(change) = life.thread.decide(step) else {
                continue;
            };
            let number = self.messages.len();
            // Some are shown to clients, some are not.
            let (kind, r#type) = match change.act {
                Act::Closed | Act::Accepted | Act::Left => (Kind::Chat, "NOTICE"),
                _ => (Kind::Membership, ""),
            };
            let entry = Entry {
                kind: kind.into(),
                topic: topic.into(),
                uid: format!("c{number}"),
                sender: "longwire".into(),
                author: "longwire".into(),
                r#type: r#type.into(),
                digest: number as u64,
                change: Some(ThreadChange::of(&change, known)),
                ..Entry::default()
            };
            self.say(b + n, entry);
        }
    }

    /// Tells members of what was changed: each membership that began or ended, on its user's own topic.
    pub(super) fn tell_members(&mut self) {
        for p in Partitioning::new(PARTITIONS).all() {
            // The store has it first: whoever is told finds the thread there.
            let applied = self.store.applied_in(p);
            let told = &mut self.told[usize::from(p.0)];
            let changes = self.log.after(p, *told, |entries| {
                let applied = entries.partition_point(|e| e.position <= applied);
                let entries = &entries[..applied];
                *told = entries.last().map_or(*told, |e| e.position);
                let change = |e: &Placed| {
                    let change = e.entry.change.as_ref()?.to_change()?;
                    Some((e.position, e.entry.topic.clone(), change))
                };
                entries.iter().filter_map(change).collect::<Vec<_>>()
            });
            for (at, topic, change) in changes {
                let life = Life::of(&self.log, p, &topic, at);
                let concerned = change.joined.iter().chain(&change.ended);
                for m in concerned {
                    let own = life.members.all.iter().rfind(|of| of.member == m.member);
                    self.notices.extend(own.map(|m| notice(&topic, m)));
                }
            }
        }
        // One after the other, as they became true.
        if self.last_is_told()
            && let Some(notice) = self.notices.pop_front()
        {
            self.last_notice = Some(self.messages.len());
            self.say(self.messages.len(), notice);
        }
    }
}

impl World {
    fn last_is_told(&self) -> bool {
        let is_told = |told: &usize| self.messages[*told].settled.load(Ordering::Relaxed);
        self.last_notice.as_ref().is_none_or(is_told)
    }

    /// Whether no notice of what is in the log is owed.
    fn everybody_is_told(&self) -> bool {
        let parts = Partitioning::new(PARTITIONS).all();
        let mut behind = parts.filter(|p| {
            self.log
                .after(*p, self.told[usize::from(p.0)], |new| !new.is_empty())
        });
        self.notices.is_empty() && self.last_is_told() && behind.next().is_none()
    }
}

fn notice(topic: &str, m: &Membership) -> Entry {
    Entry {
        kind: Kind::Membership.into(),
        topic: format!("user/{}", m.user),
        sender: "longwire".into(),
        author: "longwire".into(),
        uid: format!("n {topic} {} {} {}", m.member, m.since, m.until),
        target: topic.into(),
        change: Some(ThreadChange::notice(m)),
        ..Entry::default()
    }
}

/// What somebody wants of a thread.
fn step(life: &Life, topic: &str, choice: usize, offer: String) -> Step {
    let agent = |n: usize| {
        let member = AGENTS[n % 2];
        (UserId::new(member), UserId::new(user_of(member)))
    };
    let visitor = UserId::new(topic.rsplit('/').next().unwrap_or_default());
    if !life.thread.is_open() {
        return Step::Open {
            visitor,
            status: ThreadStatus::Chatting,
            agent: (!choice.is_multiple_of(5)).then(|| agent(choice)),
            // From what opens it again, or from its own place.
            since: life.said.map_or(Position::END, Position::before),
        };
    }
    let members: Vec<_> = life.thread.members.iter().map(|m| m.member.clone()).collect();
    let staff: Vec<_> = members.iter().filter(|m| **m != visitor).collect();
    let at = UnixMillis(1);
    if let Some(open) = life.thread.offers.first().filter(|_| choice % 7 < 5) {
        let taker = open.to.first().cloned().unwrap_or_else(|| visitor.clone());
        return match choice % 5 {
            4 => Step::Decline {
                offer: open.uid.clone(),
                by: Some(taker),
                at,
            },
            _ => Step::Accept {
                offer: open.uid.clone(),
                agent: (taker.clone(), UserId::new(user_of(&taker))),
                at,
            },
        };
    }
    match (choice % 4, staff.first()) {
        (0, _) => Step::Close,
        (1, Some(member)) => Step::Leave((*member).clone()),
        (_, Some(from)) => Step::Offer(Offer {
            uid: offer,
            is_invitation: choice.is_multiple_of(3),
            from: (*from).clone(),
            to: vec![agent(usize::from(from.as_str() == AGENTS[0])).0],
            expires_at: UnixMillis(100),
        }),
        (_, None) => Step::Assign {
            agent: agent(choice),
            since: life.said.map_or(Position::END, Position::before),
        },
    }
}
