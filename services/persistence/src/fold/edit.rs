//! Edits: the message shows what they say, at its own place.

use consumer::Item;
use model::Position;
use store::{Flags, Stored};
use wire::{Entry, Kind};

use super::stream;
use super::work::{Work, countable, is_message};

/// The message keeps its row and its position and shows what the edit says. The edit itself is delivered at its own place,
/// to sessions that have the message already, and is not in history a second time. It counts as unread there; of several
/// only the first, as there is one place that reading the message is noted at.
pub(super) fn apply(work: &mut Work<'_>, item: Item, stored: Vec<Stored>) {
    let target = match stored.into_iter().next() {
        Some(hit) => Some(Target::Stored(hit)),
        None => work
            .here(
                item.partition,
                &item.entry.org,
                &item.entry.topic,
                &item.entry.target,
            )
            .into_iter()
            .find(|i| is_message(&work.batch.messages[*i].entry, work.batch.messages[*i].flags))
            .map(Target::Here),
    };
    let (message, flags) = match &target {
        Some(Target::Stored(hit)) => work.current(hit),
        Some(Target::Here(index)) => {
            let message = &work.batch.messages[*index];
            (message.entry.clone(), message.flags)
        }
        None => (Entry::default(), Flags::default()),
    };
    match target {
        Some(_) if flags.has(Flags::RECALLED) => stream::push_scrubbed(work, item, Flags::default()),
        Some(target) if message.known_kind() == Kind::Chat => {
            let first = !flags.has(Flags::EDITED);
            let (edited, flags) = (edited(&message, &item, first), flags.with(Flags::EDITED));
            match target {
                Target::Stored(hit) => work.rewrite(hit.id, edited, flags),
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
    Stored(Stored),
    Here(usize),
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
