//! A process that can be stopped, killed or cut off. Everything it does to the outside, and hears from there, passes here.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Dead,
}

/// One process.
pub struct Process {
    pub number: u64,
    state: Mutex<State>,
    cut: AtomicBool,
    /// From the log and the leases only.
    without_log: AtomicBool,
    changed: Notify,
}

impl Process {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            state: Mutex::new(State::Running),
            cut: AtomicBool::new(false),
            without_log: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Goes on when the process runs; never, when it is dead.
    pub async fn pass(&self) {
        loop {
            let changed = self.changed.notified();
            let state = *self.state.lock();
            match state {
                State::Running => return,
                State::Stopped => {}
                State::Dead => return std::future::pending().await,
            }
            changed.await;
        }
    }

    /// As [`Self::pass`], but a process that cannot reach the log waits until it can.
    pub async fn connected(&self) {
        loop {
            self.pass().await;
            let changed = self.changed.notified();
            if !self.is_without_log() {
                return;
            }
            changed.await;
        }
    }

    fn set(&self, state: State) {
        let mut now = self.state.lock();
        if *now != State::Dead {
            *now = state;
        }
        drop(now);
        self.changed.notify_waiters();
    }

    pub fn stop(&self) {
        self.set(State::Stopped);
    }

    pub fn go_on(&self) {
        self.set(State::Running);
    }

    pub fn kill(&self) {
        self.set(State::Dead);
    }

    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Cuts it off from the log and the leases, while edges go on reaching it.
    pub fn cut_log(&self, cut: bool) {
        self.without_log.store(cut, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub fn is_dead(&self) -> bool {
        *self.state.lock() == State::Dead
    }

    pub fn is_stopped(&self) -> bool {
        *self.state.lock() == State::Stopped
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub fn is_without_log(&self) -> bool {
        self.is_cut() || self.without_log.load(Ordering::Relaxed)
    }
}
