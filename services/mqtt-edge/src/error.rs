use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the MQTT edge cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// A listener cannot be opened.
    #[error("listening for MQTT on {at}")]
    Listen {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or key cannot be used.
    #[error("reading the TLS certificate and key from {path}: {reason}")]
    Tls {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
