//! The directory of desks: what the configuration enters, and what is known of it now.

pub(crate) mod live;
pub(crate) mod seed;
pub(crate) mod snapshot;
