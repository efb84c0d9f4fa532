//! Why a message is, or is not, with somebody: read from what is stored of the sessions.

use contract::persistence::{Explained, ExplainedRecipient, StoredSession, Tie};
use model::{Position, Role, UnixMillis, Visibility, is_visible_to_role};
use serde::Serialize;
use session::{SavedInflight, SavedPhase, SavedState};
use utoipa::ToSchema;

/// What became of a message, for a session or for a user as a whole. In the order in which a user's sessions speak for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It sent the message itself; what comes back is the echo.
    OwnEcho,
    /// The session's progress is past it, or a receipt says that the user has it.
    Acknowledged,
    /// Sent, and the acknowledgement has not come.
    Waiting,
    /// Connected, and what was sent before it is not acknowledged.
    WindowFull,
    /// Connected, and on the way to it.
    CatchingUp,
    /// Not connected; it comes when the client is back.
    Offline,
    /// It was taken back before it was sent.
    Recalled,
    /// The session began after it: history has it.
    BeforeSession,
    /// The user became a member after it.
    BeforeJoining,
    /// The subscription was made after it.
    BeforeSubscribing,
    /// The session has run out.
    Expired,
    /// The session does not receive this topic.
    NotSubscribed,
    /// No session is stored.
    NoSession,
    /// The role may not see messages like this.
    Hidden,
    /// The user is a member no more.
    Left,
    /// Nothing ties the user to the thread.
    NotEntitled,
    /// What is stored does not tell.
    Unknown,
}

/// A verdict in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub verdict: Verdict,
    pub why: String,
}

fn finding(verdict: Verdict, why: impl Into<String>) -> Finding {
    let why = why.into();
    Finding { verdict, why }
}

/// What is judged.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub message: &'a Explained,
    pub to: &'a ExplainedRecipient,
    pub now: UnixMillis,
    /// Spells a time.
    pub time: &'a dyn Fn(UnixMillis) -> String,
}

/// Where a session stands with the message.
enum Stands {
    /// Its progress is past it.
    Past,
    /// In flight.
    Sent(SavedInflight),
    /// Not handed out.
    Ahead,
    /// It does not receive it.
    Deaf(Finding),
}

