//! What is kept of a client: everything it wrote and heard.

use tokio::time::Instant;

use crate::key::{Key, Names};
use crate::record::{Observer, Sent, Writer};

/// What is kept of a client.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By index of all writers.
    pub(crate) writers: Vec<(usize, Writer)>,
    pub(crate) observer: Observer,
    pub(crate) names: Names,
    /// Whether it is connected and attached.
    pub(crate) connected: bool,
    /// Whether it ever was.
    pub(crate) ready: bool,
    /// Why it is not connected.
    pub(crate) trouble: String,
    /// When it lost its connection, if it did not go of itself.
    pub(crate) lost: Option<Instant>,
    /// The longest time until it was back, in ms.
    pub(crate) longest: u32,
    /// Texts heard, by writer.
    pub(crate) bits: Vec<Vec<u64>>,
    /// What it owes.
    pub(crate) owed: usize,
}

impl Ledger {
    /// Whether it has heard a text.
    pub(crate) fn has(&self, writer: usize, seq: usize) -> bool {
        let word = self.bits.get(writer).and_then(|bits| bits.get(seq / 64));
        word.is_some_and(|word| word >> (seq % 64) & 1 == 1)
    }

    /// Notes a text; whether it is new.
    pub(super) fn note(&mut self, writer: usize, seq: usize) -> bool {
        if self.has(writer, seq) {
            return false;
        }
        if self.bits.len() <= writer {
            self.bits.resize(writer + 1, Vec::new());
        }
        let bits = &mut self.bits[writer];
        if bits.len() <= seq / 64 {
            bits.resize(seq / 64 + 1, 0);
        }
        bits[seq / 64] |= 1 << (seq % 64);
        true
    }
}

/// Changes what is known of a message that this client sent.
pub(super) fn with_sent(ledger: &mut Ledger, key: Key, change: impl FnOnce(&mut Sent)) {
    let (Some((writer, seq)), text) = (key.as_text().or(key.as_read()), key.as_text().is_some()) else {
        return;
    };
    let Some((_, writer)) = ledger.writers.iter_mut().find(|(index, _)| *index == writer) else {
        return;
    };
    let sent = if text {
        writer.texts.get_mut(seq)
    } else {
        writer.reads.get_mut(seq).map(|(sent, _)| sent)
    };
    if let Some(sent) = sent {
        change(sent);
    }
}
