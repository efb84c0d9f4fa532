//! Everything that was seen: what the checker judges. Plain data, so that a history can be made up.
//!
//! Times are milliseconds since the run began. A position of 0 is none.

use crate::key::{Key, Names};

/// How far a message has come, as its status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Stage {
    /// Stored.
    #[default]
    Sent,
    /// With a device of a recipient.
    Delivered,
    /// Read by a recipient.
    Read,
}

impl Stage {
    /// Reads a status. What is neither DELIVERED nor READ is SENT.
    pub fn of(status: &str) -> Self {
        match status {
            "DELIVERED" => Self::Delivered,
            "READ" => Self::Read,
            _ => Self::Sent,
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sent => "SENT",
            Self::Delivered => "DELIVERED",
            Self::Read => "READ",
        })
    }
}

/// A run.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The uids.
    pub names: Names,
    /// The conversations.
    pub topics: Vec<Topic>,
    /// Who wrote, each to one topic, and what.
    pub writers: Vec<Writer>,
    /// Who listened.
    pub observers: Vec<Observer>,
    /// Statuses in the order they were seen, each by a question that was asked after the one before was answered.
    pub statuses: Vec<StatusSeen>,
    /// The counters at the end.
    pub unread: Vec<Unread>,
    /// The closings that were asked for, those of one conversation in order.
    pub closings: Vec<Asked>,
    /// The transfers that were asked for, likewise.
    pub transfers: Vec<Asked>,
    /// What could not be asked, and why.
    pub unproven: Vec<String>,
}

/// A conversation.
#[derive(Debug, Clone, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What is up to here was there before the run.
    pub baseline: u64,
    /// Its history at the end, as each of its users reads it. The first is that of one who sees everything: an agent's, or, of a
    /// conversation that is handed over, its visitor's.
    pub histories: Vec<History>,
    /// Between whom it is handed over, if it is.
    pub handed: Option<Handed>,
    /// Whether it was open at the end, as far as that could be asked.
    pub is_open: Option<bool>,
}

/// Between whom a conversation is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// The users. It is at the desk of the first.
    pub agents: [usize; 2],
    /// Which of them had it when the run began: 0 or 1.
    pub first: usize,
}

/// A change of a conversation that was asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The conversation.
    pub topic: usize,
    /// When it was first asked for.
    pub at: u32,
    /// How often.
    pub tries: u16,
    /// When it was granted.
    pub acked: Option<u32>,
    /// Why it was refused for good.
    pub refused: Option<String>,
    /// What is up to here was there before it was asked for.
    pub after: u64,
}

/// A history after the baseline.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The user who asked.
    pub reader: usize,
    /// In the order it was answered.
    pub messages: Vec<Stored>,
}

/// What a message says of its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Says {
    /// Nothing that ends or begins anything: somebody says something.
    #[default]
    Nothing,
    /// Its agent has closed it.
    AgentClosed,
    /// Its visitor has closed it, or it closed by itself.
    Closed,
    /// Another agent has it from here on.
    HandedOver,
}

impl Says {
    /// Reads a type.
    pub fn of(kind: &str) -> Self {
        match kind {
            "AGENT_CLOSED" => Self::AgentClosed,
            "VISITOR_CLOSED" | "AUTO_CLOSED" => Self::Closed,
            "NOTICE" => Self::HandedOver,
            _ => Self::Nothing,
        }
    }

    /// Whether the conversation is over with it.
    pub fn is_end(self) -> bool {
        matches!(self, Self::AgentClosed | Self::Closed)
    }
}

/// A message in history.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Which.
    pub key: Key,
    /// Its place.
    pub position: u64,
    /// What it says of the conversation.
    pub says: Says,
    /// How far it has come.
    pub stage: Stage,
    /// Whether it counts as unread until it is read.
    pub countable: bool,
    /// Whether it has the content and author that it was sent with; true of foreign ones.
    pub intact: bool,
    /// Its author, if that is a user of this run.
    pub author: Option<usize>,
}

/// Somebody who writes to one topic.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    /// The user.
    pub user: usize,
    /// The client that sends: an observer's index.
    pub client: usize,
    /// The topic.
    pub topic: usize,
    /// Its texts by number.
    pub texts: Vec<Sent>,
    /// Its READ receipts by number.
    pub reads: Vec<(Sent, Key)>,
}

/// A message that was sent.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// First sent.
    pub at: u32,
    /// How often.
    pub tries: u16,
    /// How often after it had been acknowledged.
    pub repeats: u16,
    /// The acknowledgement, with the first position that one named.
    pub acked: Option<Acked>,
    /// Another position that a later acknowledgement named.
    pub elsewhere: Option<u64>,
    /// Why the server refused it for good.
    pub refused: Option<String>,
}

/// An acknowledgement.
#[derive(Debug, Clone, Copy)]
pub struct Acked {
    /// When.
    pub at: u32,
    /// The position that came with it; 0 if none did.
    pub position: u64,
    /// What it was.
    pub by: AckKind,
}

/// What acknowledged a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// MQTT QoS 1.
    PubAck,
    /// MQTT QoS 2.
    PubRec,
    /// STOMP.
    Receipt,
    /// HTTP 200.
    Http,
    /// The message came back to who sent it with QoS 0.
    Echo,
}

impl AckKind {
    /// As the protocols name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::Receipt => "RECEIPT",
            Self::Http => "HTTP 200",
            Self::Echo => "echo of QoS 0",
        }
    }
}

/// A session, durable subscription or poll, over all its connections.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    /// For the evidence.
    pub name: String,
    /// The user.
    pub user: usize,
    /// Whether it was connected at the end; if not, why.
    pub away: Option<String>,
    /// What came, by topic: (topic, deliveries in the order they came). A topic is listed if the observer is entitled.
    pub heard: Vec<(usize, Vec<Delivery>)>,
    /// When each of its connections was there.
    pub lives: Vec<u32>,
    /// When it came back and its session was gone.
    pub sessions_lost: Vec<u32>,
    /// Messages that it was told somebody has read.
    pub told_read: Vec<Key>,
}

/// A delivery.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Which message.
    pub key: Key,
    /// Its place.
    pub position: u64,
    /// The place of the message before it; 0 if the server did not say.
    pub prev: u64,
    /// The number of the observer's connection, from 0.
    pub life: u32,
    /// When.
    pub at: u32,
    /// Whether the server marked it as sent before.
    pub marked: bool,
}

/// A status of a message.
#[derive(Debug, Clone, Copy)]
pub struct StatusSeen {
    /// Which message.
    pub key: Key,
    /// How far it had come.
    pub stage: Stage,
    /// When.
    pub at: u32,
}

/// A counter at the end.
#[derive(Debug, Clone)]
pub struct Unread {
    /// Whose.
    pub user: usize,
    /// The uid asked for, for the evidence.
    pub name: String,
    /// In which topic.
    pub topic: usize,
    /// What it said before the run.
    pub before: u64,
    /// What it says.
    pub after: u64,
}
