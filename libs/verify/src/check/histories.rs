//! I1, I2, I3 and I7 as far as history tells: there once, as it was sent, where the acknowledgement said, in one order.

use std::collections::HashMap;

use super::{Findings, Index};
use crate::key::Key;
use crate::record::{History, Sent};
use crate::verdict::Invariant::{I1, I2, I3, I7, I11};

pub(super) fn check(index: &Index<'_>, found: &mut Findings) {
    for (writer, w) in index.record.writers.iter().enumerate() {
        for (seq, sent) in w.texts.iter().enumerate() {
            one_message(index, found, w.topic, Key::text(writer, seq), sent);
        }
    }
    for (topic, t) in index.record.topics.iter().enumerate() {
        for history in &t.histories {
            one_history(index, found, topic, history);
        }
        let mut histories = t.histories.iter();
        if let Some(first) = histories.next() {
            histories.for_each(|other| agree(index, found, topic, first, other));
        }
    }
}

/// A message that was sent: is it where it must be?
fn one_message(index: &Index<'_>, found: &mut Findings, topic: usize, key: Key, sent: &Sent) {
    let history = index.record.topics[topic].histories.first();
    let Some(history) = history else { return };
    let place = index.places[topic].get(&key);
    let stored = place.map(|place| &history.messages[*place]);
    match (stored, &sent.acked) {
        (None, Some(_)) => {
            let (what, mut evidence) = (
                "acknowledged, and not in history",
                index.evidence(topic, key, &[]),
            );
            if found.has_room(I1, what) {
                evidence.seen = index.seen(topic, key);
            }
            found.missing(I1, what, evidence);
        }
        (Some(stored), Some(acked)) if acked.position != 0 && acked.position != stored.position => {
            let evidence = index.evidence(topic, key, &[acked.position, stored.position]);
            found.add(
                I3,
                "acknowledged at another position than it has in history",
                evidence,
            );
        }
        (Some(stored), None) => {
            if let Some(why) = &sent.refused {
                let evidence = index.evidence(topic, key, &[stored.position]);
                found.add(I7, format!("refused ({why}), and stored all the same"), evidence);
            }
        }
        _ => {}
    }
    again(index, found, topic, key, sent);
    if let (None, Some(why)) = (stored, &sent.refused)
        && sent.tries > 1
        && why.contains("conflict")
    {
        let evidence = index.evidence(topic, key, &[]);
        found.add(
            I7,
            format!("sent again unchanged, refused ({why}) and not stored"),
            evidence,
        );
    }
}

/// A message that was sent again after it had been acknowledged: it is told where the first is, and nothing else.
fn again(index: &Index<'_>, found: &mut Findings, topic: usize, key: Key, sent: &Sent) {
    let Some(acked) = sent.acked else { return };
    if let Some(elsewhere) = sent.elsewhere {
        let evidence = index.evidence(topic, key, &[acked.position, elsewhere]);
        found.add(I2, "sent again, and acknowledged at two positions", evidence);
    }
    if let Some(why) = &sent.refused {
        let evidence = index.evidence(topic, key, &[acked.position]);
        found.add(
            I7,
            format!("sent again after it was acknowledged, and refused ({why})"),
            evidence,
        );
    }
}

/// A history in itself.
fn one_history(index: &Index<'_>, found: &mut Findings, topic: usize, history: &History) {
    let mut first: HashMap<Key, u64> = HashMap::with_capacity(history.messages.len());
    let mut last = None;
    for stored in &history.messages {
        let evidence = |positions: &[u64]| index.evidence(topic, stored.key, positions);
        if let Some(earlier) = first.get(&stored.key) {
            let acked = index.sent(stored.key).is_none_or(|sent| sent.acked.is_some());
            let invariant = if acked { I2 } else { I7 };
            found.add(
                invariant,
                "twice in history",
                evidence(&[*earlier, stored.position]),
            );
        } else {
            first.insert(stored.key, stored.position);
        }
        if let Some(last) = last.filter(|last| *last >= stored.position) {
            let (invariant, what) = if last == stored.position {
                (I2, "two messages of history have one position")
            } else {
                (I3, "history is not in the order of its positions")
            };
            found.add(invariant, what, evidence(&[last, stored.position]));
        }
        last = Some(stored.position);
        if !stored.intact {
            found.add(
                I1,
                "in history with another content or author than it was sent with",
                evidence(&[stored.position]),
            );
        }
        if stored.key.as_text().is_some() && index.sent(stored.key).is_none() {
            found.add(I7, "in history, and nobody sent it", evidence(&[stored.position]));
        }
    }
}

/// Two readers of one history: the same messages of ours at the same places.
fn agree(index: &Index<'_>, found: &mut Findings, topic: usize, first: &History, other: &History) {
    let is_handed = index.record.topics[topic].handed.is_some();
    let mut theirs: HashMap<Key, u64> = HashMap::with_capacity(other.messages.len());
    for stored in &other.messages {
        // Copies are findings of their own.
        theirs.entry(stored.key).or_insert(stored.position);
    }
    let is_first = |place: usize, key: &Key| index.places[topic].get(key) == Some(&place);
    for (_, stored) in first
        .messages
        .iter()
        .enumerate()
        .filter(|(place, m)| is_first(*place, &m.key) && index.sees(topic, other.reader, m.position))
    {
        match theirs.get(&stored.key) {
            Some(position) if *position != stored.position => found.add(
                I3,
                "at two positions, depending on who reads the history",
                index.evidence(topic, stored.key, &[stored.position, *position]),
            ),
            None if is_handed => found.missing(
                I11,
                "not in the history that the agent reads who had the conversation",
                index.evidence(topic, stored.key, &[stored.position]),
            ),
            // Of others' messages a visitor may not see all.
            None if stored.key.as_text().is_some() => found.missing(
                I1,
                "in the history that an agent reads, and not in the visitor's",
                index.evidence(topic, stored.key, &[stored.position]),
            ),
            _ => {}
        }
    }
    for stored in &other.messages {
        let evidence = || index.evidence(topic, stored.key, &[stored.position]);
        if !index.places[topic].contains_key(&stored.key) {
            let what = match is_handed {
                true => "in the history that an agent reads, and not in its visitor's",
                false => "in the history that the visitor reads, and not in the agent's",
            };
            found.missing(I1, what, evidence());
        } else if !index.sees(topic, other.reader, stored.position) {
            let what = "in the history that an agent reads while the conversation was somebody else's";
            let evidence = index.evidence_of(topic, other.reader, stored.key, stored.position);
            found.add(I11, what, evidence);
        }
    }
}
