//! The words of Longwire and the rules about them: ids, topics, positions, principals, kinds of message, access.
//!
//! Nothing here does I/O, knows a runtime or asks the clock: time is passed in. Every rule that two services must
//! decide alike (which partition a topic has, who may see a message, whether a recall is allowed) stands here once.

mod access;
mod chat_topic;
mod clock;
mod filter_map;
mod home;
mod ids;
mod kind;
mod message_type;
mod position;
mod principal;
mod rules;
pub mod thread;
mod topic;

pub use access::{Access, Visibility, is_visible_to_role};
pub use chat_topic::{ChatTopic, ThreadKind};
pub use clock::{UnixMillis, format_created_at};
pub use filter_map::FilterMap;
pub use home::Home;
pub use ids::{ClientId, EdgeId, IdError, MessageUid, OrgId, UserId};
pub use kind::{MessageKind, ReceiptKind, is_countable};
pub use message_type::{MessageType, Rule, Sender, types_as_markdown};
pub use position::{Concerned, FrameSeq, PartitionId, Partitioning, Position};
pub use principal::{Origin, Principal, Role};
pub use rules::{RecallRefusal, recall_allowed};
pub use topic::{TopicError, TopicFilter, TopicName};
