//! The judge: a record in, findings out. No clock, no network, so that every kind of damage can be made up and must be found.

mod changes;
mod counters;
mod figures;
mod histories;
mod observers;
mod receipts;

use std::collections::{BTreeMap, HashMap};

use crate::key::Key;
use crate::record::{Record, Sent, Topic};
use crate::stretches::Stretches;
use crate::verdict::{Evidence, Finding, Invariant, Verdict};

pub(crate) use figures::figures;

/// How many findings of one kind are shown.
const SHOWN: usize = 5;

/// Judges a record. The figures that only the run knows are left as they are by default.
pub fn check(record: &Record) -> Verdict {
    let index = Index::new(record);
    let mut found = Findings::default();
    histories::check(&index, &mut found);
    observers::check(&index, &mut found);
    changes::check(&index, &mut found);
    receipts::check(&index, &mut found);
    counters::check(&index, &mut found);
    let mut unproven = record.unproven.clone();
    let away = record
        .observers
        .iter()
        .filter_map(|o| Some((&o.name, o.away.as_ref()?)));
    unproven.extend(away.map(|(name, why)| format!("{name} was not connected at the end: {why}")));
    Verdict {
        holds: found.list.is_empty() && unproven.is_empty(),
        findings: found.list,
        broken: found.counts.into_iter().collect(),
        unproven,
        figures: figures(record),
        run: record.names.run().to_owned(),
        seed: 0,
    }
}

/// Findings as they come.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<Invariant, u64>,
    /// Of each kind, by how they begin.
    kinds: HashMap<(Invariant, String), usize>,
}

impl Findings {
    fn add(&mut self, invariant: Invariant, what: impl Into<String>, evidence: Evidence) {
        self.push(invariant, what.into(), evidence, false);
    }

    /// Of something that is not there yet.
    fn missing(&mut self, invariant: Invariant, what: impl Into<String>, evidence: Evidence) {
        self.push(invariant, what.into(), evidence, true);
    }

    /// Whether one more of this kind is shown: costly evidence is gathered only then.
    fn has_room(&self, invariant: Invariant, what: &str) -> bool {
        let shown = self.kinds.get(&(invariant, kind(what)));
        shown.is_none_or(|shown| *shown < SHOWN)
    }

    fn push(&mut self, invariant: Invariant, what: String, evidence: Evidence, may_heal: bool) {
        *self.counts.entry(invariant).or_default() += 1;
        let shown = self.kinds.entry((invariant, kind(&what))).or_default();
        if *shown < SHOWN {
            *shown += 1;
            self.list.push(Finding {
                invariant,
                what,
                evidence,
                may_heal,
            });
        }
    }
}

/// How a finding begins, before any numbers.
fn kind(what: &str) -> String {
    what.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The record with what is asked of it often.
struct Index<'a> {
    record: &'a Record,
    /// By topic: where each message stands in the first history.
    places: Vec<HashMap<Key, usize>>,
    /// By topic: who has it from where to where, if it is handed over.
    stretches: Vec<Option<Stretches>>,
}

impl<'a> Index<'a> {
    fn new(record: &'a Record) -> Self {
        let places = |topic: &Topic| {
            let first = topic.histories.first();
            let messages = first
                .into_iter()
                .flat_map(|history| history.messages.iter().enumerate());
            // The first place counts; further ones are findings of their own.
            let mut places = HashMap::new();
            for (place, message) in messages {
                places.entry(message.key).or_insert(place);
            }
            places
        };
        let places = record.topics.iter().map(places).collect();
        let stretches = record.topics.iter().map(stretches).collect();
        Self {
            record,
            places,
            stretches,
        }
    }

    /// Whether a user is to see a place of a topic.
    fn sees(&self, topic: usize, user: usize, position: u64) -> bool {
        let own = self.side(topic, user);
        own.is_none_or(|(side, stretches)| stretches.covers(side, position))
    }

    /// Which of the two a user is between whom a topic is handed over, and who has it when.
    fn side(&self, topic: usize, user: usize) -> Option<(usize, &Stretches)> {
        let handed = self.record.topics[topic].handed.as_ref()?;
        let side = handed.agents.iter().position(|agent| *agent == user)?;
        Some((side, self.stretches[topic].as_ref()?))
    }

    /// What is known of a message in a topic, and when a user had that.
    fn evidence_of(&self, topic: usize, user: usize, key: Key, position: u64) -> Evidence {
        let own = self.side(topic, user);
        Evidence {
            stretch: own.map(|(side, stretches)| stretches.around(side, position)),
            ..self.evidence(topic, key, &[position])
        }
    }

    fn sent(&self, key: Key) -> Option<&'a Sent> {
        if let Some((writer, seq)) = key.as_text() {
            return self.record.writers.get(writer)?.texts.get(seq);
        }
        let (writer, seq) = key.as_read()?;
        self.record
            .writers
            .get(writer)?
            .reads
            .get(seq)
            .map(|(sent, _)| sent)
    }

    /// What is known of a message in a topic.
    fn evidence(&self, topic: usize, key: Key, positions: &[u64]) -> Evidence {
        let sent = self.sent(key);
        let acked = sent.and_then(|sent| sent.acked);
        Evidence {
            uid: Some(self.record.names.uid(key)),
            topic: self.record.topics.get(topic).map(|t| t.name.clone()),
            positions: positions.iter().map(u64::to_string).collect(),
            observer: None,
            sent_ms: sent.map(|sent| sent.at),
            acknowledged_ms: acked.map(|acked| acked.at),
            acknowledged_by: acked.map(|acked| acked.by.name()),
            seen: Vec::new(),
            stretch: None,
            connected_ms: Vec::new(),
        }
    }

    /// Where it was seen: the first four. Looks through everything.
    fn seen(&self, topic: usize, key: Key) -> Vec<String> {
        let mut seen = Vec::new();
        for observer in &self.record.observers {
            let heard = observer.heard.iter().filter(|(t, _)| *t == topic);
            let of_key = heard
                .flat_map(|(_, deliveries)| deliveries)
                .find(|d| d.key == key);
            let Some(first) = of_key else { continue };
            seen.push(format!(
                "{} at {} (position {})",
                observer.name,
                crate::verdict::seconds(first.at),
                first.position
            ));
            if seen.len() == 4 {
                break;
            }
        }
        seen
    }
}

/// Who has a topic that is handed over, by the history of one who sees all of it.
fn stretches(topic: &Topic) -> Option<Stretches> {
    let (handed, history) = (topic.handed?, topic.histories.first()?);
    let messages = history.messages.iter();
    let told = messages.map(|stored| (stored.position, stored.says, stored.countable));
    Some(Stretches::of(handed.first, told))
}

#[cfg(test)]
mod tests;
