use async_trait::async_trait;
use contract::persistence::{AgentCard, DeskEntry, DirectoryChange};
use model::{OrgId, UserId};
use thiserror::Error;

use crate::StoreError;

/// The directory of an organisation, whole; in the order of uids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrgDirectory {
    /// Its agents.
    pub agents: Vec<AgentCard>,
    /// Its desks that are no agent's.
    pub desks: Vec<DeskEntry>,
}

/// What has changed in the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryNews {
    /// The number of the last change. Lower than what was asked after: the database lost what it had said.
    pub version: u64,
    /// The organisations that have changed, each as it is now, which may be newer than `version`.
    pub orgs: Vec<(OrgId, OrgDirectory)>,
}

/// Why a change of the directory is not made: it does not fit what is there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A desk names agents that are not there.
    #[error("there is no agent {}; enter the agents of a desk before it", listed(.0))]
    UnknownAgents(Vec<UserId>),
    /// Desks name the agent that is to be removed. At most five are told.
    #[error("the agent is named by {}; take it out there first", listed(.0))]
    Named(Vec<UserId>),
    /// The uid of the agent is a desk's.
    #[error("the uid is that of a desk; choose another")]
    IsDesk,
    /// The uid of the desk is an agent's.
    #[error("the uid is that of an agent, which is a desk by itself; choose another")]
    IsAgent,
    /// There is no such agent or desk.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// The organisation has as many as it may have.
    #[error("the organisation has {limit} {what} already, which is the most; remove some first")]
    TooMany {
        /// `agents` or `desks`.
        what: &'static str,
        /// How many it may have.
        limit: usize,
    },
}

fn listed(uids: &[UserId]) -> String {
    uids.iter()
        .map(|uid| format!("{uid:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The directory. Changes are durable on return, and made one after the other, whoever makes them.
#[async_trait]
pub trait DirectoryStore: Send + Sync + 'static {
    /// Makes a change that has passed [`DirectoryChange::check`], or says why not; then nothing has changed.
    async fn change_directory(
        &self,
        org: &OrgId,
        change: DirectoryChange,
    ) -> Result<Result<(), Refusal>, StoreError>;

    /// Enters what the configuration names, in its order; how many of it. Each uid is entered once in the life of the
    /// store: one that was entered before, or is there, is left as it is now, and one that was removed stays away. A
    /// desk gets those of its agents that are there.
    async fn seed_directory(&self, seed: Vec<(OrgId, DirectoryChange)>) -> Result<usize, StoreError>;

    /// What has changed after the change of a number; 0: everything. A change whose number was told is in every later answer.
    async fn directory_since(&self, version: u64) -> Result<DirectoryNews, StoreError>;
}
