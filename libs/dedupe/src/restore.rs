//! From a manifest back to a filter. It serves at once, with `Likely` for everything, and gets better with each blob
//! that arrives.

use std::collections::HashSet;

use crate::checkpoint::decode_keys;
use crate::filter::{Config, Filter};
use crate::form::Form;
use crate::frame::Damaged;
use crate::generation::{Chunk, Closed, Open, Stored};
use crate::manifest::{Blob, ClosedRecord, Manifest, OpenRecord};

/// A blob that a filter lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    blob: Blob,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chunk,
    Sealed,
}

/// A blob that was read.
#[derive(Debug)]
pub struct Part {
    blob: Blob,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Keys(Vec<u64>),
    Form(Form),
}

impl Wanted {
    /// The name that it was stored under.
    pub fn name(&self) -> String {
        self.blob.name()
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.blob.size()
    }

    /// Reads what was stored under that name. Takes a millisecond or two for a sealed generation: it need not be done
    /// by the owner.
    ///
    /// # Errors
    /// When it is not what the manifest names: [give it up](Filter::give_up).
    pub fn open(&self, bytes: &[u8]) -> Result<Part, Damaged> {
        if !self.blob.is(bytes) {
            return Err(Damaged("it is not the blob that the manifest names"));
        }
        let content = match self.kind {
            Kind::Chunk => Content::Keys(decode_keys(bytes)?),
            Kind::Sealed => Content::Form(Form::decode(bytes)?),
        };
        Ok(Part {
            blob: self.blob,
            content,
        })
    }
}

impl Filter {
    /// The filter that a manifest describes, without what lies in blobs. The caller has found that the manifest
    /// [joins](crate::Join) the log, and inserts what the log has after [`Manifest::position`]; where it does not
    /// join for want of frames that were trimmed, it also calls [`Filter::miss`].
    pub fn restore(config: Config, manifest: &Manifest) -> Self {
        let mut open: Vec<Open> = manifest.open.iter().map(|o| reopened(o, &config)).collect();
        let mut filter = Self::new(config);
        filter.next = manifest.next.max(filter.next);
        filter.missing = manifest.missing;
        filter.stored = manifest.blobs();
        filter.current = match open.pop() {
            Some(current) => current,
            None => Open::new(filter.number(), config.salt),
        };
        filter.closing = open;
        filter.closed = manifest.closed.iter().map(unloaded).collect();
        filter
    }

    /// Takes up a manifest that is read only now, by a filter that was [ignorant](Filter::ignorant) of it and has
    /// stored nothing since. It has what the log has after [`Manifest::position`], or is given it next; where some of
    /// that was trimmed, the caller also calls [`Filter::miss`], as after [`Filter::restore`].
    pub fn join(&mut self, manifest: &Manifest) {
        self.next = self.next.max(manifest.next);
        self.missing = manifest.missing;
        self.stored = manifest.blobs();
        let config = self.config;
        let mut open = Vec::new();
        for record in manifest.open.iter().filter(|open| !open.is_empty()) {
            // What is being sealed here goes by its number: nothing else must have that.
            let id = self.number();
            open.push(Open {
                id,
                ..reopened(record, &config)
            });
        }
        // None of them takes the new keys: those go where they went until now.
        self.closing.splice(0..0, open);
        for record in &manifest.closed {
            let id = self.number();
            self.insert_closed(Closed {
                id,
                ..unloaded(record)
            });
        }
    }

    /// The blobs that it lacks, in the order in which to fetch them: the chunks of the newest generation, those of
    /// older ones, then the sealed ones, newest first. A resend is more often of today than of last week, and what is
    /// open must be whole before it can be sealed.
    pub fn wanted(&self) -> Vec<Wanted> {
        let open = [&self.current].into_iter().chain(self.closing.iter().rev());
        let chunks = open.flat_map(|open| open.chunks.iter().filter(|chunk| !chunk.here));
        let chunks = chunks.map(|chunk| Wanted {
            blob: chunk.blob,
            kind: Kind::Chunk,
        });
        let closed = self.closed.iter().rev().filter(|closed| closed.form.is_none());
        let sealed = closed.filter_map(|closed| match closed.stored {
            Stored::At(blob) => Some(Wanted {
                blob,
                kind: Kind::Sealed,
            }),
            Stored::Not(_) => None,
        });
        chunks.chain(sealed).collect()
    }

    /// Takes in a blob that has arrived. One that is not wanted (any more) is dropped.
    pub fn take_in(&mut self, part: Part) {
        match part.content {
            Content::Form(form) => {
                if let Some(closed) = self.closed_mut(part.blob) {
                    closed.form = Some(form);
                }
            }
            Content::Keys(keys) => {
                let Some(open) = self.lacking_mut(part.blob) else {
                    return;
                };
                open.arrived(part.blob);
                let set = open.set();
                let known: HashSet<u64> = keys.into_iter().filter(|key| !set.insert(*key)).collect();
                self.keep(&known);
            }
        }
    }

    /// A blob is gone or damaged. The filter goes on without it, and is incomplete until what its generation knew is
    /// [rebuilt](crate::Rebuild) or older than the retention.
    pub fn give_up(&mut self, wanted: &Wanted) {
        if let Some(open) = self.lacking_mut(wanted.blob) {
            open.arrived(wanted.blob);
            open.chunks.retain(|chunk| chunk.blob != wanted.blob);
            let to = open.span.to;
            self.miss(to);
        }
        if let Some(closed) = self.closed_mut(wanted.blob) {
            let (id, to) = (closed.id, closed.span.to);
            self.closed.retain(|closed| closed.id != id);
            self.miss(to);
        }
    }

    fn lacking_mut(&mut self, blob: Blob) -> Option<&mut Open> {
        let mut open = self.closing.iter_mut().chain([&mut self.current]);
        open.find(|open| open.chunks.iter().any(|c| c.blob == blob && !c.here))
    }

    fn closed_mut(&mut self, blob: Blob) -> Option<&mut Closed> {
        let is_it = |closed: &&mut Closed| {
            matches!(closed.stored, Stored::At(at) if at == blob) && closed.form.is_none()
        };
        self.closed.iter_mut().find(is_it)
    }
}

impl Open {
    /// A chunk is waited for no longer.
    fn arrived(&mut self, blob: Blob) {
        let mut chunks = self.chunks.iter_mut();
        if let Some(chunk) = chunks.find(|chunk| chunk.blob == blob && !chunk.here) {
            chunk.here = true;
            self.lacking -= 1;
        }
    }
}

fn reopened(record: &OpenRecord, config: &Config) -> Open {
    let mut open = Open::new(record.id, config.salt);
    open.span = record.span;
    open.chunks = record
        .chunks
        .iter()
        .map(|blob| Chunk {
            blob: *blob,
            here: false,
        })
        .collect();
    open.lacking = open.chunks.len();
    open.tail = record.tail.clone();
    let set = open.set();
    for key in &record.tail {
        set.insert(*key);
    }
    open
}

fn unloaded(record: &ClosedRecord) -> Closed {
    Closed {
        id: record.id,
        keys: record.keys,
        span: record.span,
        form: None,
        stored: Stored::At(record.blob),
    }
}
