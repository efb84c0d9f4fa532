use bytes::Bytes;
use model::FrameSeq;
use parking_lot::Mutex;
use wire::Entry;

use super::*;

/// An edge that keeps what it is told.
#[derive(Default)]
struct Edge {
    said: Mutex<Vec<Routed>>,
    ended: Mutex<bool>,
}

impl Downstream for Edge {
    fn routed(&self, routed: Routed) -> bool {
        self.said.lock().push(routed);
        true
    }
    fn ended(&self) {
        *self.ended.lock() = true;
    }
}

fn hello(edge: &str, first: u64, filters: &[&str]) -> Hello {
    let filters = filters.iter().map(|f| ("o".into(), TopicFilter::trusted(*f)));
    Hello {
        edge: EdgeId::new(edge),
        partition: model::PartitionId(0),
        epoch: 0,
        first,
        after: Position::START,
        filters: filters.collect(),
    }
}

fn open(lines: &mut Lines, line: LineId, hello: Hello) -> Arc<Edge> {
    let edge = Arc::<Edge>::default();
    lines.open(
        line,
        hello,
        edge.clone(),
        Position::START,
        1,
        Some(std::iter::empty()),
    );
    edge
}

fn entry(topic: &str, seq: u64, size: usize) -> RoutedEntry {
    let entry = Entry {
        org: "o".into(),
        topic: topic.into(),
        ..Entry::default()
    };
    RoutedEntry {
        position: Position::new(FrameSeq(seq), 0),
        prev: None,
        entry: Arc::new(entry),
        bytes: Bytes::from(vec![0; size]),
    }
}

fn stored() -> Outcome {
    Outcome::Stored {
        position: Position(7),
        duplicate: true,
    }
}

#[test]
fn an_edge_gets_an_entry_once_however_many_of_its_filters_match() {
    let mut lines = Lines::new(9);
    let edge = open(&mut lines, 1, hello("e", 1, &["a/b", "a/+"]));
    lines.fan_out(&entry("a/b", 1, 10));
    lines.fan_out(&entry("a/c/d", 2, 10));
    assert!(!lines.flush(Position(9), 0, true));
    let said = edge.said.lock().clone();
    assert_eq!(
        (said.len(), said[0].entries.len(), said[0].upto),
        (1, 1, Position(9))
    );
    assert!(said[0].welcome.is_some_and(|w| w.whole));
    lines.detach(1, "o".into(), TopicFilter::trusted("a/b"));
    lines.detach(1, "o".into(), TopicFilter::trusted("a/+"));
    lines.fan_out(&entry("a/b", 3, 10));
    lines.flush(Position(9), 0, true);
    assert_eq!(edge.said.lock().len(), 1);
}

#[test]
fn a_later_line_of_an_edge_takes_the_place_of_the_one_before() {
    let mut lines = Lines::new(1);
    let before = open(&mut lines, 1, hello("e", 1, &["a"]));
    let after = open(&mut lines, 2, hello("e", 1, &["a"]));
    lines.close(1);
    lines.fan_out(&entry("a", 1, 10));
    lines.flush(Position(9), 0, true);
    assert!(before.said.lock().is_empty());
    assert_eq!(after.said.lock()[0].entries.len(), 1);
    assert!(lines.edge(1).is_none() && lines.edge(2).is_some());
}

#[test]
fn numbers_come_without_holes_but_for_what_is_sent_again() {
    let mut lines = Lines::new(1);
    let edge = open(&mut lines, 1, hello("e", 10, &[]));
    let follow: Vec<_> = [3, 7, 10, 11].map(|n| lines.follow(1, n)).into();
    assert!(follow.iter().all(|n| *n == Numbered::Next));
    for wrong in [11, 13, 5] {
        assert_eq!(lines.follow(1, wrong), Numbered::Hole, "{wrong}");
    }
    assert_eq!(lines.follow(1, 12), Numbered::Next);
    lines.break_off(1);
    assert!(*edge.ended.lock());
    assert_eq!(lines.follow(1, 13), Numbered::Ended);
}

