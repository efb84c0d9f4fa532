//! What travels. [`proto`] is generated from `/proto`; [`envelope`] turns the chat envelope between protobuf and JSON
//! and gives it its normal form; [`frame`] has the entries and frames of the log, [`ThreadChange`] what one changes in a thread.

pub mod envelope;
pub mod frame;
mod thread;

/// Generated from `/proto/chat.proto` and `/proto/internal.proto`.
#[allow(missing_docs, clippy::doc_markdown, rust_2018_idioms)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/_.rs"));
    /// Between services only.
    pub mod internal {
        include!(concat!(env!("OUT_DIR"), "/longwire.rs"));
    }
}

pub use frame::FrameBuilder;
pub use proto::internal::{Entry, Frame, Kind, ThreadChange};
pub use proto::{Message, Thread, User};
