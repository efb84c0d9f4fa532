//! I1, I2 and I3 as far as observers tell: everything reached them, once unless marked, in the order of history.

use std::collections::{HashMap, HashSet};

use super::{Findings, Index};
use crate::key::Key;
use crate::record::{Delivery, History, Observer, Stored};
use crate::verdict::Evidence;
use crate::verdict::Invariant::{I1, I2, I3, I11};

pub(super) fn check(index: &Index<'_>, found: &mut Findings) {
    for (number, observer) in index.record.observers.iter().enumerate() {
        for at in &observer.sessions_lost {
            let evidence = Evidence {
                observer: Some(observer.name.clone()),
                ..Evidence::default()
            };
            let when = crate::verdict::seconds(*at);
            found.add(
                I1,
                format!("came back at {when}, and its session was gone"),
                evidence,
            );
        }
        for (topic, deliveries) in &observer.heard {
            let look = Look {
                index,
                number,
                observer,
                topic: *topic,
                history: history_of(index, observer, *topic),
            };
            look.reached(found, deliveries);
            look.within(found, deliveries);
            look.places(found, deliveries);
            look.order(found, deliveries);
            look.chain(found, deliveries);
        }
    }
}

/// The topic's history as the observer's user reads it, or else as the first reader does. Of one that is handed over each agent
/// reads a part: which part that has to be is told by the whole.
fn history_of<'a>(index: &Index<'a>, observer: &Observer, topic: usize) -> Option<&'a History> {
    let histories = &index.record.topics[topic].histories;
    if index.record.topics[topic].handed.is_some() {
        return histories.first();
    }
    let own = histories.iter().find(|history| history.reader == observer.user);
    own.or(histories.first())
}

/// One observer's view of one topic.
struct Look<'a> {
    index: &'a Index<'a>,
    number: usize,
    observer: &'a Observer,
    topic: usize,
    history: Option<&'a History>,
}

