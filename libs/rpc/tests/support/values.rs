//! Any value of the types of the calls.

use bytes::Bytes;
use contract::persistence::*;
use model::thread::{Members, Membership};
use model::{
    ClientId, EdgeId, MessageUid, OrgId, PartitionId, Position, ReceiptKind, Role, TopicFilter, TopicName,
    UnixMillis, UserId,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{1,30}"]
}

macro_rules! any_id {
    ($($name:ident: $id:ty),+) => {$(
        pub fn $name() -> impl Strategy<Value = $id> {
            text().prop_map(<$id>::from)
        }
    )+};
}
any_id!(org: OrgId, user: UserId, client: ClientId, edge: EdgeId, uid: MessageUid);

pub fn topic() -> impl Strategy<Value = TopicName> {
    vec("[a-zA-Z0-9_é字. -]{0,8}", 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter_map("a topic has a character", |topic| TopicName::new(&topic).ok())
}

pub fn filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![Just("+".to_owned()), "[a-z]{0,4}"];
    (vec(level, 1..5), any::<bool>()).prop_filter_map("a filter has a character", |(mut levels, all)| {
        levels.extend(all.then(|| "#".to_owned()));
        TopicFilter::new(&levels.join("/")).ok()
    })
}

pub fn position() -> impl Strategy<Value = Position> {
    any::<u64>().prop_map(Position)
}

fn millis() -> impl Strategy<Value = UnixMillis> {
    any::<u64>().prop_map(UnixMillis)
}

pub fn partition() -> impl Strategy<Value = PartitionId> {
    any::<u16>().prop_map(PartitionId)
}

pub fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Free),
        Just(Standing::Proven),
        Just(Standing::Directory)
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..64).prop_map(Bytes::from)
}

fn key() -> impl Strategy<Value = SessionKey> {
    (org(), user(), client()).prop_map(|(org, user, client)| SessionKey { org, user, client })
}

prop_compose! {
    fn will()(entry in bytes(), delay: u32) -> Will {
        Will { entry, delay }
    }
}
prop_compose! {
    pub fn open_session()(key in key(), clean_start: bool, expiry: u32, will in of(will()), edge in edge(), identities in vec(user(), 0..3)) -> OpenSession {
        OpenSession { key, clean_start, expiry, will, edge, identities }
    }
}
prop_compose! {
    pub fn opened_session()(epoch: u64, present: bool, state in bytes(), previous_edge in of(edge()), threads in vec(member_topic(), 0..3)) -> OpenedSession {
        OpenedSession { epoch, present, state, previous_edge, threads }
    }
}
prop_compose! {
    pub fn save_session()(key in key(), epoch: u64, state in bytes()) -> SaveSession {
        SaveSession { key, epoch, state }
    }
}
prop_compose! {
    pub fn close_session()(
        key in key(), epoch: u64, state in bytes(), expiry: u32, at in millis(), publish_will: bool,
    ) -> CloseSession {
        CloseSession { key, epoch, state, expiry, at, publish_will }
    }
}
prop_compose! {
    pub fn lane()(partition in partition(), after in position(), upto in position()) -> BacklogLane {
        BacklogLane { partition, after, upto }
    }
}
prop_compose! {
    fn backlog_filter()(filter in filter(), start in vec((partition(), position()), 0..3)) -> BacklogFilter {
        BacklogFilter { filter, start }
    }
}
prop_compose! {
    pub fn backlog_request()(
        org in org(), lanes in vec(lane(), 0..4), filters in vec(backlog_filter(), 0..4), max_entries: usize, max_bytes: usize,
    ) -> BacklogRequest {
        BacklogRequest { org, lanes, filters, max_entries, max_bytes }
    }
}
prop_compose! {
    fn backlog_entry()(partition in partition(), position in position(), prev in of(position()), entry in bytes()) -> BacklogEntry {
        BacklogEntry { partition, position, prev, entry }
    }
}
prop_compose! {
    pub fn backlog_page()(
        entries in vec(backlog_entry(), 0..4), covered in vec((partition(), position()), 0..4),
    ) -> BacklogPage {
        BacklogPage { entries, covered }
    }
}
prop_compose! {
    pub fn retained()(topic in topic(), position in position(), entry in bytes()) -> Retained {
        Retained { topic, position, entry }
    }
}
prop_compose! {
    pub fn found()(
        position in position(), topic in topic(), sender in user(), author in user(), digest: u64, accepted_at in millis(),
        found_kind in found_kind(), message_type in text(), recalled: bool, state in of(kind()),
    ) -> Found {
        Found {
            position, topic, sender, author, digest, accepted_at, kind: found_kind, r#type: message_type, recalled, state,
        }
    }
}

