//! Whether a message was accepted before, for the owner of one partition. Pure: time is passed in, bytes go out and
//! come back.
//!
//! A message is known by a key of 128 bits, a hash of (org, topic, uid). Two things answer for it:
//!
//! ```text
//!             ┌ Memory ── exact: where it is, whose it is, how far it has come ── the latest, bounded in number and bytes
//!  key ──────►│
//!             └ Filter ── Fresh: never accepted │ Likely: look it up ─────────── at least 8 days back
//!                 current (a set) ─ tend ─► Sealing ─ build, elsewhere ─► Sealed ─ adopt ─► sealed … sealed ─ 9 days ─► gone
//!                     │ tail, chunks of keys                                   │ a blob, written once
//!                     └───────────────── checkpoint: Manifest + blobs ─────────┘
//! ```
//!
//! The invariants, each a test:
//! - what was inserted and settled is never `Fresh` within the retention, whatever is lost or damaged on the way: a
//!   filter that lacks a part knows it, and says `Likely` of everything;
//! - a frame whose append failed for certain takes back what it brought, and nothing else;
//! - a checkpoint that was not finished changes nothing for who reads the one before.
//!
//! One frame is unsettled at a time: `insert` and `remember` for each of its messages, then `settle` or `undo` on both.

mod checkpoint;
mod exact;
mod filter;
mod form;
mod frame;
mod generation;
mod manifest;
mod memory;
mod people;
mod restore;
mod seal;

pub use checkpoint::{Checkpoint, Stamp};
pub use filter::{Config, Filter, Lookup};
pub use frame::Damaged;
pub use manifest::{Blob, Join, Manifest};
pub use memory::{Limits, Memory, Record};
pub use restore::{Part, Wanted};
pub use seal::{Rebuild, Sealed, Sealing};
