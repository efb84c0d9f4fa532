use contract::persistence::{
    AgentCard, DeskEntry, DeskKind, DirectoryChange, MAX_AGENTS, MAX_DESKS, UserCard,
};
use model::{OrgId, UserId};
use serde::{Deserialize, Serialize};

/// What the directory begins with. Each uid is entered once in the life of the store; from then on the directory is
/// changed by administrators. The default has the desks of the development seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectorySeed {
    /// Agents. Each is a desk by itself.
    pub agents: Vec<AgentDesk>,
    /// Several agents each.
    pub workgroups: Vec<WorkgroupDesk>,
    /// Desks of the other kinds.
    pub desks: Vec<OtherDesk>,
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
    /// How many open threads it has at most.
    pub max_threads: Option<u32>,
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

/// A desk of another kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherDesk {
    /// The tenant.
    pub org: OrgId,
    /// The desk's uid, which topics name.
    pub uid: UserId,
    /// `robot`, `unified`, `kb`, `kbdoc` or `ticket`.
    pub kind: String,
    /// Display name.
    #[serde(default)]
    pub nickname: String,
    /// Avatar URL.
    #[serde(default)]
    pub avatar: String,
    /// The uids of its agents; `robot` and `kbdoc` have none.
    #[serde(default)]
    pub agents: Vec<UserId>,
}

impl Default for DirectorySeed {
    fn default() -> Self {
        let org = OrgId::new("df_org_uid");
        let agent = |uid: &str, user: &str, nickname: &str| AgentDesk {
            org: org.clone(),
            uid: uid.into(),
            user: user.into(),
            nickname: nickname.into(),
            ..AgentDesk::default()
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
            desks: Vec::new(),
        }
    }
}

impl DirectorySeed {
    /// What is to be entered, in order: the agents before the desks that name them.
    pub(crate) fn entries(&self) -> Vec<(OrgId, DirectoryChange)> {
        self.keyed().into_iter().map(|(_, entry)| entry).collect()
    }

    /// Refuses what cannot be, and desks whose agents are not there.
    pub(crate) fn validate(&self) -> Result<(), (String, String)> {
        for (i, desk) in self.desks.iter().enumerate() {
            let other = !matches!(desk.kind.as_str(), "agent" | "workgroup");
            if !other || DeskKind::from_name(&desk.kind).is_none() {
                let why = format!("{:?} is none of robot, unified, kb, kbdoc, ticket", desk.kind);
                return Err((format!("directory.desks[{i}].kind"), why));
            }
        }
        let mut seen = ahash::AHashSet::new();
        let mut counts = ahash::AHashMap::<_, usize>::new();
        for (key, (org, change)) in &self.keyed() {
            let refused = |why: String| Err((format!("directory.{key}"), why));
            if let Err(error) = OrgId::checked(org) {
                return refused(format!("org: {error}"));
            }
            if let Err(why) = change.check() {
                return refused(why);
            }
            if !seen.insert((org.clone(), change.uid().clone())) {
                return refused(format!("{} is named before in {org}", change.uid()));
            }
            let agents = match change {
                DirectoryChange::PutDesk(desk) => desk.agents.as_slice(),
                _ => &[],
            };
            if let Some(missing) = agents.iter().find(|uid| !self.has_agent(org, uid)) {
                return refused(format!("agents: there is no agent `{missing}` in {org}"));
            }
            let is_desk = matches!(change, DirectoryChange::PutDesk(_));
            let count = counts.entry((org, is_desk)).or_default();
            *count += 1;
            let most = if is_desk { MAX_DESKS } else { MAX_AGENTS };
            if *count > most {
                return refused(format!("there are more than {most} in {org}"));
            }
        }
        Ok(())
    }

    fn has_agent(&self, org: &OrgId, uid: &UserId) -> bool {
        self.agents.iter().any(|a| a.org == *org && a.uid == *uid)
    }

