//! A directory in memory, which judges as little as a caller can see.

use std::collections::BTreeMap;

use async_trait::async_trait;
use contract::persistence::*;
use contract::{ErrorKind, RpcError};
use model::{OrgId, UserId};
use parking_lot::Mutex;

use crate::fakes::Store;

type Entries<T> = BTreeMap<(OrgId, UserId), T>;

pub struct Desks {
    agents: Mutex<Entries<AgentCard>>,
    desks: Mutex<Entries<DeskEntry>>,
}

fn card(uid: &str, nickname: &str) -> UserCard {
    UserCard {
        uid: uid.into(),
        nickname: nickname.to_owned(),
        avatar: String::new(),
    }
}

impl Desks {
    pub fn seeded() -> Self {
        let org = OrgId::new("df_org_uid");
        let agents = [("df_ag_uid", "agent1"), ("df_ag2_uid", "agent2")].map(|(uid, user)| {
            let agent = AgentCard {
                card: card(uid, &format!("Nick {user}")),
                user: user.into(),
                ..AgentCard::default()
            };
            ((org.clone(), uid.into()), agent)
        });
        let group = DeskEntry {
            card: card("df_wg_uid", "Desk"),
            kind: DeskKind::Workgroup,
            agents: vec!["df_ag_uid".into(), "df_ag2_uid".into()],
        };
        Self {
            agents: Mutex::new(agents.into()),
            desks: Mutex::new([((org, "df_wg_uid".into()), group)].into()),
        }
    }

    pub fn desk(&self, org: &OrgId, uid: &UserId) -> Option<Desk> {
        let agent = |uid: &UserId| self.agents.lock().get(&(org.clone(), uid.clone())).cloned();
        if let Some(agent) = agent(uid) {
            let (kind, card) = (DeskKind::Agent, agent.card.clone());
            let agents = vec![agent];
            return Some(Desk { kind, card, agents });
        }
        let desk = self.desks.lock().get(&(org.clone(), uid.clone())).cloned()?;
        Some(Desk {
            kind: desk.kind,
            card: desk.card,
            agents: desk.agents.iter().filter_map(agent).collect(),
        })
    }

    fn change(&self, org: &OrgId, change: DirectoryChange) -> Result<(), RpcError> {
        let none = |what: &str| {
            Err(RpcError::new(
                ErrorKind::NotFound,
                format!("there is no such {what}"),
            ))
        };
        let key = (org.clone(), change.uid().clone());
        let mut agents = self.agents.lock();
        match change {
            DirectoryChange::PutAgent(mut agent) => {
                agent.status = agents.get(&key).map_or(agent.status, |known| known.status);
                agents.insert(key, agent);
            }
            DirectoryChange::PutDesk(desk) => {
                let unknown = |uid: &&UserId| !agents.contains_key(&(org.clone(), (*uid).clone()));
                if let Some(unknown) = desk.agents.iter().find(unknown) {
                    let why = format!("there is no agent {unknown:?}");
                    return Err(RpcError::new(ErrorKind::InvalidPayload, why));
                }
                self.desks.lock().insert(key, desk);
            }
            DirectoryChange::RemoveAgent(uid) => {
                if self.desks.lock().values().any(|desk| desk.agents.contains(&uid)) {
                    return Err(RpcError::new(ErrorKind::Conflict, "the agent is named by a desk"));
                }
                if agents.remove(&key).is_none() {
                    return none("agent");
                }
            }
            DirectoryChange::RemoveDesk(_) => {
                if self.desks.lock().remove(&key).is_none() {
                    return none("desk");
                }
            }
            DirectoryChange::SetStatus(_, status) => match agents.get_mut(&key) {
                Some(agent) => agent.status = status,
                None => return none("agent"),
            },
        }
        Ok(())
    }
}

fn listed<T: Clone>(all: &Entries<T>, org: &OrgId, page: u32, size: u32) -> Listed<T> {
    let own: Vec<T> = all
        .iter()
        .filter(|((o, _), _)| o == org)
        .map(|(_, e)| e.clone())
        .collect();
    let page = own.iter().skip((page * size) as usize).take(size as usize);
    Listed {
        entries: page.cloned().collect(),
        total: own.len() as u64,
    }
}

#[async_trait]
impl Directory for Store {
    async fn identify(&self, org: &OrgId, uid: &UserId) -> Result<Option<DirectoryUid>, RpcError> {
        self.reached()?;
        let desk = self.desks.desk(org, uid).map(|desk| match desk.kind {
            DeskKind::Agent => DirectoryUid::Agent,
            kind => DirectoryUid::Desk(kind),
        });
        let agents = self.desks.agents.lock();
        let is_user = agents
            .iter()
            .any(|((o, _), agent)| o == org && agent.user == *uid);
        Ok(desk.or(is_user.then_some(DirectoryUid::User)))
    }

    async fn agents_of(&self, org: &OrgId, identities: Vec<UserId>) -> Result<Vec<AgentCard>, RpcError> {
        self.reached()?;
        let agents = self.desks.agents.lock();
        let is_own =
            |agent: &AgentCard| identities.contains(&agent.user) || identities.contains(&agent.card.uid);
        let own = agents.iter().filter(|((o, _), agent)| o == org && is_own(agent));
        Ok(own.map(|(_, agent)| agent.clone()).collect())
    }

    async fn list_agents(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<AgentCard>, RpcError> {
        self.reached()?;
        Ok(listed(&self.desks.agents.lock(), org, page, size))
    }

    async fn list_desks(&self, org: &OrgId, page: u32, size: u32) -> Result<Listed<DeskEntry>, RpcError> {
        self.reached()?;
        Ok(listed(&self.desks.desks.lock(), org, page, size))
    }

    async fn change_directory(&self, org: &OrgId, change: DirectoryChange) -> Result<Option<Desk>, RpcError> {
        self.reached()?;
        let checked = change.check();
        checked.map_err(|why| RpcError::new(ErrorKind::InvalidPayload, why))?;
        let uid = change.uid().clone();
        self.desks.change(org, change)?;
        Ok(self.desks.desk(org, &uid))
    }
}
