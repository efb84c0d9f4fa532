//! The types of the calls as messages, and back. What comes in may be anything: whatever is not a value of ours is a
//! [`Malformed`], never a panic. `Bytes` stay slices of the message they came in.

mod backlog;
mod directory;
mod explain;
mod found;
mod history;
pub(super) mod routing;
mod sessions;
mod standing;
mod threads;

use model::{
    ClientId, EdgeId, MessageUid, OrgId, PartitionId, Position, TopicFilter, TopicName, UnixMillis, UserId,
};
use thiserror::Error;

pub(crate) use directory::Agents;
pub(crate) use found::Findings;

/// A message that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("reading {what}: {reason}")]
pub(crate) struct Malformed {
    what: &'static str,
    reason: String,
}

impl Malformed {
    pub(crate) fn new(what: &'static str, reason: impl ToString) -> Self {
        Self {
            what,
            reason: reason.to_string(),
        }
    }
}

/// A type of the calls, and what it is on the wire.
pub(crate) trait Wire: Sized {
    /// The message or field.
    type Message;

    /// To send.
    fn to_wire(self) -> Self::Message;

    /// As received.
    fn from_wire(message: Self::Message) -> Result<Self, Malformed>;
}

/// A message or field as the type that the receiver wants.
pub(crate) fn read<T: Wire>(message: T::Message) -> Result<T, Malformed> {
    T::from_wire(message)
}

/// The same for what is always sent and yet optional by the format.
pub(crate) fn given<T: Wire>(what: &'static str, message: Option<T::Message>) -> Result<T, Malformed> {
    T::from_wire(message.ok_or_else(|| Malformed::new(what, "it is missing"))?)
}

impl<T: Wire> Wire for Vec<T> {
    type Message = Vec<T::Message>;

    fn to_wire(self) -> Self::Message {
        self.into_iter().map(T::to_wire).collect()
    }

    fn from_wire(message: Self::Message) -> Result<Self, Malformed> {
        message.into_iter().map(T::from_wire).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    type Message = Option<T::Message>;

    fn to_wire(self) -> Self::Message {
        self.map(T::to_wire)
    }

    fn from_wire(message: Self::Message) -> Result<Self, Malformed> {
        message.map(T::from_wire).transpose()
    }
}

macro_rules! ids {
    ($($id:ty),+) => {$(
        impl Wire for $id {
            type Message = String;

            fn to_wire(self) -> String {
                self.as_str().to_owned()
            }

            fn from_wire(message: String) -> Result<Self, Malformed> {
                Ok(Self::from(message))
            }
        }
    )+};
}
ids!(OrgId, UserId, ClientId, EdgeId, MessageUid);

macro_rules! topics {
    ($($topic:ty, $what:literal);+) => {$(
        impl Wire for $topic {
            type Message = String;

            fn to_wire(self) -> String {
                self.as_str().to_owned()
            }

            fn from_wire(message: String) -> Result<Self, Malformed> {
                Self::new(&message).map_err(|error| Malformed::new($what, error))
            }
        }
    )+};
}
topics!(TopicName, "a topic name"; TopicFilter, "a topic filter");

macro_rules! numbers {
    ($($number:ident),+) => {$(
        impl Wire for $number {
            type Message = u64;

            fn to_wire(self) -> u64 {
                self.0
            }

            fn from_wire(message: u64) -> Result<Self, Malformed> {
                Ok($number(message))
            }
        }
    )+};
}
numbers!(Position, UnixMillis);

impl Wire for PartitionId {
    type Message = u32;

    fn to_wire(self) -> u32 {
        self.0.into()
    }

    fn from_wire(message: u32) -> Result<Self, Malformed> {
        let id = u16::try_from(message)
            .map_err(|_| Malformed::new("a partition", format!("there is no {message}")))?;
        Ok(PartitionId(id))
    }
}
