//! Real servers and scripted clients for tests.
//!
//! - [`Longwire`]: the built binary as a child process, on free ports and a data folder of its own; killed, stopped,
//!   restarted at the same place; its log is shown when the test fails. With `LONGWIRE_TEST_SHAPE=cluster`, a cluster;
//! - [`cluster::Cluster`]: every role as processes, on real servers, behind a balancer; each to be broken by itself;
//! - [`nats`], [`redis`], [`postgres`]: the servers that a cluster stands on, shared by tests or one's own to break;
//! - [`mqtt`], [`stomp`], [`http`]: clients that do one step when told to, and read nothing when not told to;
//! - [`proxy`]: a bad network between any two of them;
//! - [`raw`]: bytes no client would send;
//! - [`chat`]: the chat envelope as clients build it;
//! - [`program`]: clients written in other languages, as child processes;
//! - [`eventually`]: waiting for a condition with a deadline.
//!
//! What goes wrong here fails the test at once, with a message that says what was waited for: nothing returns a `Result`
//! but what a test asks about.
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing step fails the test, and its log belongs on the test's output"
)]

mod binary;
pub mod chat;
pub mod cluster;
pub mod daemon;
mod data;
mod find;
pub mod http;
pub mod mqtt;
pub mod nats;
mod ports;
pub mod postgres;
pub mod process;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod redis;
mod server;
pub mod servers;
mod shared;
mod spawn;
pub mod stomp;
mod wait;

pub use binary::{binary, target_dir, workspace};
pub use data::DataDir;
pub use server::{Builder, Endpoints, Longwire, TokenSpec, cli, is_cluster, only_in_one_process, run};
pub use wait::{DEADLINE, eventually, within};
