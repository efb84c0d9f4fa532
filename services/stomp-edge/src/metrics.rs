use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::metrics::{Scale, ServiceMetrics};

/// A code of the registry of errors, or another of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Code {
    pub code: &'static str,
}

/// The series of this service.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub connections: Gauge,
    pub connects: Family<Code, Counter>,
    pub closed: Family<Code, Counter>,
    pub subscriptions: Gauge,
    pub sent: Counter,
    pub refused: Family<Code, Counter>,
    pub delivered: Counter,
    pub ignored_acks: Counter,
    pub nacks: Counter,
    pub stored_states: Counter,
    pub commit_seconds: Histogram,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            connections: m.gauge("connections", "WebSocket connections"),
            connects: m.counters("connects", "CONNECT frames by the outcome they had"),
            closed: m.counters("closed_connections", "Connections that ended, by reason"),
            subscriptions: m.gauge("subscriptions", "Subscriptions of all connections"),
            sent: m.counter("published_messages", "SEND frames from clients"),
            refused: m.counters("refused_messages", "SEND frames that were refused, by error code"),
            delivered: m.counter("delivered_messages", "MESSAGE frames to clients"),
            ignored_acks: m.counter(
                "ignored_acks",
                "ACK and NACK frames for nothing that waits for one",
            ),
            nacks: m.counter("nacks", "NACK frames"),
            stored_states: m.counter(
                "stored_states",
                "States of durable subscriptions that were stored",
            ),
            commit_seconds: m.histogram("commit", "From SEND to its outcome", Scale::Seconds),
        }
    }

    pub fn connect(&self, code: &'static str) {
        self.connects.get_or_create(&Code { code }).inc();
    }

    pub fn close(&self, code: &'static str) {
        self.closed.get_or_create(&Code { code }).inc();
    }

    pub fn refuse(&self, code: &'static str) {
        self.refused.get_or_create(&Code { code }).inc();
    }
}
