//! The directory as it was at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use contract::persistence::{AgentCard, Desk, DeskEntry, DeskKind, DirectoryUid, Listed};
use model::{OrgId, UserId};
use store::{DirectoryNews, OrgDirectory};

/// The directories of all organisations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The number of the last change that is surely in it.
    pub version: u64,
    orgs: AHashMap<OrgId, Arc<Org>>,
}

/// That of one.
#[derive(Debug, Default)]
struct Org {
    agents: BTreeMap<UserId, AgentCard>,
    desks: BTreeMap<UserId, DeskEntry>,
    /// The agents of each user.
    users: AHashMap<UserId, Vec<UserId>>,
}

impl Org {
    fn new(whole: OrgDirectory) -> Self {
        let mut users = AHashMap::<UserId, Vec<UserId>>::new();
        for agent in &whole.agents {
            let of = users.entry(agent.user.clone()).or_default();
            of.push(agent.card.uid.clone());
        }
        let agents = whole.agents.into_iter().map(|a| (a.card.uid.clone(), a));
        let desks = whole.desks.into_iter().map(|d| (d.card.uid.clone(), d));
        Self {
            agents: agents.collect(),
            desks: desks.collect(),
            users,
        }
    }
}

impl Snapshot {
    /// This one with what has changed since; what it shares with this one is not copied.
    pub fn with(&self, news: DirectoryNews) -> Self {
        let mut orgs = self.orgs.clone();
        for (org, whole) in news.orgs {
            match whole == OrgDirectory::default() {
                true => orgs.remove(&org),
                false => orgs.insert(org, Arc::new(Org::new(whole))),
            };
        }
        let version = news.version;
        Self { version, orgs }
    }

    /// The agent of a uid.
    pub fn agent(&self, org: &OrgId, uid: &str) -> Option<AgentCard> {
        self.orgs.get(org)?.agents.get(uid).cloned()
    }

    /// The desk of a uid, with those of its agents that are there.
    pub fn desk(&self, org: &OrgId, uid: &str) -> Option<Desk> {
        let org = self.orgs.get(org)?;
        if let Some(agent) = org.agents.get(uid) {
            return Some(Desk {
                kind: DeskKind::Agent,
                card: agent.card.clone(),
                agents: vec![agent.clone()],
            });
        }
        let desk = org.desks.get(uid)?;
        let agents = desk.agents.iter().filter_map(|uid| org.agents.get(uid).cloned());
        Some(Desk {
            kind: desk.kind,
            card: desk.card.clone(),
            agents: agents.collect(),
        })
    }

    /// See [`contract::persistence::Directory::identify`].
    pub fn identify(&self, org: &OrgId, uid: &str) -> Option<DirectoryUid> {
        let org = self.orgs.get(org)?;
        if org.agents.contains_key(uid) {
            return Some(DirectoryUid::Agent);
        }
        let desk = org.desks.get(uid).map(|desk| DirectoryUid::Desk(desk.kind));
        desk.or_else(|| org.users.contains_key(uid).then_some(DirectoryUid::User))
    }

    /// See [`contract::persistence::Directory::agents_of`].
    pub fn agents_of(&self, org: &OrgId, identities: &[UserId]) -> Vec<AgentCard> {
        let Some(org) = self.orgs.get(org) else {
            return Vec::new();
        };
        let behind = |uid: &UserId| org.users.get(uid).into_iter().flatten();
        let uids = identities.iter().flat_map(|uid| behind(uid).chain([uid]));
        let found: BTreeMap<&UserId, &AgentCard> =
            uids.filter_map(|uid| org.agents.get_key_value(uid)).collect();
        found.into_values().cloned().collect()
    }

    /// A page of the agents.
    pub fn agents(&self, org: &OrgId, page: u32, size: usize) -> Listed<AgentCard> {
        let org = self.orgs.get(org);
        listed(org.map(|org| &org.agents), page, size)
    }

    /// A page of the desks that are no agent's.
    pub fn desks(&self, org: &OrgId, page: u32, size: usize) -> Listed<DeskEntry> {
        let org = self.orgs.get(org);
        listed(org.map(|org| &org.desks), page, size)
    }
}

