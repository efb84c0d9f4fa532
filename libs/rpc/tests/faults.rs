//! Replicas that die, stall, stop, come back or say no.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::receipts::Receipts;
use contract::{ErrorKind, RpcError};
use futures::future::join_all;
use rpc::Config;
use runtime::config::HumanDuration;
use support::{Caller, Ice, Mode, Replica, ask, key, open, quick, until};
use tokio::net::TcpListener;

/// An address where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// `n` calls at once, in the background.
fn ask_often(receipts: &Arc<dyn Receipts>, n: usize) -> tokio::task::JoinHandle<Vec<Result<u64, RpcError>>> {
    let receipts = receipts.clone();
    tokio::spawn(async move { join_all((0..n).map(|_| ask(&receipts))).await })
}

#[tokio::test]
async fn calls_under_way_at_a_replica_that_is_killed_are_answered_by_the_other() {
    let (dies, lives) = (Replica::start(1), Replica::start(2));
    let caller = Caller::of(&[dies.address, lives.address]);
    caller.sees(2).await;
    dies.fake.set(Mode::Hang);
    let calls = ask_often(&caller.receipts, 10);
    let fake = dies.fake.clone();
    until("it got its share", || fake.begun() >= 5).await;
    let started = Instant::now();
    dies.kill();
    assert_eq!(calls.await.unwrap(), vec![Ok(2); 10]);
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert!(
        caller
            .metrics
            .encode()
            .contains("longwire_rpc_repeats_total{method=\"Unread\"} 5")
    );
}

