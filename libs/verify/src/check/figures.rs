//! What a record tells in numbers.

use std::collections::HashMap;

use crate::key::Key;
use crate::record::{Asked, Delivery, Observer, Record};
use crate::verdict::{ChangeFigures, Figures};

/// Counts. What only the run knows (reconnects, pauses between connections, settling) stays 0.
pub(crate) fn figures(record: &Record) -> Figures {
    let mut figures = Figures::default();
    writers(record, &mut figures);
    let (mut latency, mut overtaken) = (Vec::new(), 0);
    for observer in &record.observers {
        for (_, deliveries) in &observer.heard {
            figures.delivered += deliveries.len() as u64;
            copies(deliveries, &mut figures);
            latency.extend(deliveries.iter().filter_map(|d| delay(record, observer, d)));
        }
    }
    figures.delivery_ms = three(latency);
    for topic in &record.topics {
        let mut greatest: HashMap<usize, usize> = HashMap::new();
        let messages = topic.histories.first().into_iter().flat_map(|h| &h.messages);
        for (writer, seq) in messages.filter_map(|m| m.key.as_text()) {
            let known = greatest.entry(writer).or_insert(seq);
            overtaken += u64::from(seq < *known);
            *known = seq.max(*known);
        }
    }
    figures.overtaken = overtaken;
    figures.changes = changes(record);
    figures
}

fn changes(record: &Record) -> ChangeFigures {
    let granted = |list: &[Asked]| list.iter().filter(|asked| asked.acked.is_some()).count() as u64;
    let refused = record.transfers.iter().filter(|asked| asked.refused.is_some());
    ChangeFigures {
        closings: granted(&record.closings),
        transfers: granted(&record.transfers),
        refused_transfers: refused.count() as u64,
    }
}

fn writers(record: &Record, figures: &mut Figures) {
    let (mut latency, mut spans) = (Vec::new(), Vec::new());
    for (number, writer) in record.writers.iter().enumerate() {
        figures.sent += writer.texts.len() as u64;
        let texts = writer.texts.iter().enumerate();
        let texts = texts.map(|(seq, sent)| (Key::text(number, seq), sent));
        let reads = writer.reads.iter().enumerate();
        let reads = reads.map(|(seq, (sent, _))| (Key::read(number, seq), sent));
        for (key, sent) in texts.chain(reads) {
            let resends = u64::from(sent.tries.saturating_sub(1));
            figures.resends += resends;
            figures.undated_resends += if key.is_dated() { 0 } else { resends };
            figures.repeats += u64::from(sent.repeats);
        }
        for sent in &writer.texts {
            match (sent.acked, &sent.refused) {
                (Some(acked), _) => {
                    figures.acknowledged += 1;
                    latency.push(acked.at.saturating_sub(sent.at));
                    spans.push((sent.at, acked.at));
                }
                (None, Some(_)) => figures.refused += 1,
                (None, None) => figures.unacknowledged += 1,
            }
        }
        let acked = writer.reads.iter().filter(|(sent, _)| sent.acked.is_some());
        figures.reads += acked.count() as u64;
    }
    figures.ack_ms = three(latency);
    figures.longest_ack_pause_ms = longest_pause(spans);
}

/// The longest stretch without an acknowledgement in which something waited for one. Of (sent, acknowledged).
fn longest_pause(mut spans: Vec<(u32, u32)>) -> u32 {
    let mut acks: Vec<u32> = spans.iter().map(|(_, acked)| *acked).collect();
    acks.sort_unstable();
    spans.sort_unstable();
    // Between two acknowledgements somebody waits the whole time, or from the first sending after the one on.
    let (mut longest, mut last, mut begun) = (0, 0, 0);
    for (answered, &ack) in acks.iter().enumerate() {
        while begun < spans.len() && spans[begun].0 <= last {
            begun += 1;
        }
        let since = if begun > answered {
            last
        } else {
            spans.get(begun).map_or(ack, |(sent, _)| *sent)
        };
        longest = longest.max(ack.saturating_sub(since));
        last = ack;
    }
    longest
}

fn copies(deliveries: &[Delivery], figures: &mut Figures) {
    let mut first: HashMap<u64, Delivery> = HashMap::new();
    let mut ends: HashMap<u32, u32> = HashMap::new();
    for d in deliveries {
        ends.entry(d.life)
            .and_modify(|at| *at = (*at).max(d.at))
            .or_insert(d.at);
    }
    for d in deliveries {
        let Some(known) = first.get(&d.position) else {
            first.insert(d.position, *d);
            continue;
        };
        if d.marked {
            figures.copies_marked += 1;
        } else if d.life != known.life {
            figures.copies_unmarked += 1;
            let age = ends[&known.life].saturating_sub(known.at);
            figures.oldest_copy_ms = figures.oldest_copy_ms.max(age);
        }
    }
}

/// Of a message that was sent after the observer's connection was there.
fn delay(record: &Record, observer: &Observer, d: &Delivery) -> Option<u32> {
    let (writer, seq) = d.key.as_text()?;
    let sent = record.writers.get(writer)?.texts.get(seq)?;
    let since = observer.lives.get(d.life as usize)?;
    (sent.at >= *since && !d.marked).then(|| d.at.saturating_sub(sent.at))
}

/// Median, 99th percentile, greatest.
fn three(mut values: Vec<u32>) -> [u32; 3] {
    values.sort_unstable();
    let at = |share: usize| {
        values
            .get(values.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    [at(50), at(99), values.last().copied().unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_counts_while_somebody_waits() {
        assert_eq!(longest_pause(vec![]), 0);
        assert_eq!(
            longest_pause(vec![(0, 5), (10, 12), (100, 103)]),
            5,
            "idle is no pause"
        );
        assert_eq!(longest_pause(vec![(0, 5), (4, 900), (500, 901)]), 895);
    }

    #[test]
    fn percentiles_of_nothing_are_nothing() {
        assert_eq!(three(vec![]), [0; 3]);
        assert_eq!(three((0..100).collect()), [50, 99, 99]);
    }
}
