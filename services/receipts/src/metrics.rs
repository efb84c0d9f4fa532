use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What became of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    Applied,
    /// Its message is not in the topic.
    Unknown,
    /// By the author of the message.
    Own,
    /// It is none: no state that we know.
    Invalid,
    Undecodable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByOutcome {
    pub outcome: Outcome,
}

/// Every series of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    entries: Family<ByOutcome, Counter>,
}

impl Metrics {
    pub fn new(registry: &runtime::metrics::Metrics) -> Self {
        let m = registry.service("receipts");
        Self {
            entries: m.counters("entries", "Receipts of the log, by what became of them"),
        }
    }

    pub fn count(&self, outcome: Outcome) {
        self.entries.get_or_create(&ByOutcome { outcome }).inc();
    }
}
