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
    /// Holes in what routing sent.
    pub gaps: Counter,
    /// Bytes that wait for the log.
    pub waiting: Gauge,
    /// What the log took.
    pub appended: Appended,
}

/// What the log took: entries to a frame say whether its cost is shared.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    /// Frames.
    pub frames: Counter,
    /// Entries in them.
    pub entries: Counter,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            received: m.counter("routed_entries", "Entries that routing sent to this edge"),
            dispatched: m.counter("dispatched_entries", "Entries given to connections"),
            gaps: m.counter(
                "routing_gaps",
                "Times that frames from routing were lost and topics attached again",
            ),
            waiting: m.gauge(
                "waiting_bytes",
                "Bytes of published messages that wait for the log",
            ),
            appended: Appended {
                frames: m.counter("appended_frames", "Frames that the log took"),
                entries: m.counter("appended_entries", "Entries in the frames that the log took"),
            },
        }
    }
}
