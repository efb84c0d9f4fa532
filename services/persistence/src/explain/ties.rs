//! What ties users to a thread. Topics and memberships name uids; which users stand behind them is told by their tokens
//! alone, which nobody keeps. What is known here: the agents of the directory, and who spoke in the thread as whom.

use std::collections::{BTreeMap, BTreeSet};

use contract::persistence::{ExplainedMember, ExplainedRecipient, Tie};
use model::{ChatTopic, OrgId, Role, ThreadKind, TopicName, UserId};
use wire::Entry;

use crate::directory::snapshot::Snapshot;

/// Somebody who spoke in a thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Voice {
    user: UserId,
    author: UserId,
    role: u32,
}

impl Voice {
    /// The one that an entry is from; `None` when that is a service.
    pub fn of(entry: &Entry) -> Option<Self> {
        (entry.sender_role != 0).then(|| Self {
            user: UserId::new(&entry.sender),
            author: UserId::new(&entry.author),
            role: entry.sender_role,
        })
    }
}

/// The users of one thread, collected.
pub(super) struct Ties<'a> {
    directory: &'a Snapshot,
    org: &'a OrgId,
    topic: Option<ChatTopic<'a>>,
    voices: BTreeSet<Voice>,
    users: BTreeMap<UserId, User>,
}

struct User {
    role: Option<Role>,
    aliases: BTreeSet<UserId>,
    tie: Tie,
}

impl<'a> Ties<'a> {
    pub fn new(
        directory: &'a Snapshot,
        org: &'a OrgId,
        topic: &'a TopicName,
        voices: impl IntoIterator<Item = Voice>,
    ) -> Self {
        Self {
            directory,
            org,
            topic: ChatTopic::parse(topic),
            voices: voices.into_iter().collect(),
            users: BTreeMap::new(),
        }
    }

    /// The parties that the topic names.
    pub fn named_by_topic(&mut self) {
        use ThreadKind as K;
        let Some(topic) = self.topic else {
            return;
        };
        let staff = match topic.kind {
            K::Agent | K::Member | K::Queue | K::Own | K::User | K::Default => [Some(topic.desk), None],
            K::Workgroup | K::Robot | K::Unified | K::Kbase | K::Group | K::Ticket => [None, None],
        };
        let second = topic.party.filter(|_| topic.kind == K::Member);
        // A unit's notices go to everybody in it.
        let staff = staff.into_iter().chain([second]).flatten();
        for uid in staff.filter(|uid| *uid != self.org.as_str()) {
            let role = matches!(topic.kind, K::Agent | K::Member | K::Queue).then_some(Role::Agent);
            self.behind(&UserId::new(uid), role, Tie::Topic);
        }
        if let Some(visitor) = topic.visitor().filter(|_| !topic.internal) {
            self.tie(UserId::new(visitor), None, Some(Role::Visitor), Tie::Topic);
        }
    }

    /// A member, by whatever uid it was made one.
    pub fn member(&mut self, member: &ExplainedMember) {
        self.behind(&member.uid, None, Tie::Member(member.since));
    }

    /// Those who spoke. Who did so and is nothing else by now has left, where the thread is for its parties and members.
    pub fn who_spoke(&mut self) {
        let is_open = self.topic.is_none_or(|t| t.kind == ThreadKind::Default);
        let tie = if is_open { Tie::Reader } else { Tie::Left };
        for voice in self.voices.clone() {
            let alias = (voice.author != voice.user).then_some(voice.author);
            let known = self.users.contains_key(&voice.user);
            // As whom somebody speaks who is known already is told by what it is known for.
            let alias = alias.filter(|_| !known);
            self.tie(voice.user, alias, Some(Role::from_number(voice.role)), tie);
        }
    }

    /// Somebody acknowledged something.
    pub fn reader(&mut self, user: &UserId) {
        self.tie(user.clone(), None, None, Tie::Reader);
    }

    /// Somebody is asked about: a user, or an alias.
    pub fn asked_about(&mut self, uid: &UserId) {
        let is_known = |(user, known): (&UserId, &User)| user == uid || known.aliases.contains(uid);
        if !self.users.iter().any(is_known) {
            self.behind(uid, None, Tie::Stranger);
        }
    }

    /// Ties the users who stand behind a uid; when none is known the uid is taken to be a user.
    fn behind(&mut self, uid: &UserId, role: Option<Role>, tie: Tie) {
        let agent = self.directory.agent(self.org, uid).map(|agent| agent.user);
        let spoke = self.voices.iter().filter(|v| v.author == *uid);
        let mut users: BTreeSet<UserId> = spoke.map(|v| v.user.clone()).chain(agent).collect();
        if users.is_empty() {
            users.insert(uid.clone());
        }
        for user in users {
            let alias = (user != *uid).then(|| uid.clone());
            self.tie(user, alias, role, tie);
        }
    }

