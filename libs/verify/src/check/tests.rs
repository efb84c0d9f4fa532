//! Histories made up: a sound one, and one for each way in which it can be broken. A checker that cannot fail is worth
//! nothing, so each damage must be found, as what it is.

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

/// An agent with a page and a laptop, and a visitor. Everybody wrote six messages and read two of the other's.
fn sound() -> Record {
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
    let history = |reader| History {
        reader,
        messages: deliveries().iter().map(stored).collect(),
    };
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
    assert!(!verdict.holds, "the damage is not found");
    for (invariant, words) in expected {
        let found = verdict.findings.iter();
        assert!(
            found
                .clone()
                .any(|f| f.invariant == *invariant && f.what.contains(words)),
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
    verdict
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

use Invariant::{I1, I2, I3, I4, I5, I7};

#[test]
fn a_sound_record_holds() {
    let verdict = check(&sound());
    assert!(verdict.holds, "{verdict}");
    assert_eq!(verdict.exit_code(), 0);
    assert_eq!((verdict.figures.sent, verdict.figures.acknowledged), (12, 12));
    assert_eq!(verdict.figures.delivered, 36);
}

#[test]
fn an_acknowledged_message_that_history_lost_is_found() {
    let verdict = breaks(
        &[
            (I1, "acknowledged, and not in history"),
            (I1, "came, and is not in history"),
            (I3, "its prev is"),
            (I5, "by recount"),
        ],
        |record| {
            both(record, |messages| {
                messages.remove(5);
            })
        },
    );
    let evidence = &verdict.findings[0].evidence;
    assert_eq!(evidence.uid.as_deref(), Some("vf-1-2"));
    assert_eq!((evidence.sent_ms, evidence.acknowledged_ms), (Some(20), Some(23)));
    assert_eq!(evidence.acknowledged_by, Some("PUBACK"));
    assert_eq!(evidence.seen.len(), 3, "everybody had heard it: {evidence}");
    assert_eq!(verdict.exit_code(), 1);
}

#[test]
fn an_acknowledged_message_that_nobody_ever_saw_is_found() {
    breaks(&[(I1, "acknowledged, and not in history")], |record| {
        record.writers[0].texts.push(acked(70, 0));
    });
}

#[test]
fn a_message_that_one_observer_missed_is_found() {
    let verdict = breaks(
        &[
            (I1, "did not reach an observer entitled to it"),
            (I3, "came while the one before it"),
        ],
        |record| {
            heard(record, LAPTOP).remove(4);
        },
    );
    assert_eq!(verdict.findings[0].evidence.observer.as_deref(), Some("laptop"));
}

#[test]
fn a_missing_last_message_is_found_though_no_chain_tells() {
    breaks(&[(I1, "did not reach")], |record| {
        heard(record, LAPTOP).pop();
    });
}

#[test]
fn a_message_that_history_changed_is_found() {
    breaks(&[(I1, "another content or author")], |record| {
        both(record, |messages| messages[3].intact = false);
    });
}

#[test]
fn a_message_that_only_one_of_two_readers_gets_is_found() {
    breaks(&[(I1, "not in the visitor's"), (I3, "")], |record| {
        record.topics[0].histories[1].messages.pop();
        // So that the two are at variance in their order as well.
        record.topics[0].histories[1].messages[0].position -= 1;
    });
}

#[test]
fn a_delivery_that_is_in_no_history_is_found_though_nobody_acknowledged_it() {
    breaks(&[(I1, "came, and is not in history")], |record| {
        record.writers[0].texts.push(Sent {
            at: 70,
            tries: 1,
            ..Sent::default()
        });
        let phantom = Delivery {
            key: Key::text(0, COUNT),
            position: 900,
            prev: 0,
            life: 1,
            at: 80,
            marked: false,
        };
        heard(record, PAGE).push(phantom);
    });
}

#[test]
fn a_uid_twice_in_history_is_found() {
    breaks(&[(I2, "twice in history"), (I5, "by recount")], |record| {
        both(record, |messages| {
            let copy = Stored {
                position: 900,
                ..messages[2]
            };
            messages.push(copy);
        });
    });
}

#[test]
fn two_messages_at_one_position_are_found() {
    breaks(&[(I2, "one position"), (I3, "")], |record| {
        both(record, |messages| messages[7].position = messages[6].position);
    });
}

#[test]
fn an_unmarked_copy_on_one_connection_is_found_and_a_marked_one_is_not() {
    breaks(&[(I2, "came twice on one connection")], |record| {
        let copy = heard(record, LAPTOP)[2];
        heard(record, LAPTOP).insert(4, copy);
    });
    let mut record = sound();
    let copy = Delivery {
        marked: true,
        ..heard(&mut record, LAPTOP)[2]
    };
    heard(&mut record, LAPTOP).insert(4, copy);
    let verdict = check(&record);
    assert!(verdict.holds && verdict.figures.copies_marked == 1, "{verdict}");
}

#[test]
fn a_copy_on_the_next_connection_is_counted_with_its_age() {
    let mut record = sound();
    let copy = Delivery {
        life: 1,
        ..heard(&mut record, LAPTOP)[2]
    };
    heard(&mut record, LAPTOP).insert(6, copy);
    let verdict = check(&record);
    assert!(verdict.holds, "{verdict}");
    let figures = verdict.figures;
    assert_eq!((figures.copies_unmarked, figures.oldest_copy_ms), (1, 30));
}

#[test]
fn the_echo_of_what_was_sent_again_may_come_again_to_who_sent_it_only() {
    let again = |client: usize| {
        let mut record = sound();
        record.writers[0].texts[1].tries = 2;
        let echo = heard(&mut record, client)[2];
        assert_eq!(echo.key, Key::text(0, 1));
        heard(&mut record, client).insert(5, echo);
        check(&record)
    };
    assert!(again(PAGE).holds);
    assert_eq!(again(LAPTOP).count(I2), 1);
}

#[test]
fn an_echo_that_runs_ahead_of_the_backlog_puts_nothing_out_of_order() {
    let ahead = |client: usize| {
        let mut record = sound();
        record.writers[0].texts[2].tries = 2;
        let echo = heard(&mut record, client)[4];
        assert_eq!(echo.key, Key::text(0, 2));
        heard(&mut record, client).insert(1, echo);
        check(&record)
    };
    let verdict = ahead(PAGE);
    assert!(verdict.holds && verdict.figures.copies_unmarked == 0, "{verdict}");
    assert!(ahead(LAPTOP).count(I3) > 0, "nobody else gets an echo");
}

#[test]
fn a_message_at_two_positions_is_found() {
    breaks(&[(I2, "came at two positions")], |record| {
        let copy = Delivery {
            position: 900,
            prev: 0,
            ..heard(record, LAPTOP)[2]
        };
        heard(record, LAPTOP).push(copy);
    });
}

#[test]
fn two_observers_with_another_order_are_found() {
    breaks(
        &[
            (I3, "came after a later one"),
            (I3, "came while the one before it"),
        ],
        |record| {
            heard(record, LAPTOP).swap(2, 3);
        },
    );
}

#[test]
fn an_observer_that_has_another_position_than_history_is_found() {
    breaks(
        &[
            (I3, "another position than it has in history"),
            (I3, "came while the one before it"),
        ],
        |record| {
            heard(record, LAPTOP)[2].position += 1;
        },
    );
}

#[test]
fn an_acknowledgement_with_another_position_is_found() {
    breaks(&[(I3, "acknowledged at another position")], |record| {
        record.writers[0].texts[2].acked.as_mut().unwrap().position += 1;
    });
}

#[test]
fn a_message_that_was_sent_again_and_stored_at_another_position_is_found() {
    breaks(&[(I2, "acknowledged at two positions")], |record| {
        record.writers[1].texts[3].elsewhere = Some(900);
    });
}

#[test]
fn a_message_that_is_refused_when_it_is_sent_again_is_found() {
    breaks(&[(I7, "sent again after it was acknowledged")], |record| {
        record.writers[1].texts[3].refused = Some("conflict".to_owned());
    });
}

#[test]
fn what_was_sent_again_is_counted_with_and_without_a_date() {
    let mut record = sound();
    for (seq, tries) in [(2, 2), (3, 4)] {
        record.writers[1].texts[seq].tries = tries;
    }
    record.writers[1].texts[3].repeats = 1;
    let figures = check(&record).figures;
    assert_eq!(
        (figures.resends, figures.undated_resends, figures.repeats),
        (1 + 3, 3, 1)
    );
}

#[test]
fn a_history_out_of_order_is_found() {
    breaks(&[(I3, "not in the order"), (I3, "its prev is")], |record| {
        both(record, |messages| messages.swap(4, 5))
    });
}

#[test]
fn a_hole_that_prev_shows_is_found_though_nobody_knows_what_was_there() {
    let verdict = breaks(&[(I3, "its prev is 145")], |record| {
        for observer in 0..3 {
            heard(record, observer)[5].prev = 145;
        }
    });
    assert!(
        verdict.findings.iter().all(|f| f.may_heal),
        "history may come later"
    );
}

#[test]
fn a_chain_that_passes_over_a_message_is_found() {
    breaks(
        &[(I3, "its prev is 120, and in history it comes after 140")],
        |record| {
            heard(record, LAPTOP)[5].prev = 120;
        },
    );
}

#[test]
fn a_status_that_goes_back_is_found() {
    breaks(&[(I4, "had been READ and was DELIVERED")], |record| {
        record.statuses.push(seen(Key::text(0, 0), Stage::Delivered));
    });
    breaks(&[(I4, "had been READ and was DELIVERED at the end")], |record| {
        record.statuses.push(seen(Key::text(0, 4), Stage::Read));
    });
}

#[test]
fn an_acknowledged_read_that_was_lost_is_found() {
    breaks(&[(I4, "READ was acknowledged"), (I5, "by recount")], |record| {
        record.writers[1].reads.push((acked(300, 0), Key::text(0, 3)));
    });
}

#[test]
fn a_read_that_nobody_sent_is_found() {
    breaks(&[(I4, "nobody had read it")], |record| {
        record.observers[0].told_read.push(Key::text(0, 5))
    });
}

#[test]
fn a_counter_that_is_off_by_one_is_found() {
    for after in [6, 8] {
        breaks(&[(I5, "and 7 by recount")], |record| {
            record.unread[1].after = after
        });
    }
}

#[test]
fn a_read_without_acknowledgement_may_count_or_not() {
    for (after, holds) in [(5, false), (6, true), (7, true), (8, false)] {
        let mut record = sound();
        let open = Sent {
            at: 300,
            tries: 4,
            ..Sent::default()
        };
        record.writers[1].reads.push((open, Key::text(0, 3)));
        record.unread[1].after = after;
        assert_eq!(check(&record).holds, holds, "{after}");
    }
}

#[test]
fn an_unacknowledged_message_may_be_there_or_not_but_not_twice() {
    let open = |record: &mut Record| record.writers[1].texts[2].acked = None;
    let mut there = sound();
    open(&mut there);
    assert!(check(&there).holds);

    let mut not_there = sound();
    not_there.writers[1].texts.push(Sent {
        at: 70,
        tries: 3,
        ..Sent::default()
    });
    assert!(check(&not_there).holds);

    breaks(&[(I7, "twice in history"), (I5, "by recount")], |record| {
        open(record);
        both(record, |messages| {
            let copy = Stored {
                position: 900,
                ..messages[5]
            };
            messages.push(copy);
        });
    });
}

#[test]
fn an_unacknowledged_message_that_is_in_history_must_reach_everyone_too() {
    breaks(
        &[(I1, "in history, and did not reach"), (I3, "came while")],
        |record| {
            record.writers[1].texts[2].acked = None;
            heard(record, LAPTOP).remove(5);
        },
    );
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    breaks(
        &[(I7, "nobody sent it"), (I1, "did not reach"), (I5, "by recount")],
        |record| {
            both(record, |messages| {
                let made_up = Stored {
                    key: Key::text(1, 99),
                    position: 900,
                    ..messages[0]
                };
                messages.push(made_up);
            });
        },
    );
}

#[test]
fn a_retry_that_is_refused_is_found() {
    breaks(&[(I7, "sent again unchanged, refused")], |record| {
        let refused = Some("conflict".to_owned());
        record.writers[1].texts.push(Sent {
            at: 70,
            tries: 2,
            refused,
            ..Sent::default()
        });
    });
}

#[test]
fn a_refused_message_that_is_stored_is_found() {
    breaks(&[(I7, "stored all the same")], |record| {
        record.writers[1].texts[3].acked = None;
        record.writers[1].texts[3].refused = Some("forbidden".to_owned());
    });
}

#[test]
fn who_is_away_at_the_end_is_not_proven_rather_than_broken() {
    let mut record = sound();
    heard(&mut record, LAPTOP).truncate(3);
    record.observers[LAPTOP].away = Some("connection refused".to_owned());
    let verdict = check(&record);
    assert!(!verdict.holds && verdict.findings.is_empty(), "{verdict}");
    assert_eq!(verdict.exit_code(), 2);
    assert!(
        verdict
            .to_string()
            .contains("laptop was not connected at the end"),
        "{verdict}"
    );
}

#[test]
fn a_history_that_cannot_be_read_is_not_proven() {
    let mut record = sound();
    record.topics[0].histories.clear();
    record.unproven.push("the history could not be read".to_owned());
    let verdict = check(&record);
    assert!(!verdict.holds && verdict.exit_code() == 2, "{verdict}");
}

#[test]
fn of_many_findings_the_first_are_shown_and_all_are_counted() {
    let mut record = sound();
    for _ in 0..500 {
        record.writers[0].texts.push(acked(70, 0));
    }
    let verdict = check(&record);
    assert_eq!(verdict.count(I1), 500);
    assert_eq!(verdict.findings.len(), SHOWN);
    let json: serde_json::Value = serde_json::from_str(&verdict.json()).unwrap();
    assert_eq!(
        (&json["holds"], json["findings"][0]["invariant"].as_str()),
        (&false.into(), Some("I1"))
    );
}

#[test]
fn a_session_that_is_gone_is_found() {
    breaks(&[(I1, "its session was gone")], |record| {
        record.observers[0].sessions_lost.push(60)
    });
}
