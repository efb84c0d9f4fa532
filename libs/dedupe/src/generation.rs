//! A generation: the keys that were accepted within some time. Open while they are held exactly, then sealed.

use std::sync::Arc;

use bytes::Bytes;

use crate::exact::Exact;
use crate::form::Form;
use crate::manifest::Blob;

/// When the keys of a generation were accepted, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first; above `to` when there is none.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) const NONE: Self = Self {
        from: u64::MAX,
        to: 0,
    };

    /// Takes in a time. They need not come in order: the clock may be set.
    pub(crate) fn widen(&mut self, at: u64) {
        self.from = self.from.min(at);
        self.to = self.to.max(at);
    }
}

/// A blob of keys of an open generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) blob: Blob,
    /// Whether the set has its keys; it lacks them after a restart until the blob has come.
    pub(crate) here: bool,
}

/// A generation whose keys are all in a set.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: u64,
    pub(crate) span: Span,
    /// Shared with its [`crate::Sealing`] while that is being built; nothing is inserted then.
    pub(crate) set: Arc<Exact>,
    /// What of it was stored as blobs.
    pub(crate) chunks: Vec<Chunk>,
    /// How many of them are not here yet.
    pub(crate) lacking: usize,
    /// Settled keys that are in no blob yet, in the order in which they came.
    pub(crate) tail: Vec<u64>,
}

impl Open {
    pub(crate) fn new(id: u64, salt: u64) -> Self {
        Self {
            id,
            span: Span::NONE,
            set: Arc::new(Exact::new(salt)),
            chunks: Vec::new(),
            lacking: 0,
            tail: Vec::new(),
        }
    }

    pub(crate) fn set(&mut self) -> &mut Exact {
        // Copies only if a sealing of it is about, and then nothing is inserted.
        Arc::make_mut(&mut self.set)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.lacking == 0
    }

    /// Whether somebody is building its filter.
    pub(crate) fn is_being_sealed(&self) -> bool {
        Arc::strong_count(&self.set) > 1
    }
}

/// A generation that takes no more keys.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) id: u64,
    pub(crate) keys: u64,
    pub(crate) span: Span,
    /// `None`: not loaded yet.
    pub(crate) form: Option<Form>,
    pub(crate) stored: Stored,
}

/// Where a sealed generation's blob is.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    /// It is to be stored with the next checkpoint.
    Not(Bytes),
    /// A manifest names it.
    At(Blob),
}
