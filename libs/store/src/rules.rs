//! What both stores decide alike: functions of rows and requests, without I/O.
//!
//! Some of it PostgreSQL decides within a statement, where asking first would cost a way to the database and back, or
//! where the row is locked. Then the rule is written here all the same, SQLite decides with it, and the suite holds
//! both to it.

pub(crate) mod directory;
pub(crate) mod history;
pub(crate) mod identity;
pub(crate) mod pages;
pub(crate) mod receipts;
pub(crate) mod schema;
pub(crate) mod sessions;
pub(crate) mod starts;
pub(crate) mod sums;
pub(crate) mod threads;
pub(crate) mod uids;
