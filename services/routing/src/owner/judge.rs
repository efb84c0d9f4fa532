//! Which entries are accepted. This is the one judge: the log holds what was accepted, and whoever reads it applies it.
//!
//! An entry is judged when its frame is built, after everything that is in the log and what stands before it in the frame. So
//! a refusal agrees with the log at that moment, and two entries of one frame are judged as if one had come after the other.

use contract::persistence::{Found, MessageKey};
use contract::routing::Outcome;
use dedupe::Record;
use model::{MessageKind, Position, ReceiptKind, Role, UnixMillis, recall_allowed};
use wire::envelope::uid_key;
use wire::{Entry, Kind};

use super::queue::Queued;
use super::state::Owner;
use crate::known::{Seen, edit_key, key_of, recall_key, record_found, target_of};
use crate::lookup;

/// What becomes of a submission.
pub(super) enum Judgement {
    /// It goes into the log.
    Accept,
    /// It is answered so.
    Answer(Outcome),
    /// Whether it is accepted depends on what the store says.
    Ask(Vec<MessageKey>),
}

/// The label of what was not accepted.
pub(super) fn reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Stored { .. } => "duplicate",
        Outcome::Conflict => "conflict",
        Outcome::Outdated => "outdated",
        Outcome::Forbidden => "forbidden",
        Outcome::Rejected => "rejected",
        Outcome::TooLarge => "too_large",
        Outcome::Unavailable(_) => "retry",
        Outcome::Unknown => "unknown",
    }
}

fn duplicate(position: Position) -> Judgement {
    Judgement::Answer(Outcome::Stored {
        position,
        duplicate: true,
    })
}

fn questions_about(uids: &[&str], entry: &Entry) -> Vec<MessageKey> {
    let about = |uid: &&str| MessageKey {
        org: entry.org.as_str().into(),
        topic: model::TopicName::trusted(&entry.topic),
        uid: (*uid).into(),
    };
    uids.iter().map(about).collect()
}

impl Owner {
    /// What is known of a submission by its number: it was appended, and the answer did not arrive.
    pub(super) fn recognise(&self, queued: &Queued) -> Option<Outcome> {
        let position = self.tail.stored(&queued.edge, queued.submission.number)?;
        Some(Outcome::Stored {
            position,
            duplicate: false,
        })
    }

    /// Decides about one submission that is not recognised by its number. Nothing is remembered by this.
    pub(super) fn judge(&self, queued: &Queued) -> Judgement {
        let (entry, submission) = (&*queued.submission.entry, &queued.submission);
        let kind = entry.known_kind();
        // Nothing but its number tells whether it is stored; of an answer to a prompt, that there is one.
        let by_number = !entry.is_unique() && !matches!(kind, Kind::Receipt | Kind::Edit);
        // It may stand in the log where this owner does not remember it.
        let may_stand = submission.again && !self.tail.reaches(submission.seen);
        match kind {
            Kind::Transient | Kind::Unspecified => Judgement::Answer(Outcome::Rejected),
            _ if by_number && may_stand => Judgement::Answer(Outcome::Unknown),
            Kind::Edit => match self.members_only(entry, self.judge_edit(entry)) {
                // It may have been accepted, and its prompt taken back since.
                Judgement::Answer(Outcome::Rejected) if may_stand => Judgement::Answer(Outcome::Unknown),
                judgement => judgement,
            },
            Kind::StreamPart if !entry.uid.is_empty() => self.members_only(entry, self.judge_part(entry)),
            _ if entry.is_unique() => self.members_only(entry, self.judge_unique(entry)),
            _ => self.members_only(entry, Judgement::Accept),
        }
    }

    /// What would be accepted is not when it comes from one whose membership of the thread has ended before it, or when it changes
    /// the thread and was decided on what the thread is no more. A resend of what was accepted before stays what it is.
    fn members_only(&self, entry: &Entry, judgement: Judgement) -> Judgement {
        if !matches!(judgement, Judgement::Accept) {
            return judgement;
        }
        match &entry.change {
            Some(change) if change.act != 0 && !self.changes.is_latest(entry, change) => {
                Judgement::Answer(Outcome::Outdated)
            }
            // How far messages came with it, which it got before, is told all the same.
            None if !matches!(entry.known_kind(), Kind::Generic | Kind::Receipt)
                && self.changes.has_ended(entry) =>
            {
                Judgement::Answer(Outcome::Forbidden)
            }
            _ => Judgement::Accept,
        }
    }

    fn judge_unique(&self, entry: &Entry) -> Judgement {
        match self.known(key_of(entry)) {
            Seen::Accepted(first) if self.is_same(entry, &first) => duplicate(first.position),
            Seen::Accepted(_) => Judgement::Answer(Outcome::Conflict),
            Seen::Likely => Judgement::Ask(self.questions(entry)),
            Seen::Fresh if entry.known_kind() == Kind::Recall => self.judge_recall(entry),
            Seen::Fresh => Judgement::Accept,
        }
    }

    fn is_same(&self, entry: &Entry, first: &Record) -> bool {
        first.digest == entry.digest
            && first.sender.as_str() == entry.sender
            && first.kind != MessageKind::StreamPart
    }

