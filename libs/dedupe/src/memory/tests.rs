use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn record(position: u64, sender: &str) -> Record {
    Record {
        position: Position(position),
        sender: sender.into(),
        author: sender.into(),
        digest: position * 3,
        accepted_at: UnixMillis(position * 7),
        kind: MessageKind::Ordinary,
        state: None,
    }
}

const WIDE: Limits = Limits {
    records: 1_000,
    bytes: 1 << 20,
};

#[test]
fn a_message_is_remembered_as_it_was_accepted() {
    let mut memory = Memory::new(WIDE, Position::START);
    let first = Record {
        author: "agent".into(),
        kind: MessageKind::Recall,
        state: Some(ReceiptKind::Delivered),
        ..record(5, "ann")
    };
    assert!(memory.remember(1, &first));
    memory.settle();
    assert_eq!(memory.get(1), Some(first));
    assert_eq!(memory.get(2), None);
    assert_eq!(
        memory.get(1 << 64),
        None,
        "a key that agrees in one half is another"
    );
}

#[test]
fn the_first_part_of_a_stream_stays() {
    let mut memory = Memory::new(WIDE, Position::START);
    assert!(memory.remember(1, &record(5, "ann")));
    assert!(!memory.remember(1, &record(6, "bob")));
    memory.settle();
    assert!(!memory.remember(1, &record(7, "bob")));
    memory.undo();
    assert_eq!(memory.get(1), Some(record(5, "ann")));
}

#[test]
fn receipts_only_move_forward() {
    let mut memory = Memory::new(WIDE, Position::START);
    memory.remember(1, &record(5, "ann"));
    assert!(memory.advance(1, ReceiptKind::Delivered));
    assert!(memory.advance(1, ReceiptKind::Read));
    assert!(!memory.advance(1, ReceiptKind::Delivered));
    assert!(!memory.advance(2, ReceiptKind::Read));
    assert_eq!(
        memory.get(1).and_then(|found| found.state),
        Some(ReceiptKind::Read)
    );
}

#[test]
fn a_frame_that_failed_takes_back_its_records_and_states_and_nothing_else() {
    let mut memory = Memory::new(WIDE, Position::START);
    memory.remember(1, &record(5, "ann"));
    memory.advance(1, ReceiptKind::Delivered);
    memory.settle();
    memory.remember(2, &record(6, "bob"));
    memory.advance(1, ReceiptKind::Read);
    memory.advance(2, ReceiptKind::Read);
    memory.undo();
    assert_eq!(
        memory.get(1).and_then(|found| found.state),
        Some(ReceiptKind::Delivered)
    );
    assert_eq!((memory.get(2), memory.len()), (None, 1));
    assert_eq!(memory.forgotten_up_to(), Position::START);
    assert!(memory.remember(2, &record(6, "cem")));
}

#[test]
fn the_oldest_are_forgotten_when_a_frame_is_settled_and_not_before() {
    let narrow = Limits { records: 2, ..WIDE };
    let mut memory = Memory::new(narrow, Position(1));
    for position in 2..6 {
        memory.remember(u128::from(position), &record(position, "ann"));
    }
    assert_eq!((memory.len(), memory.forgotten_up_to()), (4, Position(1)));
    memory.settle();
    assert_eq!((memory.len(), memory.forgotten_up_to()), (2, Position(3)));
    assert!(memory.get(3).is_none() && memory.get(4).is_some());
}

#[test]
fn bytes_are_bounded_whatever_the_names_of_senders_are() {
    let narrow = Limits {
        records: 1_000,
        bytes: 20_000,
    };
    let mut memory = Memory::new(narrow, Position::START);
    for position in 1..500u64 {
        memory.remember(
            u128::from(position),
            &record(position, &format!("{position:0>120}")),
        );
        memory.settle();
        assert!(memory.bytes() <= narrow.bytes);
    }
    assert!(memory.len() > 50, "{} are remembered", memory.len());
    assert!(memory.get(499).is_some());
}

/// What the memory should be: a map and an order.
#[derive(Default, Clone)]
struct Model {
    records: HashMap<u128, Record>,
    order: Vec<u128>,
    forgotten: Position,
}

impl Model {
    fn forget(&mut self, most: usize) {
        while self.order.len() > most {
            let key = self.order.remove(0);
            self.forgotten = self.records.remove(&key).expect("in order").position;
        }
    }
}

#[test]
fn it_remembers_what_a_map_would() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let limits = Limits { records: 20, ..WIDE };
        let mut memory = Memory::new(limits, Position::START);
        // The numbers of slots begin again within the run.
        memory.first = u32::MAX - 30;
        let (mut settled, mut position) = (Model::default(), 0);
        for _ in 0..30 {
            let mut frame = settled.clone();
            for _ in 0..rng.random_range(0..8) {
                position += 1;
                let key = u128::from(rng.random_range(0..60u64)) << 60;
                if rng.random_bool(0.3) {
                    let further = frame
                        .records
                        .get_mut(&key)
                        .filter(|r| r.state.is_none())
                        .map(|r| r.state = Some(ReceiptKind::Read));
                    assert_eq!(
                        memory.advance(key, ReceiptKind::Read),
                        further.is_some(),
                        "seed {seed}"
                    );
                    continue;
                }
                let record = record(position, ["ann", "bob", "cem"][rng.random_range(0..3)]);
                let is_first = !frame.records.contains_key(&key);
                assert_eq!(memory.remember(key, &record), is_first, "seed {seed}");
                if is_first {
                    frame.order.push(key);
                    frame.records.insert(key, record);
                }
            }
            if rng.random_bool(0.7) {
                frame.forget(limits.records);
                settled = frame;
                memory.settle();
            } else {
                memory.undo();
            }
            assert_eq!(memory.forgotten_up_to(), settled.forgotten, "seed {seed}");
            for key in (0..60u128).map(|key| key << 60) {
                assert_eq!(memory.get(key).as_ref(), settled.records.get(&key), "seed {seed}");
            }
        }
    }
}
