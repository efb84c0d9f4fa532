//! Who answers at a desk now.

use contract::RpcError;
use contract::persistence::{AgentCard, Desk, DeskKind, UserCard};
use futures::future::join_all;
use model::thread::ThreadStatus;
use model::{ChatTopic, OrgId, ThreadKind, TopicName, UserId};
use store::Place;

use crate::core::Core;
use crate::error::answer;

/// What a thread of a desk is to do now.
pub(super) struct Choice {
    pub status: ThreadStatus,
    /// The agent and the user behind it.
    pub agent: Option<(UserId, UserId)>,
}

impl Choice {
    fn nobody(status: ThreadStatus) -> Self {
        Self { status, agent: None }
    }

    /// At a desk that the directory does not have. An agent's is known by the tokens that it uses; who is behind it is not.
    fn without_directory(topic: &TopicName) -> Self {
        let parsed = ChatTopic::parse(topic);
        match parsed.map(|t| (t.kind, t.desk)) {
            Some((ThreadKind::Agent, desk)) => Self {
                status: ThreadStatus::Chatting,
                agent: Some((desk.into(), desk.into())),
            },
            Some((ThreadKind::Robot, _)) => Self::nobody(ThreadStatus::Roboting),
            _ => Self::nobody(ThreadStatus::Offline),
        }
    }
}

impl Core {
    /// The desk that a thread belongs to; `None` when there is none any more.
    pub(crate) fn desk_of(&self, org: &OrgId, uid: &UserId) -> Option<Desk> {
        self.directory.get().desk(org, uid)
    }

    /// Of these agents, those who are there and have not set themselves away. When presence is unknown nobody is.
    pub(super) async fn available(&self, org: &OrgId, agents: &[AgentCard]) -> Vec<AgentCard> {
        let here = agents.iter().filter(|agent| !agent.away());
        let asked = here.map(|agent| async {
            let connections = self.deps.presence.connections(org, &agent.user).await;
            let is_there = connections.is_ok_and(|found| found.iter().any(|c| c.staff));
            is_there.then(|| agent.clone())
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Who gets a thread of a desk: of those who are there, the one with the fewest threads that has room. A place that is taken
    /// by this is given back by the change that follows, or when there is none.
    pub(super) async fn choose(
        &self,
        org: &OrgId,
        topic: &TopicName,
        desk: Option<&Desk>,
    ) -> Result<Choice, RpcError> {
        let Some(desk) = desk else {
            return Ok(Choice::without_directory(topic));
        };
        if desk.agents.is_empty() && desk.kind != DeskKind::Workgroup {
            return Ok(Choice::nobody(match desk.kind {
                DeskKind::Robot => ThreadStatus::Roboting,
                _ => ThreadStatus::Chatting,
            }));
        }
        let available = self.available(org, &desk.agents).await;
        if available.is_empty() {
            // An agent's own desk is that agent's, there or not.
            let own = desk.agents.first().filter(|_| desk.kind == DeskKind::Agent);
            return Ok(Choice {
                status: ThreadStatus::Offline,
                agent: own.map(|agent| (agent.card.uid.clone(), agent.user.clone())),
            });
        }
        let places = available.iter().map(|agent| Place {
            agent: agent.card.uid.clone(),
            most: agent.max_threads.unwrap_or(self.deps.rules.max_threads_per_agent),
        });
        let taken = self
            .deps
            .store
            .take_place(org, topic, places.collect(), self.now());
        let taken = taken.await.map_err(answer)?;
        let agent = taken.and_then(|uid| available.into_iter().find(|agent| agent.card.uid == uid));
        Ok(match agent {
            Some(agent) => Choice {
                status: ThreadStatus::Chatting,
                agent: Some((agent.card.uid, agent.user)),
            },
            None => Choice::nobody(ThreadStatus::Queuing),
        })
    }

    /// Gives back what [`Self::choose`] may have taken, when no change follows.
    pub(super) async fn release(&self, org: &OrgId, topic: &TopicName) {
        if let Err(error) = self.deps.store.release_place(org, topic).await {
            // It is given back after a while.
            tracing::debug!(%error, "a place was not given back");
        }
    }

    /// What others see of an agent; its uid when it is not in the directory.
    pub(crate) fn agent_card(&self, org: &OrgId, uid: &UserId) -> AgentCard {
        let known = self.directory.get().agent(org, uid);
        known.unwrap_or_else(|| unknown_agent(uid))
    }
}

/// An agent of whom nothing is known but its uid.
pub(super) fn unknown_agent(uid: &UserId) -> AgentCard {
    let card = UserCard {
        uid: uid.clone(),
        ..UserCard::default()
    };
    AgentCard {
        card,
        user: uid.clone(),
        ..AgentCard::default()
    }
}

/// The uid of the desk that a topic names, and what it is by its topic.
pub(super) fn named_in(topic: &TopicName) -> Option<(UserId, UserId)> {
    let parsed = ChatTopic::parse(topic).filter(|t| t.kind.is_service() && !t.internal)?;
    Some((UserId::new(parsed.desk), UserId::new(parsed.party?)))
}
