use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::metrics::{Scale, ServiceMetrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Code {
    pub code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Transport {
    pub transport: &'static str,
}

/// The series of this service.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub connections: Family<Transport, Gauge>,
    pub connects: Family<Code, Counter>,
    pub closed: Family<Code, Counter>,
    pub published: Counter,
    pub refused: Family<Code, Counter>,
    pub delivered: Counter,
    pub ack_seconds: Histogram,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            connections: m.gauges("connections", "Connections by transport"),
            connects: m.counters("connects", "CONNECT packets by the outcome they had"),
            closed: m.counters("closed_connections", "Connections that ended, by reason"),
            published: m.counter("published_messages", "PUBLISH packets from clients"),
            refused: m.counters(
                "refused_messages",
                "PUBLISH packets that were refused, by error code",
            ),
            delivered: m.counter("delivered_messages", "PUBLISH packets to clients"),
            ack_seconds: m.histogram("commit", "From PUBLISH to its outcome", Scale::Seconds),
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
