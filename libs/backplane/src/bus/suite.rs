//! What every bus promises, as tests. [`bus_suite!`](crate::bus_suite) makes them of an implementation.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{Bus, BusError, Subscription};

/// Makes one test of each promise: `bus_suite!(tokio::test, make)`, where `make` is an async function that returns an
/// `Arc<dyn Bus>` of its own. The tests use real time, so `start_paused` speeds up what needs no network.
#[macro_export]
macro_rules! bus_suite {
    ($attr:meta, $make:expr) => {
        $crate::suite_tests!(bus, ($attr), ($make),
            every_subscriber_gets_what_is_published_after_it_subscribed
            messages_of_one_publisher_keep_their_order
            a_message_reaches_only_its_own_subject
            what_nobody_subscribes_to_is_dropped_without_an_error
            a_dropped_subscription_takes_nothing_from_the_others
            a_slow_subscriber_loses_messages_and_can_tell_how_many
            next_can_be_cancelled_without_losing_a_message
            a_request_gets_the_answer_of_its_server
            many_requests_in_flight_get_their_own_answers
            a_request_that_nobody_serves_fails_at_once
            a_request_whose_server_has_gone_fails_at_once
            a_request_that_is_dropped_unanswered_times_out
            when_several_serve_a_subject_one_answer_comes_and_a_deaf_one_is_no_harm
            when_one_of_several_servers_goes_the_others_answer
        );
    };
}

const SOON: Duration = Duration::from_secs(10);

async fn take(subscription: &mut Box<dyn Subscription>, count: usize) -> Vec<Bytes> {
    let mut got = Vec::new();
    while got.len() < count {
        let batch = timeout(SOON, subscription.next())
            .await
            .expect("messages in time")
            .expect("an open bus");
        assert!(!batch.is_empty(), "next() gives at least one");
        got.extend(batch.into_iter().map(|m| m.payload));
    }
    got
}

fn number(i: u32) -> Bytes {
    Bytes::copy_from_slice(&i.to_be_bytes())
}

/// [`Bus::subscribe`].
pub async fn every_subscriber_gets_what_is_published_after_it_subscribed(bus: Arc<dyn Bus>) {
    bus.publish("s.1", number(0)).await.unwrap();
    let mut a = bus.subscribe("s.1").await.unwrap();
    bus.publish("s.1", number(1)).await.unwrap();
    assert_eq!(take(&mut a, 1).await, [number(1)]);
    let mut b = bus.subscribe("s.1").await.unwrap();
    bus.publish("s.1", number(2)).await.unwrap();
    assert_eq!(take(&mut a, 1).await, [number(2)]);
    assert_eq!(take(&mut b, 1).await, [number(2)]);
    assert_eq!((a.lost(), b.lost()), (0, 0));
}

/// [`Bus::publish`].
pub async fn messages_of_one_publisher_keep_their_order(bus: Arc<dyn Bus>) {
    let mut subscription = bus.subscribe("s.order").await.unwrap();
    for i in 0..1000 {
        bus.publish("s.order", number(i)).await.unwrap();
    }
    assert_eq!(
        take(&mut subscription, 1000).await,
        (0..1000).map(number).collect::<Vec<_>>()
    );
}

/// [`Bus::subscribe`]: subjects are exact.
pub async fn a_message_reaches_only_its_own_subject(bus: Arc<dyn Bus>) {
    let mut a = bus.subscribe("s.a").await.unwrap();
    let mut b = bus.subscribe("s.b").await.unwrap();
    bus.publish("s.a.deeper", number(9)).await.unwrap();
    bus.publish("s.b", number(1)).await.unwrap();
    bus.publish("s.a", number(2)).await.unwrap();
    assert_eq!(take(&mut a, 1).await, [number(2)]);
    assert_eq!(take(&mut b, 1).await, [number(1)]);
    bus.publish("s.a", number(3)).await.unwrap();
    let message = timeout(SOON, a.next()).await.unwrap().unwrap().remove(0);
    assert_eq!((&*message.subject, message.payload), ("s.a", number(3)));
}

/// [`Bus::publish`].
pub async fn what_nobody_subscribes_to_is_dropped_without_an_error(bus: Arc<dyn Bus>) {
    bus.publish("s.nobody", number(1)).await.unwrap();
}

/// [`Subscription`] ends when dropped.
pub async fn a_dropped_subscription_takes_nothing_from_the_others(bus: Arc<dyn Bus>) {
    let gone = bus.subscribe("s.drop").await.unwrap();
    let mut stays = bus.subscribe("s.drop").await.unwrap();
    drop(gone);
    bus.publish("s.drop", number(1)).await.unwrap();
    assert_eq!(take(&mut stays, 1).await, [number(1)]);
}

/// [`Subscription::lost`]: what arrived and what was lost is what was published, and what arrived is in order.
pub async fn a_slow_subscriber_loses_messages_and_can_tell_how_many(bus: Arc<dyn Bus>) {
    const SENT: u64 = 2_000;
    let big = Bytes::from(vec![0; 64 << 10]);
    let mut slow = bus.subscribe("s.slow").await.unwrap();
    for _ in 0..SENT {
        bus.publish("s.slow", big.clone()).await.unwrap();
    }
    let overflow = async {
        while slow.lost() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, overflow)
        .await
        .expect("there is no room for 125 MiB that nobody takes");
    let mut got = 0;
    let all = async {
        while got + slow.lost() < SENT {
            got += slow.next().await.expect("an open bus").len() as u64;
        }
    };
    timeout(SOON, all)
        .await
        .expect("every message arrived or is counted as lost");
    assert_eq!(got + slow.lost(), SENT);
    assert!(got > 0, "what there was room for is kept");
    bus.publish("s.slow", number(7)).await.unwrap();
    assert_eq!(take(&mut slow, 1).await, [number(7)]);
}

