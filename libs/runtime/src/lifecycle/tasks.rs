//! Tasks that are waited for, and what to do when one fails.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::Stop;

/// What becomes of the process when a task fails: when it returns an error, or panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It cannot do its work any more: stop softly, exit code 1.
    StopProcess,
    /// The failure concerns that task alone, like one connection: it is logged.
    Log,
}

/// An error that ends a task.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a task may end with: nothing, or a result.
pub trait Outcome: Send + 'static {
    /// The failure, if it is one.
    fn failure(self) -> Option<Failure>;
}

impl Outcome for () {
    fn failure(self) -> Option<Failure> {
        None
    }
}

impl<E: Into<Failure> + Send + 'static> Outcome for Result<(), E> {
    fn failure(self) -> Option<Failure> {
        self.err().map(Into::into)
    }
}

/// Spawns the tasks of one process (or of one node in a test) and waits for them. Clones are the same set.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    stop: Stop,
    main: TaskTracker,
    last: TaskTracker,
    failed: AtomicBool,
    next_id: AtomicU64,
    running: Mutex<Running>,
}

/// The tasks that have not ended. Killing goes by their abort handles: a token that every connection polls at every
/// wake-up would be one lock for all of them.
#[derive(Default)]
struct Running {
    killed: bool,
    tasks: BTreeMap<u64, RunningTask>,
}

struct RunningTask {
    name: Cow<'static, str>,
    /// `None` between its registration and its spawning.
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// An empty set whose [`OnError::StopProcess`] tasks use `stop`.
    pub fn new(stop: Stop) -> Self {
        Self(Arc::new(Inner {
            stop,
            main: TaskTracker::new(),
            last: TaskTracker::new(),
            failed: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
            running: Mutex::default(),
        }))
    }

    /// The request to stop that all tasks here are to obey.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Runs `future`; the process waits for it when it stops. `name` is for the log.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, on_error: OnError, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        self.spawn_in(&self.0.main, name.into(), on_error, future);
    }

    /// Runs `future`, which is to end last: when all others have, the *hard* stop tells it so. For what must serve until
    /// then, like the operations listener.
    pub fn spawn_last<F>(&self, name: impl Into<Cow<'static, str>>, on_error: OnError, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        self.spawn_in(&self.0.last, name.into(), on_error, future);
    }

    /// Drops every task where it stands, as a crash would, without telling it. Also for tests of crashes.
    ///
    /// A task is dropped at its next `await`, one that is spawned later before its first; what they spawned elsewhere
    /// goes on.
    pub fn kill(&self) {
        let mut running = self.0.running.lock();
        running.killed = true;
        let handles: Vec<_> = running
            .tasks
            .values()
            .filter_map(|task| task.abort.clone())
            .collect();
        drop(running);
        for handle in handles {
            handle.abort();
        }
    }

    /// Whether a task failed whose policy is [`OnError::StopProcess`].
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// The names of the tasks that have not ended.
    pub fn running(&self) -> Vec<String> {
        self.0
            .running
            .lock()
            .tasks
            .values()
            .map(|task| task.name.to_string())
            .collect()
    }

    /// Waits until all tasks of [`Tasks::spawn`] have ended.
    pub async fn wait(&self) {
        self.0.main.close();
        self.0.main.wait().await;
    }

    /// Waits until those of [`Tasks::spawn_last`] have ended.
    pub(super) async fn wait_last(&self) {
        self.0.last.close();
        self.0.last.wait().await;
    }

    fn spawn_in<F>(&self, tracker: &TaskTracker, name: Cow<'static, str>, on_error: OnError, future: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let entry = Entry::new(self.0.clone(), name.clone());
        let id = entry.id;
        let handle = tracker
            .spawn(guarded(entry, name, on_error, future))
            .abort_handle();
        let mut running = self.0.running.lock();
        let killed = running.killed;
        match running.tasks.get_mut(&id) {
            Some(task) if !killed => task.abort = Some(handle),
            Some(_) => {
                drop(running);
                handle.abort();
            }
            // It has ended already.
            None => {}
        }
    }
}

/// `future`, and what its end means.
async fn guarded<F>(entry: Entry, name: Cow<'static, str>, on_error: OnError, future: F)
where
    F: Future<Output: Outcome> + Send + 'static,
{
    let failure = match AssertUnwindSafe(future).catch_unwind().await {
        Ok(outcome) => outcome.failure(),
        Err(panic) => Some(Failure::from(format!("panicked: {}", panic_text(&*panic)))),
    };
    match failure {
        None => debug!(task = %name, "task ended"),
        Some(failure) => entry.inner.handle(&name, on_error, &*failure),
    }
}

impl Inner {
    fn handle(&self, name: &str, on_error: OnError, failure: &(dyn std::error::Error + 'static)) {
        match on_error {
            OnError::StopProcess => {
                error!(task = name, "task failed, stopping: {}", Chain(failure));
                self.failed.store(true, Ordering::Release);
                self.stop.stop_softly();
            }
            OnError::Log => warn!(task = name, "task failed: {}", Chain(failure)),
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}

/// Keeps a task's name among the running ones until it ends or is dropped.
struct Entry {
    inner: Arc<Inner>,
    id: u64,
}

impl Entry {
    fn new(inner: Arc<Inner>, name: Cow<'static, str>) -> Self {
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        inner
            .running
            .lock()
            .tasks
            .insert(id, RunningTask { name, abort: None });
        Self { inner, id }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.inner.running.lock().tasks.remove(&self.id);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

/// An error with its causes: our texts do not repeat them.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
