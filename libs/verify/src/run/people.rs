//! Who comes on in a run, with which clients, and who writes what.

use std::sync::Arc;
use std::time::Duration;

use mqtt_codec::Version;
use parking_lot::Mutex;

use super::Run;
use crate::Error;
use crate::client::{Ledger, Part, mqtt::Mqtt, poll::Poll, stomp::Stomp};
use crate::key::Names;
use crate::record::{Observer, Writer};

impl Run {
    /// Everybody comes on, with what they are to write.
    pub(super) async fn people(&mut self) -> Result<(), Error> {
        let shared = self.shared.clone();
        let heads = self.heads().await?;
        for (user, u) in shared.users.iter().enumerate() {
            if u.topics.is_empty() {
                continue;
            }
            let clients = match (u.token.is_agent, user % 3) {
                (true, _) => shared.plan.agent_clients.max(1),
                (false, 2) => 1,
                (false, _) => shared.plan.visitor_pages.max(1),
            };
            for number in 0..clients {
                let part = self.enter(user, number, clients);
                let device = format!("{}-{number}", shared.run);
                let client_id = format!("{}/verify/{device}", u.token.sub);
                match (u.token.is_agent, user % 3, number % 3) {
                    (true, _, 1) => self
                        .tasks
                        .spawn(part.live(Mqtt::new(Version::V5, true, client_id))),
                    (true, _, other) => {
                        let mqtt = Mqtt::new(Version::V311, other == 2, client_id);
                        self.tasks.spawn(part.live(mqtt))
                    }
                    (false, 2, _) => {
                        let cursors = u.topics.iter().map(|topic| (*topic, heads[*topic])).collect();
                        self.tasks.spawn(part.live(Poll::new(cursors)))
                    }
                    (false, ..) => self.tasks.spawn(part.live(Stomp::new(device))),
                };
            }
        }
        Ok(())
    }

    /// A client of a user, the `number`th of `clients`. The third kind is mostly away, and does not write.
    fn enter(&mut self, user: usize, number: usize, clients: usize) -> Part {
        let shared = &self.shared;
        let u = &shared.users[user];
        let away = u.token.is_agent && number % 3 == 2;
        let mut ledger = Ledger {
            names: Names::new(&shared.run),
            observer: Observer {
                name: self.name(user, number),
                user,
                heard: u.topics.iter().map(|topic| (*topic, Vec::new())).collect(),
                ..Observer::default()
            },
            ..Ledger::default()
        };
        let index = self.ledgers.len();
        for topic in &u.topics {
            let conversation = &shared.conversations[*topic];
            let own = if u.token.is_agent {
                let writing = (0..clients).filter(|n| n % 3 != 2).count();
                conversation.pair.is_none()
                    && conversation.agent == user
                    && number == nth_writing(topic % writing)
            } else {
                number == 0
            };
            if own {
                let writer = Writer {
                    user,
                    client: index,
                    topic: *topic,
                    ..Writer::default()
                };
                ledger
                    .writers
                    .push((2 * topic + usize::from(u.token.is_agent), writer));
            }
        }
        let ledger = Arc::new(Mutex::new(ledger));
        self.ledgers.push(ledger.clone());
        let absence = if away {
            (Duration::from_secs(2), shared.plan.long_absence)
        } else {
            (shared.plan.absence_every, shared.plan.absence)
        };
        Part::new(shared, index, user, ledger, absence)
    }

    fn name(&self, user: usize, number: usize) -> String {
        let token = &self.shared.users[user].token;
        let kind = match (token.is_agent, user % 3, number % 3) {
            (true, _, 0) => "MQTT 3.1.1 page",
            (true, _, 1) => "MQTT 5 client",
            (true, ..) => "MQTT 3.1.1 client mostly away",
            (false, 2, _) => "HTTP poll",
            (false, ..) => "STOMP page",
        };
        format!("{} ({kind} {number})", token.sub)
    }
}

/// The number of the `nth` client of an agent that writes.
fn nth_writing(nth: usize) -> usize {
    nth / 2 * 3 + nth % 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_mostly_away_does_not_write() {
        let writing: Vec<usize> = (0..4).map(nth_writing).collect();
        assert_eq!(writing, [0, 1, 3, 4]);
    }
}
