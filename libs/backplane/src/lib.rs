//! The seams under the services: the [`journal`] that holds the ordered, durable log, the [`bus`] that carries what may
//! be lost, [`lease`]s that make one owner of a partition, and [`presence`], the address book of who is online.
//!
//! Each is a trait that states what is promised, one suite of tests (`suite` feature) that every implementation
//! passes, and the implementations: `embedded` for one process.

pub mod bus;
pub mod journal;
pub mod lease;
pub mod presence;
