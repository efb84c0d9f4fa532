use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// How many partitions there are. Fixed when the log is created. Default 4.
    pub partitions: u16,
    /// Bytes after which a new segment file begins; the unit of trimming, and what recovery holds in memory at a time.
    /// Default 64 MiB, at most 1 GiB.
    pub segment_size: u64,
    /// How long a frame stays at least, even if it is trimmed. Default one hour.
    pub retention: Duration,
    /// The largest frame in bytes. Default 8 MiB, at most 256 MiB.
    pub max_frame: usize,
    /// Bytes of free disk space that appends leave to others (the database on the same disk, the operator). Default 32 MiB.
    pub reserve: u64,
    /// Bytes of recent frames, of all partitions together, that are served from memory. Default 32 MiB.
    pub memory: usize,
    /// How long a reader that waits may sleep on after a frame is durable, so that it is woken once for several. Bounded also in
    /// frames and bytes. Zero tells it at once. Default 50 ms.
    pub reader_delay: Duration,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            partitions: 4,
            segment_size: 64 << 20,
            retention: Duration::from_secs(3600),
            max_frame: 8 << 20,
            reserve: 32 << 20,
            memory: 32 << 20,
            reader_delay: Duration::from_millis(50),
        }
    }
}

impl JournalConfig {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let refuse = |key, allowed| Err(OpenError::Config { key, allowed });
        match self {
            c if c.partitions == 0 => refuse("partitions", "1 to 65535"),
            c if c.segment_size == 0 || c.segment_size > 1 << 30 => refuse("segment_size", "1 B to 1 GiB"),
            c if c.max_frame == 0 || c.max_frame > 256 << 20 => refuse("max_frame", "1 B to 256 MiB"),
            _ => Ok(()),
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A setting is outside of what the format allows.
    #[error("opening the journal: {key} must be {allowed}")]
    Config {
        /// The field of [`JournalConfig`].
        key: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
    /// Another process has it open.
    #[error("opening the journal: another process uses {}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The log was created with another number of partitions.
    #[error(
        "opening the journal in {}: it has {stored} partitions and `journal.partitions` is {configured}: set it to {stored}, or start \
         with another data folder (--data)",
        dir.display()
    )]
    Partitions {
        /// The directory.
        dir: PathBuf,
        /// How many it was created with.
        stored: u16,
        /// How many are asked for.
        configured: u16,
    },
    /// The log was written by an earlier version of Longwire, in a format that is no longer read. Nothing was changed.
    #[error(
        "opening the journal in {}: it has format {found}, and this version of Longwire reads format {known} alone; there is no \
         conversion: delete the data folder, or start with another (--data)",
        dir.display()
    )]
    Format {
        /// The directory.
        dir: PathBuf,
        /// In which it was written.
        found: u8,
        /// The one that is read.
        known: u8,
    },
    /// Frames that were acknowledged are damaged or missing. Nothing was changed; it takes a human to decide.
    #[error("opening the journal: it is damaged in {place}: {what}")]
    Corrupt {
        /// File and offset.
        place: String,
        /// What does not fit.
        what: String,
    },
    /// The file system refused.
    #[error("opening the journal: {doing} {}", path.display())]
    Io {
        /// `reading`, `creating`, …
        doing: &'static str,
        /// File or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`: what was being done to which path.
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}
