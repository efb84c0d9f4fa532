//! The journal in JetStream keeps every promise of the seam.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use std::cell::RefCell;
use std::sync::Arc;

use backplane::journal::suite::append;
use backplane::journal::{JetStreamJournal, Journal};
use backplane::nats::{Nats, NatsConfig, NatsError};
use model::PartitionId;
use testkit::nats::NatsNamespace;

thread_local! {
    /// Lives as long as the test.
    static SERVER: RefCell<Option<NatsNamespace>> = const { RefCell::new(None) };
}

const P: PartitionId = PartitionId(0);

fn config(url: &str) -> NatsConfig {
    NatsConfig {
        servers: vec![url.to_owned()],
        replicas: 1,
        ..NatsConfig::default()
    }
}

async fn connect() -> Nats {
    let server = testkit::nats::server().await;
    let nats = Nats::connect(&config(&server.url), &server.name).await.unwrap();
    SERVER.set(Some(server));
    nats
}

async fn journal() -> Arc<dyn Journal> {
    Arc::new(JetStreamJournal::open(&connect().await, 4).await.unwrap())
}

backplane::journal_suite!(tokio::test, journal);

#[tokio::test]
async fn a_log_is_found_again_with_its_frames_and_its_epoch() {
    let nats = connect().await;
    let first = JetStreamJournal::open(&nats, 2).await.unwrap();
    append(&first, P, 1, "a").await;
    let (epoch, second) = (first.epoch(), JetStreamJournal::open(&nats, 2).await.unwrap());
    assert_eq!(second.epoch(), epoch);
    assert_eq!(append(&second, P, 1, "a").await, 1, "the id is remembered");
    assert_eq!(append(&second, P, 2, "b").await, 2);
}

#[tokio::test]
async fn processes_that_create_a_log_together_agree_on_it() {
    let nats = connect().await;
    let opening: Vec<_> = (0..4)
        .map(|_| {
            let nats = nats.clone();
            tokio::spawn(async move { JetStreamJournal::open(&nats, 3).await.unwrap().epoch() })
        })
        .collect();
    let mut epochs = std::collections::BTreeSet::new();
    for opened in opening {
        epochs.insert(opened.await.unwrap());
    }
    assert_eq!(epochs.len(), 1);
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let nats = connect().await;
    JetStreamJournal::open(&nats, 4).await.unwrap();
    for wanted in [3, 5] {
        let refused = JetStreamJournal::open(&nats, wanted).await;
        assert!(matches!(refused, Err(NatsError::Partitions { found: 4, wanted: w }) if w == wanted));
    }
}

#[tokio::test]
async fn a_log_of_the_former_kind_is_refused_in_words() {
    let nats = connect().await;
    let (url, name) = SERVER.with_borrow(|server| {
        let server = server.as_ref().unwrap();
        (server.url.clone(), server.name.clone())
    });
    let context = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    let metadata = [("longwire_epoch", "a"), ("longwire_partitions", "4")];
    let former = async_nats::jetstream::stream::Config {
        name: format!("{name}_log_0"),
        subjects: vec![format!("{name}.log.0.a")],
        metadata: metadata
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    context.create_stream(former).await.unwrap();
    let Err(refused) = JetStreamJournal::open(&nats, 4).await else {
        panic!("it does not open");
    };
    let words = refused.to_string();
    assert!(
        words.contains("format 1") && words.contains("delete the streams"),
        "{words}"
    );
}