#[tokio::test]
async fn calls_at_a_replica_that_freezes_are_answered_by_the_other_within_seconds() {
    let (freezes, lives) = (Replica::start(1), Replica::start(2));
    let ice = Ice::before(freezes.address).await;
    let caller = Caller::of(&[ice.address, lives.address]);
    caller.sees(2).await;
    ice.freeze();
    let started = Instant::now();
    assert_eq!(ask_often(&caller.receipts, 10).await.unwrap(), vec![Ok(2); 10]);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    caller.sees(1).await;
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_never_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = listener.local_addr().unwrap();
    let lives = Replica::start(2);
    let caller = Caller::of(&[mute, lives.address]);
    for _ in 0..50 {
        assert_eq!(ask(&caller.receipts).await, Ok(2));
    }
    let alone = Caller::of(&[mute]);
    let started = Instant::now();
    let error = ask(&alone.receipts).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(
        error
            .detail
            .starts_with(&format!("receipts is unavailable: {mute}: ")),
        "{error}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn when_all_are_away_a_call_fails_at_once_and_says_why() {
    let (one, other) = (nowhere().await, nowhere().await);
    let caller = Caller::of(&[one, other]);
    let _first = ask(&caller.receipts).await;
    let started = Instant::now();
    for _ in 0..100 {
        let error = caller.persistence.open_session(open()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(
            error.detail.starts_with("persistence is unavailable: "),
            "{error}"
        );
        assert!(
            error.detail.contains(&format!("{one}: Connection refused")),
            "{error}"
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert!(!caller.health.is_ready());
}

#[tokio::test]
async fn without_any_address_a_call_fails_at_once() {
    let caller = Caller::of(&[]);
    let error = ask(&caller.receipts).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "receipts is unavailable: no address of it is known"
    );
}

#[tokio::test]
async fn a_name_that_means_nothing_is_named() {
    let caller = Caller::named(vec!["no-such-host.invalid:1".into()], quick());
    until("the name was looked up", || {
        let report = caller.health.report().to_text(true);
        report.contains("looking up no-such-host.invalid:1")
    })
    .await;
}

#[tokio::test]
async fn a_name_is_as_good_as_an_address() {
    let replica = Replica::start(1);
    let caller = Caller::named(vec![format!("localhost:{}", replica.address.port())], quick());
    caller.sees(1).await;
    assert_eq!(ask(&caller.receipts).await, Ok(1));
}

#[tokio::test]
async fn load_is_spread_over_the_replicas() {
    let replicas = [Replica::start(1), Replica::start(2), Replica::start(3)];
    let caller = Caller::of(&[replicas[0].address, replicas[1].address, replicas[2].address]);
    caller.sees(3).await;
    for _ in 0..300 {
        ask(&caller.receipts).await.unwrap();
    }
    for replica in &replicas {
        assert!(
            (80..=120).contains(&replica.fake.begun()),
            "{}",
            replica.fake.begun()
        );
    }
}

#[tokio::test]
async fn a_slow_replica_gets_less() {
    let (slow, quick) = (Replica::start(1), Replica::start(2));
    let caller = Caller::of(&[slow.address, quick.address]);
    caller.sees(2).await;
    slow.fake.set(Mode::Hang);
    let stuck = ask_often(&caller.receipts, 1);
    let other = ask_often(&caller.receipts, 1);
    until("one is stuck", || slow.fake.begun() == 1).await;
    for _ in 0..50 {
        assert_eq!(ask(&caller.receipts).await, Ok(2));
    }
    stuck.abort();
    other.abort();
}

#[tokio::test]
async fn a_replica_that_returns_at_its_address_is_called_again() {
    let replica = Replica::start(1);
    let address = replica.address;
    let caller = Caller::of(&[address]);
    caller.sees(1).await;
    assert_eq!(ask(&caller.receipts).await, Ok(1));
    replica.kill();
    caller.sees(0).await;
    until("it is given up", || !caller.health.is_ready()).await;
    assert_eq!(
        ask(&caller.receipts).await.unwrap_err().kind,
        ErrorKind::Unavailable
    );
    let again = Replica::start_at(2, address, quick());
    caller.sees(1).await;
    assert_eq!(ask(&caller.receipts).await, Ok(2));
    caller.health.set_started();
    assert!(caller.health.is_ready());
    drop(again);
}

#[tokio::test]
async fn restarting_one_after_the_other_is_not_noticed() {
    let mut replicas = vec![Replica::start(1), Replica::start(2)];
    let caller = Caller::of(&[replicas[0].address, replicas[1].address]);
    caller.sees(2).await;
    let persistence = caller.persistence.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    // The one call that is not repeated when its outcome is not known.
    let load = tokio::spawn(async move {
        let mut calls = 0;
        while stopped.try_recv().is_err() {
            let batch = join_all((0..8).map(|_| persistence.open_session(open()))).await;
            for answer in batch {
                answer.unwrap();
                calls += 1;
            }
        }
        calls
    });
    for _ in 0..4 {
        let mut old = replicas.remove(0);
        old.stop.stop_softly();
        tokio::time::timeout(Duration::from_secs(5), old.ended.take().unwrap())
            .await
            .expect("it ends when its calls are answered")
            .unwrap();
        let address = old.address;
        drop(old);
        replicas.push(Replica::start_at(3, address, quick()));
        caller.sees(2).await;
    }
    stop.send(()).unwrap();
    assert!(load.await.unwrap() > 100);
}

#[tokio::test]
async fn a_replica_that_stops_finishes_what_is_under_way() {
    let (mut stops, lives) = (Replica::start(1), Replica::start(2));
    let caller = Caller::of(&[stops.address]);
    caller.sees(1).await;
    stops.fake.set(Mode::Hang);
    let call = ask_often(&caller.receipts, 1);
    until("it is under way", || stops.fake.begun() == 1).await;
    stops.stop.stop_softly();
    caller.sees(0).await;
    assert!(!call.is_finished(), "what is under way is not given up");
    stops.stop.stop_hard();
    stops.ended.take().unwrap().await.unwrap();
    let error = call.await.unwrap().remove(0).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotCommitted, "{error}");
    drop(lives);
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let (dies, lives) = (Replica::start(1), Replica::start(2));
    let caller = Caller::of(&[dies.address, lives.address]);
    caller.sees(2).await;
    dies.fake.set(Mode::Hang);
    lives.fake.set(Mode::Hang);
    let opening = |caller: &Caller| {
        let persistence = caller.persistence.clone();
        tokio::spawn(async move { persistence.open_session(open()).await })
    };
    let (one, other) = (opening(&caller), opening(&caller));
    until("each has one", || {
        dies.fake.begun() == 1 && lives.fake.begun() == 1
    })
    .await;
    dies.kill();
    let unknown = tokio::select! {
        one = one => one,
        other = other => other,
    };
    assert_eq!(unknown.unwrap().unwrap_err().kind, ErrorKind::NotCommitted);
    assert_eq!(lives.fake.begun(), 1, "it was not asked in place of the other");
    // Closing a session twice is closing it once.
    lives.fake.set(Mode::Answer);
    lives.fake.will_answer(());
    let close = contract::persistence::CloseSession {
        key: key(),
        epoch: 1,
        state: bytes::Bytes::new(),
        expiry: 0,
        at: model::UnixMillis(0),
        publish_will: false,
    };
    assert_eq!(caller.persistence.close_session(close).await, Ok(()));
}

#[tokio::test]
async fn one_that_says_it_is_unavailable_is_passed_over() {
    let (unwell, well) = (Replica::start(1), Replica::start(2));
    let caller = Caller::of(&[unwell.address, well.address]);
    caller.sees(2).await;
    let away = RpcError::new(ErrorKind::Unavailable, "the store is away");
    unwell.fake.set(Mode::Refuse(away.clone()));
    for _ in 0..40 {
        assert_eq!(ask(&caller.receipts).await, Ok(2));
    }
    assert!(unwell.fake.begun() <= 2, "{}", unwell.fake.begun());
    // It alone is asked once, and believed.
    let alone = Caller::of(&[unwell.address]);
    alone.sees(1).await;
    let before = unwell.fake.begun();
    assert_eq!(ask(&alone.receipts).await, Err(away));
    assert_eq!(unwell.fake.begun(), before + 1);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_on_both_sides() {
    let replica = Replica::start(1);
    let caller = Caller::with(
        &[replica.address],
        Config {
            deadline: HumanDuration::from_millis(300),
            ..quick()
        },
    );
    caller.sees(1).await;
    replica.fake.set(Mode::Hang);
    let started = Instant::now();
    let error = ask(&caller.receipts).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let error = caller.persistence.open_session(open()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotCommitted, "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    until("the service is told", || replica.fake.given_up() == 2).await;
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_given_up() {
    let replica = Replica::start(1);
    let caller = Caller::of(&[replica.address]);
    caller.sees(1).await;
    replica.fake.set(Mode::Hang);
    let call = ask_often(&caller.receipts, 3);
    until("they are under way", || replica.fake.begun() == 3).await;
    call.abort();
    until("the service is told", || replica.fake.given_up() == 3).await;
    let cancelled = "longwire_rpc_calls_total{method=\"Unread\",code=\"cancelled\"} 3";
    assert!(
        caller.metrics.encode().contains(cancelled),
        "{}",
        caller.metrics.encode()
    );
}

#[tokio::test]
async fn a_caller_that_goes_takes_its_connections_along() {
    let replica = Replica::start(1);
    let caller = Caller::of(&[replica.address]);
    caller.sees(1).await;
    drop(caller);
    // The server would wait for it otherwise.
    replica.stop.stop_softly();
    let mut replica = replica;
    let ended = tokio::time::timeout(Duration::from_secs(5), replica.ended.take().unwrap());
    ended.await.expect("it ends").unwrap();
}
