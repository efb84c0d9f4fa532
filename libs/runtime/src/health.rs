//! What a service depends on, and whether it may get traffic.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// Whether this process may get traffic, and why not. Clones are the same.
///
/// Ready means: started, not draining, and no required check failing. Nothing here makes a process *dead*: a
/// dependency's outage is not cured by restarting those who depend on it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    started: AtomicBool,
    draining: AtomicBool,
    checks: Mutex<Vec<CheckReport>>,
}

impl Health {
    /// Not started, nothing to check.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a dependency without which this process must not get traffic. It fails until it has first been found well.
    ///
    /// Names are unique: asking for the same one again gives a handle to the same check.
    pub fn require(&self, name: impl Into<String>) -> Check {
        self.check(name.into(), true, false)
    }

    /// Adds a dependency that has to be found well before this process gets its first traffic, and without which it goes
    /// on afterwards.
    pub fn require_at_first(&self, name: impl Into<String>) -> Check {
        self.check(name.into(), true, true)
    }

    /// Adds something an operator should see that is no reason to refuse traffic, as that storage is not durable.
    pub fn advise(&self, name: impl Into<String>) -> Check {
        self.check(name.into(), false, false)
    }

    fn check(&self, name: String, required: bool, at_first: bool) -> Check {
        let mut checks = self.0.checks.lock();
        if !checks.iter().any(|check| check.name == name) {
            let outcome = Outcome::Failing("not checked yet".to_owned());
            checks.push(CheckReport {
                name: name.clone(),
                required,
                at_first,
                outcome,
            });
        }
        Check {
            health: self.clone(),
            name,
        }
    }

    /// Everything is bound and running.
    pub fn set_started(&self) {
        self.0.started.store(true, Ordering::Release);
    }

    /// Leaving: no new traffic, for good.
    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether [`Health::set_draining`] was called.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Whether this process may get traffic.
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }

    /// Everything, as of now.
    pub fn report(&self) -> Report {
        let started = self.0.started.load(Ordering::Acquire);
        let draining = self.is_draining();
        let checks = self.0.checks.lock().clone();
        let well = checks
            .iter()
            .all(|check| !check.required || check.outcome == Outcome::Ok);
        Report {
            ready: started && !draining && well,
            started,
            draining,
            checks,
        }
    }
}

/// Reports on one dependency. Whoever talks to it anyway holds this: there is no polling here.
#[derive(Clone, Debug)]
pub struct Check {
    health: Health,
    name: String,
}

impl Check {
    /// It is well.
    pub fn ok(&self) {
        self.set(Outcome::Ok);
    }

    /// It is not, and why: for operators, so without secrets.
    pub fn fail(&self, reason: impl fmt::Display) {
        self.set(Outcome::Failing(reason.to_string()));
    }

    /// Either, as a result says.
    pub fn set_result<T, E: fmt::Display>(&self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.ok(),
            Err(error) => self.fail(error),
        }
    }

    /// A change is logged once, not at each report of it.
    fn set(&self, outcome: Outcome) {
        let mut checks = self.health.0.checks.lock();
        let Some(check) = checks.iter_mut().find(|check| check.name == self.name) else {
            return;
        };
        match (&check.outcome, &outcome) {
            (Outcome::Failing(_), Outcome::Ok) => tracing::info!(check = self.name, "check passes"),
            (Outcome::Ok, Outcome::Failing(reason)) => {
                tracing::warn!(check = self.name, reason, "check fails");
            }
            _ => {}
        }
        check.required &= !(check.at_first && outcome == Outcome::Ok);
        check.outcome = outcome;
    }
}

/// The state of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether it may get traffic.
    pub ready: bool,
    /// Whether everything is bound and running.
    pub started: bool,
    /// Whether it is leaving.
    pub draining: bool,
    /// Every check, in the order of registration.
    pub checks: Vec<CheckReport>,
}

/// The state of one dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Of the dependency.
    pub name: String,
    /// Whether the process is not ready without it.
    pub required: bool,
    /// Whether that ends when it is first found well.
    #[serde(skip)]
    at_first: bool,
    /// How it is.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "reason", rename_all = "lowercase")]
pub enum Outcome {
    /// It is well.
    Ok,
    /// It is not, and why.
    Failing(String),
}

impl Report {
    /// Plain text, one line per thing: only what is wrong, or with `verbose` everything.
    pub fn to_text(&self, verbose: bool) -> String {
        let mut text = String::from(if self.ready { "ready\n" } else { "not ready\n" });
        if !self.started {
            text.push_str("[failing] started: not everything is running yet\n");
        }
        if self.draining {
            text.push_str("[failing] draining: this process is leaving\n");
        }
        for CheckReport {
            name,
            required,
            outcome,
            ..
        } in &self.checks
        {
            match outcome {
                Outcome::Ok if verbose => text.push_str(&format!("[ok] {name}\n")),
                Outcome::Ok => {}
                Outcome::Failing(reason) if *required => {
                    text.push_str(&format!("[failing] {name}: {reason}\n"))
                }
                Outcome::Failing(reason) => text.push_str(&format!("[warning] {name}: {reason}\n")),
            }
        }
        text
    }

    /// The same without the checks that pass.
    #[must_use]
    pub fn only_failing(mut self) -> Self {
        self.checks.retain(|check| check.outcome != Outcome::Ok);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_started_well_and_not_draining() {
        let health = Health::new();
        let journal = health.require("journal");
        assert!(!health.is_ready());
        health.set_started();
        assert!(!health.is_ready(), "a check that never ran is not a passed one");
        journal.ok();
        assert!(health.is_ready());
        health.require("journal").fail("no quorum");
        assert_eq!(
            health.report().to_text(false),
            "not ready\n[failing] journal: no quorum\n"
        );
        journal.ok();
        health.set_draining();
        assert!(!health.is_ready());
    }

    #[test]
    fn what_is_required_at_first_may_fail_later() {
        let health = Health::new();
        health.set_started();
        let persistence = health.require_at_first("persistence");
        persistence.fail("connection refused");
        assert!(!health.is_ready());
        persistence.ok();
        persistence.fail("connection refused");
        assert!(health.is_ready());
        assert_eq!(
            health.report().to_text(false),
            "ready\n[warning] persistence: connection refused\n"
        );
    }

    #[test]
    fn advice_is_shown_but_does_not_refuse_traffic() {
        let health = Health::new();
        health.set_started();
        health.advise("durability").fail("sync_interval is 2m");
        assert!(health.is_ready());
        assert_eq!(
            health.report().to_text(true),
            "ready\n[warning] durability: sync_interval is 2m\n"
        );
    }
}
