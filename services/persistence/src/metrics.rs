use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use runtime::metrics::{Metrics as Registry, Scale};

/// What became of an entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Stored,
    /// Stored under a uid that its topic had already.
    Repeated,
    /// Of a kind that is not applied here.
    Skipped,
    Undecodable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByOutcome {
    pub outcome: Outcome,
}

/// Every series of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub entries: Family<ByOutcome, Counter>,
    pub batch: Histogram,
    pub apply: Histogram,
    pub lag: Gauge,
    pub wills: Counter,
    pub expired: Counter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        let m = registry.service("persistence");
        Self {
            entries: m.counters("entries", "Entries of the log, by what became of them"),
            batch: m.histogram("batch_entries", "Entries applied together", Scale::Count),
            apply: m.histogram("apply_duration", "Time to apply a batch", Scale::Seconds),
            lag: m.gauge(
                "lag_frames",
                "Frames of the log that are not applied yet, over all partitions",
            ),
            wills: m.counter("wills", "Wills put into the log"),
            expired: m.counter(
                "sessions_expired",
                "Sessions forgotten because their time was over",
            ),
        }
    }

    pub fn count(&self, outcome: Outcome, n: usize) {
        if n > 0 {
            self.entries
                .get_or_create(&ByOutcome { outcome })
                .inc_by(n as u64);
        }
    }
}
