//! Tasks, and how a process ends.
//!
//! ```text
//! signal ─► not ready ─(delay)─► soft ─(everything ends, or the grace is over, or a second signal)─► hard ─► exit
//! ```

mod shutdown;
mod stop;
mod tasks;
#[cfg(test)]
mod tests;

pub use shutdown::{DEFAULT_GRACE, Shutdown, ShutdownHandle};
pub use stop::Stop;
pub use tasks::{Failure, OnError, Outcome, Tasks};
