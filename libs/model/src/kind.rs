//! What a chat message does, by its `type`. Types that are not listed here are ordinary messages and pass through.

use crate::message_type::{MessageType, begins};

/// How a message of a type is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Journaled, in history, replayed by cursor.
    Ordinary,
    /// A part of a streamed answer. Many parts share one uid, so the uid alone does not make it a duplicate.
    StreamPart,
    /// DELIVERED or READ: `content` is the uid of the message. Journaled, kept as the state of that message.
    Receipt(ReceiptKind),
    /// `content` is the uid of the message that is taken back.
    Recall,
    /// To whoever is online now; never stored.
    Transient,
}

/// How far a message has come with its recipient. The order is the order of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ReceiptKind {
    /// It reached a device of the recipient.
    Delivered = 1,
    /// The recipient has read it.
    Read = 2,
}

impl ReceiptKind {
    /// The type name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ReceiptKind::Delivered => "DELIVERED",
            ReceiptKind::Read => "READ",
        }
    }

    /// From the number it is stored as.
    pub fn from_number(n: i64) -> Option<Self> {
        match n {
            1 => Some(ReceiptKind::Delivered),
            2 => Some(ReceiptKind::Read),
            _ => None,
        }
    }
}

impl MessageKind {
    /// The treatment of a type name, in any case.
    pub fn of(message_type: &str) -> MessageKind {
        let listed = MessageType::listed(message_type).map_or("", |listed| listed.name);
        match listed {
            "DELIVERED" => MessageKind::Receipt(ReceiptKind::Delivered),
            "READ" => MessageKind::Receipt(ReceiptKind::Read),
            "RECALL" => MessageKind::Recall,
            "TYPING" | "PREVIEW" | "PROCESSING" => MessageKind::Transient,
            "STREAM" | "STREAM_END" => MessageKind::StreamPart,
            _ if begins(message_type, "ROBOT_STREAM") => MessageKind::StreamPart,
            _ => MessageKind::Ordinary,
        }
    }
}

/// Whether a message of this type, in any case, counts as unread until it is read: what a person wrote or sent, not what
/// the system tells.
pub fn is_countable(message_type: &str) -> bool {
    let listed = MessageType::listed(message_type).map_or("", |listed| listed.name);
    matches!(
        listed,
        "TEXT"
            | "IMAGE"
            | "FILE"
            | "DOCUMENT"
            | "AUDIO"
            | "VOICE"
            | "VIDEO"
            | "MUSIC"
            | "LOCATION"
            | "LINK"
            | "CARD"
            | "URL"
            | "GOODS"
            | "ORDER"
            | "QUOTATION"
            | "STICKER"
            | "ARTICLE"
            | "FORWARD"
            | "LEAVE_MSG_SUBMIT"
    )
}
