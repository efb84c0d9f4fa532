//! An edge that cannot show that it lives: it hands nothing out, takes nobody in, and in the end sends its clients away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backplane::lease::{EmbeddedLeases, Lease, LeaseError, Leases};
use runtime::config::HumanDuration;
use testkit::mqtt::{Mqtt, Options, QoS, ReasonCode, Refused};
use testkit::{DEADLINE, eventually};

use crate::rig::{Edge, Rig};
use crate::sessions::hear;

/// The way to the leases, which can be cut.
pub struct Line {
    pub leases: Arc<EmbeddedLeases>,
    pub cut: AtomicBool,
}

impl Line {
    fn pass(&self) -> Result<&EmbeddedLeases, LeaseError> {
        match self.cut.load(Ordering::SeqCst) {
            true => Err(LeaseError::Unavailable("the line is cut".into())),
            false => Ok(&self.leases),
        }
    }
}

#[async_trait]
impl Leases for Line {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Lease, LeaseError> {
        self.pass()?.acquire(name, holder, ttl).await
    }
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LeaseError> {
        self.pass()?.renew(lease, ttl).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.pass()?.release(lease).await
    }
    async fn holder(&self, name: &str) -> Result<Option<Lease>, LeaseError> {
        self.pass()?.holder(name).await
    }
}

/// A cluster with an edge that can be cut off, and one that cannot.
async fn cut_off(fence_after: HumanDuration) -> (Rig, Edge, Arc<Line>, Edge) {
    let mut rig = Rig::start().await;
    rig.edge_config.lease = HumanDuration::from_secs(1);
    rig.edge_config.fence_after = fence_after;
    let sound = rig.edge().await;
    let (edge, line) = rig.edge_behind_a_line().await;
    (rig, edge, line, sound)
}

async fn refused(edge: &Edge) {
    eventually("connections are refused", DEADLINE, async || {
        let options = Options::v5("newcomer");
        let refused = edge.try_connect(options).await.err()?;
        matches!(refused, Refused::ConnAck(c) if c.reason == ReasonCode::ServerUnavailable).then_some(())
    })
    .await;
}

async fn subscriber(edge: &Edge, client: &str) -> Mqtt {
    let mut client = edge.connect(Options::v5(client).persistent()).await;
    client.subscribe("fenced/x", QoS::AtLeastOnce).await;
    client
}

#[tokio::test]
async fn an_edge_without_its_lease_hands_nothing_out_until_it_has_it_again() {
    let (_rig, edge, line, sound) = cut_off(HumanDuration::from_secs(60)).await;
    let mut reader = subscriber(&edge, "reader").await;
    let mut writer = sound.connect(Options::v5("writer")).await;
    line.cut.store(true, Ordering::SeqCst);
    refused(&edge).await;
    writer.publish("fenced/x", "kept", QoS::AtLeastOnce).await;
    reader.ping().await;
    assert_eq!(
        reader.waiting().count(),
        0,
        "nothing came before the answer to PINGREQ"
    );
    line.cut.store(false, Ordering::SeqCst);
    assert_eq!(hear(&mut reader).await, "kept", "on the same connection");
}

#[tokio::test]
async fn a_session_that_was_ended_meanwhile_ends_its_connection_too() {
    let (_rig, edge, line, sound) = cut_off(HumanDuration::from_secs(60)).await;
    let will = Options::v5("reader")
        .persistent()
        .will("fenced/x", "gone", QoS::AtLeastOnce, false);
    let mut reader = edge.connect(will).await;
    let mut witness = subscriber(&sound, "witness").await;
    line.cut.store(true, Ordering::SeqCst);
    assert_eq!(
        hear(&mut witness).await,
        "gone",
        "persistence ends what the edge held"
    );
    line.cut.store(false, Ordering::SeqCst);
    assert_eq!(
        reader.closed_by_server(DEADLINE).await,
        Some(ReasonCode::SessionTakenOver)
    );
    let again = edge.connect(Options::v5("reader").persistent()).await;
    assert!(again.connack.session_present);
}

#[tokio::test]
async fn an_edge_that_stays_cut_off_sends_its_clients_away() {
    let (_rig, edge, line, _sound) = cut_off(HumanDuration::from_secs(1)).await;
    let mut reader = subscriber(&edge, "reader").await;
    line.cut.store(true, Ordering::SeqCst);
    assert_eq!(
        reader.closed_by_server(DEADLINE).await,
        Some(ReasonCode::ServerBusy)
    );
}
