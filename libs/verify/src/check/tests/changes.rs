//! Closings and transfers.

use super::*;
use crate::record::{Asked, Handed};

/// The other agent.
const COLLEAGUE: usize = 2;
/// Its page: an observer.
const PHONE: usize = 3;
/// What was granted: at 40 ms, where this had been said before.
fn granted(after: u64) -> Asked {
    Asked {
        topic: 0,
        at: 40,
        tries: 1,
        acked: Some(45),
        refused: None,
        after,
    }
}

/// What the server says of the conversation.
fn told(says: Says, position: u64) -> Stored {
    Stored {
        key: Key::foreign(&format!("{says:?} {position}")),
        position,
        says,
        stage: Stage::Read,
        countable: false,
        intact: true,
        author: None,
    }
}

/// Puts something into history and before everybody, where the chain then leads over it.
fn said_to_all(record: &mut Record, stored: Stored) {
    both(record, |messages| {
        let place = messages.partition_point(|m| m.position < stored.position);
        messages.insert(place, stored);
    });
    for observer in &mut record.observers {
        let list = &mut observer.heard[0].1;
        let place = list.partition_point(|d| d.position < stored.position);
        let (prev, life, at) = match (
            place.checked_sub(1).map(|before| list[before]),
            list.get_mut(place),
        ) {
            (before, Some(next)) => {
                next.prev = stored.position;
                (before.map_or(95, |d| d.position), next.life, next.at)
            }
            (before, None) => (before.map_or(95, |d| d.position), 1, 200),
        };
        let delivery = Delivery {
            key: stored.key,
            position: stored.position,
            prev,
            life,
            at,
            marked: false,
        };
        list.insert(place, delivery);
    }
}

/// The sound record, in which the agent closed the conversation once, in the middle.
fn closed() -> Record {
    let mut record = sound();
    said_to_all(&mut record, told(Says::AgentClosed, 145));
    record.closings.push(granted(130));
    record
}

/// The sound record, but that its visitor alone writes, and the agent handed it over at 145 and got it back at 185.
fn handed_over() -> Record {
    let mut record = sound();
    let phone = Observer {
        name: "phone".to_owned(),
        user: COLLEAGUE,
        ..record.observers[PAGE].clone()
    };
    record.observers.push(phone);
    for at in [145, 185] {
        said_to_all(&mut record, told(Says::HandedOver, at));
    }
    record.transfers = vec![granted(130), granted(170)];
    let topic = &mut record.topics[0];
    topic.handed = Some(Handed {
        agents: [AGENT, COLLEAGUE],
        first: 0,
    });
    let whole = topic.histories[1].messages.clone();
    let part = |reader, sees: fn(u64) -> bool| History {
        reader,
        messages: whole.iter().filter(|m| sees(m.position)).copied().collect(),
    };
    topic.histories = vec![
        part(VISITOR, |_| true),
        part(AGENT, of_agent),
        part(COLLEAGUE, of_colleague),
    ];
    for observer in [PAGE, LAPTOP] {
        heard(&mut record, observer).retain(|d| of_agent(d.position));
    }
    heard(&mut record, PHONE).retain(|d| of_colleague(d.position));
    record
}

fn of_agent(position: u64) -> bool {
    position <= 145 || position >= 185
}

fn of_colleague(position: u64) -> bool {
    (145..=185).contains(&position)
}

/// Everything of the conversation, as its visitor heard it.
fn all_of_it(record: &mut Record) -> Vec<Delivery> {
    heard(record, VISITOR).clone()
}

#[track_caller]
fn is_found(mut record: Record, expected: &[(Invariant, &str)], damage: impl FnOnce(&mut Record)) {
    let before = check(&record);
    assert!(before.holds, "{before}");
    damage(&mut record);
    let verdict = check(&record);
    assert_found(&verdict, expected);
}

#[test]
fn what_was_closed_and_goes_on_holds() {
    let verdict = check(&closed());
    assert!(verdict.holds, "{verdict}");
    assert_eq!(verdict.figures.changes.closings, 1);
}

#[test]
fn a_closing_that_is_nowhere_is_found() {
    let lost = "a closing was acknowledged, and is not in history";
    is_found(closed(), &[(I11, lost)], |record| {
        record.closings.push(granted(150))
    });
    is_found(closed(), &[(I11, lost)], |record| record.closings[0].after = 145);
}

#[test]
fn a_closing_without_answer_may_be_there_or_not() {
    let mut there = closed();
    there.closings[0].acked = None;
    assert!(check(&there).holds);
    let mut nowhere = closed();
    nowhere.closings.push(Asked {
        acked: None,
        ..granted(150)
    });
    assert!(check(&nowhere).holds);
}

#[test]
fn a_closing_that_nobody_asked_for_is_found() {
    let what = "closed by its agent more often than it was asked for";
    is_found(closed(), &[(I11, what)], |record| {
        said_to_all(record, told(Says::AgentClosed, 175));
    });
}

