//! The address book of a cluster, on one Redis. All deadlines are by Redis' own clock.
//!
//! ```text
//!  {name}:presence:of:{len(org)}:{org}:{user}   hash   connection → "{deadline} {protocol}[!] {edge}", ! for staff; expires with the last of them
//!  {name}:presence:there                        zset   {len(org)}:{org}:{user} → until when the user is taken to be there
//!  {name}:presence:cards                        hash   {len(org)}:{org}:{user} → its card
//! ```
//!
//! Nothing here is needed for anything but itself: emptied, or restored from an old copy, it is right again when every
//! edge has entered its connections once more.

mod config;
mod line;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ::redis::{Pipeline, RedisError, Script, cmd};
use ahash::AHashMap;
use async_trait::async_trait;
use model::{EdgeId, OrgId, UserId};

use super::{Departed, Entered, Presence, PresenceBook, PresenceError};
pub use config::RedisConfig;
use line::Line;

/// Users whose connections are entered in one round trip.
const BATCH: usize = 256;

/// [`PresenceBook`] on Redis 6 or newer (or what speaks like it): one server, or one address that leads to the one that
/// serves now. Not for Redis Cluster, which would have to hold all of it in one slot.
pub struct RedisPresence {
    line: Line,
    /// What every key begins with.
    prefix: String,
    enter: Lua,
    remove: Lua,
    departed: Lua,
    connections: Lua,
}

impl RedisPresence {
    /// A book whose keys begin with `name`. Connects when it is first asked something, and again whenever that is needed:
    /// an error here is one of the configuration.
    pub fn connect(config: &RedisConfig, name: &str) -> Result<Self, PresenceError> {
        Ok(Self {
            line: Line::new(config)?,
            prefix: format!("{name}:presence"),
            enter: Lua::new(include_str!("redis/enter.lua")),
            remove: Lua::new(include_str!("redis/remove.lua")),
            departed: Lua::new(include_str!("redis/departed.lua")),
            connections: Lua::new(include_str!("redis/connections.lua")),
        })
    }

    fn of(&self, who: &str) -> String {
        format!("{}:of:{who}", self.prefix)
    }

    fn there(&self) -> String {
        format!("{}:there", self.prefix)
    }

    fn cards(&self) -> String {
        format!("{}:cards", self.prefix)
    }

    async fn enter_batch(&self, users: &[User<'_>], ttl: Duration) -> Result<Vec<bool>, PresenceError> {
        let mut calls = self.enter.calls();
        for user in users {
            let mut call = self
                .enter
                .call(&[&self.of(&user.who), &self.there(), &self.cards()]);
            call.arg(millis(ttl)).arg(&user.who).arg(user.card);
            for at in &user.at {
                call.arg(&at.connection)
                    .arg(protocol_word(at))
                    .arg(at.edge.as_str());
            }
            calls.add_command(call);
        }
        self.line.ask(&calls).await
    }
}

/// What is entered of one user.
struct User<'a> {
    who: String,
    card: &'a str,
    /// Where in the whole the answer belongs, if anybody asks.
    answer: Option<usize>,
    at: Vec<&'a Presence>,
}

fn by_user(entered: &[Entered]) -> Vec<User<'_>> {
    let mut users: Vec<User<'_>> = Vec::new();
    let mut known: AHashMap<(&OrgId, &UserId), usize> = AHashMap::new();
    for (n, one) in entered.iter().enumerate() {
        let at = *known.entry((&one.org, &one.user)).or_insert(users.len());
        if at == users.len() {
            users.push(User {
                who: who(&one.org, &one.user),
                card: "",
                answer: None,
                at: Vec::new(),
            });
        }
        let Some(user) = users.get_mut(at) else { continue };
        user.at.push(&one.at);
        if !one.card.is_empty() {
            user.card = &one.card;
            user.answer = user.answer.or(Some(n));
        }
    }
    users
}

