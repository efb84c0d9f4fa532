//! What may be done with a thread, by whom, and what comes of it.

use super::{Act, Change, Membership, Offer, Thread, ThreadStatus};
use crate::{Position, UnixMillis, UserId};

/// What somebody wants of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It begins, or begins again: for whom, with what status, and who is given to it. Memberships begin at `since`.
    Open {
        /// The visitor.
        visitor: UserId,
        /// What it is doing then.
        status: ThreadStatus,
        /// The agent and the user behind it.
        agent: Option<(UserId, UserId)>,
        /// What comes after this is seen; [`Position::END`] for the change itself.
        since: Position,
    },
    /// One that waits gets an agent, who sees what came after `since`.
    Assign {
        /// The agent and the user behind it.
        agent: (UserId, UserId),
        /// What comes after this is seen.
        since: Position,
    },
    /// One that waits does so for another reason.
    Wait(ThreadStatus),
    /// It is over.
    Close,
    /// A member offers it.
    Offer(Offer),
    /// Somebody to whom it was offered takes it. The uid of the offer, the agent and the user behind it.
    Accept {
        /// The uid of the offer.
        offer: String,
        /// The agent and the user behind it.
        agent: (UserId, UserId),
        /// When.
        at: UnixMillis,
    },
    /// An offer is refused, taken back, or its time is over. By whom; `None` = by time.
    Decline {
        /// The uid of the offer.
        offer: String,
        /// An agent's uid.
        by: Option<UserId>,
        /// When.
        at: UnixMillis,
    },
    /// A member leaves, or is removed.
    Leave(UserId),
}

/// Why a step is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is so already.
    #[error("there is nothing to change")]
    Nothing,
    /// The thread is not open.
    #[error("the conversation is not open")]
    NotOpen,
    /// Whoever wants it has no part in the thread.
    #[error("only a member of the conversation may do this")]
    NotMember,
    /// There is no such offer, or no more.
    #[error("there is no such offer, or it was answered, taken back or is too old")]
    NoOffer,
    /// It was not offered to this agent.
    #[error("the conversation was not offered to this agent")]
    NotOffered,
    /// The agent has a part in it already.
    #[error("this agent is a member of the conversation already")]
    IsMember,
}