impl Look<'_> {
    fn evidence(&self, key: Key, positions: &[u64]) -> Evidence {
        Evidence {
            observer: Some(self.observer.name.clone()),
            ..self.index.evidence(self.topic, key, positions)
        }
    }

    /// Everything in history reached who is entitled to it. Who is away is not proven, not broken.
    fn reached(&self, found: &mut Findings, deliveries: &[Delivery]) {
        if self.observer.away.is_some() {
            return;
        }
        let heard: HashSet<Key> = deliveries.iter().map(|d| d.key).collect();
        for stored in self.entitled().filter(|stored| !heard.contains(&stored.key)) {
            let acked = self
                .index
                .sent(stored.key)
                .is_some_and(|sent| sent.acked.is_some());
            let what = if acked {
                "acknowledged and in history, and did not reach an observer entitled to it"
            } else {
                "in history, and did not reach an observer entitled to it"
            };
            let mut evidence = Evidence {
                observer: Some(self.observer.name.clone()),
                ..self
                    .index
                    .evidence_of(self.topic, self.observer.user, stored.key, stored.position)
            };
            evidence.connected_ms = self.connected(evidence.sent_ms);
            if found.has_room(I1, what) {
                evidence.seen = self.index.seen(self.topic, stored.key);
            }
            found.missing(I1, what, evidence);
        }
    }

    /// When the connections began that the observer had when something was sent, and after it.
    fn connected(&self, sent: Option<u32>) -> Vec<u32> {
        let lives = &self.observer.lives;
        let later = sent.map_or(lives.len(), |sent| lives.partition_point(|since| *since <= sent));
        lives[later.saturating_sub(1)..].iter().take(2).copied().collect()
    }

    /// What of history is for this observer.
    fn entitled(&self) -> impl Iterator<Item = &Stored> {
        let messages = self.history.into_iter().flat_map(|history| &history.messages);
        messages.filter(|stored| self.sees(stored.position))
    }

    fn sees(&self, position: u64) -> bool {
        self.index.sees(self.topic, self.observer.user, position)
    }

    /// Nothing came of what somebody else has.
    fn within(&self, found: &mut Findings, deliveries: &[Delivery]) {
        let baseline = self.index.record.topics[self.topic].baseline;
        let others = deliveries
            .iter()
            .filter(|d| d.position > baseline && !self.sees(d.position));
        for d in others.filter(|d| self.index.places[self.topic].contains_key(&d.key)) {
            let what = "came to an agent while the conversation was somebody else's";
            let user = self.observer.user;
            let since = self
                .observer
                .lives
                .get(d.life as usize)
                .copied()
                .unwrap_or_default();
            let (at, since) = (crate::verdict::seconds(d.at), crate::verdict::seconds(since));
            let evidence = Evidence {
                observer: Some(self.observer.name.clone()),
                seen: vec![format!("it at {at}, on its connection of {since}")],
                ..self.index.evidence_of(self.topic, user, d.key, d.position)
            };
            found.add(I11, what, evidence);
        }
    }

    /// What came is in history, at the same place.
    fn places(&self, found: &mut Findings, deliveries: &[Delivery]) {
        let mut first: HashMap<Key, u64> = HashMap::new();
        let mut taken: HashMap<u64, Key> = HashMap::new();
        let baseline = self.index.record.topics[self.topic].baseline;
        for d in deliveries {
            let position = *first.entry(d.key).or_insert(d.position);
            if position != d.position {
                found.add(
                    I2,
                    "came at two positions",
                    self.evidence(d.key, &[position, d.position]),
                );
            }
            let key = *taken.entry(d.position).or_insert(d.key);
            if key != d.key {
                let mut evidence = self.evidence(d.key, &[d.position]);
                evidence.seen = vec![format!("{} has it too", self.index.record.names.uid(key))];
                found.add(I2, "two messages came with one position", evidence);
            }
        }
        let agents = self.index.record.topics[self.topic].histories.first();
        let Some(agents) = agents else { return };
        for (key, position) in first {
            let place = self.index.places[self.topic].get(&key);
            match place.map(|place| agents.messages[*place].position) {
                None if position > baseline => {
                    let (what, mut evidence) =
                        ("came, and is not in history", self.evidence(key, &[position]));
                    if found.has_room(I1, what) {
                        evidence.seen = self.index.seen(self.topic, key);
                    }
                    found.missing(I1, what, evidence);
                }
                Some(stored) if stored != position => found.add(
                    I3,
                    "came at another position than it has in history",
                    self.evidence(key, &[position, stored]),
                ),
                _ => {}
            }
        }
    }

    /// On each connection positions grow; a copy is marked.
    fn order(&self, found: &mut Findings, deliveries: &[Delivery]) {
        let mut life = None;
        let (mut last, mut known) = (0, HashSet::new());
        for d in deliveries {
            if life != Some(d.life) {
                (life, last) = (Some(d.life), 0);
                known.clear();
            }
            if self.is_echo_again(d) {
                // Out of turn in both directions: it may run ahead of the backlog, which then brings it once more.
                known.insert(d.position);
                continue;
            }
            if !known.insert(d.position) {
                if !d.marked {
                    let what = "came twice on one connection, and the copy is not marked";
                    found.add(I2, what, self.evidence(d.key, &[d.position]));
                }
                continue;
            }
            if d.position < last {
                let what = "came after a later one on the same connection";
                found.add(I3, what, self.evidence(d.key, &[last, d.position]));
            }
            last = last.max(d.position);
        }
    }

    /// Who sends a message again gets its echo again, out of turn.
    fn is_echo_again(&self, d: &Delivery) -> bool {
        let writer = d
            .key
            .as_text()
            .and_then(|(writer, _)| self.index.record.writers.get(writer));
        let own = writer.is_some_and(|w| w.client == self.number);
        own && self.index.sent(d.key).is_some_and(|sent| sent.tries > 1)
    }

    /// `prev` names the message before it in history, and the observer has that one.
    fn chain(&self, found: &mut Findings, deliveries: &[Delivery]) {
        let topic = &self.index.record.topics[self.topic];
        let Some(agents) = topic.histories.first() else {
            return;
        };
        let visible: HashSet<u64> = self.entitled().map(|stored| stored.position).collect();
        let mut known: HashSet<u64> = HashSet::new();
        for d in deliveries {
            let again = !known.insert(d.position);
            if again || d.prev == 0 || d.prev <= topic.baseline {
                continue;
            }
            let place = self.index.places[self.topic].get(&d.key).copied();
            let before = place.and_then(|place| agents.messages.get(place.checked_sub(1)?));
            if let Some(place) = place
                && before.map(|m| m.position) != Some(d.prev)
            {
                let real = before.map_or(topic.baseline, |m| m.position);
                let what = format!("its prev is {}, and in history it comes after {real}", d.prev);
                let evidence = self.evidence(d.key, &[agents.messages[place].position]);
                // History may lack what it points to for a while.
                if real < d.prev {
                    found.missing(I3, what, evidence);
                } else {
                    found.add(I3, what, evidence);
                }
            }
            if visible.contains(&d.prev) && !known.contains(&d.prev) && !self.is_echo_again(d) {
                let what = format!("came while the one before it, at {}, had not", d.prev);
                found.add(I3, what, self.evidence(d.key, &[d.position]));
            }
        }
    }
}
