//! Which changes of the directory fit what is there.

use contract::persistence::{AgentStatus, DeskKind, DirectoryChange, MAX_AGENTS, MAX_DESKS};
use model::UserId;

use crate::{Refusal, StoreError};

/// How many of the desks are told that name an agent.
pub(crate) const NAMED: usize = 5;

/// What a change is judged by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Whether the uid is an agent's.
    pub is_agent: bool,
    /// Whether it is a desk's.
    pub is_desk: bool,
    /// Agents of the organisation.
    pub agents: usize,
    /// Its desks.
    pub desks: usize,
    /// Agents that the change names and that are not there.
    pub missing: Vec<UserId>,
    /// Desks that name the uid, [`NAMED`] of them at most.
    pub named_by: Vec<UserId>,
}

pub(crate) fn judge(change: &DirectoryChange, known: Known) -> Result<(), Refusal> {
    let room = |what, there, limit, is_new| match is_new && there >= limit {
        true => Err(Refusal::TooMany { what, limit }),
        false => Ok(()),
    };
    match change {
        DirectoryChange::PutAgent(_) if known.is_desk => Err(Refusal::IsDesk),
        DirectoryChange::PutAgent(_) => room("agents", known.agents, MAX_AGENTS, !known.is_agent),
        DirectoryChange::PutDesk(_) if known.is_agent => Err(Refusal::IsAgent),
        DirectoryChange::PutDesk(_) if !known.missing.is_empty() => {
            Err(Refusal::UnknownAgents(known.missing))
        }
        DirectoryChange::PutDesk(_) => room("desks", known.desks, MAX_DESKS, !known.is_desk),
        DirectoryChange::RemoveAgent(_) | DirectoryChange::SetStatus(..) if !known.is_agent => {
            Err(Refusal::Missing("agent"))
        }
        DirectoryChange::RemoveAgent(_) if !known.named_by.is_empty() => Err(Refusal::Named(known.named_by)),
        DirectoryChange::RemoveDesk(_) if !known.is_desk => Err(Refusal::Missing("desk")),
        DirectoryChange::RemoveAgent(_) | DirectoryChange::RemoveDesk(_) | DirectoryChange::SetStatus(..) => {
            Ok(())
        }
    }
}

/// What is entered of a seed: nothing over what is there, and of a desk's agents those that are there.
pub(crate) fn seeded(mut change: DirectoryChange, known: &Known) -> Option<DirectoryChange> {
    if let DirectoryChange::PutDesk(desk) = &mut change {
        desk.agents.retain(|uid| !known.missing.contains(uid));
    }
    (!known.is_agent && !known.is_desk).then_some(change)
}

/// The agents that a change names.
pub(crate) fn named(change: &DirectoryChange) -> &[UserId] {
    match change {
        DirectoryChange::PutDesk(desk) => &desk.agents,
        _ => &[],
    }
}

pub(crate) fn status(word: &str) -> Result<AgentStatus, StoreError> {
    AgentStatus::from_name(word).ok_or_else(|| StoreError::Damaged {
        table: "agents",
        what: format!("{word:?} is no status"),
    })
}

pub(crate) fn kind(word: &str) -> Result<DeskKind, StoreError> {
    DeskKind::from_name(word).ok_or_else(|| StoreError::Damaged {
        table: "desks",
        what: format!("{word:?} is no kind of desk"),
    })
}

#[cfg(test)]
mod tests {
    use contract::persistence::{AgentCard, DeskEntry, UserCard};

    use super::*;

    fn desk(agents: &[&str]) -> DirectoryChange {
        DirectoryChange::PutDesk(DeskEntry {
            card: UserCard::default(),
            kind: DeskKind::Workgroup,
            agents: agents.iter().map(|&uid| uid.into()).collect(),
        })
    }

    #[test]
    fn an_organisation_has_no_more_than_it_may_have_and_changes_what_it_has() {
        let put = DirectoryChange::PutAgent(AgentCard::default());
        for (change, what, limit) in [(put, "agents", MAX_AGENTS), (desk(&[]), "desks", MAX_DESKS)] {
            let with = |there: usize, is_there: bool| Known {
                agents: there,
                desks: there,
                is_agent: is_there && what == "agents",
                is_desk: is_there && what == "desks",
                ..Known::default()
            };
            assert_eq!(judge(&change, with(limit - 1, false)), Ok(()));
            assert_eq!(
                judge(&change, with(limit, false)),
                Err(Refusal::TooMany { what, limit })
            );
            assert_eq!(judge(&change, with(limit, true)), Ok(()));
        }
    }

    #[test]
    fn a_seed_is_entered_where_nothing_is_and_with_the_agents_that_are_there() {
        let known = Known {
            missing: vec!["b".into()],
            ..Known::default()
        };
        assert_eq!(seeded(desk(&["a", "b", "c"]), &known), Some(desk(&["a", "c"])));
        for (is_agent, is_desk) in [(true, false), (false, true)] {
            let there = Known {
                is_agent,
                is_desk,
                ..Known::default()
            };
            assert_eq!(seeded(desk(&[]), &there), None);
        }
    }

    #[test]
    fn who_is_refused_is_told_whom_to_change() {
        let refusal = Refusal::UnknownAgents(vec!["a".into(), "b".into()]);
        assert_eq!(
            refusal.to_string(),
            "there is no agent \"a\", \"b\"; enter the agents of a desk before it"
        );
    }
}