impl Case<'_> {
    /// What became of the message in one of the recipient's sessions.
    pub fn session(&self, session: &StoredSession) -> Finding {
        if let Some(at) = session.expires_at.filter(|at| *at <= self.now) {
            let why = format!(
                "the session ran out at {} and is forgotten; the next connection begins anew, with history for what came before",
                self.at(at)
            );
            return finding(Verdict::Expired, why);
        }
        if let Some(hidden) = self.hidden() {
            return hidden;
        }
        let state = match SavedState::decode(&session.state) {
            Ok(state) if state.lanes.is_empty() => {
                let why = "the session has been opened and nothing of its progress is stored yet; ask again in a second";
                return finding(Verdict::Unknown, why);
            }
            Ok(state) => state,
            Err(error) => {
                let why = format!("the session's stored state cannot be read ({error}); it will begin anew");
                return finding(Verdict::Unknown, why);
            }
        };
        match self.stands(session, &state) {
            Stands::Deaf(why) => why,
            stands if self.is_own() => self.own_echo(&stands),
            Stands::Past => self.past(session),
            Stands::Sent(item) => self.sent(session, item),
            Stands::Ahead if self.message.recalled => self.recalled(),
            Stands::Ahead => self.ahead(session, &state),
        }
    }

    fn stands(&self, session: &StoredSession, state: &SavedState) -> Stands {
        let (partition, position) = (self.message.partition, self.message.position);
        let in_flight = |item: &&SavedInflight| (item.partition, item.position) == (partition, position);
        if let Some(item) = state.inflight.iter().find(in_flight) {
            return Stands::Sent(*item);
        }
        if let Some(deaf) = self.deaf(session, state) {
            return Stands::Deaf(deaf);
        }
        let catching_up = state.catch_ups.iter().find(|c| {
            c.lane.partition == partition && position <= c.upto && c.filter.matches(&self.message.topic)
        });
        let main = state.lanes.iter().find(|lane| lane.partition == partition);
        let Some(lane) = catching_up.map(|c| &c.lane).or(main) else {
            let why = "the session receives nothing of the topic's partition yet: it was stored before it was attached there";
            return Stands::Deaf(finding(Verdict::NotSubscribed, why));
        };
        if lane.sent < position {
            Stands::Ahead
        } else {
            Stands::Past
        }
    }

    /// Why the session is not to receive the message; `None` when it is.
    fn deaf(&self, session: &StoredSession, state: &SavedState) -> Option<Finding> {
        let topic = &self.message.topic;
        if let Some(destination) = of_stomp(session) {
            if destination != topic.as_str() {
                let why = format!("the session is a subscription to {destination}, another topic");
                return Some(finding(Verdict::NotSubscribed, why));
            }
            return self.joined_later(self.to.tie);
        }
        let subscribed = state.subscriptions.iter().filter(|s| s.filter.matches(topic));
        let mut subscribed = subscribed.peekable();
        match self.to.tie {
            Tie::Left | Tie::Stranger if subscribed.peek().is_none() => return Some(self.untied()),
            Tie::Topic | Tie::Reader | Tie::Left | Tie::Stranger => {}
            tie @ Tie::Member(_) => return self.joined_later(tie),
        }
        // The subscription alone brings it, and begins where it was made.
        let by_right = matches!(self.to.tie, Tie::Topic | Tie::Reader);
        let begins = |start: &[(model::PartitionId, Position)]| {
            let here = start.iter().find(|(p, _)| *p == self.message.partition);
            here.map_or(Position::START, |(_, at)| *at)
        };
        let begun = subscribed.map(|s| begins(&s.start)).min()?;
        (!by_right && self.message.position <= begun).then(|| {
            let why = format!(
                "the subscription was made after it (it begins behind position {begun}): only history has it"
            );
            finding(Verdict::BeforeSubscribing, why)
        })
    }

    fn joined_later(&self, tie: Tie) -> Option<Finding> {
        match tie {
            Tie::Member(since) if self.message.position <= since => {
                let why = format!(
                    "{} became a member after it and sees what comes behind position {since}",
                    self.to.user
                );
                Some(finding(Verdict::BeforeJoining, why))
            }
            _ => None,
        }
    }

    fn untied(&self) -> Finding {
        let (user, topic) = (&self.to.user, &self.message.topic);
        if self.to.tie == Tie::Left {
            let why = format!("{user} took part in {topic} and is not a member of it any more");
            return finding(Verdict::Left, why);
        }
        let why = format!(
            "neither {topic} nor its members name {user}, and it never spoke or acknowledged anything there; if it acts under another uid, its token must have that as an alias"
        );
        finding(Verdict::NotEntitled, why)
    }

    /// The filter by role, which is asked last of all before anything is written.
    fn hidden(&self) -> Option<Finding> {
        let (role, message) = (self.to.role?, self.message);
        let shown = is_visible_to_role(role, &message.topic, &message.kind);
        (role == Role::Visitor && shown == Visibility::Hidden).then(|| {
            let why = format!(
                "{} is a visitor, and visitors are not shown {} on {}",
                self.to.user, message.kind, message.topic
            );
            finding(Verdict::Hidden, why)
        })
    }

    fn is_own(&self) -> bool {
        self.to.user == self.message.sender
    }

    fn own_echo(&self, stands: &Stands) -> Finding {
        let echo = match stands {
            Stands::Past => "which this session is past",
            Stands::Sent(_) => "which was sent to this session and waits for its acknowledgement",
            Stands::Ahead | Stands::Deaf(_) => "which was not sent to this session yet",
        };
        let why = format!(
            "{} sent it: what comes back is the echo, {echo}; an echo never counts as delivered",
            self.to.user
        );
        finding(Verdict::OwnEcho, why)
    }

    fn past(&self, session: &StoredSession) -> Finding {
        let accepted = self.message.accepted_at;
        let receipt = self.receipt();
        match session.began_at {
            Some(began) if began > accepted => {
                let why = format!(
                    "the session began at {}, after it was stored: only history has it",
                    self.at(began)
                );
                finding(Verdict::BeforeSession, why)
            }
            _ if self.message.recalled && receipt.is_none() => self.recalled(),
            None if receipt.is_none() => {
                let why =
                    "the session's progress is past it: it was acknowledged, or the session began after it";
                finding(Verdict::Acknowledged, why)
            }
            _ => finding(
                Verdict::Acknowledged,
                "the client acknowledged it: the session's progress is past it",
            ),
        }
    }

    fn sent(&self, session: &StoredSession, item: SavedInflight) -> Finding {
        let id = item.packet_id;
        if self.is_own() {
            return self.own_echo(&Stands::Sent(item));
        }
        let why = match item.phase {
            SavedPhase::Released => {
                let why = format!(
                    "the client has it (PUBREC of packet {id}); the handshake of QoS 2 is not complete"
                );
                return finding(Verdict::Acknowledged, why);
            }
            _ if session.connected => {
                format!("it was sent as packet {id}; the client has not acknowledged it")
            }
            _ if self.message.recalled => format!(
                "it was sent as packet {id} and not acknowledged; it was taken back and does not come again"
            ),
            _ => format!(
                "it was sent as packet {id} and not acknowledged before the connection ended ({}); it comes again, marked as a duplicate, when the client is back",
                self.offline(session)
            ),
        };
        finding(Verdict::Waiting, why)
    }

    fn ahead(&self, session: &StoredSession, state: &SavedState) -> Finding {
        if !session.connected {
            let why = format!(
                "the client is {}; it comes when it is back{}",
                self.offline(session),
                self.until(session)
            );
            return finding(Verdict::Offline, why);
        }
        let open = state.inflight.iter().filter(|i| i.phase != SavedPhase::Released);
        match open.count() {
            0 => finding(
                Verdict::CatchingUp,
                format!(
                    "connected at {} and on the way to it: it reads what it missed, or what it has by now is not stored yet (that may take a second)",
                    session.edge
                ),
            ),
            n => finding(
                Verdict::WindowFull,
                format!(
                    "connected at {}; {n} {} before it not acknowledged, and when the window is full nothing more is sent until the client acknowledges",
                    session.edge,
                    if n == 1 { "message is" } else { "messages are" }
                ),
            ),
        }
    }

    fn recalled(&self) -> Finding {
        let why = "it was taken back; who has not got it by then gets the recall instead";
        finding(Verdict::Recalled, why)
    }

    fn offline(&self, session: &StoredSession) -> String {
        match session.offline_since {
            Some(at) => format!("offline since {}", self.at(at)),
            None => "offline".to_owned(),
        }
    }

    fn until(&self, session: &StoredSession) -> String {
        let until = session
            .expires_at
            .map(|at| format!(", if that is before {}", self.at(at)));
        until.unwrap_or_default()
    }

    fn at(&self, at: UnixMillis) -> String {
        (self.time)(at)
    }

    /// What its receipt says, in words.
    fn receipt(&self) -> Option<&'static str> {
        let own = self.message.receipts.iter().filter(|r| r.by == self.to.user);
        own.map(|r| r.state).max().map(model::ReceiptKind::as_str)
    }

    /// What became of it with the recipient as a whole, given what became of it in each of its sessions.
    /// `connections` = how many connections it has now, where that is known.
    pub fn user(&self, sessions: &[Finding], connections: Option<usize>) -> Finding {
        let user = &self.to.user;
        if self.is_own() {
            let why = format!("{user} sent it: it gets it back as an echo, which never counts as delivered");
            return finding(Verdict::OwnEcho, why);
        }
        if let Some(receipt) = self.receipt() {
            return finding(
                Verdict::Acknowledged,
                format!("it reached {user}: its receipt says {receipt}"),
            );
        }
        if let Some(hidden) = self.hidden() {
            return hidden;
        }
        let receives = |f: &&Finding| !matches!(f.verdict, Verdict::Expired | Verdict::NotSubscribed);
        if let Some(best) = sessions.iter().filter(receives).min_by_key(|f| f.verdict) {
            return best.clone();
        }
        if matches!(self.to.tie, Tie::Left | Tie::Stranger) {
            return self.untied();
        }
        if let Some(later) = self.joined_later(self.to.tie) {
            return later;
        }
        if let Some(ended) = sessions.iter().find(|f| f.verdict == Verdict::Expired) {
            return ended.clone();
        }
        self.without_session(!sessions.is_empty(), connections)
    }

    fn without_session(&self, has_others: bool, connections: Option<usize>) -> Finding {
        let user = &self.to.user;
        let which = if has_others {
            "no stored session that receives this topic"
        } else {
            "no stored session"
        };
        let now = match connections {
            None => "whether it is connected is not known".to_owned(),
            Some(0) => "it is not connected".to_owned(),
            Some(n) => format!("it has {n} connections, which are told what comes while they last"),
        };
        let why = format!("{user} has {which} ({now}): what it missed is in history only");
        finding(Verdict::NoSession, why)
    }
}

/// The destination, in the spelling of topics, of the durable subscription of a STOMP client.
pub(super) fn of_stomp(session: &StoredSession) -> Option<&str> {
    let name = session.client.strip_prefix("stomp/")?;
    Some(name.split_once('#').map_or(name, |(destination, _)| destination))
}