#[test]
fn what_needs_a_proof_waits_for_the_lease_or_for_an_append_and_holds_back_what_follows() {
    let mut lines = Lines::new(1);
    let edge = open(&mut lines, 1, hello("e", 1, &["a"]));
    lines.flush(Position(1), 0, true);
    let of = ("o".into(), TopicFilter::trusted("b"));
    lines.attach(1, 1, of, Position(1), 5);
    lines.fan_out(&entry("a", 1, 10));
    assert!(
        lines.flush(Position(2), 4, false),
        "nobody knows whether it is true"
    );
    assert_eq!(edge.said.lock().len(), 1);
    assert!(!lines.flush(Position(3), 5, false));
    let said = edge.said.lock()[1].clone();
    assert_eq!((said.attached, said.entries.len()), (vec![(1, Position(1))], 1));
    let away = || Outcome::Unavailable("away".to_owned());
    lines.answer(1, 2, away(), 9);
    assert!(lines.flush(Position(3), 5, false));
    assert!(!lines.flush(Position(3), 5, true), "the lease is held");
    lines.answer(1, 3, stored(), 9);
    assert!(!lines.flush(Position(3), 5, false));
}

/// Of two who hold the lease, because it was given away before its time, the older does not have what the newer has appended.
#[test]
fn a_refusal_waits_for_the_log_whoever_holds_the_lease_and_holds_nothing_back() {
    let mut lines = Lines::new(1);
    let edge = open(&mut lines, 1, hello("e", 1, &["a"]));
    lines.flush(Position(1), 1, true);
    lines.answer(1, 1, Outcome::Rejected, 9);
    lines.answer(1, 2, stored(), 9);
    assert!(lines.flush(Position(2), 8, true));
    assert_eq!(edge.said.lock()[1].answers, [(2, stored())]);
    assert!(lines.flush(Position(2), 8, true));
    assert_eq!(edge.said.lock().len(), 2, "there is nothing to say yet");
    assert!(!lines.flush(Position(3), 9, false));
    assert_eq!(edge.said.lock()[2].answers, [(1, Outcome::Rejected)]);
}

#[test]
fn what_is_not_in_the_log_does_not_pile_up_on_a_line_that_waits_for_a_proof() {
    let mut lines = Lines::new(1);
    let edge = open(&mut lines, 1, hello("e", 1, &["a"]));
    for seq in [0, 0, 0, 0, 1, 0, 2] {
        let position = if seq == 0 {
            Position::START
        } else {
            Position::new(FrameSeq(seq), 0)
        };
        lines.fan_out(&RoutedEntry {
            position,
            ..entry("a", seq, 200 * 1024)
        });
    }
    assert!(lines.flush(Position(9), 0, false));
    lines.flush(Position(9), 1, false);
    let said = edge.said.lock().clone();
    let seqs: Vec<_> = said[0].entries.iter().map(|e| e.position.seq().0).collect();
    assert_eq!((said.len(), seqs), (1, vec![0, 0, 1, 2]));
}

#[test]
fn an_edge_that_comes_again_gets_what_it_missed_of_what_it_wants() {
    let mut lines = Lines::new(1);
    let _other = open(&mut lines, 1, hello("other", 1, &["#"]));
    let missed = ["a", "b/c", "b/d", "e"].map(|topic| entry(topic, 1, 10));
    let edge = Arc::<Edge>::default();
    let hello = hello("e", 1, &["b/+", "b/c", "e"]);
    lines.open(2, hello, edge.clone(), Position(9), 1, Some(missed.iter()));
    lines.flush(Position(9), 1, true);
    let said = edge.said.lock().clone();
    let topics: Vec<_> = said[0].entries.iter().map(|e| e.entry.topic.as_str()).collect();
    assert_eq!(topics, ["b/c", "b/d", "e"]);
}

#[test]
fn much_is_said_in_parts_and_who_has_heard_nothing_is_told_how_far_the_log_goes() {
    let mut lines = Lines::new(1);
    let edge = open(&mut lines, 1, hello("e", 1, &["a"]));
    let quiet = open(&mut lines, 2, hello("f", 1, &[]));
    lines.flush(Position::START, 0, true);
    (1..=4).for_each(|seq| lines.fan_out(&entry("a", seq, 300 * 1024)));
    lines.flush(Position::end_of(FrameSeq(4)), 0, true);
    let shape: Vec<_> = edge
        .said
        .lock()
        .iter()
        .skip(1)
        .map(|r| (r.entries.len(), r.upto))
        .collect();
    let before = |seq| Position::new(FrameSeq(seq), 0).before();
    assert_eq!(
        shape,
        [
            (1, before(2)),
            (1, before(3)),
            (1, before(4)),
            (1, Position::end_of(FrameSeq(4)))
        ]
    );
    lines.tell(Position::end_of(FrameSeq(4)));
    assert_eq!(quiet.said.lock()[1].upto, Position::end_of(FrameSeq(4)));
    assert_eq!(edge.said.lock().len(), 5, "it knows");
}
