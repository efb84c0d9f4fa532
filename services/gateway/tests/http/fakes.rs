//! Persistence and receipts, answered from the log in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use backplane::presence::{Departed, Entered, Presence, PresenceBook, PresenceError};
use contract::persistence::*;
use contract::receipts::Receipts;
use contract::{ErrorKind, RpcError};
use model::thread::{Members, Membership};
use model::{
    ChatTopic, OrgId, PartitionId, Position, TopicFilter, TopicName, UnixMillis, UserId, is_countable,
};
use parking_lot::Mutex;

use crate::desks::Desks;
use crate::log::{Log, Placed};

pub struct Store {
    pub log: Arc<Log>,
    pub threads: Mutex<BTreeMap<(String, String), ThreadCard>>,
    pub visitors: Mutex<BTreeMap<(String, String), UserCard>>,
    pub members: Mutex<BTreeMap<String, Vec<Membership>>>,
    /// What was wished of threads.
    pub wishes: Mutex<Vec<ChangeThread>>,
    /// What a thread is doing when it is opened.
    pub status: Mutex<String>,
    /// What is known of messages, by org and uid.
    pub explained: Mutex<BTreeMap<(String, String), Vec<Explained>>>,
    /// Uids that have been used with a token, with their org.
    pub proven: Mutex<BTreeSet<(String, String)>>,
    pub away: Mutex<bool>,
    /// Who answers at which desk.
    pub desks: Desks,
}

impl Store {
    pub fn new(log: Arc<Log>) -> Self {
        let (threads, visitors, members) = Default::default();
        let (wishes, away, explained, proven) = Default::default();
        let status = Mutex::new("CHATTING".to_owned());
        Self {
            log,
            threads,
            visitors,
            members,
            wishes,
            status,
            explained,
            proven,
            away,
            desks: Desks::seeded(),
        }
    }

    pub fn reached(&self) -> Result<(), RpcError> {
        match *self.away.lock() {
            true => Err(RpcError::new(ErrorKind::Unavailable, "the store is away")),
            false => Ok(()),
        }
    }

    fn last(&self, org: &str, topic: &str) -> Option<(Position, bytes::Bytes)> {
        let messages = self.log.messages(org, topic);
        messages.last().map(|m| (m.position, m.entry.to_bytes()))
    }
}

fn none_such<T>() -> Result<T, RpcError> {
    Err(RpcError::new(
        ErrorKind::Internal,
        "the gateway does not ask this",
    ))
}

#[async_trait]
impl Persistence for Store {
    async fn open_session(&self, _: OpenSession) -> Result<OpenedSession, RpcError> {
        none_such()
    }
    async fn save_sessions(&self, _: Vec<SaveSession>) -> Result<Vec<bool>, RpcError> {
        none_such()
    }
    async fn close_session(&self, _: CloseSession) -> Result<(), RpcError> {
        none_such()
    }
    async fn backlog(&self, _: BacklogRequest) -> Result<BacklogPage, RpcError> {
        none_such()
    }
    async fn retained(
        &self,
        _: &OrgId,
        _: &TopicFilter,
        _: Vec<BacklogLane>,
    ) -> Result<Vec<Retained>, RpcError> {
        none_such()
    }
    async fn find(
        &self,
        _: PartitionId,
        _: Vec<MessageKey>,
        _: Position,
    ) -> Result<Vec<Option<Found>>, RpcError> {
        none_such()
    }
    async fn uids_since(&self, _: PartitionId, _: Position, _: u32) -> Result<UidPage, RpcError> {
        none_such()
    }
    async fn last_before(&self, _: &OrgId, _: &TopicName, _: Position) -> Result<Option<Position>, RpcError> {
        none_such()
    }

    async fn history(&self, request: HistoryRequest) -> Result<HistoryPage, RpcError> {
        self.reached()?;
        let all = self.log.messages(&request.org, &request.topic);
        let (total, head) = (
            all.len() as u64,
            all.last().map_or(Position::START, |m| m.position),
        );
        let (part, more): (Vec<Placed>, bool) = match request.range {
            HistoryRange::After { position, limit } => {
                let rest: Vec<_> = all.into_iter().filter(|m| m.position > position).collect();
                let more = rest.len() > limit as usize;
                (rest.into_iter().take(limit as usize).collect(), more)
            }
            HistoryRange::Before { position, limit } => {
                let mut rest: Vec<_> = all.into_iter().filter(|m| m.position < position).collect();
                let older = rest.len().saturating_sub(limit as usize);
                (rest.split_off(older), older > 0)
            }
            HistoryRange::Page { number, size } => {
                let end = all.len().saturating_sub(number as usize * size as usize);
                let start = end.saturating_sub(size as usize);
                (all[start..end].to_vec(), start > 0)
            }
        };
        let topic = &request.topic;
        let entry = |m: Placed| HistoryEntry {
            position: m.position,
            prev: None,
            state: self.log.state(topic, &m.entry.uid),
            recalled: self.log.is_recalled(topic, &m.entry.uid),
            entry: m.entry.to_bytes(),
        };
        Ok(HistoryPage {
            entries: part.into_iter().map(entry).collect(),
            total,
            head,
            more,
        })
    }

