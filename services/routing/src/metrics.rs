use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::ServiceMetrics;

/// Why an entry was not routed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub reason: &'static str,
}

/// The series of this service.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Entries sent to at least one edge or to none because nobody listens.
    pub entries: Counter,
    /// Entries that were not fanned out.
    pub dropped: Family<Reason, Counter>,
    /// Frames sent to edges.
    pub sent: Counter,
    /// Messages looked up in the store because they say they are old.
    pub lookups: Counter,
    /// Partitions owned now.
    pub partitions: Gauge,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            entries: m.counter("entries", "Entries read from the journal and accepted"),
            dropped: m.counters(
                "dropped_entries",
                "Entries read from the journal and not fanned out, by reason",
            ),
            sent: m.counter("edge_frames", "Frames sent to edges"),
            lookups: m.counter(
                "store_lookups",
                "Messages looked up in the store to recognise a late resend",
            ),
            partitions: m.gauge("partitions", "Partitions owned by this process"),
        }
    }

    pub fn drop(&self, reason: &'static str) {
        self.dropped.get_or_create(&Reason { reason }).inc();
    }
}
