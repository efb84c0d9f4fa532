//! Histories made up: a sound one, and one for each way in which it can be broken. A checker that cannot fail is worth
//! nothing, so each damage must be found, as what it is.

mod changes;
mod deliveries;
mod histories;
mod outcomes;

use super::*;
use crate::key::Names;
use crate::record::{
    AckKind, Acked, Delivery, History, Observer, Says, Stage, StatusSeen, Stored, Unread, Writer,
};

const AGENT: usize = 0;
const VISITOR: usize = 1;
/// Observers.
const PAGE: usize = 0;
const LAPTOP: usize = 2;

const COUNT: usize = 6;

fn acked(at: u32, position: u64) -> Sent {
    Sent {
        at,
        tries: 1,
        acked: Some(Acked {
            at: at + 3,
            position,
            by: AckKind::PubAck,
        }),
        ..Sent::default()
    }
}

/// Position of the `seq`th message of a writer: they take turns.
fn place(writer: usize, seq: usize) -> u64 {
    100 + 10 * (2 * seq + writer) as u64
}

fn deliveries() -> Vec<Delivery> {
    let of = |n: usize| Delivery {
        key: Key::text(n % 2, n / 2),
        position: place(n % 2, n / 2),
        prev: 90 + 10 * n as u64,
        life: u32::from(n >= 6),
        at: 10 * n as u32 + 5,
        marked: false,
    };
    (0..2 * COUNT).map(of).collect()
}

/// Everything, as a user reads it.
fn history(reader: usize) -> History {
    let stored = |d: &Delivery| Stored {
        key: d.key,
        position: d.position,
        says: Says::Nothing,
        stage: if d.key.as_text().unwrap().1 < 2 {
            Stage::Read
        } else {
            Stage::Delivered
        },
        countable: true,
        intact: true,
        author: d.key.as_text().map(|(writer, _)| writer),
    };
    History {
        reader,
        messages: deliveries().iter().map(stored).collect(),
    }
}

/// An agent with a page and a laptop, and a visitor. Everybody wrote six messages and read two of the other's.
fn sound() -> Record {
    let writer = |writer: usize| Writer {
        user: writer,
        client: writer,
        topic: 0,
        texts: (0..COUNT)
            .map(|seq| acked(10 * seq as u32, place(writer, seq)))
            .collect(),
        reads: (0..2)
            .map(|seq| (acked(200, 0), Key::text(1 - writer, seq)))
            .collect(),
    };
    let observer = |name: &str, user| Observer {
        name: name.to_owned(),
        user,
        away: None,
        heard: vec![(0, deliveries())],
        lives: vec![0, 60],
        sessions_lost: Vec::new(),
        told_read: vec![Key::text(0, 1), Key::text(1, 0)],
    };
    let unread = |user| Unread {
        user,
        name: format!("user {user}"),
        topic: 0,
        before: 3,
        after: 3 + 4,
    };
    Record {
        names: Names::new("vf"),
        topics: vec![Topic {
            name: "org/agent/a/v".to_owned(),
            baseline: 95,
            histories: vec![history(AGENT), history(VISITOR)],
            handed: None,
            is_open: Some(true),
        }],
        writers: vec![writer(AGENT), writer(VISITOR)],
        observers: vec![
            observer("page", AGENT),
            observer("visitor", VISITOR),
            observer("laptop", AGENT),
        ],
        statuses: vec![
            seen(Key::text(0, 0), Stage::Sent),
            seen(Key::text(0, 0), Stage::Delivered),
            seen(Key::text(0, 0), Stage::Read),
        ],
        unread: vec![unread(AGENT), unread(VISITOR)],
        closings: Vec::new(),
        transfers: Vec::new(),
        unproven: Vec::new(),
    }
}

fn seen(key: Key, stage: Stage) -> StatusSeen {
    StatusSeen { key, stage, at: 50 }
}

/// Breaks the sound record and expects that this, and nothing but this, is found.
#[track_caller]
fn breaks(expected: &[(Invariant, &str)], damage: impl FnOnce(&mut Record)) -> Verdict {
    let mut record = sound();
    damage(&mut record);
    let verdict = check(&record);
    assert_found(&verdict, expected);
    verdict
}

/// All of this was found, and nothing but this.
#[track_caller]
fn assert_found(verdict: &Verdict, expected: &[(Invariant, &str)]) {
    assert!(!verdict.holds, "the damage is not found");
    for (invariant, words) in expected {
        let mut found = verdict.findings.iter();
        assert!(
            found.any(|f| f.invariant == *invariant && f.what.contains(words)),
            "{invariant:?} {words:?} is not among {:#?}",
            verdict.findings
        );
    }
    for finding in &verdict.findings {
        let known = expected
            .iter()
            .any(|(i, words)| finding.invariant == *i && finding.what.contains(words));
        assert!(known, "{finding:#?} is found too");
    }
}

fn both(record: &mut Record, change: impl Fn(&mut Vec<Stored>)) {
    record.topics[0]
        .histories
        .iter_mut()
        .for_each(|h| change(&mut h.messages));
}

fn heard(record: &mut Record, observer: usize) -> &mut Vec<Delivery> {
    &mut record.observers[observer].heard[0].1
}

use Invariant::{I1, I2, I3, I4, I5, I7, I11};
