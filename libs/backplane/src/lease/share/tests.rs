use std::collections::BTreeSet;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::lease::EmbeddedLeases;

const TTL: Duration = Duration::from_secs(5);
const PARTS: u16 = 16;

/// A replica that holds what it gets, and notes it.
struct Replica {
    shares: Shares,
    held: Arc<Mutex<BTreeSet<u16>>>,
    leave: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Replica {
    fn start(leases: &Arc<EmbeddedLeases>, name: &str) -> Self {
        Self::start_with(leases.clone(), name)
    }

    fn start_with(leases: Arc<dyn Leases>, name: &str) -> Self {
        let shares = Shares::new(leases, "g", name, PARTS, TTL);
        let (held, leave) = (Arc::<Mutex<BTreeSet<u16>>>::default(), watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        let leaves = |leave: &watch::Sender<bool>| {
            let mut left = leave.subscribe();
            async move {
                let _left = left.wait_for(|left| *left).await;
            }
        };
        let (all, left) = (shares.clone(), leaves(&leave));
        tasks.spawn(async move { all.run(left).await });
        for part in 0..PARTS {
            let (shares, held) = (shares.clone(), held.clone());
            let mut left = Box::pin(leaves(&leave));
            tasks.spawn(async move {
                loop {
                    let part_held = tokio::select! {
                        biased;
                        () = &mut left => return,
                        part_held = shares.take(part) => part_held,
                    };
                    assert!(part_held.fence().holds() && held.lock().insert(part));
                    let over = tokio::select! {
                        biased;
                        () = &mut left => true,
                        _ = part_held.ended() => false,
                    };
                    held.lock().remove(&part);
                    part_held.release().await;
                    if over {
                        return;
                    }
                }
            });
        }
        Self {
            shares,
            held,
            leave,
            tasks,
        }
    }

    fn count(&self) -> usize {
        self.held.lock().len()
    }

    async fn leave(mut self) {
        self.leave.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    fn die(mut self) {
        self.tasks.abort_all();
    }
}

/// Every part has one holder.
fn complete(replicas: &[&Replica]) -> bool {
    let all: Vec<u16> = replicas.iter().flat_map(|r| r.held.lock().clone()).collect();
    let distinct: BTreeSet<u16> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len(), "no part has two holders");
    distinct.len() == usize::from(PARTS)
}

async fn takes(what: &str, within: Duration, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() <= within, "{what} takes longer than {within:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_alone_has_everything_at_once_and_shares_it_with_one_that_comes_and_gets_it_back() {
    let leases = Arc::new(EmbeddedLeases::new());
    let first = Replica::start(&leases, "a");
    takes("the start", Duration::from_millis(20), || complete(&[&first])).await;
    let second = Replica::start(&leases, "b");
    takes("sharing", TTL, || {
        first.count() == 8 && complete(&[&first, &second])
    })
    .await;
    sleep(TTL * 10).await;
    assert_eq!((first.count(), second.count()), (8, 8), "and so it stays");
    second.leave().await;
    takes("leaving", Duration::from_secs(1), || complete(&[&first])).await;
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_dead_replica_move_when_its_leases_run_out() {
    let leases = Arc::new(EmbeddedLeases::new());
    let (first, second, third) = (
        Replica::start(&leases, "a"),
        Replica::start(&leases, "b"),
        Replica::start(&leases, "c"),
    );
    let counts = || [first.count(), second.count(), third.count()];
    takes("sharing", TTL, || {
        let mut counts = counts();
        counts.sort_unstable();
        complete(&[&first, &second, &third]) && counts == [5, 5, 6]
    })
    .await;
    first.die();
    takes("taking over", TTL + Duration::from_secs(1), || {
        complete(&[&second, &third]) && second.count() == 8
    })
    .await;
    assert_eq!(second.shares.replicas(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_replica_too_many_stands_by_until_there_is_a_seat() {
    let leases = Arc::new(EmbeddedLeases::new());
    let mut replicas = Vec::new();
    for n in 0..=PARTS {
        replicas.push(Replica::start(&leases, &n.to_string()));
    }
    let all = |replicas: &[Replica]| complete(&replicas.iter().collect::<Vec<_>>());
    takes("sharing", TTL, || {
        all(&replicas) && replicas.iter().all(|r| r.count() < 2)
    })
    .await;
    assert_eq!(replicas.iter().filter(|r| r.count() == 0).count(), 1);
    let leaver = replicas.iter().position(|r| r.count() == 1);
    replicas.swap_remove(leaver.unwrap_or(0)).leave().await;
    takes("moving up", Duration::from_secs(2), || all(&replicas)).await;
}

/// Grants leases unless it is cut off; then it answers nothing.
struct Cut(Arc<EmbeddedLeases>, watch::Sender<bool>);

impl Cut {
    async fn pass(&self) {
        let mut cut = self.1.subscribe();
        let _open = cut.wait_for(|cut| !cut).await;
    }
}

#[async_trait]
impl Leases for Cut {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        self.pass().await;
        self.0.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        self.pass().await;
        self.0.renew(lease, ttl).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.pass().await;
        self.0.release(lease).await
    }
    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError> {
        self.pass().await;
        self.0.holder(name).await
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_renew_lets_go_before_another_may_hold_and_comes_back_for_its_share() {
    let leases = Arc::new(EmbeddedLeases::new());
    let cut = Arc::new(Cut(leases.clone(), watch::Sender::new(false)));
    let first = Replica::start_with(cut.clone(), "a");
    takes("the start", Duration::from_millis(20), || complete(&[&first])).await;
    let second = Replica::start(&leases, "b");
    takes("sharing", TTL, || {
        complete(&[&first, &second]) && second.count() == 8
    })
    .await;
    cut.1.send_replace(true);
    // `complete` asserts all the while that no part has two holders.
    takes("taking over", TTL + Duration::from_secs(1), || {
        complete(&[&first, &second]) && first.count() == 0
    })
    .await;
    cut.1.send_replace(false);
    takes("coming back", TTL, || {
        first.count() == 8 && complete(&[&first, &second])
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_part_that_could_not_be_given_back_is_never_held_twice_under_one_epoch() {
    let leases = Arc::new(EmbeddedLeases::new());
    let shares = Shares::new(leases.clone(), "g", "a", 1, TTL);
    let all = shares.clone();
    let _running = tokio::spawn(async move { all.run(std::future::pending()).await });
    let first = shares.take(0).await;
    let (epoch, fence) = (first.epoch(), first.fence());
    drop(first);
    let second = shares.take(0).await;
    assert!(second.epoch() > epoch);
    sleep(TTL).await;
    assert!(!fence.holds(), "the fence falls by itself");
}
