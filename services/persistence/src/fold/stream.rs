//! Streamed answers: the parts that one uid has in a topic.

use consumer::Item;
use store::{Flags, Stored, StreamTarget};

use super::work::{Stream, Work};
use crate::stream::{append, scrub};

/// The first part is the message that history shows; later ones are for delivery, and add to it.
pub(super) fn apply(work: &mut Work<'_>, item: Item, stored: Vec<Stored>) {
    if item.entry.uid.is_empty() {
        return work.message(item, Flags::SHOWN);
    }
    if work
        .stream(item.partition, &item.entry, &item.entry.uid)
        .is_none()
        && let Some(first) = stored.into_iter().next()
    {
        // It may have been taken back before or within this batch.
        let (entry, flags) = work.current(&first);
        let whole = match first.stream {
            Some(bytes) => wire::frame::decode_entry(bytes).unwrap_or(entry),
            None => entry,
        };
        let stream = Stream {
            target: StreamTarget::Stored(first.id),
            whole,
            changed: false,
            recalled: flags.has(Flags::RECALLED),
        };
        work.begin_stream(&item, stream);
    }
    match work.stream(item.partition, &item.entry, &item.entry.uid) {
        None => {
            let stream = Stream {
                target: StreamTarget::New(work.batch.messages.len()),
                whole: item.entry.clone(),
                changed: false,
                recalled: false,
            };
            work.begin_stream(&item, stream);
            work.message(item, Flags::SHOWN);
        }
        Some(stream) if stream.recalled => push_scrubbed(work, item, Flags::PART),
        Some(stream) => {
            append(&mut stream.whole, &item.entry);
            stream.changed = true;
            work.push(item, Flags::PART);
        }
    }
}

/// What belongs to a recalled message is not shown to anyone.
pub(super) fn push_scrubbed(work: &mut Work<'_>, item: Item, flags: Flags) {
    let entry = scrub(&item.entry);
    let scrubbed = Item {
        bytes: entry.to_bytes(),
        entry,
        ..item
    };
    work.push(scrubbed, flags.with(Flags::RECALLED));
}