    async fn members(&self, _: &OrgId, topic: &TopicName, _: Position) -> Result<Members, RpcError> {
        let members = self.members.lock();
        let all = members.get(topic.as_str()).cloned().unwrap_or_default();
        let version = Position(1);
        Ok(Members { version, all })
    }
    async fn memberships(
        &self,
        _: &OrgId,
        _: Vec<UserId>,
        _: Vec<(PartitionId, Position)>,
    ) -> Result<Vec<MemberTopic>, RpcError> {
        none_such()
    }
    async fn admit(&self, org: &OrgId, topic: &TopicName) -> Result<(), RpcError> {
        self.reached()?;
        match ChatTopic::parse(topic).map(|t| t.desk.to_owned()) {
            // Of another organisation nothing is known here but that it has its desks too.
            Some(desk) if org.as_str() == "df_org_uid" => self.desk(org, &desk.into()).await.map(|_| ()),
            _ => Ok(()),
        }
    }
    async fn change_thread(&self, change: ChangeThread) -> Result<ThreadCard, RpcError> {
        self.reached()?;
        let ThreadKey::Topic(topic) = &change.thread else {
            return Err(RpcError::new(ErrorKind::NotFound, "no such thread"));
        };
        let key = (change.org.to_string(), topic.to_string());
        let mut threads = self.threads.lock();
        let Some(thread) = threads.get_mut(&key) else {
            return Err(RpcError::new(ErrorKind::NotFound, "no such thread"));
        };
        if change.wish == ThreadWish::Close {
            thread.status = "CLOSED".to_owned();
        }
        let thread = thread.clone();
        self.wishes.lock().push(change);
        Ok(thread)
    }

    async fn desk(&self, org: &OrgId, uid: &UserId) -> Result<Desk, RpcError> {
        self.reached()?;
        let desk = self.desks.desk(org, uid);
        desk.ok_or_else(|| RpcError::new(ErrorKind::NotFound, "no such desk"))
    }

    async fn open_thread(&self, open: OpenThread) -> Result<OpenedThread, RpcError> {
        let desk = self.desk(&open.org, &open.desk).await?;
        let (kind, level) = match desk.kind {
            DeskKind::Agent => ("AGENT", "agent"),
            DeskKind::Workgroup => ("WORKGROUP", "workgroup"),
            DeskKind::Robot => ("ROBOT", "robot"),
            other => unreachable!("no test opens a thread at a {}", other.name()),
        };
        let topic = format!("org/{level}/{}/{}", open.desk, open.visitor.uid);
        let key = (open.org.to_string(), topic.clone());
        let agent = desk.agents.first().cloned();
        let mut threads = self.threads.lock();
        let created = !threads.contains_key(&key);
        let thread = threads.entry(key).or_insert_with(|| ThreadCard {
            uid: format!("t-{}", open.visitor.uid),
            topic: TopicName::trusted(&topic),
            kind: kind.to_owned(),
            status: "CHATTING".to_owned(),
            visitor: open.visitor.clone(),
            agent,
            last: None,
            updated_at: open.at,
            unread: 0,
            unreplied_since: None,
        });
        thread.last = self.last(&open.org, &topic);
        let users = thread.agent.iter().map(|agent| agent.user.clone());
        let memberships = users.map(|user| Membership::from(user.clone(), user, Position::START));
        self.members
            .lock()
            .entry(topic)
            .or_insert_with(|| memberships.collect());
        thread.status.clone_from(&self.status.lock());
        Ok(OpenedThread {
            thread: thread.clone(),
            created,
            version: Position(7),
            queue: Some(2),
        })
    }

