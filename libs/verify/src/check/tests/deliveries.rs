//! What comes to those who listen.

use super::*;

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
