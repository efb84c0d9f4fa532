//! What a client writes and has not had acknowledged, in the order in which it was first written.

use std::collections::VecDeque;
use std::time::Duration;

use mqtt_codec::QoS;
use rand::Rng;
use rand::seq::IteratorRandom as _;
use tokio::time::Instant;

use super::{Ledger, Shared};
use crate::key::Key;
use crate::record::Sent;

/// How much a client has open at most; it writes no more until something is acknowledged.
const WINDOW: usize = 32;
/// Who is back sends again within this time what was acknowledged. Not at once: then the server has just let it in, and so
/// has everything that it needs for that.
const SOON: Duration = Duration::from_secs(2);

/// A message that is owed.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) key: Key,
    /// The conversation.
    pub(crate) topic: usize,
    /// READ of this message; otherwise it is a text.
    pub(crate) read: Option<Key>,
    /// When it was written.
    pub(crate) at: u32,
    /// What MQTT sends it with the first time.
    pub(crate) qos: QoS,
    /// Since when it is on its way.
    pub(crate) flying: Option<Instant>,
    not_before: Option<Instant>,
}

impl Item {
    /// One that was never sent.
    fn new(key: Key, topic: usize, read: Option<Key>, at: u32, qos: QoS) -> Self {
        Self {
            key,
            topic,
            read,
            at,
            qos,
            flying: None,
            not_before: None,
        }
    }
}

#[derive(Debug)]
struct Lane {
    writer: usize,
    topic: usize,
}

/// What is owed, and when there is more.
#[derive(Debug)]
pub(crate) struct Outbox {
    owed: VecDeque<Item>,
    lanes: Vec<Lane>,
    turn: usize,
    period: Duration,
    /// `None` until writing begins.
    due: Option<Instant>,
}

impl Outbox {
    pub(crate) fn new(shared: &Shared, ledger: &Ledger) -> Self {
        let lanes: Vec<Lane> = ledger
            .writers
            .iter()
            .map(|(writer, w)| Lane {
                writer: *writer,
                topic: w.topic,
            })
            .collect();
        let all = 2.0 * shared.conversations.len() as f64;
        let share = shared.plan.rate * lanes.len() as f64 / all;
        Self {
            owed: VecDeque::new(),
            lanes,
            turn: 0,
            period: Duration::from_secs_f64(if share > 0.0 { 1.0 / share } else { 3600.0 }),
            due: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.owed.len()
    }

    /// When the next message is written, if anything is.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
            .filter(|_| !self.lanes.is_empty() && self.owed.len() < WINDOW)
    }

    /// Writes what is due: how many messages.
    pub(super) fn write_due(&mut self, shared: &Shared, ledger: &mut Ledger, rng: &mut impl Rng) -> u64 {
        let now = Instant::now();
        let first = now + self.period.mul_f64(rng.random_range(0.0..1.0));
        let mut due = *self.due.get_or_insert(first);
        let mut written = 0;
        while due <= now && !self.lanes.is_empty() && self.owed.len() < WINDOW {
            due += self.period;
            self.turn = (self.turn + 1) % self.lanes.len();
            let lane = &self.lanes[self.turn];
            let qos = match rng.random_range(0..10) {
                0 | 1 => QoS::AtMostOnce,
                2..7 => QoS::AtLeastOnce,
                _ => QoS::ExactlyOnce,
            };
            let at = shared.now();
            let Some((_, writer)) = ledger.writers.iter_mut().find(|(index, _)| *index == lane.writer) else {
                break;
            };
            let key = Key::text(lane.writer, writer.texts.len());
            writer.texts.push(Sent {
                at,
                ..Sent::default()
            });
            let topic = lane.topic;
            self.push(Item::new(key, topic, None, at, qos));
            written += 1;
        }
        // What could not be written in time is not made up for: a page that is stuck does not type on.
        self.due = Some(due.max(now.checked_sub(self.period).unwrap_or(now)));
        ledger.owed = self.owed.len();
        written
    }

    /// Says that a message was read, if this client is the one that answers in its conversation.
    pub(super) fn read(&mut self, shared: &Shared, ledger: &mut Ledger, topic: usize, of: Key) {
        let Some(lane) = self.lanes.iter().find(|lane| lane.topic == topic) else {
            return;
        };
        let Some((_, writer)) = ledger.writers.iter_mut().find(|(index, _)| *index == lane.writer) else {
            return;
        };
        let at = shared.now();
        let key = Key::read(lane.writer, writer.reads.len());
        writer.reads.push((
            Sent {
                at,
                ..Sent::default()
            },
            of,
        ));
        self.push(Item::new(key, topic, Some(of), at, QoS::AtLeastOnce));
        ledger.owed = self.owed.len();
    }

    /// Sends something again that was acknowledged, at some moment soon: to a client that is gone without a word an
    /// acknowledgement may never have come.
    pub(super) fn repeat(&mut self, ledger: &mut Ledger, rng: &mut impl Rng) {
        let acked = ledger.writers.iter().flat_map(|(writer, w)| {
            let texts = w.texts.iter().enumerate();
            let acked = texts.filter(|(_, sent)| sent.acked.is_some());
            acked.map(|(seq, sent)| (Key::text(*writer, seq), w.topic, sent.at))
        });
        let settled = acked.filter(|(key, ..)| self.owed.iter().all(|item| item.key != *key));
        if let Some((key, topic, at)) = settled.choose(rng) {
            let mut item = Item::new(key, topic, None, at, QoS::AtLeastOnce);
            item.not_before = Some(Instant::now() + SOON.mul_f64(rng.random_range(0.0..1.0)));
            self.push(item);
            ledger.owed = self.owed.len();
        }
    }

    fn push(&mut self, item: Item) {
        self.owed.push_back(item);
    }

    /// The next message to send.
    pub(crate) fn waiting(&self) -> Option<Item> {
        let now = Instant::now();
        let ready = |item: &&Item| item.flying.is_none() && item.not_before.is_none_or(|at| at <= now);
        self.owed.iter().find(ready).cloned()
    }

    /// How many are on their way, and since when the oldest is.
    pub(crate) fn flying(&self) -> (usize, Option<Instant>) {
        let flying = self.owed.iter().filter_map(|item| item.flying);
        (flying.clone().count(), flying.min())
    }

    pub(super) fn took_off(&mut self, key: Key) {
        if let Some(item) = self.find(key) {
            item.flying = Some(Instant::now());
        }
    }

    /// The connection is gone: everything that is owed waits again. What was sent without acknowledgement wants one now.
    pub(super) fn land(&mut self) {
        for item in &mut self.owed {
            if item.flying.take().is_some() && item.qos == QoS::AtMostOnce {
                item.qos = QoS::AtLeastOnce;
            }
        }
    }

    /// Puts one back.
    pub(crate) fn later(&mut self, key: Key, delay: Duration) {
        if let Some(item) = self.find(key) {
            item.flying = None;
            item.not_before = Some(Instant::now() + delay);
        }
    }

    /// One is owed no more.
    pub(super) fn settle(&mut self, key: Key) {
        self.owed.retain(|item| item.key != key);
    }

    /// Whether it was sent with QoS 0, so that its echo is its acknowledgement.
    pub(super) fn is_owed_without_ack(&self, key: Key) -> bool {
        let sent = |item: &Item| item.key == key && item.flying.is_some() && item.qos == QoS::AtMostOnce;
        self.owed.iter().any(sent)
    }

    fn find(&mut self, key: Key) -> Option<&mut Item> {
        self.owed.iter_mut().find(|item| item.key == key)
    }
}
