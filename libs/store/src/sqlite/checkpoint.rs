//! Checkpoints: moves committed pages from the write-ahead log into the database, beside the writer.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::StoreError;

/// How often the size of the log is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Ends the thread when dropped.
pub(super) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn start(path: &Path, conn: Connection, limit: u64) -> Result<Checkpointer, StoreError> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let (stop, stopped) = channel();
    let thread = std::thread::Builder::new()
        .name("store-checkpoint".into())
        .spawn(move || run(&conn, &PathBuf::from(wal), limit, &stopped))
        .map_err(|_| StoreError::Closed)?;
    Ok(Checkpointer {
        stop: Some(stop),
        thread: Some(thread),
    })
}

fn run(conn: &Connection, wal: &Path, limit: u64, stopped: &Receiver<()>) {
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let size = std::fs::metadata(wal).map_or(0, |m| m.len());
        if size < limit {
            continue;
        }
        // The passive one does nearly all the work and is in nobody's way. The second finishes while the writer waits
        // a moment, so that the log begins again from its start instead of growing under steady load.
        for mode in ["PASSIVE", "TRUNCATE"] {
            let taken = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
            if let Err(error) = taken {
                tracing::debug!(%error, mode, "a checkpoint was not taken");
            }
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Nothing depends on how it ended.
            let _panicked = thread.join();
        }
    }
}
