//! What is said on a line, as messages.

use std::sync::Arc;

use bytes::Bytes;
use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter};

use super::Malformed;
use crate::grpc::pb;
use crate::routing::{Hello, Outcome, Routed, RoutedEntry, Submission, Up, Welcome};

use pb::line_said::What;

type Read<T> = Result<T, Malformed>;

fn missing<T>(what: Option<T>, name: &'static str) -> Read<T> {
    what.ok_or_else(|| Malformed::new(name, "it is missing"))
}

fn filter_from((org, filter): (OrgId, TopicFilter)) -> pb::LineFilter {
    pb::LineFilter {
        org: org.to_string(),
        filter: filter.to_string(),
    }
}

fn filter(message: pb::LineFilter) -> Read<(OrgId, TopicFilter)> {
    let filter = TopicFilter::new(&message.filter).map_err(|e| Malformed::new("a topic filter", e))?;
    Ok((OrgId::new(message.org), filter))
}

pub(crate) fn hello_to(hello: Hello) -> pb::LineHello {
    pb::LineHello {
        edge: hello.edge.to_string(),
        partition: u32::from(hello.partition.0),
        first: hello.first,
        after: hello.after.0,
        epoch: hello.epoch,
        filters: hello.filters.into_iter().map(filter_from).collect(),
    }
}

pub(crate) fn hello(message: pb::LineHello) -> Read<Hello> {
    let partition = u16::try_from(message.partition).map_err(|e| Malformed::new("a partition", e))?;
    Ok(Hello {
        edge: EdgeId::new(message.edge),
        partition: PartitionId(partition),
        epoch: message.epoch,
        first: message.first,
        after: Position(message.after),
        filters: message.filters.into_iter().map(filter).collect::<Read<_>>()?,
    })
}

pub(crate) fn up_to(up: Up) -> pb::LineSaid {
    let what = match up {
        Up::Attach { number, org, filter } => What::Attach(pb::LineAttach {
            number,
            of: Some(filter_from((org, filter))),
        }),
        Up::Detach { org, filter } => What::Detach(filter_from((org, filter))),
        Up::Submit(submission) => What::Submit(pb::LineSubmission {
            number: submission.number,
            entry: submission.entry.to_bytes(),
            seen: submission.seen.0,
            again: submission.again,
        }),
        Up::Transient(entry) => What::Transient(entry.to_bytes()),
    };
    pb::LineSaid { what: Some(what) }
}

/// `whole`: how many bytes the message has that this came in. A small part of it does not keep all of it in memory.
pub(crate) fn up(message: pb::LineSaid, whole: usize) -> Read<Up> {
    let entry = |bytes| entry(bytes, whole);
    Ok(match missing(message.what, "what is said on a line")? {
        What::Attach(attach) => {
            let (org, filter) = filter(missing(attach.of, "an attach")?)?;
            Up::Attach {
                number: attach.number,
                org,
                filter,
            }
        }
        What::Detach(of) => {
            let (org, filter) = filter(of)?;
            Up::Detach { org, filter }
        }
        What::Submit(submission) => Up::Submit(Submission {
            number: submission.number,
            entry: Arc::new(entry(submission.entry)?),
            seen: Position(submission.seen),
            again: submission.again,
        }),
        What::Transient(bytes) => Up::Transient(Arc::new(entry(bytes)?)),
    })
}

pub(crate) fn down_to(routed: Routed) -> pb::LineDown {
    let entry = |entry: RoutedEntry| pb::LineEntry {
        position: entry.position.0,
        prev: entry.prev.map(|p| p.0),
        entry: match entry.bytes.is_empty() {
            true => entry.entry.to_bytes(),
            false => entry.bytes,
        },
    };
    let attached = |(number, boundary): (u64, Position)| pb::LineAttached {
        number,
        boundary: boundary.0,
    };
    pb::LineDown {
        epoch: routed.epoch,
        welcome: routed.welcome.map(|w| pb::LineWelcome {
            boundary: w.boundary.0,
            whole: w.whole,
        }),
        entries: routed.entries.into_iter().map(entry).collect(),
        attached: routed.attached.into_iter().map(attached).collect(),
        answers: routed.answers.into_iter().map(answer_to).collect(),
        upto: routed.upto.0,
    }
}

fn entry(bytes: Bytes, whole: usize) -> Read<wire::Entry> {
    let mut entry = wire::frame::decode_entry(bytes).map_err(|e| Malformed::new("a log entry", e))?;
    entry.detach(whole);
    Ok(entry)
}

pub(crate) fn down(message: pb::LineDown) -> Read<Routed> {
    let whole = message.entries.iter().map(|e| e.entry.len()).sum();
    let entry = |message: pb::LineEntry| {
        Ok(RoutedEntry {
            position: Position(message.position),
            prev: message.prev.map(Position),
            entry: Arc::new(entry(message.entry, whole)?),
            // An edge has no use for it.
            bytes: Bytes::new(),
        })
    };
    Ok(Routed {
        epoch: message.epoch,
        welcome: message.welcome.map(|w| Welcome {
            boundary: Position(w.boundary),
            whole: w.whole,
        }),
        entries: message.entries.into_iter().map(entry).collect::<Read<_>>()?,
        attached: (message.attached.iter())
            .map(|a| (a.number, Position(a.boundary)))
            .collect(),
        answers: message.answers.into_iter().map(answer).collect(),
        upto: Position(message.upto),
    })
}

fn answer_to((number, outcome): (u64, Outcome)) -> pb::LineAnswer {
    use pb::LineOutcome as O;
    let (code, position, detail) = match outcome {
        Outcome::Stored {
            position,
            duplicate: false,
        } => (O::Stored, position, String::new()),
        Outcome::Stored { position, .. } => (O::Duplicate, position, String::new()),
        Outcome::Conflict => (O::Conflict, Position::START, String::new()),
        Outcome::Forbidden => (O::Forbidden, Position::START, String::new()),
        Outcome::Rejected => (O::Rejected, Position::START, String::new()),
        Outcome::TooLarge => (O::TooLarge, Position::START, String::new()),
        Outcome::Unavailable(why) => (O::Unavailable, Position::START, why),
        Outcome::Unknown => (O::Unknown, Position::START, String::new()),
    };
    pb::LineAnswer {
        number,
        outcome: code.into(),
        position: position.0,
        detail,
    }
}

fn answer(message: pb::LineAnswer) -> (u64, Outcome) {
    use pb::LineOutcome as O;
    let position = Position(message.position);
    let outcome = match message.outcome() {
        O::Stored | O::Duplicate => Outcome::Stored {
            position,
            duplicate: message.outcome() == O::Duplicate,
        },
        O::Conflict => Outcome::Conflict,
        O::Forbidden => Outcome::Forbidden,
        O::Rejected => Outcome::Rejected,
        O::TooLarge => Outcome::TooLarge,
        O::Unavailable => Outcome::Unavailable(message.detail),
        // Also what a newer owner says that we do not know.
        O::Unknown => Outcome::Unknown,
    };
    (message.number, outcome)
}
