use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::ServiceMetrics;

/// The series that every edge has.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Entries that routing sent to this edge.
    pub received: Counter,
    /// Entries given to connections.
    pub dispatched: Counter,
    /// Times that what the owners sent had a hole.
    pub gaps: Counter,
    /// Bytes submitted and not answered.
    pub waiting: Gauge,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            received: m.counter("routed_entries", "Entries that the owners of partitions sent to this edge"),
            dispatched: m.counter("dispatched_entries", "Entries given to connections"),
            gaps: m.counter(
                "routing_gaps",
                "Times that an owner could not go on where the last one had ended, so that sessions had to read from the store",
            ),
            waiting: m.gauge(
                "waiting_bytes",
                "Bytes of published messages that are submitted and not answered",
            ),
        }
    }
}
