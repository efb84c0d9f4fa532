//! A strict STOMP 1.0 to 1.2 frame codec: bytes in, frames out, and back. No I/O, and nothing of ours.
//!
//! [`Decoder`] reads a byte stream: how the transport cut it (several frames in one WebSocket message, one frame
//! over several) makes no difference. Bodies are slices of the read buffer; the headers of a frame are one string.
//! Limits hold before the bytes they would refuse are collected. [`validate`] then asks a frame for the headers its
//! command needs. [`encode_message`] writes deliveries without building a [`Frame`] first.
//!
//! What the specifications leave open is decided like this:
//!
//! * Between frames CR LF is an EOL in every version: a CR there is part of no value, and the EOLs that trail a
//!   CONNECT are read after the version is settled.
//! * A NUL before the blank line is refused, though the 1.1 and 1.2 grammars would let it into a header: it is what a
//!   client sends that forgot the blank line, and it would otherwise wait for ever.
//! * A header value may hold bare colons in every version; deployed clients write them.
//! * Before the version is settled, frames other than CONNECT, STOMP and CONNECTED are read as 1.2.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod ack_mode;
mod command;
mod decoder;
mod dialect;
mod encode;
mod error;
mod frame;
mod headers;
mod heart_beat;
mod validate;
mod version;

pub use ack_mode::AckMode;
pub use command::{Command, Role};
pub use decoder::{Decoder, Item, Limits};
pub use encode::{encode_frame, encode_message, encode_receipt};
pub use error::{DecodeError, FrameError};
pub use frame::Frame;
pub use headers::Headers;
pub use heart_beat::HeartBeat;
pub use validate::validate;
pub use version::Version;
