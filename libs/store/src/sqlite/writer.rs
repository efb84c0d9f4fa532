//! The one thread that writes. Jobs that wait together share a transaction and, when any of them asks for it, one fsync;
//! each stands behind a savepoint, so that a failing one takes no other with it.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use model::{OrgId, PartitionId, Position, TopicName};
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::apply::Appended;
use super::checkpoint::Checkpointer;
use super::mem::{Topic, TopicId};
use super::turns::{Rest, State};
use super::{Options, Shared, int, sql};
use crate::{Service, StoreError};

/// How a job is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Durable on return.
    Sync,
    /// Durable some time later, in order.
    Lazy,
    /// Lazy, in a transaction of its own: it appends messages.
    Log,
    /// Lazy; the whole tail is written to the index first.
    Indexed,
}

/// What memory learns when the transaction is committed.
pub(super) enum Change {
    Topic(OrgId, Topic),
    Thread(TopicId),
    Retained(TopicId, bool),
    ReceiptHead(TopicId, u64),
    Progress(Service, PartitionId, Position),
    Appended(Appended),
}

/// What a job works with.
pub(super) struct Ctx<'a> {
    pub conn: &'a Connection,
    pub shared: &'a Shared,
    pub changes: Vec<Change>,
    /// The id of the next message.
    pub next: i64,
}

impl Ctx<'_> {
    /// The number of a topic, which is entered when it is new.
    pub fn topic(&mut self, org: &str, name: &str, partition: PartitionId) -> Result<TopicId, StoreError> {
        if let Some(id) = self.shared.mem.read().topics.id(org, name) {
            return Ok(id);
        }
        let text = "INSERT INTO topics (org, topic, partition) VALUES (?1, ?2, ?3)
                    ON CONFLICT (org, topic) DO UPDATE SET partition = excluded.partition RETURNING id";
        let mut insert = self.conn.prepare_cached(text).map_err(sql("entering a topic"))?;
        let id = insert
            .query_row(params![org, name, partition.0], |r| r.get(0))
            .map_err(sql("entering a topic"))?;
        let topic = Topic::new(id, TopicName::trusted(name), partition);
        self.changes.push(Change::Topic(OrgId::new(org), topic));
        Ok(id)
    }

    /// Moves a service's progress, if it stands where the caller believes.
    pub fn advance(&mut self, service: Service, step: crate::Advance) -> Result<(), StoreError> {
        let stored = self.shared.mem.read().applied(service, step.partition);
        if stored != step.from {
            let (partition, assumed) = (step.partition, step.from);
            return Err(StoreError::Misplaced {
                partition,
                stored,
                assumed,
            });
        }
        let text = "INSERT INTO progress VALUES (?1, ?2, ?3)
                    ON CONFLICT (service, partition) DO UPDATE SET position = excluded.position";
        let mut update = self.conn.prepare_cached(text).map_err(sql("storing progress"))?;
        let row = params![service as i64, step.partition.0, int(step.to.0)];
        update.execute(row).map_err(sql("storing progress"))?;
        self.changes
            .push(Change::Progress(service, step.partition, step.to));
        Ok(())
    }
}

pub(super) trait Job: Send {
    fn mode(&self) -> Mode;
    /// Does the work; whether it succeeded.
    fn run(&mut self, ctx: &mut Ctx<'_>) -> bool;
    /// Answers: with what the work gave, or with why the transaction failed.
    fn finish(self: Box<Self>, failed: Option<StoreError>);
}

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
