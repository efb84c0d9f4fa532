//! Who answers at which desk.

use contract::persistence::{AgentCard, Desk, DeskKind, UserCard};
use model::{OrgId, UserId};
use serde::{Deserialize, Serialize};

/// The desks of an installation. The default has those of the development seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Directory {
    /// One agent each.
    pub agents: Vec<AgentDesk>,
    /// Several agents each.
    pub workgroups: Vec<WorkgroupDesk>,
}

/// The desk of one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDesk {
    /// The tenant.
    pub org: OrgId,
    /// The agent's uid, which topics name.
    pub uid: UserId,
    /// The user behind it.
    pub user: UserId,
    /// Display name.
    #[serde(default)]
    pub nickname: String,
    /// Avatar URL.
    #[serde(default)]
    pub avatar: String,
}

/// The desk of several agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkgroupDesk {
    /// The tenant.
    pub org: OrgId,
    /// The workgroup's uid, which topics name.
    pub uid: UserId,
    /// Display name.
    #[serde(default)]
    pub nickname: String,
    /// Avatar URL.
    #[serde(default)]
    pub avatar: String,
    /// The uids of its agents.
    pub agents: Vec<UserId>,
}

impl Default for Directory {
    fn default() -> Self {
        let org = OrgId::new("df_org_uid");
        let agent = |uid: &str, user: &str, nickname: &str| AgentDesk {
            org: org.clone(),
            uid: uid.into(),
            user: user.into(),
            nickname: nickname.into(),
            avatar: String::new(),
        };
        let workgroup = WorkgroupDesk {
            org: org.clone(),
            uid: "df_wg_uid".into(),
            nickname: "Support".into(),
            avatar: String::new(),
            agents: vec!["df_ag_uid".into(), "df_ag2_uid".into()],
        };
        let agents = vec![
            agent("df_ag_uid", "agent1", "Agent 1"),
            agent("df_ag2_uid", "agent2", "Agent 2"),
        ];
        Self {
            agents,
            workgroups: vec![workgroup],
        }
    }
}

impl Directory {
    /// Refuses workgroups whose agents are not there.
    pub(crate) fn validate(&self) -> Result<(), (String, String)> {
        for (i, group) in self.workgroups.iter().enumerate() {
            if let Some(missing) = group
                .agents
                .iter()
                .find(|uid| self.agent(&group.org, uid).is_none())
            {
                let key = format!("directory.workgroups[{i}].agents");
                return Err((key, format!("there is no agent `{missing}` in {}", group.org)));
            }
        }
        Ok(())
    }

    /// The agent of a uid.
    pub fn agent(&self, org: &OrgId, uid: &str) -> Option<AgentCard> {
        let desk = self
            .agents
            .iter()
            .find(|a| a.org == *org && a.uid.as_str() == uid)?;
        Some(AgentCard {
            card: card(&desk.uid, &desk.nickname, &desk.avatar),
            user: desk.user.clone(),
        })
    }

    /// The desk of a uid.
    pub fn desk(&self, org: &OrgId, uid: &str) -> Option<Desk> {
        if let Some(agent) = self.agent(org, uid) {
            return Some(Desk {
                kind: DeskKind::Agent,
                card: agent.card.clone(),
                agents: vec![agent],
            });
        }
        let group = self
            .workgroups
            .iter()
            .find(|w| w.org == *org && w.uid.as_str() == uid)?;
        let agents = group
            .agents
            .iter()
            .filter_map(|uid| self.agent(org, uid))
            .collect();
        let card = card(&group.uid, &group.nickname, &group.avatar);
        Some(Desk {
            kind: DeskKind::Workgroup,
            card,
            agents,
        })
    }
}

fn card(uid: &UserId, nickname: &str, avatar: &str) -> UserCard {
    UserCard {
        uid: uid.clone(),
        nickname: nickname.to_owned(),
        avatar: avatar.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_has_two_agents_and_their_workgroup() {
        let (directory, org) = (Directory::default(), OrgId::new("df_org_uid"));
        assert_eq!(directory.validate(), Ok(()));
        let desk = directory.desk(&org, "df_wg_uid").unwrap();
        assert_eq!((desk.kind, desk.agents.len()), (DeskKind::Workgroup, 2));
        assert_eq!(
            directory.desk(&org, "df_ag_uid").unwrap().agents[0].user.as_str(),
            "agent1"
        );
        assert_eq!(directory.desk(&OrgId::new("other"), "df_ag_uid"), None);
    }

    #[test]
    fn a_workgroup_of_strangers_is_refused() {
        let mut directory = Directory::default();
        directory.workgroups[0].agents.push("nobody".into());
        let (key, what) = directory.validate().unwrap_err();
        assert!(key.contains("workgroups[0]") && what.contains("nobody"));
    }
}
