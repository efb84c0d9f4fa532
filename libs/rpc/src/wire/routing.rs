//! What is said on a line, as messages. However much it is, each message is small enough for any transport; one entry
//! may make it larger.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use model::{EdgeId, OrgId, PartitionId, Position, TopicFilter};
use prost::Message as _;

use super::Malformed;
use crate::pb;
use contract::routing::{Hello, Outcome, Routed, RoutedEntry, Submission, Up, Welcome};

use pb::line_said::What;

type Read<T> = Result<T, Malformed>;

/// So many bytes go into one message, about.
const PIECE: usize = 512 * 1024;

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

/// In as many pieces as its filters take.
pub(crate) fn hello_to(hello: Hello) -> VecDeque<pb::LineHello> {
    let mut next = pb::LineHello {
        edge: hello.edge.to_string(),
        partition: u32::from(hello.partition.0),
        first: hello.first,
        after: hello.after.0,
        epoch: hello.epoch,
        ..pb::LineHello::default()
    };
    let (mut pieces, mut bytes) = (VecDeque::new(), 0);
    for of in hello.filters {
        let size = filter_size(&of);
        if bytes > 0 && bytes + size > PIECE {
            next.more = true;
            pieces.push_back(std::mem::take(&mut next));
            bytes = 0;
        }
        bytes += size;
        next.filters.push(filter_from(of));
    }
    pieces.push_back(next);
    pieces
}

fn filter_size((org, filter): &(OrgId, TopicFilter)) -> usize {
    org.as_str().len() + filter.as_str().len() + Routed::AROUND
}

/// Adds a piece that follows to a hello that has said that there is more.
pub(crate) fn add_hello(hello: &mut pb::LineHello, next: pb::LineHello) {
    hello.more = next.more;
    hello.filters.extend(next.filters);
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

/// Of what an edge has to say, so much that it goes up in one message; `next` gives what comes.
pub(crate) fn ups_to(mut next: impl FnMut() -> Option<Up>) -> Vec<pb::LineSaid> {
    let (mut said, mut bytes) = (Vec::new(), 0);
    while bytes < PIECE
        && let Some(up) = next()
    {
        let up = up_to(up);
        bytes += up.encoded_len() + Routed::AROUND;
        said.push(up);
    }
    said
}

fn up_to(up: Up) -> pb::LineSaid {
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

/// In as many pieces as it takes. Each says how far what was given goes with it.
pub(crate) fn down_to(routed: Routed) -> VecDeque<pb::LineDown> {
    let mut pieces = Pieces::of(routed.epoch);
    let welcome = routed.welcome.map(|w| pb::LineWelcome {
        boundary: w.boundary.0,
        whole: w.whole,
    });
    // A gap is known before what follows it is given; and that there is none when all that was missed has been.
    let is_whole = routed.welcome.is_some_and(|w| w.whole);
    if !is_whole {
        pieces.next.welcome = welcome;
    }
    for entry in routed.entries {
        let next = pieces.room(entry.size());
        next.upto = next.upto.max(entry.position.0);
        next.entries.push(entry_to(entry));
    }
    for (number, boundary) in routed.attached {
        let boundary = boundary.0;
        let attached = pb::LineAttached { number, boundary };
        pieces.room(Routed::AROUND).attached.push(attached);
    }
    for answer in routed.answers {
        let answer = answer_to(answer);
        let size = answer.detail.len() + Routed::AROUND;
        pieces.room(size).answers.push(answer);
    }
    if is_whole {
        pieces.next.welcome = welcome;
    }
    pieces.next.upto = routed.upto.0;
    pieces.done.push_back(pieces.next);
    pieces.done
}

/// What an owner says, cut.
struct Pieces {
    done: VecDeque<pb::LineDown>,
    next: pb::LineDown,
    bytes: usize,
}

impl Pieces {
    fn of(epoch: u64) -> Self {
        let next = pb::LineDown {
            epoch,
            ..pb::LineDown::default()
        };
        Self {
            done: VecDeque::new(),
            next,
            bytes: 0,
        }
    }

    /// The piece that so many bytes go into.
    fn room(&mut self, size: usize) -> &mut pb::LineDown {
        if self.bytes > 0 && self.bytes + size > PIECE {
            let next = pb::LineDown {
                epoch: self.next.epoch,
                upto: self.next.upto,
                ..pb::LineDown::default()
            };
            self.done.push_back(std::mem::replace(&mut self.next, next));
            self.bytes = 0;
        }
        self.bytes += size;
        &mut self.next
    }
}

fn entry_to(entry: RoutedEntry) -> pb::LineEntry {
    pb::LineEntry {
        position: entry.position.0,
        prev: entry.prev.map(|p| p.0),
        entry: match entry.bytes.is_empty() {
            true => entry.entry.to_bytes(),
            false => entry.bytes,
        },
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
        Outcome::Outdated => (O::Outdated, Position::START, String::new()),
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
        O::Outdated => Outcome::Outdated,
        O::Forbidden => Outcome::Forbidden,
        O::Rejected => Outcome::Rejected,
        O::TooLarge => Outcome::TooLarge,
        O::Unavailable => Outcome::Unavailable(message.detail),
        // Also what a newer owner says that we do not know.
        O::Unknown => Outcome::Unknown,
    };
    (message.number, outcome)
}
