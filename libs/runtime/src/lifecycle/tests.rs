use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use crate::health::Health;

const GRACE: Duration = Duration::from_secs(25);

/// Ends `after` the soft stop, or at the hard one.
async fn drains(stop: Stop, after: Duration) {
    stop.soft().cancelled().await;
    tokio::select! {
        () = sleep(after) => {}
        () = stop.hard().cancelled() => {}
    }
}

async fn panics() {
    panic!("for the test");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_end_within_the_grace_give_exit_code_0() {
    let shutdown = Shutdown::new(GRACE);
    shutdown.tasks().spawn(
        "edge",
        OnError::StopProcess,
        drains(shutdown.stop().clone(), Duration::from_secs(10)),
    );
    shutdown.handle().signal();
    let start = Instant::now();
    assert_eq!(shutdown.run().await, 0);
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_hard_stop_comes_when_the_grace_is_over_and_gives_exit_code_1() {
    let shutdown = Shutdown::new(GRACE);
    shutdown.tasks().spawn(
        "edge",
        OnError::StopProcess,
        drains(shutdown.stop().clone(), Duration::from_secs(60)),
    );
    shutdown.handle().signal();
    let start = Instant::now();
    assert_eq!(shutdown.run().await, 1);
    assert_eq!(start.elapsed(), GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_stops_at_once() {
    let shutdown = Shutdown::new(GRACE);
    shutdown.tasks().spawn(
        "edge",
        OnError::StopProcess,
        drains(shutdown.stop().clone(), Duration::from_secs(20)),
    );
    let handle = shutdown.handle();
    let start = Instant::now();
    let signals = async {
        handle.signal();
        sleep(Duration::from_secs(3)).await;
        handle.signal();
    };
    let (code, ()) = tokio::join!(shutdown.run(), signals);
    assert_eq!((code, start.elapsed()), (1, Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hears_nothing_is_dropped_a_moment_after_the_hard_stop() {
    let shutdown = Shutdown::new(GRACE);
    let tasks = shutdown.tasks().clone();
    tasks.spawn("deaf", OnError::Log, std::future::pending::<()>());
    shutdown.handle().signal();
    let start = Instant::now();
    assert_eq!(shutdown.run().await, 1);
    assert_eq!(start.elapsed(), GRACE + Duration::from_secs(1));
    tasks.wait().await;
    assert!(tasks.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn readiness_goes_before_anything_stops() {
    let health = Health::new();
    health.set_started();
    let delay = Duration::from_secs(5);
    let shutdown = Shutdown::new(GRACE).unready_first(health.clone(), delay);
    let stop = shutdown.stop().clone();
    shutdown
        .tasks()
        .spawn("edge", OnError::StopProcess, drains(stop.clone(), Duration::ZERO));
    let handle = shutdown.handle();
    let start = Instant::now();
    let watch = async {
        handle.signal();
        sleep(Duration::from_secs(1)).await;
        assert!(!health.is_ready());
        assert!(!stop.soft().is_cancelled());
        stop.soft().cancelled().await;
        assert_eq!(start.elapsed(), delay);
    };
    let (code, ()) = tokio::join!(shutdown.run(), watch);
    assert_eq!(code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_during_the_delay_skips_it() {
    let shutdown = Shutdown::new(GRACE).unready_first(Health::new(), Duration::from_secs(5));
    shutdown.tasks().spawn(
        "edge",
        OnError::StopProcess,
        drains(shutdown.stop().clone(), Duration::from_secs(9)),
    );
    shutdown.handle().signal();
    shutdown.handle().signal();
    let start = Instant::now();
    assert_eq!((shutdown.run().await, start.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_stops_the_process_if_it_must_not_fail() {
    let shutdown = Shutdown::new(GRACE);
    let stop = shutdown.stop().clone();
    shutdown
        .tasks()
        .spawn("edge", OnError::StopProcess, drains(stop.clone(), Duration::ZERO));
    let failing = async { Err::<(), _>(io::Error::other("lost the lease")) };
    shutdown.tasks().spawn("routing", OnError::StopProcess, failing);
    assert_eq!(shutdown.run().await, 1);
    assert!(stop.soft().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_a_failure_stops_the_process_does_not_cut_the_grace_short() {
    let shutdown = Shutdown::new(GRACE);
    let (tasks, handle) = (shutdown.tasks().clone(), shutdown.handle());
    tasks.spawn(
        "edge",
        OnError::StopProcess,
        drains(tasks.stop().clone(), Duration::from_secs(10)),
    );
    tasks.spawn("routing", OnError::StopProcess, async {
        Err::<(), _>(io::Error::other("lost the lease"))
    });
    let start = Instant::now();
    let signals = async {
        sleep(Duration::from_secs(1)).await;
        handle.signal();
    };
    let (code, ()) = tokio::join!(shutdown.run(), signals);
    assert_eq!((code, start.elapsed()), (1, Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_during_the_delay_does_not_wait_for_it() {
    let shutdown = Shutdown::new(GRACE).unready_first(Health::new(), Duration::from_secs(5));
    shutdown
        .tasks()
        .spawn("job", OnError::StopProcess, sleep(Duration::from_secs(2)));
    shutdown.handle().signal();
    let start = Instant::now();
    assert_eq!(
        (shutdown.run().await, start.elapsed()),
        (0, Duration::from_secs(2))
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_counts_as_a_failure() {
    let shutdown = Shutdown::new(GRACE);
    shutdown.tasks().spawn(
        "edge",
        OnError::StopProcess,
        drains(shutdown.stop().clone(), Duration::ZERO),
    );
    shutdown.tasks().spawn("routing", OnError::StopProcess, panics());
    assert_eq!(shutdown.run().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_only_logged_leaves_the_others_alone() {
    let shutdown = Shutdown::new(GRACE);
    let tasks = shutdown.tasks().clone();
    tasks.spawn("connection", OnError::Log, async {
        Err::<(), _>(io::Error::other("reset"))
    });
    tasks.spawn("another", OnError::Log, panics());
    tasks.spawn(
        "edge",
        OnError::StopProcess,
        drains(tasks.stop().clone(), Duration::ZERO),
    );
    let handle = shutdown.handle();
    let later = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(tasks.running(), ["edge"]);
        assert!(!tasks.stop().soft().is_cancelled());
        handle.signal();
    };
    let (code, ()) = tokio::join!(shutdown.run(), later);
    assert_eq!(code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_tasks_have_all_ended_ends_and_the_last_ones_with_it() {
    let shutdown = Shutdown::new(GRACE);
    let hard = shutdown.stop().hard().clone();
    shutdown
        .tasks()
        .spawn_last("ops", OnError::Log, async move { hard.cancelled().await });
    shutdown
        .tasks()
        .spawn("job", OnError::StopProcess, sleep(Duration::from_secs(2)));
    let start = Instant::now();
    assert_eq!(
        (shutdown.run().await, start.elapsed()),
        (0, Duration::from_secs(2))
    );
}

#[tokio::test]
async fn sigterm_stops_softly_and_sigint_after_it_hard() {
    let shutdown = Shutdown::new(GRACE);
    let stop = shutdown.stop().clone();
    shutdown
        .tasks()
        .spawn("edge", OnError::StopProcess, drains(stop.clone(), GRACE));
    let kill = |signal: &str| {
        let pid = std::process::id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    shutdown.listen().unwrap();
    let run = shutdown.run();
    let signals = async {
        kill("-TERM");
        stop.soft().cancelled().await;
        assert!(!stop.hard().is_cancelled());
        kill("-INT");
    };
    let (code, ()) = tokio::join!(biased; run, signals);
    assert_eq!(code, 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_hears_its_parent_and_can_be_stopped_alone() {
    let parent = Stop::new();
    let (one, other) = (parent.child(), parent.child());
    one.stop_hard();
    assert!(one.soft().is_cancelled() && !parent.soft().is_cancelled() && !other.soft().is_cancelled());
    parent.stop_softly();
    assert!(other.soft().is_cancelled() && !other.hard().is_cancelled());
}

#[tokio::test]
async fn killed_tasks_run_nothing_but_their_destructors() {
    let tasks = Tasks::new(Stop::new());
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    tasks.spawn("edge", OnError::StopProcess, async move {
        std::future::pending::<()>().await;
        drop(sender);
    });
    tasks.kill();
    assert!(receiver.await.is_err());
    tasks.spawn("too late", OnError::StopProcess, std::future::pending::<()>());
    tasks.wait().await;
    assert!(tasks.running().is_empty());
    assert!(!tasks.has_failed() && !tasks.stop().soft().is_cancelled());
}
