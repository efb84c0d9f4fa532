//! A registry of metrics that services register into, and its text form.
//!
//! ```
//! use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
//! enum Outcome { Stored, Refused }
//!
//! #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
//! struct PublishLabels { outcome: Outcome }
//!
//! let metrics = runtime::metrics::Metrics::new();
//! let published = metrics.service("mqtt_edge").counters("publishes", "PUBLISH packets from clients");
//! published.get_or_create(&PublishLabels { outcome: Outcome::Stored }).inc();
//! assert!(metrics.encode().contains("longwire_mqtt_edge_publishes_total{outcome=\"Stored\"} 1"));
//! ```

mod process;

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, text};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What [`Metrics::encode`] returns, for the `Content-Type` header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Half a millisecond to 30 s: from an append on a local disk to a client that has given up.
const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// 64 B to 1 MiB by fours.
const BYTES: [f64; 8] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
];
/// 1 to 4096 by fours: how many of something went together.
const COUNTS: [f64; 7] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// All metrics of one process, or of one node in a test. Clones are the same registry.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that also tells CPU time, memory and file descriptors of this process (`process_…`).
    pub fn with_process() -> Self {
        let metrics = Self::new();
        metrics.0.lock().register_collector(Box::new(process::Process));
        metrics
    }

    /// Where the service `name` (`mqtt_edge`) registers: its series start with `longwire_<name>_`.
    ///
    /// Ask once per service and registry; registering the same series twice makes the text form invalid.
    pub fn service(&self, name: &str) -> ServiceMetrics {
        ServiceMetrics {
            registry: self.clone(),
            prefix: format!("longwire_{}", name.replace('-', "_")),
        }
    }

    /// Every series in the OpenMetrics text format, which Prometheus reads.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.0.lock()).expect("writing to a String does not fail");
        out
    }
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Registers the series of one service: `longwire_<service>_<noun>_<unit>`.
///
/// Label sets are structs of closed enums that derive `EncodeLabelSet`: no ids, topics or addresses, whose number grows.
/// The methods in the plural give a family, one series for each value of the label set that has been used.
#[derive(Clone, Debug)]
pub struct ServiceMetrics {
    registry: Metrics,
    prefix: String,
}

/// What a set of labels must be.
pub trait Labels: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static {}
impl<L: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static> Labels for L {}

/// A family of histograms with the buckets of its [`Scale`].
pub type Histograms<L> = Family<L, Histogram, Scale>;

/// What a histogram measures; it is the unit in its name and decides its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Half a millisecond to 30 s.
    Seconds,
    /// 64 B to 1 MiB.
    Bytes,
    /// 1 to 4096, without a unit in the name.
    Count,
}

impl MetricConstructor<Histogram> for Scale {
    fn new_metric(&self) -> Histogram {
        match self {
            Self::Seconds => Histogram::new(SECONDS),
            Self::Bytes => Histogram::new(BYTES),
            Self::Count => Histogram::new(COUNTS),
        }
    }
}

impl Scale {
    fn unit(self) -> Option<Unit> {
        match self {
            Self::Seconds => Some(Unit::Seconds),
            Self::Bytes => Some(Unit::Bytes),
            Self::Count => None,
        }
    }
}

impl ServiceMetrics {
    /// How often something happened. `_total` is added to the name.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, None, Counter::default())
    }

    /// How often something happened, by `L`.
    pub fn counters<L: Labels>(&self, name: &str, help: &str) -> Family<L, Counter> {
        self.register(name, help, None, Family::default())
    }

    /// How many there are now.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, None, Gauge::default())
    }

    /// How many there are now, by `L`.
    pub fn gauges<L: Labels>(&self, name: &str, help: &str) -> Family<L, Gauge> {
        self.register(name, help, None, Family::default())
    }

    /// How long or how large. The unit is added to the name.
    pub fn histogram(&self, name: &str, help: &str, scale: Scale) -> Histogram {
        self.register(name, help, scale.unit(), scale.new_metric())
    }

    /// How long or how large, by `L`.
    pub fn histograms<L: Labels>(&self, name: &str, help: &str, scale: Scale) -> Histograms<L> {
        self.register(name, help, scale.unit(), Family::new_with_constructor(scale))
    }

    /// Registers any other metric of `prometheus_client`, and gives it back.
    pub fn register<M>(&self, name: &str, help: &str, unit: Option<Unit>, metric: M) -> M
    where
        M: EncodeMetric + TypedMetric + Clone + Debug + Send + Sync + 'static,
    {
        let mut registry = self.registry.0.lock();
        let name = format!("{}_{name}", self.prefix);
        // The crate adds the full stop.
        let help = help.trim_end_matches('.');
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
            None => registry.register(name, help, metric.clone()),
        }
        metric
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::EncodeLabelValue;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct ByKind {
        kind: Kind,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
    enum Kind {
        Chat,
    }

    #[test]
    fn series_carry_the_name_of_their_service_and_their_unit() {
        let metrics = Metrics::new();
        let routing = metrics.service("stomp-edge");
        routing.counter("frames", "Frames routed").inc();
        routing
            .gauges::<ByKind>("routes", "Routes now")
            .get_or_create(&ByKind { kind: Kind::Chat })
            .set(3);
        routing
            .histogram("append_duration", "Time to append.", Scale::Seconds)
            .observe(0.002);
        let batch = routing.histograms::<ByKind>("batch", "Entries per frame", Scale::Count);
        batch.get_or_create(&ByKind { kind: Kind::Chat }).observe(5.0);
        let text = metrics.encode();
        for line in [
            "# HELP longwire_stomp_edge_frames Frames routed.",
            "longwire_stomp_edge_frames_total 1",
            "longwire_stomp_edge_routes{kind=\"Chat\"} 3",
            "# HELP longwire_stomp_edge_append_duration_seconds Time to append.",
            "longwire_stomp_edge_append_duration_seconds_bucket{le=\"0.0025\"} 1",
            "longwire_stomp_edge_batch_bucket{le=\"16.0\",kind=\"Chat\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_measured_at_each_scrape() {
        let text = Metrics::with_process().encode();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit_once(' '))
                .unwrap()
                .1
                .parse()
                .unwrap()
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
    }

    #[test]
    fn two_registries_do_not_share_anything() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.service("routing").counter("frames", "Frames").inc();
        assert_eq!(other.encode(), "# EOF\n");
    }
}