fn listed<T: Clone>(all: Option<&BTreeMap<UserId, T>>, page: u32, size: usize) -> Listed<T> {
    let skip = (page as usize).saturating_mul(size);
    let entries = all.into_iter().flat_map(BTreeMap::values).skip(skip).take(size);
    Listed {
        entries: entries.cloned().collect(),
        total: all.map_or(0, BTreeMap::len) as u64,
    }
}

#[cfg(test)]
mod tests {
    use contract::persistence::UserCard;

    use super::*;

    fn card(uid: &str) -> UserCard {
        UserCard {
            uid: uid.into(),
            ..UserCard::default()
        }
    }

    fn agent(uid: &str, user: &str) -> AgentCard {
        AgentCard {
            card: card(uid),
            user: user.into(),
            ..AgentCard::default()
        }
    }

    fn news(version: u64, org: &str, whole: OrgDirectory) -> DirectoryNews {
        DirectoryNews {
            version,
            orgs: vec![(org.into(), whole)],
        }
    }

    fn two() -> Snapshot {
        let whole = OrgDirectory {
            agents: vec![agent("a", "ann"), agent("b", "bob"), agent("c", "ann")],
            desks: vec![DeskEntry {
                card: card("d"),
                kind: DeskKind::Workgroup,
                agents: vec!["b".into(), "gone".into(), "a".into()],
            }],
        };
        let other = OrgDirectory {
            agents: vec![agent("z", "zoe")],
            desks: Vec::new(),
        };
        let first = Snapshot::default().with(news(1, "o", whole));
        first.with(news(2, "other", other))
    }

    #[test]
    fn a_desk_has_its_agents_in_order_and_an_agent_is_one() {
        let (all, org) = (two(), OrgId::new("o"));
        let desk = all.desk(&org, "d").unwrap();
        let uids: Vec<_> = desk.agents.iter().map(|a| a.card.uid.as_str()).collect();
        assert_eq!((desk.kind, &uids[..]), (DeskKind::Workgroup, &["b", "a"][..]));
        let own = all.desk(&org, "a").unwrap();
        assert_eq!((own.kind, own.agents), (DeskKind::Agent, vec![agent("a", "ann")]));
        assert_eq!(all.desk(&org, "z"), None, "another organisation's");
    }

    #[test]
    fn a_uid_is_known_as_what_it_is() {
        let (all, org) = (two(), OrgId::new("o"));
        for (uid, what) in [
            ("a", Some(DirectoryUid::Agent)),
            ("d", Some(DirectoryUid::Desk(DeskKind::Workgroup))),
            ("ann", Some(DirectoryUid::User)),
            ("z", None),
            ("gone", None),
        ] {
            assert_eq!(all.identify(&org, uid), what, "{uid}");
        }
        assert_eq!(all.identify(&"nowhere".into(), "a"), None);
    }

    #[test]
    fn agents_are_found_by_their_user_and_by_themselves_once() {
        let (all, org) = (two(), OrgId::new("o"));
        let of = |uids: &[&str]| {
            let identities: Vec<UserId> = uids.iter().map(|&uid| uid.into()).collect();
            let found = all.agents_of(&org, &identities);
            found.iter().map(|a| a.card.uid.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(&["ann"]), ["a", "c"]);
        assert_eq!(of(&["b", "ann", "a"]), ["a", "b", "c"]);
        assert_eq!(of(&["zoe", "d"]), [] as [&str; 0]);
    }

    #[test]
    fn pages_are_in_the_order_of_uids() {
        let (all, org) = (two(), OrgId::new("o"));
        let page = all.agents(&org, 1, 2);
        assert_eq!((page.entries, page.total), (vec![agent("c", "ann")], 3));
        assert_eq!(all.desks(&org, 0, 9).total, 1);
        assert_eq!(all.agents(&org, u32::MAX, usize::MAX).entries, []);
        assert_eq!(all.agents(&"nowhere".into(), 0, 9).total, 0);
    }

    #[test]
    fn news_replace_an_organisation_and_leave_the_others() {
        let (before, org) = (two(), OrgId::new("o"));
        let after = before.with(news(3, "o", OrgDirectory::default()));
        assert_eq!((after.version, after.desk(&org, "d")), (3, None));
        assert!(after.agent(&"other".into(), "z").is_some() && before.desk(&org, "d").is_some());
    }
}
