//! The one thread that writes. Jobs that wait together share a transaction and, when any of them asks for it, one fsync;
//! each stands behind a savepoint, so that a failing one takes no other with it.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::checkpoint::Checkpointer;
use super::job::{Ctx, Job, Mode};
use super::shared::{Options, Shared};
use super::turns::{Rest, State};
use crate::StoreError;

struct Call<T, F> {
    mode: Mode,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&mut Ctx<'_>) -> Result<T, StoreError> + Send,
{
    fn mode(&self) -> Mode {
        self.mode
    }

    fn run(&mut self, ctx: &mut Ctx<'_>) -> bool {
        self.result = self.work.take().map(|work| work(ctx));
        matches!(self.result, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, failed: Option<StoreError>) {
        let answer = match (self.result, failed) {
            (Some(Err(own)), _) => Err(own),
            (_, Some(failed)) => Err(failed),
            (Some(ok), None) => ok,
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that has gone does not want to know.
        let _gone = self.reply.send(answer);
    }
}

/// The way to the writer thread. Dropping it lets the thread finish what is queued and waits for it.
pub(super) struct Writer {
    queue: Option<Mutex<Sender<Box<dyn Job>>>>,
    thread: Option<JoinHandle<()>>,
    _checkpointer: Checkpointer,
}

impl Writer {
    pub fn start(
        conn: Connection,
        shared: Arc<Shared>,
        options: &Options,
        next: i64,
        checkpointer: Checkpointer,
    ) -> Result<Self, StoreError> {
        let (queue, jobs) = channel();
        let tail = options.tail.max(1);
        let mut state = State {
            conn,
            shared,
            jobs,
            next,
            tail,
            rest: Rest::default(),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || state.run())
            .map_err(|_| StoreError::Closed)?;
        Ok(Self {
            queue: Some(Mutex::new(queue)),
            thread: Some(thread),
            _checkpointer: checkpointer,
        })
    }

    pub async fn call<T, F>(&self, mode: Mode, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ctx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call {
            mode,
            work: Some(work),
            result: None,
            reply,
        });
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.lock().send(job).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It ends with the queue; a panic in it has already answered every caller with `Closed`.
            let _panicked = thread.join();
        }
    }
}
