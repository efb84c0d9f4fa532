//! Replicas share the partitions: one that comes gets work, one that goes loses nothing.

use std::time::Duration;

use backplane::lease::Leases;
use runtime::lifecycle::Tasks;
use tokio::time::{Instant, sleep};

use crate::attach::{Got, World, message_to_desk};

const PARTITIONS: u16 = 3;

impl World {
    /// How many partitions each of these replicas owns.
    async fn owned(&self, replicas: &[u64]) -> Vec<usize> {
        let mut owned = vec![0; replicas.len()];
        for p in 0..PARTITIONS {
            let holder = self.leases.holder(&format!("routing/{p}")).await.unwrap();
            let holder = holder.map(|lease| lease.holder);
            let by = |n: &u64| holder.as_deref() == Some(&format!("owner-{n}"));
            if let Some(i) = replicas.iter().position(by) {
                owned[i] += 1;
            }
        }
        owned
    }

    /// Waits until they own so many partitions, in any order; says how long it took.
    async fn until_owned(&self, replicas: &[u64], mut numbers: Vec<usize>) -> Duration {
        let began = Instant::now();
        numbers.sort_unstable();
        loop {
            let mut owned = self.owned(replicas).await;
            owned.sort_unstable();
            if owned == numbers {
                return began.elapsed();
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{owned:?} and never {numbers:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Publishes without a pause; everything must be stored once and arrive once.
fn talk(world: &World, core: &std::sync::Arc<edge::Core>) -> tokio::task::JoinHandle<u64> {
    let (core, stop) = (core.clone(), world.quiet.clone());
    tokio::spawn(async move {
        let mut n = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let outcome = core.submit_and_wait(message_to_desk(n)).await;
            assert!(
                matches!(outcome, edge::Outcome::Stored { duplicate: false, .. }),
                "{outcome:?}"
            );
            n += 1;
            sleep(Duration::from_millis(50)).await;
        }
        n
    })
}

async fn all_arrived(got: &Got, n: u64) {
    sleep(Duration::from_secs(30)).await;
    let uids: Vec<String> = got.lock().iter().map(|(.., uid)| uid.clone()).collect();
    let mut distinct = uids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((uids.len() as u64, distinct.len() as u64), (n, n), "each once");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_gets_work_and_one_that_leaves_or_dies_gives_it_back() {
    let world = World::new(1);
    let first = world.routing(0);
    let (core, _edge) = world.edge();
    let got = world.listen(&core).await;
    let talking = talk(&world, &core);
    assert!(world.until_owned(&[0], vec![3]).await < Duration::from_millis(100));

    let second: Tasks = world.routing(1);
    assert!(world.until_owned(&[0, 1], vec![1, 2]).await < Duration::from_secs(5));
    second.stop().stop_softly();
    assert!(
        world.until_owned(&[0], vec![3]).await < Duration::from_secs(1),
        "at once"
    );

    let third = world.routing(2);
    assert!(world.until_owned(&[0, 2], vec![1, 2]).await < Duration::from_secs(5));
    first.kill();
    assert!(
        world.until_owned(&[2], vec![3]).await < Duration::from_secs(6),
        "when the leases run out"
    );
    third.stop().stop_softly();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(
        world.owned(&[2]).await,
        [3],
        "alone it goes on for those who are not done yet"
    );

    world.quiet.store(true, std::sync::atomic::Ordering::Relaxed);
    let n = talking.await.unwrap();
    all_arrived(&got, n).await;
    third.stop().stop_hard();
    assert!(world.until_owned(&[2], vec![0]).await < Duration::from_secs(1));
}
