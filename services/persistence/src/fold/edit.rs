//! Edits: the message shows what they say, at its own place.

use consumer::Item;
use model::Position;
use store::{Flags, MessageId, Stored};
use wire::{Entry, Kind};

use super::stream;
use super::work::{Work, countable, is_message};

/// The message keeps its row and its position and shows what the edit says. The edit itself is delivered at its own place,
/// to sessions that have the message already, and is not in history a second time. It counts as unread there; of several
/// only the first, as there is one place that reading the message is noted at.
pub(super) fn apply(work: &mut Work<'_>, item: Item, stored: Vec<Stored>) {
    match find(work, &item, stored) {
        Some((_, _, flags)) if flags.has(Flags::RECALLED) => {
            stream::push_scrubbed(work, item, Flags::default());
        }
        Some((target, message, flags)) if message.known_kind() == Kind::Chat => {
            let first = !flags.has(Flags::EDITED);
            let (edited, flags) = (edited(&message, &item, first), flags.with(Flags::EDITED));
            match target {
                Target::Stored(id) => work.rewrite(id, edited, flags),
                Target::Here(index) => {
                    let message = &mut work.batch.messages[index];
                    (message.bytes, message.entry, message.flags) = (edited.to_bytes(), edited, flags);
                }
            }
            let flags = match first {
                true => countable(&item.entry, Flags::default()),
                false => Flags::default(),
            };
            work.push(item, flags);
        }
        // There is no such message: what was said is not lost.
        _ => {
            let flags = countable(&item.entry, Flags::SHOWN);
            work.message(item, flags);
        }
    }
}

enum Target {
    Stored(MessageId),
    Here(usize),
}

/// The message that the edit names, as this batch has left it so far.
fn find(work: &Work<'_>, item: &Item, stored: Vec<Stored>) -> Option<(Target, Entry, Flags)> {
    if let Some(hit) = stored.into_iter().next() {
        let (message, flags) = work.current(&hit);
        return Some((Target::Stored(hit.id), message, flags));
    }
    let edit = &item.entry;
    let here = work.here(item.partition, &edit.org, &edit.topic, &edit.target);
    let mut messages = here.into_iter().map(|i| (i, &work.batch.messages[i]));
    let (index, message) = messages.find(|(_, m)| is_message(&m.entry, m.flags))?;
    Some((Target::Here(index), message.entry.clone(), message.flags))
}

/// The message as the edit makes it: everything but which message it is, when that was accepted and where its first
/// edit stands.
fn edited(message: &Entry, edit: &Item, first: bool) -> Entry {
    let Position(at) = edit.position;
    Entry {
        kind: message.kind,
        uid: message.uid.clone(),
        accepted_at: message.accepted_at,
        target: String::new(),
        upto: if first { at } else { message.upto },
        ..edit.entry.clone()
    }
}