fn found_kind() -> impl Strategy<Value = FoundKind> {
    prop_oneof![
        Just(FoundKind::Chat),
        Just(FoundKind::Stream),
        Just(FoundKind::Recall)
    ]
}

prop_compose! {
    fn seen_uid()(position in position(), key: u128, accepted_at in millis()) -> SeenUid {
        SeenUid { position, key, accepted_at }
    }
}
prop_compose! {
    pub fn message_key()(org in org(), topic in topic(), uid in uid()) -> MessageKey {
        MessageKey { org, topic, uid }
    }
}

prop_compose! {
    pub fn uid_page()(uids in vec(seen_uid(), 0..4), next in position(), more: bool) -> UidPage {
        UidPage { uids, next, more }
    }
}

pub fn range() -> impl Strategy<Value = HistoryRange> {
    let from = || (position(), any::<u32>());
    prop_oneof![
        from().prop_map(|(position, limit)| HistoryRange::After { position, limit }),
        from().prop_map(|(position, limit)| HistoryRange::Before { position, limit }),
        any::<(u32, u32)>().prop_map(|(number, size)| HistoryRange::Page { number, size }),
    ]
}

fn kind() -> impl Strategy<Value = ReceiptKind> {
    prop_oneof![Just(ReceiptKind::Delivered), Just(ReceiptKind::Read)]
}

prop_compose! {
    pub fn history_request()(org in org(), topic in topic(), range in range()) -> HistoryRequest {
        HistoryRequest { org, topic, range }
    }
}
prop_compose! {
    fn history_entry()(
        position in position(), prev in of(position()), entry in bytes(), state in of(kind()), recalled: bool,
    ) -> HistoryEntry {
        HistoryEntry { position, prev, entry, state, recalled }
    }
}
prop_compose! {
    pub fn history_page()(entries in vec(history_entry(), 0..4), total: u64, head in position(), more: bool) -> HistoryPage {
        HistoryPage { entries, total, head, more }
    }
}
prop_compose! {
    fn membership()(member in user(), user in user(), since in position(), until in position()) -> Membership {
        Membership { member, user, since, until }
    }
}
prop_compose! {
    pub fn members()(version in position(), all in vec(membership(), 0..4)) -> Members {
        Members { version, all }
    }
}
prop_compose! {
    pub fn member_topic()(topic in topic(), partition in partition(), memberships in vec(membership(), 0..3)) -> MemberTopic {
        MemberTopic { topic, partition, memberships }
    }
}
fn wish() -> impl Strategy<Value = ThreadWish> {
    let offer = (any::<bool>(), vec(user(), 0..3), of(user()));
    prop_oneof![
        Just(ThreadWish::Close),
        Just(ThreadWish::Leave),
        offer.prop_map(|(invitation, to, colleague)| ThreadWish::Offer {
            invitation,
            to,
            colleague
        }),
        text().prop_map(ThreadWish::Accept),
        text().prop_map(ThreadWish::Decline),
        user().prop_map(ThreadWish::Remove),
    ]
}
prop_compose! {
    pub fn change_thread()(
        org in org(), thread in prop_oneof![topic().prop_map(ThreadKey::Topic), text().prop_map(ThreadKey::Uid)],
        user in user(), role in role(), identities in vec(user(), 0..3), wish in wish(), uid in text(), at in millis(),
    ) -> ChangeThread {
        ChangeThread { org, thread, by: Actor { user, role, identities }, wish, uid, at }
    }
}
prop_compose! {
    pub fn user_card()(uid in user(), nickname in text(), avatar in text()) -> UserCard {
        UserCard { uid, nickname, avatar }
    }
}
prop_compose! {
    pub fn agent_card()(
        card in user_card(), user in user(), status in status(), max_threads in of(any::<u32>()),
    ) -> AgentCard {
        AgentCard { card, user, status, max_threads }
    }
}
prop_compose! {
    pub fn desk()(
        kind in desk_kind(), card in user_card(), agents in vec(agent_card(), 0..3),
    ) -> Desk {
        Desk { kind, card, agents }
    }
}

fn desk_kind() -> impl Strategy<Value = DeskKind> {
    proptest::sample::select(&DeskKind::ALL[..])
}

fn status() -> impl Strategy<Value = AgentStatus> {
    proptest::sample::select(&AgentStatus::ALL[..])
}

prop_compose! {
    pub fn desk_entry()(
        kind in desk_kind(), card in user_card(), agents in vec(user(), 0..3),
    ) -> DeskEntry {
        DeskEntry { card, kind, agents }
    }
}

