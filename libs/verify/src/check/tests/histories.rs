//! What history loses, doubles or changes.

use super::*;

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
