//! What all connections of one scenario share: the clock, the counts, and when to stop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, sleep};

use crate::error::{Error, Result};
use crate::process::{self, Processes};
use crate::report::Latency;

/// The state of one scenario. Everything runs on one thread.
#[derive(Debug)]
pub(crate) struct Run {
    began: Instant,
    stop: Cell<bool>,
    /// Messages handed to sockets.
    pub(crate) sent: Cell<u64>,
    /// First arrivals at those they were meant for.
    pub(crate) delivered: Cell<u64>,
    /// First arrivals back at their sender.
    pub(crate) echoed: Cell<u64>,
    /// Acknowledged by the server.
    pub(crate) acked: Cell<u64>,
    /// When the last message arrived or was acknowledged, on this run's clock.
    last: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    failure: RefCell<Option<Error>>,
}

impl Run {
    /// A run whose clock starts now.
    pub(crate) fn start() -> Rc<Self> {
        let latency = Histogram::new_with_bounds(1, 600_000_000_000, 3);
        Rc::new(Self {
            began: Instant::now(),
            stop: Cell::new(false),
            sent: Cell::new(0),
            delivered: Cell::new(0),
            echoed: Cell::new(0),
            acked: Cell::new(0),
            last: Cell::new(0),
            latency: RefCell::new(latency.expect("the bounds are in order")),
            failure: RefCell::new(None),
        })
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Whether no more is to be sent.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.get()
    }

    /// Counts one delivery of a message sent at `sent`.
    pub(crate) fn deliver(&self, sent: u64, now: u64) {
        add(&self.delivered, 1);
        self.last.set(now);
        self.latency
            .borrow_mut()
            .saturating_record(now.saturating_sub(sent).max(1));
    }

    /// Counts one echo.
    pub(crate) fn echo(&self, now: u64) {
        add(&self.echoed, 1);
        self.last.set(now);
    }

    /// Counts one acknowledgement.
    pub(crate) fn ack(&self) {
        add(&self.acked, 1);
        self.last.set(self.now());
    }

    /// Messages sent and not acknowledged.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.sent.get().saturating_sub(self.acked.get())
    }

    /// Records one time that is not a message's, such as a connect.
    pub(crate) fn record(&self, nanoseconds: u64) {
        self.latency.borrow_mut().saturating_record(nanoseconds.max(1));
    }

    /// Keeps the first failure of any connection and ends the sending.
    pub(crate) fn fail(&self, error: Error) {
        self.stop.set(true);
        self.failure.borrow_mut().get_or_insert(error);
    }

    /// The latencies so far.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let latency = self.latency.borrow();
        (!latency.is_empty()).then(|| Latency::of(&latency))
    }

    fn progress(&self) -> u64 {
        self.delivered.get() + self.echoed.get() + self.acked.get()
    }

    /// Waits until `complete` or until nothing has moved for `patience`, without an end to the sending.
    pub(crate) async fn wait_for(&self, patience: Duration, complete: impl Fn(&Self) -> bool) -> Result<()> {
        let (mut seen, mut moved) = (self.progress(), Deadline::now());
        while !complete(self) && moved.elapsed() < patience {
            sleep(Duration::from_millis(1)).await;
            self.failed()?;
            if self.progress() != seen {
                (seen, moved) = (self.progress(), Deadline::now());
            }
        }
        Ok(())
    }

    fn failed(&self) -> Result<()> {
        self.failure.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Sends for `sending`, then waits until `complete` or until nothing has moved for `patience`.
    pub(crate) async fn supervise(
        &self,
        sending: Duration,
        patience: Duration,
        complete: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let end = Deadline::now() + sending;
        let (mut seen, mut moved) = (self.progress(), Deadline::now());
        loop {
            sleep(Duration::from_millis(5)).await;
            self.failed()?;
            let now = Deadline::now();
            if self.progress() != seen {
                (seen, moved) = (self.progress(), now);
            }
            self.stop.set(self.stop.get() || now >= end);
            let idle = now.duration_since(moved.max(end.min(now)));
            if self.stopped() && (complete(self) || idle >= patience) {
                return Ok(());
            }
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get() + count);
}

/// Resources used from its making to its end.
#[derive(Debug)]
pub(crate) struct Meter {
    processes: Processes,
    server: Option<Duration>,
    apart: BTreeMap<String, Duration>,
    counters: BTreeMap<String, f64>,
    own: Duration,
    began: Instant,
}

/// What a [`Meter`] read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// CPU time of the server's processes, if they are known.
    pub(crate) server: Option<Duration>,
    /// CPU time of those it stands on, by name.
    pub(crate) apart: BTreeMap<String, Duration>,
    /// By how much the counters grew.
    pub(crate) counters: BTreeMap<String, f64>,
    /// CPU time of the generator.
    pub(crate) own: Duration,
    pub(crate) elapsed: Duration,
}

