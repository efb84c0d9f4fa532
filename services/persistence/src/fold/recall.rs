//! Recalls: what they name loses what it said.

use consumer::Item;
use store::{Flags, Stored, StreamTarget, StreamText};
use wire::Kind;

use super::work::{Work, is_message};
use crate::stream::scrub;

/// Takes back everything of the topic that stands under the target's uid: the message, its parts, its edits. The recall
/// itself is a message.
pub(super) fn apply(work: &mut Work<'_>, item: Item, stored: Vec<Stored>) {
    let mut messages = Vec::new();
    for hit in stored {
        let (entry, flags) = work.current(&hit);
        if is_message(&entry, flags) {
            messages.push((hit.position, entry.clone()));
        }
        work.rewrite(hit.id, scrub(&entry), flags.with(Flags::RECALLED));
        if hit.stream.is_some() {
            let target = StreamTarget::Stored(hit.id);
            work.batch.streams.push(StreamText { target, bytes: None });
        }
    }
    let target = &item.entry.target;
    for index in work.here(item.partition, &item.entry.org, &item.entry.topic, target) {
        let message = &mut work.batch.messages[index];
        if message.entry.known_kind() == Kind::Recall {
            continue;
        }
        if is_message(&message.entry, message.flags) {
            messages.push((message.position, message.entry.clone()));
        }
        message.flags = message.flags.with(Flags::RECALLED);
        message.entry = scrub(&message.entry);
        message.bytes = message.entry.to_bytes();
    }
    if let [(first, _), (again, entry), ..] = &messages[..] {
        work.repeated.note(entry, *first, *again);
    }
    if let Some(stream) = work.stream(item.partition, &item.entry, target) {
        stream.recalled = true;
    }
    work.push(item, Flags::SHOWN);
}