#[test]
fn what_is_closed_twice_in_a_row_is_found() {
    is_found(closed(), &[(I11, "closed twice")], |record| {
        record.closings[0].tries = 2;
        said_to_all(record, told(Says::AgentClosed, 146));
    });
}

#[test]
fn a_closing_that_is_refused_is_found() {
    is_found(closed(), &[(I11, "its own agent could not close it")], |record| {
        record.closings.push(Asked {
            acked: None,
            refused: Some("HTTP 403".to_owned()),
            ..granted(150)
        });
    });
}

#[test]
fn a_conversation_that_stays_closed_though_somebody_speaks_is_found() {
    is_found(
        closed(),
        &[(I11, "somebody spoke in it, and it is closed")],
        |record| {
            record.topics[0].is_open = Some(false);
        },
    );
}

#[test]
fn a_conversation_that_is_open_though_nobody_spoke_is_found() {
    let mut record = closed();
    said_to_all(&mut record, told(Says::AgentClosed, 900));
    record.closings.push(granted(210));
    record.topics[0].is_open = Some(false);
    is_found(record, &[(I11, "open without anybody having spoken")], |record| {
        record.topics[0].is_open = Some(true);
    });
}

#[test]
fn a_closing_that_one_observer_missed_is_found() {
    let expected = [
        (I1, "did not reach an observer"),
        (I3, "came while the one before it"),
    ];
    is_found(closed(), &expected, |record| {
        heard(record, LAPTOP).retain(|d| d.position != 145);
    });
}

#[test]
fn what_was_handed_over_and_back_holds() {
    let verdict = check(&handed_over());
    assert!(verdict.holds, "{verdict}");
    assert_eq!(verdict.figures.changes.transfers, 2);
}

#[test]
fn a_transfer_that_is_nowhere_is_found() {
    let what = "a transfer was acknowledged, and is not in history";
    is_found(handed_over(), &[(I11, what)], |record| {
        record.transfers.push(granted(190))
    });
}

#[test]
fn a_transfer_that_nobody_asked_for_is_found() {
    let what = "handed over more often than it was asked for";
    is_found(handed_over(), &[(I11, what)], |record| {
        // However often the one that is left was sent.
        record.transfers.pop();
        record.transfers[0].tries = 5;
    });
}

#[test]
fn what_comes_to_an_agent_outside_of_its_stretches_is_found() {
    let what = "came to an agent while the conversation was somebody else's";
    for (observer, at) in [(LAPTOP, 150), (LAPTOP, 180), (PHONE, 140), (PHONE, 190)] {
        is_found(handed_over(), &[(I11, what)], |record| {
            let all = all_of_it(record);
            let one = all.iter().find(|d| d.position == at).unwrap();
            let list = heard(record, observer);
            let place = list.partition_point(|d| d.position < at);
            list.insert(place, *one);
        });
    }
}

#[test]
fn what_does_not_come_to_the_agent_who_has_it_is_found() {
    // The last and the first of a stretch are changes.
    for (observer, at) in [
        (LAPTOP, 145),
        (LAPTOP, 185),
        (PHONE, 145),
        (PHONE, 160),
        (PHONE, 185),
    ] {
        let mut record = handed_over();
        heard(&mut record, observer).retain(|d| d.position != at);
        let verdict = check(&record);
        assert!(verdict.count(I1) == 1 && verdict.count(I11) == 0, "{verdict}");
    }
}

#[test]
fn what_comes_twice_to_the_agent_who_has_it_is_found() {
    is_found(handed_over(), &[(I2, "came twice on one connection")], |record| {
        let copy = heard(record, PHONE)[0];
        heard(record, PHONE).insert(2, Delivery { life: 0, ..copy });
    });
}

#[test]
fn an_agent_whose_history_shows_what_is_not_its_own_is_found() {
    let what = "in the history that an agent reads while the conversation was somebody else's";
    for (reader, at) in [(1, 150), (2, 140), (2, 190)] {
        is_found(handed_over(), &[(I11, what)], |record| {
            let whole = record.topics[0].histories[0].messages.clone();
            let one = whole.iter().find(|m| m.position == at).unwrap();
            let messages = &mut record.topics[0].histories[reader].messages;
            let place = messages.partition_point(|m| m.position < at);
            messages.insert(place, *one);
        });
    }
}

#[test]
fn an_agent_whose_history_lacks_what_is_its_own_is_found() {
    let what = "not in the history that the agent reads who had the conversation";
    for (reader, at) in [(1, 145), (2, 145), (2, 160), (2, 185)] {
        is_found(handed_over(), &[(I11, what)], |record| {
            record.topics[0].histories[reader]
                .messages
                .retain(|m| m.position != at);
        });
    }
}

#[test]
fn a_visitor_who_misses_something_of_what_is_handed_over_is_found() {
    let expected = [
        (I1, "did not reach an observer"),
        (I3, "came while the one before it"),
    ];
    is_found(handed_over(), &expected, |record| {
        heard(record, VISITOR).retain(|d| d.position != 160);
    });
}