impl Reading {
    /// What was used in this phase and the next together.
    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            server: self.server.zip(next.server).map(|(one, other)| one + other),
            apart: together(self.apart, next.apart, |one, other| one + other),
            counters: together(self.counters, next.counters, |one, other| one + other),
            own: self.own + next.own,
            elapsed: self.elapsed + next.elapsed,
        }
    }
}

/// Two maps of the same keys as one.
fn together<T: Default>(
    one: BTreeMap<String, T>,
    mut other: BTreeMap<String, T>,
    join: impl Fn(T, T) -> T,
) -> BTreeMap<String, T> {
    let both = one.into_iter().map(|(name, value)| {
        let joined = join(value, other.remove(&name).unwrap_or_default());
        (name, joined)
    });
    both.collect()
}

impl Meter {
    /// Starts measuring.
    pub(crate) fn start(processes: &Processes) -> Result<Self> {
        let (counters, apart) = (processes.counters()?, processes.cpu_apart()?);
        let (server, own) = (processes.cpu()?, process::own_cpu()?);
        Ok(Self {
            processes: processes.clone(),
            server,
            apart,
            counters,
            own,
            began: Instant::now(),
        })
    }

    /// What was used since the start.
    pub(crate) fn read(&self) -> Result<Reading> {
        let elapsed = self.began.elapsed();
        let server = self
            .processes
            .cpu()?
            .zip(self.server)
            .map(|(after, before)| after - before);
        let own = process::own_cpu()? - self.own;
        let (apart, counters) = (self.processes.cpu_apart()?, self.processes.counters()?);
        Ok(Reading {
            server,
            apart: together(apart, self.apart.clone(), Duration::saturating_sub),
            counters: together(counters, self.counters.clone(), |after, before| after - before),
            own,
            elapsed,
        })
    }

    /// What was used, with the time up to the run's last arrival: the waiting after it does not count.
    pub(crate) fn read_until_last(&self, run: &Run) -> Result<Reading> {
        let last = run.began + Duration::from_nanos(run.last.get());
        let elapsed = last
            .saturating_duration_since(self.began)
            .max(Duration::from_micros(1));
        Ok(Reading {
            elapsed,
            ..self.read()?
        })
    }
}

/// Runs jobs with at most `limit` at a time and gives their values in the order of the jobs.
pub(crate) async fn each<T: 'static, F>(limit: usize, jobs: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + 'static,
{
    let mut jobs = jobs.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while running.len() < limit.max(1) {
            let Some((index, job)) = jobs.next() else { break };
            running.spawn_local(async move { (index, job.await) });
        }
        let Some(finished) = running.join_next().await else {
            break;
        };
        let (index, value) = finished.map_err(|_| Error::Protocol("a connection's task ended early"))?;
        done.push((index, value?));
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn jobs_give_their_values_in_order_and_the_first_error_ends_them() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let jobs = (0..20u64).map(|job| async move {
                    sleep(Duration::from_millis(20 - job)).await;
                    Ok(job)
                });
                assert_eq!(each(7, jobs).await.unwrap(), (0..20).collect::<Vec<_>>());
                let jobs = (0..3).map(|_| async { Err::<(), _>(Error::Timeout("x")) });
                assert!(each(2, jobs).await.is_err());
            })
            .await;
    }

    #[tokio::test]
    async fn a_run_that_loses_messages_ends_when_nothing_moves() {
        let run = Run::start();
        run.sent.set(2);
        run.deliver(0, 5);
        let short = Duration::from_millis(20);
        let whole = |run: &Run| run.delivered.get() == run.sent.get();
        run.supervise(short, short, whole).await.unwrap();
        assert!(run.stopped());
        run.fail(Error::Timeout("x"));
        assert!(run.supervise(short, short, whole).await.is_err());
    }
}
