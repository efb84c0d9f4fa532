use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;
use crate::{DEADLINE, eventually, within};

/// A server that says everything again.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                // Whoever breaks the connection is the test.
                let _broken = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn connected() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await, 7).await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

/// Sends something and waits for it to come back.
async fn say(client: &mut TcpStream, what: &str) {
    client.write_all(what.as_bytes()).await.unwrap();
    hear(client, what).await;
}

async fn hear(client: &mut TcpStream, what: &str) {
    let mut heard = vec![0; what.len()];
    within("the echo", DEADLINE, client.read_exact(&mut heard))
        .await
        .unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), what);
}

/// Nothing arrives for a while.
async fn silence(client: &mut TcpStream) {
    let mut byte = [0];
    let heard = tokio::time::timeout(Duration::from_millis(200), client.read(&mut byte)).await;
    assert!(heard.is_err(), "{heard:?}");
}

async fn is_closed(client: &mut TcpStream) {
    let mut byte = [0];
    let end = within("the end", DEADLINE, client.read(&mut byte)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_healthy_one_passes_everything_on_even_the_end() {
    let (proxy, mut client) = connected().await;
    say(&mut client, "hello").await;
    assert_eq!(
        (proxy.forwarded(Way::ToServer), proxy.forwarded(Way::ToClient)),
        (5, 5)
    );
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    hear(&mut client, "last").await;
    is_closed(&mut client).await;
    eventually("it is closed", DEADLINE, async || {
        (proxy.open() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn latency_delays_and_keeps_the_order() {
    let (proxy, mut client) = connected().await;
    proxy.latency(Duration::from_millis(50), Duration::from_millis(50));
    let start = Instant::now();
    for n in 0..10 {
        client.write_all(format!("{n};").as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    hear(&mut client, "0;1;2;3;4;5;6;7;8;9;").await;
    assert!(
        start.elapsed() >= Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_cut_closes_and_refuses_until_it_is_healed() {
    let (proxy, mut client) = connected().await;
    say(&mut client, "hello").await;
    proxy.cut();
    is_closed(&mut client).await;
    if let Ok(mut refused) = TcpStream::connect(proxy.address()).await {
        is_closed(&mut refused).await;
    }
    proxy.heal();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut client, "again").await;
}

#[tokio::test]
async fn a_stalled_way_keeps_what_it_took_until_it_is_healed() {
    for way in [Way::ToServer, Way::ToClient] {
        let (proxy, mut client) = connected().await;
        say(&mut client, "hello").await;
        proxy.stall(way);
        client.write_all(b"kept").await.unwrap();
        silence(&mut client).await;
        proxy.heal();
        hear(&mut client, "kept").await;
    }
}

#[tokio::test]
async fn what_is_swallowed_never_arrives_and_the_other_way_goes_on() {
    let (proxy, mut client) = connected().await;
    say(&mut client, "hello").await;
    proxy.swallow(Way::ToClient);
    client.write_all(b"lost").await.unwrap();
    eventually("the answer is lost", DEADLINE, async || {
        (proxy.swallowed(Way::ToClient) == 4).then_some(())
    })
    .await;
    assert_eq!(proxy.forwarded(Way::ToServer), 9, "the server got it");
    proxy.heal();
    say(&mut client, "found").await;
}

#[tokio::test]
async fn a_slow_way_takes_its_time_and_holds_the_sender_up() {
    let (proxy, mut client) = connected().await;
    proxy.rate(Way::ToServer, 1000);
    let start = Instant::now();
    say(&mut client, &"x".repeat(300)).await;
    assert!(
        start.elapsed() >= Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
    let flood = vec![0u8; 32 << 20];
    let written = tokio::time::timeout(Duration::from_millis(300), client.write_all(&flood)).await;
    assert!(written.is_err(), "the sender waits");
}

#[tokio::test]
async fn connections_break_by_chance_or_all_at_once() {
    let (proxy, mut client) = connected().await;
    say(&mut client, "hello").await;
    proxy.drop_connections();
    is_closed(&mut client).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut client, "a new one lives").await;
    proxy.lossy(1.0);
    client.write_all(b"never").await.unwrap();
    is_closed(&mut client).await;
}
