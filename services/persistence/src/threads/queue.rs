//! The queue of each desk: whoever waits is given to an agent that has room, the longest waiting first, and is told its place.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use contract::routing::tell_once;
use model::thread::{Step, ThreadStatus};
use model::{OrgId, PartitionId, Position, TopicName, UserId};
use store::StoredThread;
use tokio::time::Instant;
use wire::envelope::{self, server_uid};
use wire::{Entry, Kind};

use super::LIMIT;
use super::change::{Changed, Only};
use super::say::{SERVICE, Said};
use crate::Error;
use crate::core::Core;

/// How often those who wait are told of their places. A place that has changed twice is told once.
const TELL: Duration = Duration::from_secs(2);
/// How long an owner may take to hear of them.
const TELLING: Duration = Duration::from_secs(1);

/// The places in the queue that visitors were told of last.
#[derive(Default)]
pub(super) struct Told {
    places: HashMap<(OrgId, TopicName), u64>,
    at: Option<Instant>,
}

/// The queue of one desk, in one look at it.
#[derive(Default)]
struct Queue {
    /// Why nobody more is given to an agent, once that is known.
    full: Option<ThreadStatus>,
    /// Those that go on waiting.
    waiting: Vec<StoredThread>,
}

impl Core {
    /// Gives those that wait to agents that have room, and tells the others where they stand.
    pub(super) async fn serve_queues(&self, told: &mut Told) -> Result<(), Error> {
        // Whether there is room at a desk is asked once.
        let mut desks: HashMap<(OrgId, UserId), Queue> = HashMap::new();
        for thread in self.deps.store.waiting_threads(LIMIT).await? {
            let key = (thread.org.clone(), thread.row.desk.clone());
            let queue = desks.entry(key).or_default();
            if queue.full.is_none() {
                match self.serve(&thread).await? {
                    ThreadStatus::Chatting => continue,
                    status => queue.full = Some(status),
                }
            }
            queue.waiting.push(thread);
        }
        if told.at.is_none_or(|at| at.elapsed() >= TELL) {
            told.at = Some(Instant::now());
            self.tell_places(&desks, told).await;
        }
        for queue in desks.into_values() {
            let Some(status) = queue.full.filter(|status| status.is_waiting()) else {
                continue;
            };
            for thread in queue.waiting.into_iter().filter(|t| t.life.status != status) {
                let mut wait = Only {
                    step: Step::Wait(status),
                    said: None,
                };
                self.log_failure("left waiting", self.change(thread, None, &mut wait).await);
            }
        }
        Ok(())
    }

    /// Gives one to an agent; what it is doing then.
    async fn serve(&self, thread: &StoredThread) -> Result<ThreadStatus, Error> {
        let (org, topic) = (&thread.org, &thread.row.topic);
        let desk = self.desk_of(org, &thread.row.desk);
        let choice = self.choose(org, topic, desk.as_ref()).await?;
        let (Some(agent), ThreadStatus::Chatting) = (choice.agent, choice.status) else {
            return Ok(choice.status);
        };
        let mut giving = Only {
            step: Step::Assign {
                agent,
                since: begun(thread),
            },
            said: Some(Said::new("QUEUE_ACCEPT", "An agent has joined the conversation.")),
        };
        let given = self.change(thread.clone(), None, &mut giving).await;
        if !matches!(given, Ok(Changed::Done)) {
            self.release(org, topic).await;
        }
        self.log_failure("given to an agent", given);
        Ok(ThreadStatus::Chatting)
    }

    /// Tells those whose places have changed since they were told. Who is not there now asks when it comes back: a place is not
    /// worth keeping.
    async fn tell_places(&self, desks: &HashMap<(OrgId, UserId), Queue>, told: &mut Told) {
        let mut places = HashMap::new();
        let mut changed: BTreeMap<PartitionId, Vec<Entry>> = BTreeMap::new();
        let queues = desks.values().filter(|q| q.full == Some(ThreadStatus::Queuing));
        for queue in queues {
            for (before, thread) in (0..).zip(&queue.waiting) {
                let key = (thread.org.clone(), thread.row.topic.clone());
                if told.places.get(&key) != Some(&before) {
                    let entry = self.place(thread, before, queue.waiting.len() as u64);
                    let of_partition = changed.entry(thread.row.partition);
                    of_partition.or_default().push(entry);
                }
                places.insert(key, before);
            }
        }
        told.places = places;
        for (partition, entries) in changed {
            let topics: Vec<_> = entries
                .iter()
                .map(|e| (OrgId::new(&e.org), TopicName::trusted(&e.topic)))
                .collect();
            let first = self.number(entries.len());
            let heard = tell_once(
                &*self.deps.routing,
                self.line(first),
                partition,
                first,
                entries,
                TELLING,
            );
            if let Err(error) = heard.await {
                tracing::debug!(%partition, %error, "nobody is told of its place in a queue now; it is told later");
                told.places.retain(|topic, _| !topics.contains(topic));
            }
        }
    }

    /// What the visitor of a thread is told of its place.
    fn place(&self, thread: &StoredThread, before: u64, waiting: u64) -> Entry {
        let now = self.now();
        let content = envelope::place_in_queue(&self.deps.rules.queue, before, waiting, now);
        let uid = server_uid(
            "place",
            &[&thread.row.uid, &before.to_string(), &now.0.to_string()],
        );
        let said = Said::new("QUEUE_UPDATE", content);
        let message = self.message(thread, ThreadStatus::Queuing, &uid, &said, now);
        Entry {
            kind: Kind::Transient.into(),
            org: thread.org.to_string(),
            topic: thread.row.topic.to_string(),
            sender: SERVICE.to_owned(),
            author: SERVICE.to_owned(),
            r#type: said.r#type.to_owned(),
            uid,
            accepted_at: now.0,
            payload: envelope::encode(&message),
            ..Entry::default()
        }
    }
}

/// Where the thread was opened: whoever is given it sees it from there.
fn begun(thread: &StoredThread) -> Position {
    let visitor = &thread.row.visitor.uid;
    let opened = thread.life.members.iter().find(|m| m.member == *visitor);
    opened.map_or(Position::END, |m| m.since)
}
