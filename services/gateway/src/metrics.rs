use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use runtime::metrics::{Histograms, Scale, ServiceMetrics};

/// A call and how it went. Routes are those of the table, statuses those that we give.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    route: &'static str,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

/// The series of this service.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<Call, Counter>,
    duration: Histograms<Route>,
}

impl Metrics {
    pub fn new(m: &ServiceMetrics) -> Self {
        Self {
            requests: m.counters("requests", "HTTP requests by route and status"),
            duration: m.histograms(
                "request_duration",
                "Time to answer an HTTP request",
                Scale::Seconds,
            ),
        }
    }

    pub fn answered(&self, route: &'static str, status: http::StatusCode, took: Duration) {
        let status = u32::from(status.as_u16());
        self.requests.get_or_create(&Call { route, status }).inc();
        self.duration
            .get_or_create(&Route { route })
            .observe(took.as_secs_f64());
    }
}
