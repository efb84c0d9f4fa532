//! What clients wish of threads: whether it is theirs to wish, and what comes of it.

use async_trait::async_trait;
use contract::persistence::{Actor, AgentCard, ChangeThread, ThreadCard, ThreadKey, ThreadWish};
use contract::{ErrorKind, RpcError};
use model::thread::{Act, Change, Offer, Refused, Step, Thread};
use model::{OrgId, Role, UnixMillis, UserId};
use store::StoredThread;

use super::change::{Changed, Decide, Plan, Planned};
use super::desk::unknown_agent;
use super::say::Said;
use crate::core::Core;
use crate::error::answer;

impl Core {
    /// See [`contract::persistence::Persistence::change_thread`].
    pub(crate) async fn changed_thread(&self, asked: ChangeThread) -> Result<ThreadCard, RpcError> {
        let topic = match &asked.thread {
            ThreadKey::Topic(topic) => topic.clone(),
            ThreadKey::Uid(uid) => {
                let found = self
                    .deps
                    .store
                    .thread_topic(&asked.org, uid)
                    .await
                    .map_err(answer)?;
                found.ok_or_else(|| not_found(uid))?
            }
        };
        let thread = self
            .latest(&asked.org, &topic)
            .await?
            .ok_or_else(|| not_found(&topic))?;
        if !may_know(&thread, &asked.by) {
            // Whether there is one is not for everybody to know.
            return Err(not_found(&topic));
        }
        let changed = self.change(thread, Some(&asked.uid), &mut Wished(&asked)).await?;
        if let Changed::Nothing(refused) = changed
            && !is_so_already(&asked.wish, refused)
        {
            return Err(refusal(refused));
        }
        let stored = self
            .latest(&asked.org, &topic)
            .await?
            .ok_or_else(|| not_found(&topic))?;
        Ok(self.card(&asked.org, stored.row, 0))
    }

    async fn plan(
        &self,
        thread: &StoredThread,
        asked: &ChangeThread,
    ) -> Result<Result<Plan, Refused>, RpcError> {
        let own = own_member(&thread.life, &asked.by);
        let step = match &asked.wish {
            ThreadWish::Close => match own.is_some() || has_it(thread, &asked.by) {
                true => Step::Close,
                false => return Ok(Err(Refused::NotMember)),
            },
            ThreadWish::Leave => match own {
                Some(own) => Step::Leave(own),
                None => return Ok(Err(Refused::NotMember)),
            },
            ThreadWish::Remove(member) => match own.is_some() || rules_all(&asked.by) {
                true => Step::Leave(member.clone()),
                false => return Ok(Err(Refused::NotMember)),
            },
            ThreadWish::Offer {
                invitation,
                to,
                colleague,
            } => {
                let Some(from) = own.or_else(|| thread.life.agent.clone().filter(|_| rules_all(&asked.by)))
                else {
                    return Ok(Err(Refused::NotMember));
                };
                let mut to = self.receivers(&asked.org, to, &from).await?;
                to.extend(colleague.clone());
                if to.is_empty() {
                    return Err(nobody());
                }
                Step::Offer(self.offer(asked, *invitation, from, to))
            }
            ThreadWish::Accept(offer) => match self.acceptor(thread, asked, offer).await? {
                Some(agent) => Step::Accept {
                    offer: offer.clone(),
                    agent: (agent.card.uid, agent.user),
                    at: self.now(),
                },
                None => return Ok(Err(Refused::NotOffered)),
            },
            ThreadWish::Decline(offer) => {
                let party = party_to(&thread.life, &asked.by, offer);
                Step::Decline {
                    offer: offer.clone(),
                    by: Some(party.unwrap_or_else(|| asked.by.user.clone())),
                    at: self.now(),
                }
            }
        };
        let change = thread.life.decide(step);
        Ok(change.map(|change| Plan {
            said: self.said(&asked.org, &asked.by, &change),
            change,
        }))
    }

    fn offer(&self, asked: &ChangeThread, is_invitation: bool, from: UserId, to: Vec<UserId>) -> Offer {
        let timeout = u64::try_from(self.deps.rules.offer_timeout.as_millis()).unwrap_or(u64::MAX);
        Offer {
            uid: asked.uid.clone(),
            is_invitation,
            from,
            to,
            expires_at: UnixMillis(self.now().0.saturating_add(timeout)),
        }
    }

    /// The agents that are meant: those named, those of the workgroups named, but never the one that offers.
    async fn receivers(&self, org: &OrgId, to: &[UserId], from: &UserId) -> Result<Vec<UserId>, RpcError> {
        let mut agents = Vec::new();
        for uid in to {
            let Some(desk) = self.desk_of(org, uid) else {
                if !self.is_desk(org, uid).await? {
                    return Err(RpcError::new(
                        ErrorKind::NotFound,
                        format!("there is no agent or workgroup {uid:?} in {org}; name one as the receiver"),
                    ));
                }
                agents.extend((uid != from).then(|| uid.clone()));
                continue;
            };
            let of_desk = desk.agents.into_iter().map(|agent| agent.card.uid);
            agents.extend(of_desk.filter(|agent| agent != from));
        }
        agents.sort_unstable();
        agents.dedup();
        Ok(agents)
    }

