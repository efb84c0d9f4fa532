use std::io;

use thiserror::Error;

/// Why the STOMP edge cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// The listener failed.
    #[error("serving STOMP on {at}")]
    Serve {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
