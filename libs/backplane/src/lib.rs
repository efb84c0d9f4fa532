//! The seams under the services: the [`journal`] that holds the ordered, durable log, the [`bus`] that carries what may
//! be lost, [`lease`]s that make one owner of a partition, [`checkpoint`]s that spare an owner reading all of the log, and [`presence`], the
//! address book of who is online.
//!
//! Each is a trait that states what is promised, one suite of tests (`suite` feature) that every implementation
//! passes, and the implementations: `embedded` for one process, and for a cluster those on [`nats`] and Redis. A suite
//! is a set of async functions over the trait, and a macro (`bus_suite!`, …) that makes one test of each.

pub mod bus;
pub mod checkpoint;
pub mod journal;
pub mod lease;
pub mod nats;
pub mod presence;

#[cfg(feature = "suite")]
mod suite;
