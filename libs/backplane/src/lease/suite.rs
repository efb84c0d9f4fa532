//! What every lease store promises, as tests. [`lease_suite!`](crate::lease_suite) makes them of an implementation.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Lease, LeaseError, Leases};

/// Makes one test of each promise: `lease_suite!(tokio::test, make)`, where `make` is an async function that returns an
/// `Arc<dyn Leases>` of its own. Run it with `start_paused` where the clock of the runtime decides.
#[macro_export]
macro_rules! lease_suite {
    ($attr:meta, $make:expr) => {
        $crate::suite_tests!(lease, ($attr), ($make),
            a_lease_has_one_holder
            the_holder_gets_its_lease_again_with_the_same_epoch
            a_renewed_lease_outlives_its_first_term
            a_lease_that_ran_out_goes_to_the_next_with_a_higher_epoch
            a_holder_that_comes_back_late_has_lost_its_lease
            a_released_lease_is_free_at_once
            releasing_a_lost_lease_disturbs_nobody
            of_many_contenders_one_wins
            leases_of_different_names_do_not_concern_each_other
            epochs_grow_at_every_change_of_holder
        );
    };
}

/// Long enough that no store takes it for over while a test runs.
const LONG: Duration = Duration::from_secs(60);
/// Short enough to wait for its end, long enough to renew it in time.
const SHORT: Duration = Duration::from_secs(2);

/// Waits until the lease can be had.
async fn acquire_when_free(leases: &dyn Leases, name: &str, holder: &str) -> Lease {
    let deadline = Instant::now() + LONG;
    loop {
        match leases.acquire(name, holder, LONG).await {
            Ok(lease) => return lease,
            Err(LeaseError::Held { .. }) if Instant::now() < deadline => {
                sleep(Duration::from_millis(20)).await
            }
            Err(error) => panic!("{name} was not to be had: {error}"),
        }
    }
}

/// [`Leases::acquire`].
pub async fn a_lease_has_one_holder(leases: Arc<dyn Leases>) {
    assert_eq!(leases.holder("l.one").await.unwrap(), None);
    let lease = leases.acquire("l.one", "a", LONG).await.unwrap();
    assert_eq!((&*lease.name, &*lease.holder), ("l.one", "a"));
    let refused = leases.acquire("l.one", "b", LONG).await;
    assert!(
        matches!(refused, Err(LeaseError::Held { name, holder }) if name == "l.one" && holder == "a"),
        "the refusal names the holder"
    );
    assert_eq!(leases.holder("l.one").await.unwrap(), Some(lease));
}

/// [`Leases::acquire`].
pub async fn the_holder_gets_its_lease_again_with_the_same_epoch(leases: Arc<dyn Leases>) {
    let lease = leases.acquire("l.again", "a", LONG).await.unwrap();
    assert_eq!(leases.acquire("l.again", "a", LONG).await.unwrap(), lease);
}

/// [`Leases::renew`].
pub async fn a_renewed_lease_outlives_its_first_term(leases: Arc<dyn Leases>) {
    let lease = leases.acquire("l.renew", "a", SHORT).await.unwrap();
    let end = Instant::now() + 3 * SHORT;
    while Instant::now() < end {
        leases.renew(&lease, SHORT).await.unwrap();
        assert!(leases.acquire("l.renew", "b", SHORT).await.is_err());
        sleep(SHORT / 10).await;
    }
    assert_eq!(leases.holder("l.renew").await.unwrap(), Some(lease));
}

/// [`Lease::epoch`].
pub async fn a_lease_that_ran_out_goes_to_the_next_with_a_higher_epoch(leases: Arc<dyn Leases>) {
    let old = leases.acquire("l.out", "a", SHORT).await.unwrap();
    let new = acquire_when_free(&*leases, "l.out", "b").await;
    assert!(new.epoch > old.epoch);
    assert!(matches!(leases.renew(&old, LONG).await, Err(LeaseError::Lost(name)) if name == "l.out"));
    assert_eq!(leases.holder("l.out").await.unwrap(), Some(new));
}

/// [`Leases::renew`]: a lease that ran out is lost, even if nobody else has it.
pub async fn a_holder_that_comes_back_late_has_lost_its_lease(leases: Arc<dyn Leases>) {
    let old = leases.acquire("l.late", "a", SHORT).await.unwrap();
    let deadline = Instant::now() + LONG;
    while leases.holder("l.late").await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "the lease never runs out");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(leases.renew(&old, LONG).await, Err(LeaseError::Lost(_))));
    let again = leases.acquire("l.late", "a", LONG).await.unwrap();
    assert!(again.epoch > old.epoch);
}

/// [`Leases::release`].
pub async fn a_released_lease_is_free_at_once(leases: Arc<dyn Leases>) {
    let old = leases.acquire("l.release", "a", LONG).await.unwrap();
    leases.release(&old).await.unwrap();
    assert_eq!(leases.holder("l.release").await.unwrap(), None);
    let new = leases.acquire("l.release", "b", LONG).await.unwrap();
    assert!(new.epoch > old.epoch);
}

/// [`Leases::release`].
pub async fn releasing_a_lost_lease_disturbs_nobody(leases: Arc<dyn Leases>) {
    let old = leases.acquire("l.stale", "a", LONG).await.unwrap();
    leases.release(&old).await.unwrap();
    let new = leases.acquire("l.stale", "a", LONG).await.unwrap();
    leases.release(&old).await.unwrap();
    assert_eq!(leases.holder("l.stale").await.unwrap(), Some(new));
}

/// [`Leases::acquire`] is one step: two can never both win.
pub async fn of_many_contenders_one_wins(leases: Arc<dyn Leases>) {
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let leases = leases.clone();
            tokio::spawn(async move { leases.acquire("l.race", &format!("c{i}"), LONG).await })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(LeaseError::Held { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners, 1);
}

/// Names are independent.
pub async fn leases_of_different_names_do_not_concern_each_other(leases: Arc<dyn Leases>) {
    let a = leases.acquire("l.x", "a", LONG).await.unwrap();
    let b = leases.acquire("l.y", "b", LONG).await.unwrap();
    leases.release(&a).await.unwrap();
    assert_eq!(leases.holder("l.y").await.unwrap(), Some(b));
}

/// [`Lease::epoch`].
pub async fn epochs_grow_at_every_change_of_holder(leases: Arc<dyn Leases>) {
    let mut last = 0;
    for i in 0..10 {
        let lease = leases
            .acquire("l.grow", &format!("h{}", i % 2), LONG)
            .await
            .unwrap();
        assert!(lease.epoch > last);
        last = lease.epoch;
        leases.release(&lease).await.unwrap();
    }
}
