//! Appends on their way to the writer.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use model::{FrameSeq, PartitionId};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::journal::{FrameId, JournalError};

/// Bytes that are written and synced together at most. A larger frame goes alone.
const BATCH: usize = 4 << 20;

/// A frame that waits for its place.
pub(super) struct Append {
    pub partition: PartitionId,
    /// The frame before it, if it takes no other place.
    pub follows: Option<FrameSeq>,
    pub id: FrameId,
    pub frame: Bytes,
    pub answer: oneshot::Sender<Result<FrameSeq, JournalError>>,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order of arrival.
    waiting: VecDeque<Append>,
    closed: bool,
}

/// What the writer is to do next.
pub(super) enum Work {
    Commit(Vec<Append>),
    /// Nothing came for a while.
    Idle,
    /// Closed, and everything is done.
    End,
}

impl Queue {
    /// Gives the append back when the queue is closed.
    pub fn push(&self, append: Append) -> Result<(), Append> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(append);
        }
        state.waiting.push_back(append);
        self.wake.notify_one();
        Ok(())
    }

    /// No more appends; what waits is still done.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// The writer is gone: what waits, if it ended early, gets no answer.
    pub fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
    }

    /// Everything that waits, up to the size of a batch; waits for something to come, but no longer than `patience`.
    pub fn take(&self, patience: Duration) -> Work {
        let mut state = self.state.lock();
        if state.waiting.is_empty() && !state.closed {
            self.wake.wait_for(&mut state, patience);
        }
        let mut bytes = 0;
        let fits = |append: &&Append| {
            bytes += append.frame.len();
            bytes <= BATCH
        };
        let count = state.waiting.iter().take_while(fits).count().max(1);
        match (state.waiting.is_empty(), state.closed) {
            (false, _) => {
                let count = count.min(state.waiting.len());
                Work::Commit(state.waiting.drain(..count).collect())
            }
            (true, true) => Work::End,
            (true, false) => Work::Idle,
        }
    }
}