    fn tie(&mut self, user: UserId, alias: Option<UserId>, role: Option<Role>, tie: Tie) {
        let known = self.users.entry(user).or_insert_with(|| User {
            role,
            aliases: BTreeSet::new(),
            tie,
        });
        known.aliases.extend(alias);
        known.role = role.or(known.role);
        if strength(tie) > strength(known.tie) {
            known.tie = tie;
        }
    }

    /// The users, with no sessions yet.
    pub fn recipients(self) -> Vec<ExplainedRecipient> {
        let recipient = |(user, known): (UserId, User)| ExplainedRecipient {
            user,
            role: known.role,
            aliases: known.aliases.into_iter().collect(),
            tie: known.tie,
            sessions: Vec::new(),
        };
        self.users.into_iter().map(recipient).collect()
    }
}

/// What says more about whether a message is for somebody goes before what says less. Of two memberships the older.
fn strength(tie: Tie) -> (u8, u64) {
    match tie {
        Tie::Topic => (4, 0),
        Tie::Member(since) => (3, u64::MAX - since.0),
        // What was acknowledged may have been so before it left.
        Tie::Left => (2, 0),
        Tie::Reader => (1, 0),
        Tie::Stranger => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use contract::persistence::{AgentCard, UserCard};
    use model::Position;
    use store::{DirectoryNews, OrgDirectory};

    use super::*;

    const ORG: &str = "df_org_uid";

    fn voice(user: &str, author: &str, role: Role) -> Voice {
        let (user, author) = (user.into(), author.into());
        Voice {
            user,
            author,
            role: role.number(),
        }
    }

    /// The directory with an agent whose user is another.
    fn seeded() -> Snapshot {
        let agent = AgentCard {
            card: UserCard {
                uid: "df_ag_uid".into(),
                ..UserCard::default()
            },
            user: "agent1".into(),
            ..AgentCard::default()
        };
        let (agents, desks) = (vec![agent], Vec::new());
        Snapshot::default().with(DirectoryNews {
            version: 1,
            orgs: vec![(ORG.into(), OrgDirectory { agents, desks })],
        })
    }

    fn of(
        topic: &str,
        voices: Vec<Voice>,
        also: &str,
        members: &[(&str, u64)],
    ) -> Vec<(String, Tie, Vec<String>)> {
        let (directory, org) = (seeded(), OrgId::new(ORG));
        let topic = TopicName::trusted(topic);
        let mut ties = Ties::new(&directory, &org, &topic, voices);
        ties.named_by_topic();
        for (uid, since) in members {
            ties.member(&ExplainedMember {
                uid: (*uid).into(),
                since: Position(*since),
            });
        }
        ties.who_spoke();
        if !also.is_empty() {
            ties.asked_about(&also.into());
        }
        let found = ties.recipients().into_iter();
        let aliases = |r: &ExplainedRecipient| r.aliases.iter().map(|a| a.to_string()).collect();
        found.map(|r| (r.user.to_string(), r.tie, aliases(&r))).collect()
    }

    fn tied(user: &str, tie: Tie, aliases: &[&str]) -> (String, Tie, Vec<String>) {
        (
            user.to_owned(),
            tie,
            aliases.iter().map(|&a| a.to_owned()).collect(),
        )
    }

    #[test]
    fn the_desk_of_a_topic_has_its_configured_agent_and_whoever_spoke_for_it() {
        let voices = vec![
            voice("u_agent", "df_ag_uid", Role::Agent),
            voice("v", "v", Role::Visitor),
        ];
        let found = of("org/agent/df_ag_uid/v", voices, "df_ag_uid", &[]);
        assert_eq!(
            found,
            [
                tied("agent1", Tie::Topic, &["df_ag_uid"]),
                tied("u_agent", Tie::Topic, &["df_ag_uid"]),
                tied("v", Tie::Topic, &[]),
            ]
        );
    }

    #[test]
    fn who_spoke_and_is_no_member_has_left() {
        let voices = vec![voice("agent2", "df_ag2_uid", Role::Agent)];
        let found = of("org/workgroup/df_wg_uid/v", voices, "x", &[("df_ag_uid", 7)]);
        assert_eq!(
            found,
            [
                tied("agent1", Tie::Member(Position(7)), &["df_ag_uid"]),
                tied("agent2", Tie::Left, &["df_ag2_uid"]),
                tied("v", Tie::Topic, &[]),
                tied("x", Tie::Stranger, &[]),
            ]
        );
    }

    #[test]
    fn the_visitor_has_no_part_in_the_side_channel() {
        let found = of("org/agent/df_ag_uid/v_internal", Vec::new(), "", &[]);
        assert_eq!(found, [tied("agent1", Tie::Topic, &["df_ag_uid"])]);
    }

    #[test]
    fn colleagues_are_both_named() {
        let found = of("org/member/a/b", Vec::new(), "", &[]);
        assert_eq!(found, [tied("a", Tie::Topic, &[]), tied("b", Tie::Topic, &[])]);
    }
}