    /// Each entry with its key below `directory`.
    fn keyed(&self) -> Vec<(String, (OrgId, DirectoryChange))> {
        let agents = self.agents.iter().enumerate().map(|(i, a)| {
            let agent = AgentCard {
                card: card(&a.uid, &a.nickname, &a.avatar),
                user: a.user.clone(),
                max_threads: a.max_threads,
                ..AgentCard::default()
            };
            let change = DirectoryChange::PutAgent(agent);
            (format!("agents[{i}]"), (a.org.clone(), change))
        });
        let groups = self.workgroups.iter().enumerate().map(|(i, w)| {
            let change = DirectoryChange::PutDesk(DeskEntry {
                card: card(&w.uid, &w.nickname, &w.avatar),
                kind: DeskKind::Workgroup,
                agents: w.agents.clone(),
            });
            (format!("workgroups[{i}]"), (w.org.clone(), change))
        });
        let desks = self.desks.iter().enumerate().filter_map(|(i, d)| {
            let change = DirectoryChange::PutDesk(DeskEntry {
                card: card(&d.uid, &d.nickname, &d.avatar),
                kind: DeskKind::from_name(&d.kind)?,
                agents: d.agents.clone(),
            });
            Some((format!("desks[{i}]"), (d.org.clone(), change)))
        });
        agents.chain(groups).chain(desks).collect()
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

    fn refused(change: impl Fn(&mut DirectorySeed)) -> (String, String) {
        let mut seed = DirectorySeed::default();
        change(&mut seed);
        seed.validate().unwrap_err()
    }

    fn robot(kind: &str) -> OtherDesk {
        OtherDesk {
            org: "df_org_uid".into(),
            uid: "r".into(),
            kind: kind.into(),
            ..OtherDesk::default()
        }
    }

    #[test]
    fn agents_are_entered_before_the_desks_that_name_them() {
        let mut seed = DirectorySeed::default();
        seed.desks.push(robot("robot"));
        assert_eq!(seed.validate(), Ok(()));
        let uids: Vec<String> = seed.entries().iter().map(|(_, c)| c.uid().to_string()).collect();
        assert_eq!(uids, ["df_ag_uid", "df_ag2_uid", "df_wg_uid", "r"]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (change, key, word) in [
            (
                (|s| s.workgroups[0].agents.push("nobody".into())) as fn(&mut DirectorySeed),
                "directory.workgroups[0]",
                "nobody",
            ),
            (
                |s| s.agents[1].uid = "df_ag_uid".into(),
                "directory.agents[1]",
                "before",
            ),
            (
                |s| s.workgroups[0].uid = "df_ag_uid".into(),
                "directory.workgroups[0]",
                "before",
            ),
            (|s| s.agents[0].user = "a/b".into(), "directory.agents[0]", "user"),
            (|s| s.agents[0].org = "".into(), "directory.agents[0]", "org"),
            (
                |s| s.desks.push(robot("workgroup")),
                "directory.desks[0].kind",
                "robot",
            ),
            (
                |s| s.desks.push(robot("bot")),
                "directory.desks[0].kind",
                "\"bot\"",
            ),
            (
                |s| {
                    let mut desk = robot("robot");
                    desk.agents.push("df_ag_uid".into());
                    s.desks.push(desk);
                },
                "directory.desks[0]",
                "has no agents",
            ),
        ] {
            let (found, why) = refused(change);
            assert!(found == key && why.contains(word), "{found}: {why}");
        }
    }

    #[test]
    fn there_is_a_limit_of_how_many() {
        let (key, why) = refused(|seed| {
            for n in 0..MAX_AGENTS {
                seed.agents.push(AgentDesk {
                    uid: format!("a{n}").into(),
                    ..seed.agents[0].clone()
                });
            }
        });
        assert!(
            key.contains("agents[10000]") && why.contains("more than 10000"),
            "{key}: {why}"
        );
    }
}