    async fn threads(&self, request: ThreadsRequest) -> Result<ThreadPage, RpcError> {
        self.reached()?;
        let threads = self.threads.lock();
        let belongs = |t: &&ThreadCard| {
            let user = t.agent.as_ref().map(|a| a.user.clone());
            request
                .identities
                .iter()
                .any(|id| user.as_ref() == Some(id) || t.visitor.uid == *id)
        };
        let of_org = threads
            .iter()
            .filter(|((org, _), _)| *org == request.org.as_str())
            .map(|(_, t)| t);
        let all: Vec<_> = of_org
            .filter(belongs)
            .filter(|t| !request.unreplied || t.unreplied_since.is_some())
            .collect();
        let page = all
            .iter()
            .skip((request.page * request.size) as usize)
            .take(request.size as usize);
        let threads = page.map(|t| ThreadCard {
            last: self.last(&request.org, &t.topic),
            ..(*t).clone()
        });
        Ok(ThreadPage {
            threads: threads.collect(),
            total: all.len() as u64,
        })
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Vec<Explained>, RpcError> {
        self.reached()?;
        let explained = self.explained.lock();
        let key = (request.org.to_string(), request.uid.to_string());
        Ok(explained.get(&key).cloned().unwrap_or_default())
    }

    async fn standing(&self, org: &OrgId, uid: &UserId) -> Result<Standing, RpcError> {
        self.reached()?;
        let is_admin = *org == OrgId::new("df_org_uid") && uid.as_str() == "admin";
        if is_admin || self.identify(org, uid).await?.is_some() {
            return Ok(Standing::Directory);
        }
        match self.proven.lock().contains(&(org.to_string(), uid.to_string())) {
            true => Ok(Standing::Proven),
            false => Ok(Standing::Free),
        }
    }

    async fn prove(&self, org: &OrgId, uids: Vec<UserId>) -> Result<(), RpcError> {
        self.reached()?;
        let uids = uids.into_iter().map(|uid| (org.to_string(), uid.to_string()));
        self.proven.lock().extend(uids);
        Ok(())
    }

    async fn visitor(&self, org: &OrgId, mut card: UserCard) -> Result<UserCard, RpcError> {
        self.reached()?;
        let mut visitors = self.visitors.lock();
        if card.uid.is_empty() {
            card.uid = format!("visitor{}", visitors.len()).into();
        }
        let key = (org.to_string(), card.uid.to_string());
        let stored = visitors.entry(key).or_insert_with(|| card.clone());
        if !card.nickname.is_empty() {
            stored.nickname = card.nickname;
        }
        Ok(stored.clone())
    }
}

#[async_trait]
impl Receipts for Store {
    async fn unread(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        self.reached()?;
        let entries = self.log.entries.lock().clone();
        let counts = |e: &&Placed| {
            let entry = &e.entry;
            let of_others = !identities.iter().any(|id| id.as_str() == entry.author);
            let here = topic.as_ref().is_none_or(|t| t.as_str() == entry.topic);
            entry.org == org.as_str() && is_countable(&entry.r#type) && of_others && here
        };
        Ok(entries.iter().filter(counts).count() as u64)
    }

    async fn recount(
        &self,
        org: &OrgId,
        identities: Vec<UserId>,
        topic: Option<TopicName>,
    ) -> Result<u64, RpcError> {
        self.unread(org, identities, topic).await
    }
}

/// Presence that can be lost.
#[derive(Default)]
pub struct Book {
    /// Org and address.
    pub online: Mutex<Vec<(String, String)>>,
    /// Users, of any org, who do not serve customers.
    pub customers: Mutex<Vec<String>>,
    pub lost: Mutex<bool>,
}

#[async_trait]
impl PresenceBook for Book {
    async fn enter(&self, entered: &[Entered], _: std::time::Duration) -> Result<Vec<bool>, PresenceError> {
        let users = entered.iter().map(|e| (e.org.to_string(), e.user.to_string()));
        self.online.lock().extend(users);
        Ok(vec![false; entered.len()])
    }

    async fn remove(
        &self,
        _: &OrgId,
        _: &UserId,
        _: &str,
        _: &model::EdgeId,
        _: std::time::Duration,
    ) -> Result<(), PresenceError> {
        Ok(())
    }

    async fn departed(&self, _: usize) -> Result<Vec<Departed>, PresenceError> {
        Ok(Vec::new())
    }

    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError> {
        if *self.lost.lock() {
            return Err(PresenceError("the address book is away".to_owned()));
        }
        let online = self.online.lock();
        let here = online
            .iter()
            .filter(|(o, u)| *o == org.as_str() && *u == user.as_str());
        let presence = |(i, _)| Presence {
            edge: "e".into(),
            connection: format!("{user}/{i}"),
            protocol: "mqtt".to_owned(),
            staff: !self.customers.lock().contains(&user.to_string()),
        };
        Ok(here.enumerate().map(presence).collect())
    }
}

/// Marks a thread as one whose visitor waits.
pub fn waits_since(store: &Store, topic: &str, at: u64) {
    let mut threads = store.threads.lock();
    let thread = threads.values_mut().find(|t| t.topic.as_str() == topic).unwrap();
    thread.unreplied_since = Some(UnixMillis(at));
    thread.unread = 3;
}
