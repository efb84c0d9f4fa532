//! Sealing: from the set of a generation to its filter. Takes a few tenths of a second, so it is a value that is built
//! elsewhere while the set goes on answering.

use std::sync::Arc;

use bytes::Bytes;

use crate::exact::Exact;
use crate::filter::half;
use crate::form::Form;
use crate::generation::Span;

/// A generation that is to be sealed: [`Sealing::build`] it where blocking is allowed, and give the outcome to
/// [`crate::Filter::adopt`]. Dropped instead, it is handed out again.
#[derive(Debug)]
pub struct Sealing {
    pub(crate) id: u64,
    pub(crate) span: Span,
    pub(crate) set: Arc<Exact>,
    pub(crate) salt: u64,
}

/// A generation as a filter, with the bytes that are stored of it.
#[derive(Debug)]
pub struct Sealed {
    /// Which open generation it replaces; `None` for one that was rebuilt.
    pub(crate) replaces: Option<u64>,
    pub(crate) keys: u64,
    pub(crate) span: Span,
    pub(crate) form: Form,
    pub(crate) bytes: Bytes,
    /// As long as somebody has it, the generation is not handed out again.
    _set: Option<Arc<Exact>>,
}

impl Sealing {
    /// How many keys it has.
    pub fn keys(&self) -> usize {
        self.set.len()
    }

    /// Makes the filter. Cannot fail: keys for which there is none are kept as they are.
    pub fn build(self) -> Sealed {
        let keys = self.set.sorted();
        Sealed {
            replaces: Some(self.id),
            _set: Some(self.set),
            ..Sealed::of(keys, self.span, self.salt)
        }
    }
}

impl Sealed {
    /// Of distinct keys in ascending order.
    fn of(keys: Vec<u64>, span: Span, salt: u64) -> Self {
        let count = keys.len() as u64;
        let form = Form::build(keys, salt);
        Self {
            replaces: None,
            keys: count,
            span,
            bytes: form.encode(),
            form,
            _set: None,
        }
    }
}

/// Collects the keys that a filter lacks, from the store, page by page, and seals them as it goes. It blocks when a
/// generation is full: run it where that is allowed.
#[derive(Debug)]
pub struct Rebuild {
    capacity: usize,
    salt: u64,
    span: Span,
    keys: Vec<u64>,
    /// Between the last time and this the next one is believed.
    last: u64,
    now: u64,
}

impl Rebuild {
    /// Generations of so many keys; the salt is that of [`crate::Config`]. It is `now` (milliseconds since 1970).
    pub fn new(capacity: usize, salt: u64, now: u64) -> Self {
        Self {
            capacity: capacity.max(1),
            salt,
            span: Span::NONE,
            keys: Vec::new(),
            last: 0,
            now,
        }
    }

    /// Takes in a message that was accepted at `at` (milliseconds since 1970). In the order in which they were
    /// accepted, so that generations can be dropped one after the other. The times are those of the clocks of several
    /// edges: one that is behind what came before counts as that, and none is in the future. So a wrong clock makes
    /// keys stay longer, and never go early. Gives a generation when one is full.
    pub fn insert(&mut self, key: u128, at: u64) -> Option<Sealed> {
        self.last = self.last.max(at.min(self.now));
        self.keys.push(half(key));
        self.span.widen(self.last);
        if self.keys.len() < self.capacity {
            return None;
        }
        self.seal()
    }

    /// What is left, at the end.
    pub fn finish(mut self) -> Option<Sealed> {
        self.seal()
    }

    fn seal(&mut self) -> Option<Sealed> {
        let mut keys = std::mem::take(&mut self.keys);
        keys.sort_unstable();
        keys.dedup();
        let span = std::mem::replace(&mut self.span, Span::NONE);
        (!keys.is_empty()).then(|| Sealed::of(keys, span, self.salt))
    }
}
