//! What a client's acknowledgements say about messages: that they reached it. Collected, one receipt per topic and
//! interval, so that a fast conversation does not double the log.

use std::collections::HashMap;

use model::{MessageUid, Position, Principal, TopicName};

use crate::Core;
use crate::delivery::Delivery;
use crate::line::Ticket;

/// What to remember of an item in flight, to report it as delivered.
#[derive(Debug, Clone)]
pub struct Note {
    topic: TopicName,
    uid: MessageUid,
    position: Position,
}

/// Acknowledged and not reported.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    latest: HashMap<TopicName, (MessageUid, Position)>,
}

impl Note {
    /// A note for a chat message.
    pub(crate) fn of(delivery: &Delivery) -> Note {
        Note {
            topic: TopicName::trusted(&delivery.entry.topic),
            uid: MessageUid::new(&delivery.entry.uid),
            position: delivery.position,
        }
    }
}

impl Delivered {
    pub fn note(&mut self, note: Note) {
        let latest = self
            .latest
            .entry(note.topic)
            .or_insert((note.uid.clone(), note.position));
        if note.position > latest.1 {
            *latest = (note.uid, note.position);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// Reports what was noted, unless the log has too much to do already. A report that the log does not take is lost;
    /// the next one covers it.
    pub fn flush(&mut self, core: &Core, who: &Principal) {
        for (topic, (uid, upto)) in self.latest.drain() {
            let entry = core.ingest.delivered(who, &topic, &uid, upto, core.now());
            if !core.attachments.line_of(&entry).is_full() {
                core.submit(entry, Ticket::Nobody);
            }
        }
        self.latest.shrink_to_fit();
    }
}
