//! What both stores decide alike: functions of rows and requests, without I/O.

pub(crate) mod sums;
pub(crate) mod uids;