    fn judge_recall(&self, entry: &Entry) -> Judgement {
        let target = match self.known(target_of(entry)) {
            Seen::Accepted(target) => target,
            Seen::Fresh => return Judgement::Answer(Outcome::Rejected),
            Seen::Likely => return Judgement::Ask(self.questions(entry)),
        };
        // Whoever has answered a prompt is its author from then on: so the store shows it.
        let sender = match self.known.seen(edit_key(entry)) {
            Seen::Accepted(answer) => answer.sender,
            _ => target.sender,
        };
        let role = Role::from_number(entry.sender_role);
        let (now, window) = (UnixMillis(entry.accepted_at), self.deps.recall_window);
        match recall_allowed(&entry.sender, role, &sender, target.accepted_at, now, window) {
            Ok(()) if target.kind == MessageKind::Recall => Judgement::Answer(Outcome::Rejected),
            Ok(()) => match self.taken_back(entry, &entry.target) {
                None => Judgement::Accept,
                // Once is enough, whoever asks for it.
                Some(Some(first)) => duplicate(first),
                Some(None) => Judgement::Answer(Outcome::Rejected),
            },
            Err(model::RecallRefusal::NotAuthor) => Judgement::Answer(Outcome::Forbidden),
            Err(_) => Judgement::Answer(Outcome::Rejected),
        }
    }

    /// Whether a message of an entry's topic was taken back; and by what, if that is remembered. What is taken back is nothing
    /// that could be added to: history shows it without content.
    fn taken_back(&self, entry: &Entry, uid: &str) -> Option<Option<Position>> {
        if let Seen::Accepted(recall) = self.known.seen(recall_key(&entry.org, &entry.topic, uid)) {
            return Some(Some(recall.position));
        }
        let message = uid_key(&entry.org, &entry.topic, uid);
        let found = self.found(message).flatten().filter(|found| found.recalled);
        found.map(|_| None)
    }

    /// An answer to a prompt takes its place, once.
    fn judge_edit(&self, entry: &Entry) -> Judgement {
        let same = |first: &Record| first.digest == entry.digest && first.sender.as_str() == entry.sender;
        let again = |first: &Record| match same(first) {
            true => duplicate(first.position),
            false => Judgement::Answer(Outcome::Conflict),
        };
        if let Seen::Accepted(first) = &self.known.seen(edit_key(entry)) {
            return again(first);
        }
        match self.known.seen(target_of(entry)) {
            _ if self.taken_back(entry, &entry.target).is_some() => Judgement::Answer(Outcome::Rejected),
            Seen::Fresh => Judgement::Answer(Outcome::Rejected),
            // What is remembered of it is remembered of its answer, which is younger.
            Seen::Accepted(_) => Judgement::Accept,
            // The store shows the prompt as it was edited. What was rebuilt from it says nothing of answers.
            Seen::Likely => match self.found(target_of(entry)) {
                Some(Some(found)) if found.r#type.eq_ignore_ascii_case(&entry.r#type) => {
                    again(&record_found(found))
                }
                Some(Some(_)) => Judgement::Accept,
                Some(None) => Judgement::Answer(Outcome::Rejected),
                None => Judgement::Ask(questions_about(&[&entry.target], entry)),
            },
        }
    }

    /// The parts of a streamed answer share a uid, and belong to whoever sent the first.
    fn judge_part(&self, entry: &Entry) -> Judgement {
        match self.known(key_of(entry)) {
            Seen::Accepted(first)
                if first.sender.as_str() == entry.sender && first.kind == MessageKind::StreamPart =>
            {
                match self.taken_back(entry, &entry.uid) {
                    None => Judgement::Accept,
                    Some(_) => Judgement::Answer(Outcome::Rejected),
                }
            }
            Seen::Accepted(_) => Judgement::Answer(Outcome::Conflict),
            Seen::Fresh => Judgement::Accept,
            Seen::Likely => Judgement::Ask(self.questions(entry)),
        }
    }

    /// What is remembered goes before what the store has said: it is newer.
    fn known(&self, key: u128) -> Seen {
        let seen = self.known.seen(key);
        if !matches!(seen, Seen::Likely) {
            return seen;
        }
        match self.found(key) {
            Some(Some(found)) => Seen::Accepted(record_found(found)),
            Some(None) => Seen::Fresh,
            None => Seen::Likely,
        }
    }

    fn found(&self, key: u128) -> Option<Option<&Found>> {
        self.lookups.answer(key, self.known.forgotten_up_to())
    }

    /// What the store has to be asked about an entry.
    fn questions(&self, entry: &Entry) -> Vec<MessageKey> {
        let uids: &[&str] = match entry.known_kind() {
            Kind::Recall => &[&entry.uid, &entry.target],
            _ => &[&entry.uid],
        };
        let mut questions = questions_about(uids, entry);
        questions.retain(|question| matches!(self.known(lookup::key_of(question)), Seen::Likely));
        questions
    }

    /// Whether an accepted entry is news to those who listen: a receipt of one's own message, or one that says no more than an
    /// earlier one, is not.
    pub(super) fn is_news(&mut self, entry: &Entry) -> bool {
        if entry.known_kind() != Kind::Receipt {
            return true;
        }
        let Some(kind) = ReceiptKind::from_number(i64::from(entry.state)) else {
            return false;
        };
        self.known
            .advance(target_of(entry), kind, &entry.sender, &entry.author)
    }
}
