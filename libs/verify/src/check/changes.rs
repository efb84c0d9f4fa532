//! I11: conversations were closed and handed over as it was asked for, and go on; each agent heard its stretches of those that
//! were handed over, and nothing besides.

use super::{Findings, Index};
use crate::record::{Asked, Says, Stored};
use crate::verdict::{Evidence, Invariant::I11};

pub(super) fn check(index: &Index<'_>, found: &mut Findings) {
    let record = index.record;
    for topic in 0..record.topics.len() {
        let Some(history) = record.topics[topic].histories.first() else {
            continue;
        };
        let look = Look {
            index,
            topic,
            messages: &history.messages,
        };
        let ends: Vec<&Stored> = look.all(Says::is_end);
        let closings = look.asked(&record.closings);
        look.granted(found, &closings, &ends, "a closing");
        let by_agent = look.all(|says| says == Says::AgentClosed);
        let tries = closings.iter().map(|asked| usize::from(asked.tries)).sum();
        look.not_more(
            found,
            &by_agent,
            tries,
            "closed by its agent more often than it was asked for",
        );
        look.refused(found, &closings);
        look.goes_on(found);

        let transfers = look.asked(&record.transfers);
        let changes = look.all(|says| says == Says::HandedOver);
        look.granted(found, &transfers, &changes, "a transfer");
        // However often it is sent, one acceptance is one change.
        look.not_more(
            found,
            &changes,
            transfers.len(),
            "handed over more often than it was asked for",
        );
    }
}

/// One conversation.
struct Look<'a> {
    index: &'a Index<'a>,
    topic: usize,
    messages: &'a [Stored],
}

impl<'a> Look<'a> {
    fn all(&self, wanted: impl Fn(Says) -> bool) -> Vec<&'a Stored> {
        self.messages
            .iter()
            .filter(|stored| wanted(stored.says))
            .collect()
    }

    fn asked(&self, list: &'a [Asked]) -> Vec<&'a Asked> {
        list.iter().filter(|asked| asked.topic == self.topic).collect()
    }

    fn evidence(&self, asked: &Asked) -> Evidence {
        Evidence {
            topic: Some(self.index.record.topics[self.topic].name.clone()),
            positions: vec![asked.after.to_string()],
            sent_ms: Some(asked.at),
            acknowledged_ms: asked.acked,
            acknowledged_by: asked.acked.map(|_| "HTTP 200"),
            ..Evidence::default()
        }
    }

    fn of_message(&self, stored: &Stored) -> Evidence {
        self.index.evidence(self.topic, stored.key, &[stored.position])
    }

    /// For everything that was granted there is an entry of its own, behind what was there before it was asked for.
    fn granted(&self, found: &mut Findings, asked: &[&Asked], entries: &[&Stored], what: &str) {
        let mut entries = entries.iter().map(|stored| stored.position).peekable();
        for asked in asked.iter().filter(|asked| asked.acked.is_some()) {
            while entries.next_if(|at| *at <= asked.after).is_some() {}
            if entries.next().is_none() {
                let what = format!("{what} was acknowledged, and is not in history");
                found.missing(I11, what, self.evidence(asked));
            }
        }
    }

    fn not_more(&self, found: &mut Findings, entries: &[&Stored], most: usize, what: &str) {
        for stored in entries.iter().skip(most) {
            found.add(I11, what, self.of_message(stored));
        }
    }

    /// An agent may always close what is at its own desk.
    fn refused(&self, found: &mut Findings, closings: &[&Asked]) {
        for asked in closings {
            if let Some(why) = &asked.refused {
                let what = format!("its own agent could not close it ({why})");
                found.add(I11, what, self.evidence(asked));
            }
        }
    }

    /// What is closed is closed until somebody speaks, and open from then on.
    fn goes_on(&self, found: &mut Findings) {
        let mut closed = None;
        for stored in self.messages {
            if stored.says.is_end() {
                if closed.replace(stored.position).is_some() {
                    let what = "closed twice, and nobody spoke in between";
                    found.add(I11, what, self.of_message(stored));
                }
            } else if stored.countable {
                closed = None;
            }
        }
        let last = self.messages.last();
        let is_open = self.index.record.topics[self.topic].is_open;
        if let (Some(last), Some(is_open)) = (last, is_open)
            && is_open != closed.is_none()
        {
            let what = match closed {
                None => "somebody spoke in it, and it is closed",
                Some(_) => "closed, and open without anybody having spoken",
            };
            found.missing(I11, what, self.of_message(last));
        }
    }
}
