use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::metrics::{Scale, ServiceMetrics};

/// Why an entry was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub reason: &'static str,
}

/// The series of this service.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Frames that the log took.
    pub appended_frames: Counter,
    /// Entries in them.
    pub appended_entries: Counter,
    /// Submissions that were held until the store had answered.
    pub held: Counter,
    /// Submissions that were not accepted, and what of the log could not be read.
    pub dropped: Family<Reason, Counter>,
    /// Frames sent to edges.
    pub sent: Counter,
    /// Messages looked up in the store because they may have been accepted before.
    pub lookups: Counter,
    /// Partitions owned now.
    pub partitions: Gauge,
    /// From the lease of a partition to its owner's readiness to serve it.
    pub take_over: Histogram,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            appended_frames: m.counter("appended_frames", "Frames that the log took"),
            appended_entries: m.counter("appended_entries", "Entries in the frames that the log took"),
            held: m.counter(
                "held_submissions",
                "Submissions held back until the store has said whether they were accepted before",
            ),
            dropped: m.counters(
                "dropped_entries",
                "Submissions that were not appended, and entries of the log that were passed over, by reason",
            ),
            sent: m.counter("edge_frames", "Frames sent to edges"),
            lookups: m.counter(
                "store_lookups",
                "Messages looked up in the store to recognise a late resend",
            ),
            partitions: m.gauge("partitions", "Partitions owned by this process"),
            take_over: m.histogram(
                "take_over_duration",
                "Time from the lease of a partition until its owner serves it",
                Scale::Seconds,
            ),
        }
    }

    pub fn drop(&self, reason: &'static str) {
        self.dropped.get_or_create(&Reason { reason }).inc();
    }
}