#[async_trait]
impl PresenceBook for RedisPresence {
    async fn enter(&self, entered: &[Entered], ttl: Duration) -> Result<Vec<bool>, PresenceError> {
        let mut came = vec![false; entered.len()];
        for users in by_user(entered).chunks(BATCH) {
            let answers = self.enter_batch(users, ttl).await?;
            for (user, answer) in users.iter().zip(answers) {
                if let Some(place) = user.answer.and_then(|n| came.get_mut(n)) {
                    *place = answer;
                }
            }
        }
        Ok(came)
    }

    async fn remove(
        &self,
        org: &OrgId,
        user: &UserId,
        connection: &str,
        edge: &EdgeId,
        linger: Duration,
    ) -> Result<(), PresenceError> {
        let who = who(org, user);
        let mut calls = self.remove.calls();
        let mut call = self.remove.call(&[&self.of(&who), &self.there()]);
        call.arg(connection)
            .arg(edge.as_str())
            .arg(millis(linger))
            .arg(&who);
        calls.add_command(call);
        let _was_its: Vec<bool> = self.line.ask(&calls).await?;
        Ok(())
    }

    async fn connections(&self, org: &OrgId, user: &UserId) -> Result<Vec<Presence>, PresenceError> {
        let mut calls = self.connections.calls();
        calls.add_command(self.connections.call(&[&self.of(&who(org, user))]));
        let (found,): (Vec<(String, String)>,) = self.line.ask(&calls).await?;
        Ok(found.into_iter().filter_map(presence).collect())
    }

    async fn departed(&self, limit: usize) -> Result<Vec<Departed>, PresenceError> {
        let mut calls = self.departed.calls();
        let mut call = self.departed.call(&[&self.there(), &self.cards()]);
        call.arg(limit);
        calls.add_command(call);
        let (gone,): (Vec<(String, String)>,) = self.line.ask(&calls).await?;
        Ok(gone.into_iter().filter_map(departed).collect())
    }
}

/// A script, by which two things are one.
struct Lua {
    text: &'static str,
    hash: String,
}

impl Lua {
    fn new(text: &'static str) -> Self {
        let hash = Script::new(text).get_hash().to_owned();
        Self { text, hash }
    }

    /// For calls of it. A server that was emptied does not know it any more: it is told each time, ahead of them.
    fn calls(&self) -> Pipeline {
        let mut calls = Pipeline::new();
        calls.cmd("SCRIPT").arg("LOAD").arg(self.text).ignore();
        calls
    }

    fn call(&self, keys: &[&str]) -> ::redis::Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
    }
}

/// A user's name in keys: the length keeps an org that holds a colon apart from the user behind it.
fn who(org: &OrgId, user: &UserId) -> String {
    format!("{}:{org}:{user}", org.len())
}

fn departed((who, card): (String, String)) -> Option<Departed> {
    let (length, rest) = who.split_once(':')?;
    let (org, user) = rest.split_at_checked(length.parse().ok()?)?;
    Some(Departed {
        org: OrgId::new(org),
        user: UserId::new(user.strip_prefix(':')?),
        card,
    })
}

fn presence((connection, line): (String, String)) -> Option<Presence> {
    let mut words = line.splitn(3, ' ');
    let (_deadline, protocol, edge) = (words.next()?, words.next()?, words.next()?);
    Some(Presence {
        edge: EdgeId::new(edge),
        connection,
        protocol: protocol.trim_end_matches(STAFF).to_owned(),
        staff: protocol.ends_with(STAFF),
    })
}

/// Stands behind the protocol of a connection of staff.
const STAFF: char = '!';

fn protocol_word(at: &Presence) -> String {
    match at.staff {
        true => format!("{}{STAFF}", at.protocol),
        false => at.protocol.clone(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<RedisError> for PresenceError {
    fn from(error: RedisError) -> Self {
        Self(format!("asking redis: {error}"))
    }
}
