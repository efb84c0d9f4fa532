//! What a topic's messages add up to.

use model::Role;
use wire::{Entry, Kind};

use crate::Flags;

/// Who spoke with a message, as far as it decides since when a visitor waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// A visitor: waits from here on, if it did not wait yet.
    Visitor,
    /// Staff: the visitor waits no longer.
    Staff,
    /// Nobody whom anyone answers.
    Nobody,
}

impl Voice {
    /// Of a message. What the system tells is no voice of a visitor; what staff shows in any way is an answer.
    pub fn of(entry: &Entry, flags: Flags) -> Self {
        let said = match entry.known_kind() {
            Kind::Chat => flags.has(Flags::SHOWN),
            // A form that a visitor filled in. It stands at the place of the prompt, and is said here.
            Kind::Edit => flags.has(Flags::COUNTABLE),
            _ => false,
        };
        match Role::from_number(entry.sender_role) {
            _ if !said => Voice::Nobody,
            Role::Visitor if flags.has(Flags::COUNTABLE) => Voice::Visitor,
            // A robot's answer is none: the visitor waits for a person.
            Role::Visitor | Role::Service => Voice::Nobody,
            Role::Agent | Role::Admin => Voice::Staff,
        }
    }

    /// Since when the visitor waits after this voice was heard at `at`, who waited since `since`. 0 = it does not wait.
    pub fn waiting_since(self, since: u64, at: u64) -> u64 {
        match self {
            Voice::Visitor if since == 0 => at,
            Voice::Visitor | Voice::Nobody => since,
            Voice::Staff => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_waits_from_its_first_word_to_the_first_answer() {
        let (v, s, n) = (Voice::Visitor, Voice::Staff, Voice::Nobody);
        for (voices, since) in [
            (&[][..], 0),
            (&[n, v, v, n], 2),
            (&[v, s], 0),
            (&[v, s, n, v, v], 4),
            (&[s, s], 0),
        ] {
            let heard = voices.iter().zip(1..);
            let waits = heard.fold(0, |since, (voice, at)| voice.waiting_since(since, at));
            assert_eq!(waits, since, "{voices:?}");
        }
    }

    #[test]
    fn only_who_says_something_waits_or_answers() {
        let text = Flags::SHOWN.with(Flags::COUNTABLE);
        let of = |kind: Kind, role: Role, flags| {
            let (kind, sender_role) = (kind.into(), role.number());
            Voice::of(
                &Entry {
                    kind,
                    sender_role,
                    ..Entry::default()
                },
                flags,
            )
        };
        assert_eq!(of(Kind::Chat, Role::Visitor, text), Voice::Visitor);
        assert_eq!(of(Kind::Chat, Role::Visitor, Flags::SHOWN), Voice::Nobody);
        assert_eq!(of(Kind::Chat, Role::Agent, Flags::SHOWN), Voice::Staff);
        assert_eq!(of(Kind::Chat, Role::Agent, Flags::default()), Voice::Nobody);
        assert_eq!(of(Kind::Chat, Role::Service, text), Voice::Nobody);
        assert_eq!(of(Kind::Recall, Role::Agent, Flags::SHOWN), Voice::Nobody);
        assert_eq!(of(Kind::Edit, Role::Visitor, Flags::COUNTABLE), Voice::Visitor);
        assert_eq!(of(Kind::Edit, Role::Visitor, Flags::default()), Voice::Nobody);
    }
}
