//! What is asked often costs by what it gives, not by what is over.

use std::path::Path;

use rusqlite::StatementStatus;

use super::*;
use crate::sqlite::schema;
use crate::sqlite::topics::TopicId;

/// A database in which agent `a` and desk `d` each had this many threads, in partition 1, that ended at 1, 2, … and are closed.
/// One more of each is open, and waits.
fn database(path: &Path, ended: i64) -> Connection {
    schema::migrate(path).unwrap();
    let conn = Connection::open(path).unwrap();
    let all = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    for text in [
        "INSERT INTO topics (id, org, topic, partition) SELECT i, 'o', 't' || i, 1 FROM n",
        "INSERT INTO members SELECT i, 'a', 1, 'o', 1, 'u', 0, i, 0 FROM n",
        "INSERT INTO threads SELECT i, 'o', 1, 'uid', 'AGENT', 'd', 'v', '', '', 0, 1, 'CLOSED', 'a', i, 1, 0, 1 FROM n",
        "INSERT INTO topics (id, org, topic, partition) SELECT ?1 + 1, 'o', 'last', 1",
        "INSERT INTO members SELECT ?1 + 1, 'a', 1, 'o', 1, 'u', 0, 9223372036854775807, 1",
        "INSERT INTO threads SELECT ?1 + 1, 'o', 1, 'uid', 'AGENT', 'd', 'v', '', '', 0, 1, 'QUEUING', 'a', 1, 1, 1, 1",
        "INSERT INTO offers SELECT ?1 + 1, 'o', 1, 0, 'a', 'b', 5",
    ] {
        conn.execute(&format!("{all} {text}"), [ended]).unwrap();
    }
    conn
}

/// Steps of the machine that statements took since they were prepared.
fn steps(conn: &Connection, texts: &[&str]) -> i32 {
    let of = |text: &&str| {
        let statement = conn.prepare_cached(text).unwrap();
        let steps = statement.get_status(StatementStatus::VmStep);
        assert!(steps > 0, "{text} was asked");
        steps
    };
    texts.iter().map(of).sum()
}

#[test]
fn ten_thousand_memberships_that_ended_cost_nothing() {
    let cost = |ended: i64| {
        let dir = tempfile::tempdir().unwrap();
        let conn = database(&dir.path().join("store.db"), ended);
        let who = ["a".into(), "d".into()];
        let reached = [(PartitionId(1), Position(ended as u64 - 3))];
        let found = part::memberships(&conn, "o", &who, &reached).unwrap();
        assert_eq!(found.len(), 4, "those that ended after, and the one that is open");
        steps(
            &conn,
            &[part::LASTING, part::ENDED, part::OVERRIDDEN, part::CLOSED],
        )
    };
    assert_eq!(cost(10_000), cost(10));
}

#[test]
fn what_is_due_is_found_without_looking_at_closed_threads() {
    let cost = |ended: i64| {
        let dir = tempfile::tempdir().unwrap();
        let conn = database(&dir.path().join("store.db"), ended);
        let ids = |text: &str, key: &[i64]| {
            let mut select = conn.prepare_cached(text).unwrap();
            let rows = select.query_map(rusqlite::params_from_iter(key), |r| r.get::<_, TopicId>(0));
            assert_eq!(
                rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap(),
                [ended + 1],
                "{text}"
            );
        };
        ids(read::PENDING, &[9]);
        ids(read::WAITING, &[9]);
        ids(read::DUE, &[9, 9]);
        ids(read::UNCHANGED, &[9]);
        assert_eq!(read::place_in_queue(&conn, ended + 1).unwrap(), Some(0));
        assert_eq!(places::has(&conn, "o", "other", "a").unwrap(), 0);
        assert_eq!(places::owed(&conn, 9).unwrap().len(), 1);
        let part = taking_part(&conn, "o", &["a".into(), "d".into()]).unwrap();
        assert_eq!(part, [(ended + 1, 0)]);
        assert_eq!(
            part::open(&conn, "o", &["a".into(), "d".into()]).unwrap(),
            [ended + 1]
        );
        let texts = [
            read::PENDING,
            read::WAITING,
            read::DUE,
            read::UNCHANGED,
            read::QUEUE,
            places::HAS,
            places::OWED,
        ];
        steps(&conn, &texts) + steps(&conn, &part::WAYS) + steps(&conn, &part::OPEN)
    };
    assert_eq!(cost(10_000), cost(10));
}
