//! How far a message has come.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{OrgId, Position, ReceiptKind, TopicName};

use crate::{NewMark, NewReceipt, ReceiptBatch, ReceiptRow, StoreError};

/// What a batch comes to, each row once and in order: forward only, and of those who brought a message equally far
/// the first counts. Topics are named by what a store knows them by; of one that is not stored nothing is said.
pub(crate) struct Furthest<'a, T> {
    pub receipts: BTreeMap<(T, Position), &'a NewReceipt>,
    pub marks: BTreeMap<(T, &'a str), &'a NewMark>,
    pub reads: BTreeSet<(T, &'a str, Position)>,
}

impl<'a, T: Copy + Ord> Furthest<'a, T> {
    pub fn of(batch: &'a ReceiptBatch, topic: impl Fn(&OrgId, &TopicName) -> Option<T>) -> Self {
        let (mut receipts, mut marks, mut reads) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for receipt in &batch.receipts {
            let Some(topic) = topic(&receipt.org, &receipt.topic) else {
                continue;
            };
            let furthest = receipts.entry((topic, receipt.message)).or_insert(receipt);
            if receipt.state > furthest.state {
                *furthest = receipt;
            }
            if receipt.state == ReceiptKind::Read {
                let at_once = std::iter::once(receipt.message).chain(receipt.edit);
                reads.extend(at_once.map(|at| (topic, receipt.by.as_str(), at)));
            }
        }
        for mark in &batch.marks {
            let Some(topic) = topic(&mark.org, &mark.topic) else {
                continue;
            };
            let furthest = marks.entry((topic, mark.by.as_str())).or_insert(mark);
            if mark.upto > furthest.upto {
                *furthest = mark;
            }
        }
        Self {
            receipts,
            marks,
            reads,
        }
    }

    /// Who has read something where, each once.
    pub fn readers(&self) -> Vec<(T, &'a str)> {
        let mut readers: Vec<_> = self.reads.iter().map(|(topic, by, _)| (*topic, *by)).collect();
        readers.dedup();
        readers
    }
}

/// The state of a message that no receipt names: delivered when anybody but who wrote it has everything up to it.
/// `reached` are those who do.
///
/// # Errors
/// When the message cannot be read.
pub(crate) fn delivered(message: &Bytes, reached: &[String]) -> Result<Option<ReceiptKind>, StoreError> {
    if reached.is_empty() {
        return Ok(None);
    }
    let message = crate::log::decode(message.clone(), "messages")?;
    let another = |user: &String| *user != message.sender && *user != message.author;
    Ok((reached.iter().any(another)).then_some(ReceiptKind::Delivered))
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
    use wire::Entry;

    use super::*;

    #[test]
    fn nobody_delivers_a_message_to_themselves() {
        let message = Entry {
            sender: "a".into(),
            author: "desk".into(),
            ..Entry::default()
        };
        for (reached, others) in [
            (vec![], None),
            (vec!["a", "desk"], None),
            (vec!["a", "b"], Some(ReceiptKind::Delivered)),
        ] {
            let reached: Vec<String> = reached.into_iter().map(str::to_owned).collect();
            assert_eq!(delivered(&message.to_bytes(), &reached).unwrap(), others);
        }
    }

    fn receipt(topic: &str, message: u64, state: ReceiptKind, by: &str, changed: u64) -> NewReceipt {
        NewReceipt {
            org: "o".into(),
            topic: TopicName::trusted(topic),
            message: Position(message),
            edit: (message == 3).then_some(Position(9)),
            state,
            by: by.into(),
            changed: Position(changed),
            bytes: Bytes::new(),
        }
    }

    #[test]
    fn a_batch_comes_to_the_furthest_of_each_message_and_user() {
        use ReceiptKind::{Delivered, Read};
        let mark = |upto, changed| NewMark {
            org: "o".into(),
            topic: TopicName::trusted("t"),
            by: "b".into(),
            upto: Position(upto),
            changed: Position(changed),
            bytes: Bytes::new(),
        };
        let batch = ReceiptBatch {
            advances: Vec::new(),
            receipts: vec![
                receipt("t", 2, Delivered, "b", 11),
                receipt("t", 2, Read, "b", 12),
                receipt("t", 2, Read, "c", 13),
                receipt("t", 2, Delivered, "d", 14),
                receipt("t", 3, Read, "b", 15),
                receipt("gone", 2, Read, "b", 16),
            ],
            marks: vec![mark(5, 21), mark(7, 22), mark(6, 23)],
        };
        let known = |_: &OrgId, topic: &TopicName| (topic.as_str() == "t").then_some(1);
        let furthest = Furthest::of(&batch, known);
        let changed = |p: &&NewReceipt| p.changed.0;
        assert_eq!(
            furthest.receipts.values().map(changed).collect::<Vec<_>>(),
            [12, 15]
        );
        assert_eq!(furthest.marks[&(1, "b")].changed, Position(22));
        let reads: Vec<_> = furthest.reads.iter().map(|(_, by, at)| (*by, at.0)).collect();
        assert_eq!(reads, [("b", 2), ("b", 3), ("b", 9), ("c", 2)]);
        assert_eq!(furthest.readers(), [(1, "b"), (1, "c")]);
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
