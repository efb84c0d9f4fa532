//! Receipts, counters, retries, and what could not be looked at.

use super::*;

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