    /// As which agent whoever asks takes an offer.
    async fn acceptor(
        &self,
        thread: &StoredThread,
        asked: &ChangeThread,
        offer: &str,
    ) -> Result<Option<AgentCard>, RpcError> {
        let Some(offer) = thread.life.offers.iter().find(|o| o.uid == offer) else {
            // Whoever decides says that there is none.
            return Ok(Some(unknown_agent(&asked.by.user)));
        };
        let Some(uid) = offer.to.iter().find(|to| asked.by.identities.contains(to)) else {
            return Ok(None);
        };
        let desk = self.desk_of(&asked.org, uid);
        let agent = desk.and_then(|desk| desk.agents.into_iter().find(|a| a.card.uid == *uid));
        Ok(Some(agent.unwrap_or_else(|| AgentCard {
            user: asked.by.user.clone(),
            ..unknown_agent(uid)
        })))
    }

    /// What clients are shown. An offer, and a refusal, are said by whoever makes them, in a message of their own.
    fn said(&self, org: &OrgId, by: &Actor, change: &Change) -> Option<Said> {
        let name = |uid: Option<&UserId>| {
            let Some(uid) = uid else {
                return "an agent".to_owned();
            };
            let card = self.agent_card(org, uid).card;
            if card.nickname.is_empty() {
                uid.to_string()
            } else {
                card.nickname
            }
        };
        match change.act {
            Act::Closed if by.role == Role::Visitor => Some(Said::new(
                "VISITOR_CLOSED",
                "The visitor has ended the conversation.",
            )),
            Act::Closed => Some(Said::new("AGENT_CLOSED", "The agent has ended the conversation.")),
            Act::Accepted => {
                let who = name(change.joined.first().map(|m| &m.member));
                Some(Said::new("NOTICE", format!("{who} has joined the conversation.")))
            }
            Act::Left => {
                let who = name(change.ended.first().map(|m| &m.member));
                Some(Said::new("NOTICE", format!("{who} has left the conversation.")))
            }
            _ => None,
        }
    }
}

struct Wished<'a>(&'a ChangeThread);

#[async_trait]
impl Decide for Wished<'_> {
    async fn decide(&mut self, core: &Core, thread: &StoredThread) -> Planned {
        core.plan(thread, self.0).await
    }
}

/// Services and administrators of the organisation may change its threads without a part in them.
fn rules_all(by: &Actor) -> bool {
    matches!(by.role, Role::Admin | Role::Service)
}

/// The membership under which whoever asks takes part.
fn own_member(life: &Thread, by: &Actor) -> Option<UserId> {
    life.member(by.identities.iter()).map(|m| m.member.clone())
}

/// Whether the thread is the asker's without a membership: its visitor's, its agent's, that of its own desk, or of everybody that
/// rules all.
fn has_it(thread: &StoredThread, by: &Actor) -> bool {
    let row = &thread.row;
    let is_own = |uid: &UserId| by.identities.contains(uid);
    let (visitor, staff) = (by.role == Role::Visitor, by.role != Role::Visitor);
    (visitor && is_own(&row.visitor.uid))
        || (staff && (rules_all(by) || is_own(&row.desk) || row.agent.as_ref().is_some_and(is_own)))
}

fn party_to(life: &Thread, by: &Actor, offer: &str) -> Option<UserId> {
    let offer = life.offers.iter().find(|o| o.uid == offer)?;
    let mut parties = offer.to.iter().chain([&offer.from]);
    parties.find(|uid| by.identities.contains(uid)).cloned()
}

/// Whether whoever asks has, had or is offered a part in the thread.
fn may_know(thread: &StoredThread, by: &Actor) -> bool {
    let is_own = |uid: &UserId| by.identities.contains(uid);
    let row = &thread.row;
    match by.role {
        Role::Visitor => is_own(&row.visitor.uid),
        _ if rules_all(by) => true,
        _ => {
            let offered = thread.life.offers.iter().any(|o| o.to.iter().any(is_own));
            let agent = row.agent.as_ref().is_some_and(is_own);
            offered || agent || is_own(&row.desk) || thread.life.members.iter().any(|m| is_own(&m.member))
        }
    }
}

/// Closing what is closed is done.
fn is_so_already(wish: &ThreadWish, refused: Refused) -> bool {
    matches!((wish, refused), (ThreadWish::Close, Refused::NotOpen))
}

fn nobody() -> RpcError {
    RpcError::new(
        ErrorKind::InvalidPayload,
        "the conversation is offered to nobody else; name another agent or a workgroup as the receiver",
    )
}

fn not_found(what: &(impl std::fmt::Display + ?Sized)) -> RpcError {
    RpcError::new(
        ErrorKind::NotFound,
        format!("there is no conversation {what} of yours; see its uid or topic"),
    )
}

fn refusal(refused: Refused) -> RpcError {
    let kind = match refused {
        Refused::NotMember | Refused::NotOffered => ErrorKind::Forbidden,
        Refused::NoOffer => ErrorKind::NotFound,
        Refused::Nothing | Refused::NotOpen | Refused::IsMember => ErrorKind::Conflict,
    };
    RpcError::new(kind, refused.to_string())
}