/// [`Subscription::next`] is cancel safe.
pub async fn next_can_be_cancelled_without_losing_a_message(bus: Arc<dyn Bus>) {
    let mut subscription = bus.subscribe("s.cancel").await.unwrap();
    for i in 0..50 {
        let early = timeout(Duration::from_millis(1), subscription.next()).await;
        assert!(early.is_err(), "nothing was published");
        bus.publish("s.cancel", number(i)).await.unwrap();
        assert_eq!(take(&mut subscription, 1).await, [number(i)]);
    }
}

/// Answers every request of a subject with `prefix` and the request, until the bus is closed.
async fn echo(bus: &Arc<dyn Bus>, subject: &str, prefix: u8) -> tokio::task::JoinHandle<()> {
    let mut server = bus.serve(subject).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = server.next().await {
            let answer = [&[prefix], &request.payload[..]].concat();
            request.reply.send(answer.into());
        }
    })
}

/// [`Bus::request`].
pub async fn a_request_gets_the_answer_of_its_server(bus: Arc<dyn Bus>) {
    let server = echo(&bus, "r.echo", b'>').await;
    let answer = bus
        .request("r.echo", Bytes::from_static(b"hello"), SOON)
        .await
        .unwrap();
    assert_eq!(&answer[..], b">hello");
    server.abort();
}

/// [`Bus::request`].
pub async fn many_requests_in_flight_get_their_own_answers(bus: Arc<dyn Bus>) {
    let server = echo(&bus, "r.many", b'=').await;
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let bus = bus.clone();
            tokio::spawn(async move { (i, bus.request("r.many", number(i), SOON).await.unwrap()) })
        })
        .collect();
    for task in tasks {
        let (i, answer) = task.await.unwrap();
        assert_eq!(answer[1..], number(i)[..]);
    }
    server.abort();
}

/// [`BusError::NoResponder`].
pub async fn a_request_that_nobody_serves_fails_at_once(bus: Arc<dyn Bus>) {
    let subscriber = bus.subscribe("r.none").await.unwrap();
    drop(subscriber);
    let answer = bus
        .request("r.none", Bytes::new(), Duration::from_secs(3600))
        .await;
    assert!(
        matches!(answer, Err(BusError::NoResponder(subject)) if subject == "r.none"),
        "no subscriber, no server"
    );
}

/// [`BusError::NoResponder`], once the server is known to be gone.
pub async fn a_request_whose_server_has_gone_fails_at_once(bus: Arc<dyn Bus>) {
    let server = bus.serve("r.gone").await.unwrap();
    drop(server);
    let gone = async {
        while !matches!(
            bus.request("r.gone", Bytes::new(), Duration::from_millis(20))
                .await,
            Err(BusError::NoResponder(_))
        ) {}
    };
    timeout(SOON, gone)
        .await
        .expect("a dropped server is soon known to be gone");
}

/// [`BusError::Timeout`].
pub async fn a_request_that_is_dropped_unanswered_times_out(bus: Arc<dyn Bus>) {
    let mut server = bus.serve("r.drop").await.unwrap();
    let wait = Duration::from_millis(200);
    let asked = tokio::time::Instant::now();
    let (answer, request) = tokio::join!(bus.request("r.drop", number(1), wait), server.next());
    assert_eq!(request.map(|r| r.payload), Some(number(1)));
    assert!(
        matches!(answer, Err(BusError::Timeout { subject, after }) if subject == "r.drop" && after == wait)
    );
    assert!(asked.elapsed() >= wait);
}

/// [`Bus::serve`]: an owner that hangs, and one that does not.
pub async fn when_several_serve_a_subject_one_answer_comes_and_a_deaf_one_is_no_harm(bus: Arc<dyn Bus>) {
    let before = bus.serve("r.deaf").await.unwrap();
    let server = echo(&bus, "r.deaf", b'!').await;
    let after = bus.serve("r.deaf").await.unwrap();
    for i in 0..20 {
        let answer = bus.request("r.deaf", number(i), SOON).await.unwrap();
        assert_eq!(answer[1..], number(i)[..]);
    }
    drop((before, after));
    server.abort();
}

/// [`Bus::serve`].
pub async fn when_one_of_several_servers_goes_the_others_answer(bus: Arc<dyn Bus>) {
    let first = echo(&bus, "r.several", b'1').await;
    let second = echo(&bus, "r.several", b'2').await;
    let answer = bus.request("r.several", Bytes::new(), SOON).await.unwrap();
    assert!(matches!(answer[..], [b'1' | b'2']), "{answer:?}");
    second.abort();
    assert!(second.await.is_err());
    for _ in 0..20 {
        let answer = bus.request("r.several", Bytes::new(), SOON).await.unwrap();
        assert_eq!(answer[..], *b"1");
    }
    first.abort();
}
