//! Why a run cannot be.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a run cannot begin.
#[derive(Debug, Error)]
pub enum Error {
    /// An address is none.
    #[error("reading the address {address:?}: {why}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file cannot be read or written.
    #[error("using the file {}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate cannot be used.
    #[error("reading the certificates in {}: {why}", file.display())]
    Certificate {
        /// Where.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A token is none.
    #[error("reading token {number}: {why}")]
    Token {
        /// The line, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There is nobody to do it.
    #[error("finding who takes part: {0}")]
    People(String),
    /// The server refuses what the run needs.
    #[error("asking for {what}: {why}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Its answer.
        why: String,
    },
    /// Not everybody got a connection.
    #[error("connecting {name}: {why}")]
    NotConnected {
        /// A client.
        name: String,
        /// What it got instead.
        why: String,
    },
}
