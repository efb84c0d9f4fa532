//! The bus of one process keeps every promise of the seam, and a few of its own.

use std::sync::Arc;

use backplane::bus::{Bus, BusLimits, EmbeddedBus};
use bytes::Bytes;

async fn bus() -> Arc<dyn Bus> {
    Arc::new(EmbeddedBus::default())
}

backplane::bus_suite!(tokio::test(start_paused = true), bus);

#[tokio::test]
async fn a_full_buffer_loses_what_comes_and_keeps_what_waits() {
    let bus = EmbeddedBus::new(BusLimits {
        messages: 3,
        bytes: 10,
    });
    let mut by_count = bus.subscribe("count").await.unwrap();
    let mut by_bytes = bus.subscribe("bytes").await.unwrap();
    for i in 0..5u8 {
        bus.publish("count", Bytes::copy_from_slice(&[i])).await.unwrap();
        bus.publish("bytes", Bytes::copy_from_slice(&[i; 4]))
            .await
            .unwrap();
    }
    let first =
        |batch: Vec<backplane::bus::BusMessage>| batch.iter().map(|m| m.payload[0]).collect::<Vec<_>>();
    assert_eq!(first(by_count.next().await.unwrap()), [0, 1, 2]);
    assert_eq!(first(by_bytes.next().await.unwrap()), [0, 1]);
    assert_eq!((by_count.lost(), by_bytes.lost()), (2, 3));
}

#[tokio::test]
async fn a_message_larger_than_the_buffer_passes_when_nothing_waits() {
    let bus = EmbeddedBus::new(BusLimits {
        messages: 3,
        bytes: 10,
    });
    let mut subscription = bus.subscribe("s").await.unwrap();
    bus.publish("s", Bytes::from_static(&[1; 100])).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().len(), 1);
    assert_eq!(subscription.lost(), 0);
}

#[tokio::test]
async fn dropping_the_bus_ends_subscriptions_after_what_waits() {
    let bus = EmbeddedBus::default();
    let mut subscription = bus.subscribe("s").await.unwrap();
    let mut server = bus.serve("s").await.unwrap();
    bus.publish("s", Bytes::from_static(b"last")).await.unwrap();
    drop(bus);
    assert_eq!(subscription.next().await.unwrap().len(), 1);
    assert!(subscription.next().await.is_none());
    assert!(server.next().await.is_none());
}
