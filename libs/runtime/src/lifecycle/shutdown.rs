//! From the first signal to the exit code.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Stop, Tasks};
use crate::health::Health;

/// How long the tasks of a process have to end after a soft stop. Kubernetes kills after 30 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(25);

/// How long a task has to return after a hard stop before it is dropped.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Runs a process until it is told to stop or has nothing left to do, and stops it in order.
pub struct Shutdown {
    tasks: Tasks,
    grace: Duration,
    delay: Duration,
    health: Option<Health>,
    signals: mpsc::UnboundedReceiver<&'static str>,
    signalled: bool,
    handle: ShutdownHandle,
}

/// Signals a [`Shutdown`] from within the process, as SIGTERM does from outside.
#[derive(Clone, Debug)]
pub struct ShutdownHandle(mpsc::UnboundedSender<&'static str>);

impl ShutdownHandle {
    /// The first call stops softly, the second one hard.
    pub fn signal(&self) {
        self.send("handle");
    }

    fn send(&self, signal: &'static str) {
        // Nobody listens any more: the process has ended its tasks, which is what was wanted.
        let _ = self.0.send(signal);
    }
}

impl Shutdown {
    /// With this long for tasks to end after a soft stop.
    pub fn new(grace: Duration) -> Self {
        let (sender, signals) = mpsc::unbounded_channel();
        let handle = ShutdownHandle(sender);
        Self {
            tasks: Tasks::new(Stop::new()),
            grace,
            delay: Duration::ZERO,
            health: None,
            signals,
            signalled: false,
            handle,
        }
    }

    /// At the first signal makes `health` not ready, then goes on as before for `delay`, so that load balancers notice
    /// before anything is refused. The delay comes before the grace.
    #[must_use]
    pub fn unready_first(mut self, health: Health, delay: Duration) -> Self {
        self.health = Some(health);
        self.delay = delay;
        self
    }

    /// Where to spawn.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What the tasks are to obey.
    pub fn stop(&self) -> &Stop {
        self.tasks.stop()
    }

    /// To stop the process from within.
    pub fn handle(&self) -> ShutdownHandle {
        self.handle.clone()
    }

    /// Takes SIGTERM and SIGINT as signals from now on. Call it before anybody is told that the process is there: until
    /// then they kill it.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let handle = self.handle();
        // Ends with the process.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => handle.send("SIGTERM"),
                    _ = interrupt.recv() => handle.send("SIGINT"),
                }
            }
        });
        Ok(())
    }

    /// Runs until there is a signal, a task stops the process, or all tasks have ended; then stops. Spawn before: a
    /// process without tasks has nothing to do.
    ///
    /// Returns the exit code: 0 when all tasks ended within the grace and none failed that must not, else 1.
    pub async fn run(mut self) -> u8 {
        let tasks = self.tasks.clone();
        self.until_told(&tasks).await;
        tasks.stop().stop_softly();
        if let Some(health) = &self.health {
            health.set_draining();
        }
        let ended = self.within_grace(&tasks).await;
        tasks.stop().stop_hard();
        let returned = timeout(LAST_MOMENT, async {
            tasks.wait().await;
            tasks.wait_last().await;
        });
        if returned.await.is_err() {
            warn!(tasks = ?tasks.running(), "dropping tasks that do not return");
        }
        tasks.kill();
        let code = u8::from(!ended || tasks.has_failed());
        info!(code, "stopped");
        code
    }

    async fn until_told(&mut self, tasks: &Tasks) {
        tokio::select! {
            signal = self.signals.recv() => {
                self.signalled = true;
                info!(signal, delay = ?self.delay, "leaving");
            }
            () = tasks.stop().soft().cancelled() => return,
            () = tasks.wait() => return,
        }
        if let Some(health) = &self.health {
            health.set_draining();
        }
        let delay = self.delay;
        let end_of_delay = async {
            tokio::select! {
                () = sleep(delay) => {}
                () = tasks.stop().soft().cancelled() => {}
                () = tasks.wait() => {}
            }
        };
        if self.second_signal_before(end_of_delay).await {
            tasks.stop().stop_hard();
        }
    }

    /// Whether all tasks ended before the grace was over and without a hard stop.
    async fn within_grace(&mut self, tasks: &Tasks) -> bool {
        let grace = self.grace;
        let out_of_time = async {
            tokio::select! {
                () = sleep(grace) => warn!(?grace, tasks = ?tasks.running(), "the grace period is over"),
                () = tasks.stop().hard().cancelled() => {}
            }
        };
        tokio::select! {
            biased;
            () = tasks.wait() => !tasks.stop().hard().is_cancelled(),
            () = out_of_time => false,
            true = self.second_signal_before(std::future::pending()) => false,
        }
    }

    /// A first signal after a task has stopped the process is no impatience: it says what is happening anyway.
    async fn second_signal_before(&mut self, end: impl Future<Output = ()>) -> bool {
        tokio::pin!(end);
        loop {
            tokio::select! {
                signal = self.signals.recv() => {
                    if std::mem::replace(&mut self.signalled, true) {
                        warn!(signal, "second signal: stopping at once");
                        return true;
                    }
                }
                () = &mut end => return false,
            }
        }
    }
}
