//! What both stores decide alike: functions of rows and requests, without I/O.

pub(crate) mod receipts;
pub(crate) mod starts;
pub(crate) mod sums;
pub(crate) mod uids;