pub fn directory_uid() -> impl Strategy<Value = DirectoryUid> {
    prop_oneof![
        Just(DirectoryUid::Agent),
        Just(DirectoryUid::User),
        desk_kind().prop_map(DirectoryUid::Desk),
    ]
}

pub fn listed<T: std::fmt::Debug>(entry: impl Strategy<Value = T>) -> impl Strategy<Value = Listed<T>> {
    (vec(entry, 0..4), any::<u64>()).prop_map(|(entries, total)| Listed { entries, total })
}

pub fn directory_change() -> impl Strategy<Value = DirectoryChange> {
    prop_oneof![
        agent_card().prop_map(DirectoryChange::PutAgent),
        desk_entry().prop_map(DirectoryChange::PutDesk),
        user().prop_map(DirectoryChange::RemoveAgent),
        user().prop_map(DirectoryChange::RemoveDesk),
        (user(), status()).prop_map(|(uid, status)| DirectoryChange::SetStatus(uid, status)),
    ]
}

prop_compose! {
    pub fn open_thread()(
        org in org(), desk in user(), visitor in user_card(), at in millis(),
    ) -> OpenThread {
        OpenThread { org, desk, visitor, at }
    }
}
prop_compose! {
    pub fn thread_card()(
        (uid, topic, kind, status) in (text(), topic(), text(), text()),
        visitor in user_card(), agent in of(agent_card()), last in of((position(), bytes())),
        updated_at in millis(), unread: u64, unreplied_since in of(millis()),
    ) -> ThreadCard {
        ThreadCard { uid, topic, kind, status, visitor, agent, last, updated_at, unread, unreplied_since }
    }
}
prop_compose! {
    pub fn opened_thread()(
        thread in thread_card(), created: bool, version in position(), queue in of(any::<u64>()),
    ) -> OpenedThread {
        OpenedThread { thread, created, version, queue }
    }
}
prop_compose! {
    pub fn threads_request()(
        org in org(), identities in vec(user(), 0..3), open: bool, unreplied: bool, page: u32, size: u32,
    ) -> ThreadsRequest {
        ThreadsRequest { org, identities, open, unreplied, page, size }
    }
}
prop_compose! {
    pub fn thread_page()(threads in vec(thread_card(), 0..3), total: u64) -> ThreadPage {
        ThreadPage { threads, total }
    }
}
prop_compose! {
    pub fn explain_request()(org in org(), uid in uid(), also in vec(user(), 0..3)) -> ExplainRequest {
        ExplainRequest { org, uid, also }
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Agent),
        Just(Role::Visitor),
        Just(Role::Admin),
        Just(Role::Service)
    ]
}

fn tie() -> impl Strategy<Value = Tie> {
    prop_oneof![
        Just(Tie::Topic),
        position().prop_map(Tie::Member),
        Just(Tie::Reader),
        Just(Tie::Left),
        Just(Tie::Stranger),
    ]
}

prop_compose! {
    fn stored_session()(
        client in client(), epoch: u64, edge in edge(), connected: bool,
        (began_at, offline_since, expires_at) in (of(millis()), of(millis()), of(millis())), state in bytes(),
    ) -> StoredSession {
        StoredSession { client, epoch, edge, connected, began_at, offline_since, expires_at, state }
    }
}
prop_compose! {
    fn recipient()(
        user in user(), role in of(role()), aliases in vec(user(), 0..3), tie in tie(), sessions in vec(stored_session(), 0..3),
    ) -> ExplainedRecipient {
        ExplainedRecipient { user, role, aliases, tie, sessions }
    }
}
prop_compose! {
    fn receipt()(by in user(), state in kind(), position in of(position())) -> ExplainedReceipt {
        ExplainedReceipt { by, state, position }
    }
}
prop_compose! {
    fn member()(uid in user(), since in position()) -> ExplainedMember {
        ExplainedMember { uid, since }
    }
}
prop_compose! {
    pub fn explained()(
        (partition, position, parts, topic) in (partition(), position(), any::<u32>(), topic()),
        (sender, sender_role, author, kind) in (user(), of(role()), user(), text()),
        (accepted_at, recalled, in_history, state) in (millis(), any::<bool>(), any::<bool>(), of(kind())),
        receipts in vec(receipt(), 0..3), members in vec(member(), 0..3), recipients in vec(recipient(), 0..3),
    ) -> Explained {
        Explained {
            partition, position, parts, topic, sender, sender_role, author, kind, accepted_at, recalled, in_history, state,
            receipts, members, recipients,
        }
    }
}