impl Thread {
    /// What comes of a step.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn decide(&self, step: Step) -> Result<Change, Refused> {
        let mut change = self.take(step)?;
        let ended = |m: &Membership| change.ended.iter().any(|ended| ended.member == m.member);
        let lasting = self.members.iter().chain(&change.joined).filter(|m| !ended(m));
        let is_of_ended = |m: &&Membership| change.ended.iter().any(|ended| ended.user == m.user);
        change.staying = lasting.filter(is_of_ended).map(|m| m.user.clone()).collect();
        Ok(change)
    }

    fn take(&self, step: Step) -> Result<Change, Refused> {
        match step {
            Step::Open {
                visitor,
                status,
                agent,
                since,
            } => self.open(visitor, status, agent, since),
            Step::Assign { agent, since } => self.assign(agent, since),
            Step::Wait(status) if self.status.is_waiting() && self.status != status => Ok(Change {
                status,
                ..self.change(Act::Waiting)
            }),
            Step::Wait(_) => Err(Refused::Nothing),
            Step::Close => self.close(),
            Step::Offer(offer) => self.offer(offer),
            Step::Accept { offer, agent, at } => self.accept(&offer, agent, at),
            Step::Decline { offer, by, at } => self.decline(&offer, by.as_ref(), at),
            Step::Leave(member) => self.leave(&member),
        }
    }

    /// One that changes nothing.
    fn change(&self, act: Act) -> Change {
        Change {
            act,
            expects: self.version,
            status: self.status,
            agent: self.agent.clone(),
            joined: Vec::new(),
            ended: Vec::new(),
            staying: Vec::new(),
            offer: None,
            settled: None,
        }
    }

    fn check_open(&self) -> Result<(), Refused> {
        if self.is_open() {
            Ok(())
        } else {
            Err(Refused::NotOpen)
        }
    }

    fn is_member(&self, uid: &UserId) -> bool {
        self.members.iter().any(|m| m.member == *uid)
    }

    fn joining(&self, agent: &(UserId, UserId), since: Position) -> Option<Membership> {
        let (member, user) = agent.clone();
        (!self.is_member(&member)).then(|| Membership::from(member, user, since))
    }

    fn open(
        &self,
        visitor: UserId,
        status: ThreadStatus,
        agent: Option<(UserId, UserId)>,
        since: Position,
    ) -> Result<Change, Refused> {
        if self.is_open() {
            return Err(Refused::Nothing);
        }
        let visitor = self.joining(&(visitor.clone(), visitor), since);
        let joined = agent.as_ref().and_then(|agent| self.joining(agent, since));
        Ok(Change {
            status,
            agent: agent.map(|(agent, _)| agent),
            joined: visitor.into_iter().chain(joined).collect(),
            ..self.change(Act::Opened)
        })
    }

    fn assign(&self, agent: (UserId, UserId), since: Position) -> Result<Change, Refused> {
        self.check_open()?;
        if !self.status.is_waiting() {
            return Err(Refused::Nothing);
        }
        Ok(Change {
            status: ThreadStatus::Chatting,
            joined: self.joining(&agent, since).into_iter().collect(),
            agent: Some(agent.0),
            ..self.change(Act::Assigned)
        })
    }

    fn close(&self) -> Result<Change, Refused> {
        self.check_open()?;
        // Whoever has the desk may write at it, and opens the thread again by that.
        let mut ended = self.members.clone();
        ended.retain(|m| self.desk_agent.as_ref() != Some(&m.member));
        Ok(Change {
            status: ThreadStatus::Closed,
            ended,
            ..self.change(Act::Closed)
        })
    }

    fn offer(&self, offer: Offer) -> Result<Change, Refused> {
        self.check_open()?;
        if !self.is_member(&offer.from) {
            return Err(Refused::NotMember);
        }
        if offer.to.iter().all(|to| self.is_member(to)) {
            return Err(Refused::IsMember);
        }
        Ok(Change {
            offer: Some(offer),
            ..self.change(Act::Offered)
        })
    }

    fn open_offer(&self, uid: &str) -> Result<&Offer, Refused> {
        let offer = self.offers.iter().find(|offer| offer.uid == uid);
        offer.ok_or(Refused::NoOffer)
    }

    fn accept(&self, uid: &str, agent: (UserId, UserId), at: UnixMillis) -> Result<Change, Refused> {
        let offer = self.open_offer(uid)?;
        if at > offer.expires_at {
            return Err(Refused::NoOffer);
        }
        if !offer.to.contains(&agent.0) {
            return Err(Refused::NotOffered);
        }
        let joined = self.joining(&agent, Position::END).ok_or(Refused::IsMember)?;
        let mut change = Change {
            joined: vec![joined],
            settled: Some(uid.to_owned()),
            ..self.change(Act::Accepted)
        };
        if !offer.is_invitation {
            let from = self.members.iter().filter(|m| m.member == offer.from);
            change.ended = from.cloned().collect();
            change.agent = Some(agent.0);
            change.status = ThreadStatus::Chatting;
        }
        Ok(change)
    }

    fn decline(&self, uid: &str, by: Option<&UserId>, at: UnixMillis) -> Result<Change, Refused> {
        let offer = self.open_offer(uid)?;
        match by {
            Some(by) if *by != offer.from && !offer.to.contains(by) => return Err(Refused::NotOffered),
            None if at <= offer.expires_at => return Err(Refused::Nothing),
            _ => {}
        }
        Ok(Change {
            settled: Some(uid.to_owned()),
            ..self.change(Act::Declined)
        })
    }

    fn leave(&self, member: &UserId) -> Result<Change, Refused> {
        self.check_open()?;
        let ended = self.members.iter().find(|m| m.member == *member);
        let ended = ended.ok_or(Refused::NotMember)?.clone();
        let was_agent = self.agent.as_ref() == Some(member);
        // Whoever is left of the staff has it; when nobody is, it waits for somebody.
        let is_visitor = |m: &Membership| m.member == m.user;
        let others = self
            .members
            .iter()
            .filter(|m| m.member != *member && !is_visitor(m));
        let next = others.map(|m| m.member.clone()).next();
        let mut change = Change {
            ended: vec![ended],
            ..self.change(Act::Left)
        };
        if was_agent {
            if next.is_none() {
                change.status = ThreadStatus::Queuing;
            }
            change.agent = next;
        }
        Ok(change)
    }
}
