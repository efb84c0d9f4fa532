use thiserror::Error;

/// Why the gateway ended. What goes wrong with one request is answered to it and ends nothing.
#[derive(Debug, Error)]
pub enum Error {
    /// The listener cannot accept any more.
    #[error("serving HTTP")]
    Serve(#[source] std::io::Error),
}
