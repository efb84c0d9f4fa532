//! What a run has seen, put together for the judge.

use super::Run;
use crate::client::Ledger;
use crate::history;
use crate::key::Names;
use crate::record::{Observer, Record, Topic, Unread, Writer};
use crate::stretches::Stretches;

impl Run {
    /// Everything that was seen, with the histories and counters as they are now.
    pub(super) async fn record(&self) -> Record {
        let shared = &self.shared;
        let mut record = Record {
            names: Names::new(&shared.run),
            writers: vec![Writer::default(); 2 * shared.conversations.len()],
            ..Record::default()
        };
        for topic in 0..shared.conversations.len() {
            let topic = self.topic(topic, &mut record).await;
            record.topics.push(topic);
        }
        for (user, topic, before) in &self.unread {
            match history::unread(shared, *user, *topic).await {
                Ok(after) => record.unread.push(Unread {
                    user: *user,
                    name: shared.users[*user].token.sub.clone(),
                    topic: *topic,
                    before: *before,
                    after,
                }),
                Err(why) => record
                    .unproven
                    .push(format!("a counter could not be read: {why}")),
            }
        }
        record.statuses.clone_from(&self.statuses.lock());
        {
            let diary = self.diary.lock();
            record.closings.clone_from(&diary.closings);
            record.transfers.clone_from(&diary.transfers);
            record.unproven.extend(diary.in_vain());
        }
        for ledger in &self.ledgers {
            let ledger = ledger.lock();
            for (index, writer) in &ledger.writers {
                record.writers[*index] = writer.clone();
            }
            let observer = self.observer(&ledger, &mut record.names);
            record.observers.push(observer);
        }
        record
    }

    /// A conversation with its histories. None of them counts if one cannot be read.
    async fn topic(&self, topic: usize, record: &mut Record) -> Topic {
        let (shared, conversation) = (&self.shared, &self.shared.conversations[topic]);
        let mut of = Topic {
            name: conversation.thread.topic.clone(),
            baseline: self.baselines[topic],
            handed: conversation.handed(),
            ..Topic::default()
        };
        for reader in conversation.readers() {
            // Who never had it may not ask for its history.
            let first = of.handed.zip(of.histories.first());
            let had = first.is_none_or(|(handed, whole)| {
                let told = whole.messages.iter();
                let told = told.map(|stored| (stored.position, stored.says, stored.countable));
                let side = usize::from(handed.agents[1] == reader);
                Stretches::of(handed.first, told).has(side)
            });
            if !had {
                continue;
            }
            match history::read(shared, &mut record.names, reader, topic, of.baseline).await {
                Ok(history) => of.histories.push(history),
                Err(why) => {
                    record
                        .unproven
                        .push(format!("a history could not be read: {why}"));
                    of.histories.clear();
                    return of;
                }
            }
        }
        if conversation.has_life {
            match history::is_open(shared, topic).await {
                Ok(is_open) => of.is_open = Some(is_open),
                Err(why) => record
                    .unproven
                    .push(format!("a conversation could not be asked for: {why}")),
            }
        }
        of
    }

    /// What one client heard, as far as it came after the beginning.
    fn observer(&self, ledger: &Ledger, names: &mut Names) -> Observer {
        let mut observer = ledger.observer.clone();
        if !ledger.connected {
            observer.away = Some(ledger.trouble.clone());
        }
        for (topic, list) in &mut observer.heard {
            let baseline = self.baselines[*topic];
            list.retain(|delivery| delivery.position > baseline);
            for delivery in list.iter().filter(|d| d.key.uid("").is_none()) {
                names.key(&ledger.names.uid(delivery.key));
            }
        }
        observer
    }
}
