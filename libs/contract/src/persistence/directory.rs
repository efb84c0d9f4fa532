//! The directory: the agents and desks of an organisation. It is part of the persistence service, changes while that is
//! running, and is answered from memory: a change is in every answer of every replica within a second.

use async_trait::async_trait;
use model::{OrgId, UserId};

use super::{AgentCard, AgentStatus, Desk, DeskKind, UserCard};
use crate::RpcError;

/// Agents that an organisation may have.
pub const MAX_AGENTS: usize = 10_000;
/// Desks that an organisation may have besides its agents.
pub const MAX_DESKS: usize = 2_000;
/// Agents that a desk may have.
pub const MAX_DESK_AGENTS: usize = 1_000;
/// Desks that a page has at most: each may name a thousand agents.
pub const DESKS_PAGE: u32 = 100;
/// The longest display name, in bytes.
const MAX_NICKNAME: usize = 256;
/// The longest address of a picture, in bytes.
const MAX_AVATAR: usize = 2048;

/// What a uid of the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryUid {
    /// An agent's.
    Agent,
    /// That of the user behind an agent.
    User,
    /// That of a desk which is no agent's.
    Desk(DeskKind),
}

/// A desk that is no agent's, as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskEntry {
    /// Its uid, name and picture.
    pub card: UserCard,
    /// What it is; never [`DeskKind::Agent`].
    pub kind: DeskKind,
    /// The uids of its agents, in the order in which they are asked; each once.
    pub agents: Vec<UserId>,
}

/// A change of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryChange {
    /// Enters an agent, or replaces what is known of it. The status is that of a new one: an agent that is there keeps
    /// its own.
    PutAgent(AgentCard),
    /// Enters a desk, or replaces it whole. Its agents must be there.
    PutDesk(DeskEntry),
    /// Takes an agent out. Refused while a desk names it.
    RemoveAgent(UserId),
    /// Takes a desk out.
    RemoveDesk(UserId),
    /// An agent takes new threads from now on, or takes none.
    SetStatus(UserId, AgentStatus),
}

/// A part of a list, in the order of uids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The part.
    pub entries: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}

/// What is asked of the directory, and how it is changed.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// What a uid is in the directory; `None` when it is not there, so that a visitor may have it.
    async fn identify(&self, org: &OrgId, uid: &UserId) -> Result<Option<DirectoryUid>, RpcError>;

    /// The agents that any of these uids is, or is the user of; in the order of their uids, each once.
    async fn agents_of(&self, org: &OrgId, identities: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError>;

    /// A page of an organisation's agents; pages count from 0. Pages may be shorter than asked for.
    async fn list_agents(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<AgentCard>, RpcError>;

    /// A page of an organisation's desks that are no agent's, likewise.
    async fn list_desks(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<DeskEntry>, RpcError>;

    /// Changes the directory; the desk as it is now, `None` after a removal. Durable before it returns, and in what this
    /// replica answers; the others know within a second.
    ///
    /// `InvalidPayload`: the entry cannot be, or names agents that are not there. `NotFound`: what is to be removed or
    /// set is not there. `Conflict`: the uid is of another sort, a desk names the agent, or there are too many.
    async fn change_directory(&self, org: &OrgId, change: DirectoryChange) -> Result<Option<Desk>, RpcError>;
}

impl AgentStatus {
    /// Both.
    pub const ALL: [AgentStatus; 2] = [AgentStatus::Available, AgentStatus::Away];

    /// Its word, to clients and in the store.
    pub fn name(self) -> &'static str {
        match self {
            AgentStatus::Available => "AVAILABLE",
            AgentStatus::Away => "AWAY",
        }
    }

    /// The status of a word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl AgentCard {
    /// Whether it takes no new threads.
    pub fn away(&self) -> bool {
        self.status == AgentStatus::Away
    }
}

impl DeskKind {
    /// All of them.
    pub const ALL: [DeskKind; 7] = [
        DeskKind::Agent,
        DeskKind::Workgroup,
        DeskKind::Robot,
        DeskKind::Unified,
        DeskKind::Kb,
        DeskKind::KbDoc,
        DeskKind::Ticket,
    ];

    /// Its word, to administrators, in the configuration and in the store; also the level of its topics.
    pub fn name(self) -> &'static str {
        match self {
            DeskKind::Agent => "agent",
            DeskKind::Workgroup => "workgroup",
            DeskKind::Robot => "robot",
            DeskKind::Unified => "unified",
            DeskKind::Kb => "kb",
            DeskKind::KbDoc => "kbdoc",
            DeskKind::Ticket => "ticket",
        }
    }

    /// The kind of a word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a desk of this kind may name agents.
    pub fn has_agents(self) -> bool {
        use DeskKind::{Kb, Ticket, Unified, Workgroup};
        matches!(self, Workgroup | Unified | Kb | Ticket)
    }
}

impl DirectoryChange {
    /// The uid that it is about.
    pub fn uid(&self) -> &UserId {
        match self {
            DirectoryChange::PutAgent(agent) => &agent.card.uid,
            DirectoryChange::PutDesk(desk) => &desk.card.uid,
            DirectoryChange::RemoveAgent(uid)
            | DirectoryChange::RemoveDesk(uid)
            | DirectoryChange::SetStatus(uid, _) => uid,
        }
    }

