//! What a user receives without asking. Deployed agents send no SUBSCRIBE and must get everything all the same.

use model::{Access, ChatTopic, Origin, Principal, Role, TopicFilter, TopicName, UserId};

/// The topic on which services tell one user.
pub fn of_user(user: &UserId) -> TopicName {
    TopicName::trusted(format!("user/{user}"))
}

/// Whether a principal has conversations at all.
pub fn has_threads(who: &Principal) -> bool {
    matches!(who.origin, Origin::Token | Origin::AnonymousVisitor)
}

/// The filters that a principal is entitled to by what it is. Threads it was made a member of come on top: see
/// [`of_member_topic`].
pub fn of_principal(who: &Principal) -> Vec<TopicFilter> {
    if !has_threads(who) {
        return Vec::new();
    }
    let mut filters = vec![of_user(&who.user).to_string()];
    // A visitor's conversations are those it is a member of: each is told to it when it begins.
    if who.role != Role::Visitor {
        filters.extend([format!("org/{}", who.org)]);
        filters.extend(["file", "clipboard", "system"].map(|own| format!("{own}/{}", who.user)));
        for id in who.identities() {
            filters.extend([
                format!("org/agent/{id}"),
                format!("org/agent/{id}/+"),
                format!("org/member/{id}"),
                format!("org/member/{id}/+"),
                format!("org/member/+/{id}"),
                format!("org/queue/{id}"),
            ]);
        }
    }
    // Ids are checked to hold nothing that a filter gives a meaning to.
    filters.iter().filter_map(|f| TopicFilter::new(f).ok()).collect()
}

/// The filters of a thread that a user was made a member of: the thread and, for staff, its side channel.
pub fn of_member_topic(who: &Principal, thread: &TopicName) -> Vec<TopicFilter> {
    let mut filters = vec![thread.to_filter()];
    if who.is_staff() {
        filters.push(TopicFilter::trusted(format!("{thread}_internal")));
    }
    filters
}

/// Whether a principal receives a thread by a filter of its own, so that it needs none for a membership.
pub fn covers(who: &Principal, thread: &TopicName) -> bool {
    let parsed = ChatTopic::parse(thread);
    who.is_staff() && parsed.is_some_and(|t| Access::by_topic(who, &t) == Access::OwnDesk)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{OrgId, PartitionId, Partitioning};

    use super::*;

    #[test]
    fn an_agents_login_concerns_the_partitions_of_its_organisation_its_identities_and_its_colleagues() {
        let partitioning = Partitioning::new(1000);
        let mut who = Principal::new(OrgId::new("o"), UserId::new("u"), Role::Agent, Origin::Token);
        who.aliases = vec![UserId::new("desk"), UserId::new("member")];
        let filters = of_principal(&who);
        let concerned: BTreeSet<PartitionId> = filters
            .iter()
            .flat_map(|filter| partitioning.of_filter(&who.org, filter))
            .collect();
        let homes = ["org/o", "user/u", "user/desk", "user/member", "org/member/a/b"];
        let wanted: BTreeSet<PartitionId> = homes
            .iter()
            .map(|topic| partitioning.of(&who.org, &TopicName::trusted(topic)))
            .collect();
        assert_eq!(concerned, wanted);
        assert!(filters.len() > 3 * wanted.len(), "{filters:?}");
    }
}
