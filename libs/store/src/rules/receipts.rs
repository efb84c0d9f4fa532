//! How far a message has come.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{Position, ReceiptKind};
use wire::Entry;

use crate::{ReceiptRow, StoreError};

/// Whether a message has reached anybody but who wrote it, given who has everything up to it.
pub(crate) fn reached_others<'a>(message: &Entry, mut reached: impl Iterator<Item = &'a str>) -> bool {
    reached.any(|user| user != message.sender && user != message.author)
}

/// How far a message has come with each recipient. What is told later counts more.
#[derive(Default)]
pub(crate) struct Recipients(BTreeMap<String, (ReceiptKind, Option<Position>)>);

impl Recipients {
    /// Everything up to the message has reached a user, who said so at `changed`.
    pub fn reached(&mut self, by: String, changed: Position) {
        self.0.insert(by, (ReceiptKind::Delivered, Some(changed)));
    }

    /// A user has read it.
    pub fn read(&mut self, by: String) {
        self.0.insert(by, (ReceiptKind::Read, None));
    }

    /// A receipt brought it to its furthest state; `state` is its number.
    ///
    /// # Errors
    /// When the receipt's entry cannot be read.
    pub fn furthest(&mut self, state: i64, changed: Position, entry: Bytes) -> Result<(), StoreError> {
        if let Some(state) = ReceiptKind::from_number(state) {
            let by = crate::log::decode(entry, "receipts")?.sender;
            self.0.insert(by, (state, Some(changed)));
        }
        Ok(())
    }

    /// By recipient, each once.
    pub fn rows(self) -> Vec<ReceiptRow> {
        let row = |(by, (state, changed)): (String, _)| ReceiptRow {
            by: by.into(),
            state,
            changed,
        };
        self.0.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_delivers_a_message_to_themselves() {
        let message = Entry {
            sender: "a".into(),
            author: "desk".into(),
            ..Entry::default()
        };
        for (reached, others) in [
            (vec![], false),
            (vec!["a", "desk"], false),
            (vec!["a", "b"], true),
        ] {
            assert_eq!(reached_others(&message, reached.into_iter()), others);
        }
    }

    #[test]
    fn each_recipient_has_the_furthest_that_is_known() {
        let mut recipients = Recipients::default();
        for by in ["a", "b", "c"] {
            recipients.reached(by.into(), Position(1));
        }
        recipients.read("b".into());
        recipients.read("c".into());
        let by = Entry {
            sender: "c".into(),
            ..Entry::default()
        };
        recipients
            .furthest(ReceiptKind::Read as i64, Position(7), by.to_bytes())
            .unwrap();
        let rows: Vec<_> = (recipients.rows().into_iter())
            .map(|row| (row.by.to_string(), row.state, row.changed))
            .collect();
        let (delivered, read) = (ReceiptKind::Delivered, ReceiptKind::Read);
        let wanted = [
            ("a", delivered, Some(Position(1))),
            ("b", read, None),
            ("c", read, Some(Position(7))),
        ];
        assert_eq!(rows, wanted.map(|(by, state, at)| (by.to_owned(), state, at)));
    }
}
