//! I4: a status never goes back, an acknowledged READ stays, and nobody has read what nobody said they read.

use std::collections::{HashMap, HashSet};

use super::{Findings, Index};
use crate::key::Key;
use crate::record::Stage;
use crate::verdict::{Evidence, Invariant::I4};

pub(super) fn check(index: &Index<'_>, found: &mut Findings) {
    let mut furthest: HashMap<Key, Stage> = HashMap::new();
    let mut told_of: HashSet<Key> = HashSet::new();
    let mut step = |key: Key, stage: Stage, when: &str, found: &mut Findings| {
        let known = furthest.entry(key).or_insert(stage);
        if stage < *known && told_of.insert(key) {
            let what = format!("had been {known} and was {stage} {when}");
            found.add(I4, what, index.evidence(topic_of(index, key), key, &[]));
        }
        *known = stage.max(*known);
    };
    for seen in &index.record.statuses {
        step(
            seen.key,
            seen.stage,
            &format!("at {}", crate::verdict::seconds(seen.at)),
            found,
        );
    }
    for topic in &index.record.topics {
        for stored in topic.histories.iter().flat_map(|history| &history.messages) {
            if stored.key.as_text().is_some() {
                step(stored.key, stored.stage, "at the end", found);
            }
        }
    }
    stay(index, found);
    told(index, found);
}

/// Every acknowledged READ of a message in history is its status.
fn stay(index: &Index<'_>, found: &mut Findings) {
    for writer in &index.record.writers {
        for (number, (sent, of)) in writer.reads.iter().enumerate() {
            let Some(acked) = sent.acked else { continue };
            let Some((author, _)) = of.as_text() else { continue };
            let topic = index.record.writers.get(author).map_or(writer.topic, |a| a.topic);
            let history = index.record.topics[topic].histories.first();
            let place = index.places[topic].get(of);
            let (Some(history), Some(place)) = (history, place) else {
                continue;
            };
            let stored = &history.messages[*place];
            if stored.stage < Stage::Read {
                let evidence = Evidence {
                    acknowledged_ms: Some(acked.at),
                    acknowledged_by: Some(acked.by.name()),
                    ..index.evidence(topic, *of, &[stored.position])
                };
                let what = format!("READ was acknowledged (receipt {number}), and the message is not READ");
                found.missing(I4, what, evidence);
            }
        }
    }
}

/// What somebody was told to be read was read by somebody.
fn told(index: &Index<'_>, found: &mut Findings) {
    let reads = index.record.writers.iter().flat_map(|w| &w.reads);
    let read: HashSet<Key> = reads.map(|(_, of)| *of).collect();
    for observer in &index.record.observers {
        for key in observer.told_read.iter().filter(|key| key.as_text().is_some()) {
            if !read.contains(key) {
                let evidence = Evidence {
                    observer: Some(observer.name.clone()),
                    ..index.evidence(topic_of(index, *key), *key, &[])
                };
                found.add(I4, "told to be READ, and nobody had read it", evidence);
            }
        }
    }
}

fn topic_of(index: &Index<'_>, key: Key) -> usize {
    let writer = key.as_text().and_then(|(w, _)| index.record.writers.get(w));
    writer.map_or(usize::MAX, |w| w.topic)
}
