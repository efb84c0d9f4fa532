//! Decisions that several services take from the same log and must take alike.

use thiserror::Error;

use crate::{Role, UnixMillis};

/// Why a message cannot be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecallRefusal {
    /// There is no such message in the thread.
    #[error("there is no message with that uid in the thread")]
    Unknown,
    /// Only its author, or an agent of the thread, may.
    #[error("only the author of a message or an agent of its thread may recall it")]
    NotAuthor,
    /// The window is over.
    #[error("the message is older than the recall window")]
    TooLate,
}

/// Whether `by` may take back a message that `author` sent at `sent`, at `now`, with a window in milliseconds
/// (0 = at any time). Times are those at which the server accepted the two entries, so that every reader of the log
/// decides the same.
pub fn recall_allowed(
    by: &str,
    by_role: Role,
    author: &str,
    sent: UnixMillis,
    now: UnixMillis,
    window: u64,
) -> Result<(), RecallRefusal> {
    if by != author && by_role == Role::Visitor {
        return Err(RecallRefusal::NotAuthor);
    }
    if window != 0 && now.since(sent) > window {
        return Err(RecallRefusal::TooLate);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recall_is_for_the_author_or_staff_within_the_window() {
        let at = |by, role, now| recall_allowed(by, role, "v", UnixMillis(1000), UnixMillis(now), 500);
        assert_eq!(at("v", Role::Visitor, 1500), Ok(()));
        assert_eq!(at("v", Role::Visitor, 1501), Err(RecallRefusal::TooLate));
        assert_eq!(at("w", Role::Visitor, 1100), Err(RecallRefusal::NotAuthor));
        assert_eq!(at("a", Role::Agent, 1100), Ok(()));
        assert_eq!(
            recall_allowed("v", Role::Visitor, "v", UnixMillis(0), UnixMillis(u64::MAX), 0),
            Ok(())
        );
    }
}