    /// Refuses what cannot be, whatever else is there; says what and why.
    ///
    /// # Errors
    /// What is wrong, for whoever wrote it.
    pub fn check(&self) -> Result<(), String> {
        match self {
            DirectoryChange::PutAgent(agent) => {
                check_card(&agent.card)?;
                check_uid("user", &agent.user)?;
                match agent.max_threads {
                    Some(0) => {
                        Err("maxThreads is 0; leave it out, or set the agent's status to AWAY".to_owned())
                    }
                    _ => Ok(()),
                }
            }
            DirectoryChange::PutDesk(desk) => {
                check_card(&desk.card)?;
                check_agents(desk)
            }
            DirectoryChange::RemoveAgent(uid)
            | DirectoryChange::RemoveDesk(uid)
            | DirectoryChange::SetStatus(uid, _) => check_uid("uid", uid),
        }
    }
}

fn check_card(card: &UserCard) -> Result<(), String> {
    check_uid("uid", &card.uid)?;
    for (name, text, max) in [
        ("nickname", &card.nickname, MAX_NICKNAME),
        ("avatar", &card.avatar, MAX_AVATAR),
    ] {
        if text.len() > max {
            return Err(format!("{name} is {} bytes long; {max} are allowed", text.len()));
        }
        if text.contains(|c: char| c.is_control()) {
            return Err(format!("{name} holds a control character; leave it out"));
        }
    }
    Ok(())
}

fn check_uid(what: &str, uid: &UserId) -> Result<(), String> {
    let checked = UserId::checked(uid).map(|_| ());
    checked.map_err(|error| format!("{what}: {error}"))
}

fn check_agents(desk: &DeskEntry) -> Result<(), String> {
    let kind = desk.kind.name();
    if desk.kind == DeskKind::Agent {
        return Err("kind is agent; an agent is a desk by itself, enter it among the agents".to_owned());
    }
    if !desk.kind.has_agents() && !desk.agents.is_empty() {
        return Err(format!("a desk of kind {kind} has no agents; leave agents out"));
    }
    if desk.agents.len() > MAX_DESK_AGENTS {
        let found = desk.agents.len();
        return Err(format!("{found} agents; a desk has {MAX_DESK_AGENTS} at most"));
    }
    let mut seen = std::collections::HashSet::new();
    match desk.agents.iter().find(|uid| !seen.insert(*uid)) {
        Some(twice) => Err(format!("agents names {twice:?} twice")),
        None => desk.agents.iter().try_for_each(|uid| check_uid("agents", uid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(kind: DeskKind, agents: &[&str]) -> DirectoryChange {
        let card = UserCard {
            uid: "d".into(),
            ..UserCard::default()
        };
        let agents = agents.iter().map(|&uid| uid.into()).collect();
        DirectoryChange::PutDesk(DeskEntry { card, kind, agents })
    }

    fn agent(uid: &str, user: &str) -> AgentCard {
        let mut agent = AgentCard::default();
        (agent.card.uid, agent.user) = (uid.into(), user.into());
        agent
    }

    #[test]
    fn words_and_what_they_stand_for() {
        for kind in DeskKind::ALL {
            assert_eq!(DeskKind::from_name(kind.name()), Some(kind));
        }
        for status in AgentStatus::ALL {
            assert_eq!(AgentStatus::from_name(status.name()), Some(status));
        }
        assert_eq!(
            (DeskKind::from_name("AGENT"), AgentStatus::from_name("BUSY")),
            (None, None)
        );
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        let refused = |change: DirectoryChange, word: &str| {
            let why = change.check().unwrap_err();
            assert!(why.contains(word), "{word:?} is not in {why:?}");
        };
        for kind in DeskKind::ALL {
            match kind {
                DeskKind::Agent => refused(desk(kind, &[]), "among the agents"),
                DeskKind::Robot | DeskKind::KbDoc => {
                    assert_eq!(desk(kind, &[]).check(), Ok(()));
                    refused(desk(kind, &["a"]), "no agents");
                }
                _ => assert_eq!(desk(kind, &["a", "b"]).check(), Ok(())),
            }
        }
        refused(desk(DeskKind::Workgroup, &["a", "b", "a"]), "\"a\" twice");
        refused(desk(DeskKind::Workgroup, &["a/b"]), "agents: ");
        let many: Vec<String> = (0..=MAX_DESK_AGENTS).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        refused(desk(DeskKind::Workgroup, &many), "1000 at most");
        assert_eq!(desk(DeskKind::Workgroup, &many[1..]).check(), Ok(()));

        let put = DirectoryChange::PutAgent;
        assert_eq!(put(agent("a", "u")).check(), Ok(()));
        refused(put(agent("", "u")), "uid: an id is empty");
        refused(put(agent("a", "")), "user: ");
        refused(put(agent("a_internal", "u")), "_internal");
        let with = |change: fn(&mut AgentCard)| {
            let mut agent = agent("a", "u");
            change(&mut agent);
            put(agent)
        };
        refused(with(|a| a.max_threads = Some(0)), "AWAY");
        refused(
            with(|a| a.card.nickname = "n".repeat(257)),
            "nickname is 257 bytes",
        );
        refused(with(|a| a.card.avatar = "n".repeat(2049)), "avatar");
        refused(with(|a| a.card.nickname = "\u{0}".into()), "control character");
        refused(DirectoryChange::RemoveAgent("#".into()), "uid: ");
    }
}
