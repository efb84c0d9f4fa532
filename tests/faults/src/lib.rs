//! A cluster under the load of `verify`, to be broken: [`Trial`].
//!
//! Each test is one row of the failure table or of the fault matrix and begins with its name. It says what is done, what must
//! hold besides what `verify` proves (I1–I5, I7, I11), how long recovery may take (I10), and prints what it saw.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing step fails the test, and what a test saw belongs on its output"
)]

use std::fmt::Display;
use std::ops::Deref;
use std::time::{Duration, Instant};

use testkit::cluster::{Builder, Cluster};
use testkit::{DEADLINE, Longwire, eventually, within};
use verify::{Plan, Progress, Run, Target, Token, Verdict, dev_tokens};

/// Multiplies conversations and messages a second of [`plan`].
const LOAD: &str = "LONGWIRE_FAULTS_LOAD";
/// How long messages may take to come through where nothing says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two of every role and one server of NATS, four partitions: what two cores carry beside the load.
pub fn small() -> Builder {
    Cluster::builder().nats(1).partitions(4)
}

/// Conversations at work, with few absences of their own, so that what happens is the fault's doing.
///
/// # Panics
/// When `LONGWIRE_FAULTS_LOAD` is no number.
pub fn plan() -> Plan {
    let load: f64 = std::env::var(LOAD).map_or(1.0, |load| {
        load.parse().expect("LONGWIRE_FAULTS_LOAD is a number")
    });
    Plan {
        conversations: (6.0 * load).ceil() as usize,
        rate: 40.0 * load,
        absence_every: Duration::from_secs(30),
        absence: Duration::from_millis(500),
        long_absence: Duration::from_secs(4),
        settle: PATIENCE,
        ..Plan::default()
    }
}

/// A cluster and a run of `verify` against it, through its balancer.
#[derive(Debug)]
pub struct Trial {
    server: Longwire,
    run: Option<Run>,
}

impl Deref for Trial {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.server.cluster()
    }
}

impl Trial {
    /// Starts the cluster and the load, and waits until it flows.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(builder: Builder, plan: Plan) -> Self {
        let server = Longwire::from(builder.start().await);
        let target = target(&server);
        let tokens: Vec<Token> = dev_tokens(&target).await.unwrap();
        let run = Run::start(target, tokens, plan).await.unwrap();
        let trial = Self {
            server,
            run: Some(run),
        };
        trial.wait_for(100).await;
        trial
    }

    /// The cluster, for clients that are written for either shape.
    pub fn server(&self) -> &Longwire {
        &self.server
    }

    /// What has happened so far.
    ///
    /// # Panics
    /// After the verdict.
    pub fn progress(&self) -> Progress {
        self.run.as_ref().expect("the run goes on").progress()
    }

    /// Waits until so many more messages are acknowledged: how long it took.
    ///
    /// # Panics
    /// When they are not within a minute.
    pub async fn wait_for(&self, more: u64) -> Duration {
        let (began, target) = (Instant::now(), self.progress().acknowledged + more);
        let what = format!("{more} more messages are acknowledged");
        eventually(&what, PATIENCE, async || {
            (self.progress().acknowledged >= target).then_some(())
        })
        .await;
        began.elapsed()
    }

    /// Nothing is judged while the load goes on for a while.
    pub async fn go_on_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until something has recovered, and says how long it took.
    ///
    /// # Panics
    /// When it takes longer than its budget.
    pub async fn recovers<T>(
        &self,
        what: &str,
        budget: Duration,
        check: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        let began = Instant::now();
        let found = eventually(what, budget, check).await;
        println!("  {what}: after {} (budget {})", s(began.elapsed()), s(budget));
        found
    }

    /// Ends the load and asserts that everything holds, that whatever was sent was acknowledged, that no pause without an
    /// acknowledgement was longer than `pause`, and that no process of ours has panicked. Prints what it saw.
    ///
    /// # Panics
    /// When something of this is not so.
    pub async fn verdict(&mut self, row: &str, pause: Duration) -> Verdict {
        let run = self.run.take().expect("one verdict");
        let verdict = within("the verdict", 3 * PATIENCE, run.stop()).await;
        let figures = &verdict.figures;
        println!(
            "{row}: {} messages, longest pause {} (budget {}), longest reconnect {}, {} reconnects, {} resends, copies {} marked {} unmarked, \
             acknowledged in {:?} ms, delivered in {:?} ms, settled in {}",
            figures.acknowledged,
            s(ms(figures.longest_ack_pause_ms)),
            s(pause),
            s(ms(figures.longest_reconnect_ms)),
            figures.reconnects,
            figures.resends,
            figures.copies_marked,
            figures.copies_unmarked,
            figures.ack_ms,
            figures.delivery_ms,
            s(ms(figures.settled_ms)),
        );
        assert!(verdict.holds, "{verdict}");
        assert_eq!(figures.acknowledged, figures.sent, "{verdict}");
        assert!(ms(figures.longest_ack_pause_ms) <= pause, "{verdict}");
        let log = self.server.log();
        let panicked = log.lines().find(|line| line.contains("panicked"));
        assert_eq!(panicked, None, "no process of ours panics");
        verdict
    }
}

/// The cluster as `verify` is told of it: one address, the balancer's.
///
/// # Panics
/// When an address is none.
pub fn target(server: &Longwire) -> Target {
    let at = server.at();
    let (http, ws) = (format!("http://{}", at.http), format!("ws://{}/websocket", at.ws));
    Target::new(&[http], &[at.mqtt.to_string()], &[ws], None).unwrap()
}

/// Prints a measured figure beside its budget.
///
/// # Panics
/// When it is over.
#[track_caller]
pub fn within_budget(what: &str, took: Duration, budget: Duration) {
    println!("  {what}: {} (budget {})", s(took), s(budget));
    assert!(took <= budget, "{what} took {took:?}, and may take {budget:?}");
}

/// Waits as [`eventually`] does, for as long as a healthy cluster may take.
///
/// # Panics
/// When it takes longer.
pub async fn soon<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually(what, DEADLINE, check).await
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

fn s(time: Duration) -> impl Display {
    format!("{:.1} s", time.as_secs_f64())
}
