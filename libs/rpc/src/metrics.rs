use std::fmt;
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::{Histograms, Scale};

use super::method::{Method, Service};
use contract::RpcError;

/// The series of the calls: of both sides, once for each registry. Clones are the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: Family<Outcome, Counter>,
    call_duration: Histograms<ByMethod>,
    repeats: Family<ByMethod, Counter>,
    served: Family<Outcome, Counter>,
    serve_duration: Histograms<ByMethod>,
    replicas: Family<ByService, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMethod {
    method: Method,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    method: Method,
    code: Code,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByService {
    service: Service,
    state: ReplicaState,
}

/// `ok`, the code of an error, or `cancelled` when the caller went away.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Code(&'static str);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

impl EncodeLabelValue for Service {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.word().encode(encoder)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum ReplicaState {
    Ready,
    Away,
}

/// Which side of a call is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Caller,
    Called,
}

impl Metrics {
    /// Registers the series (`longwire_rpc_…`).
    pub fn new(metrics: &runtime::metrics::Metrics) -> Self {
        let rpc = metrics.service("rpc");
        Self {
            calls: rpc.counters("calls", "Calls to other roles, each with its repetitions"),
            call_duration: rpc.histograms(
                "call_duration",
                "Time until a call to another role had its answer",
                Scale::Seconds,
            ),
            repeats: rpc.counters("repeats", "Calls made again because a replica failed"),
            served: rpc.counters("served", "Calls of other roles that were answered"),
            serve_duration: rpc.histograms(
                "serve_duration",
                "Time to answer a call of another role",
                Scale::Seconds,
            ),
            replicas: rpc.gauges("replicas", "Replicas of the services that this process calls"),
        }
    }

    /// A call begins.
    pub(crate) fn begin(&self, side: Side, method: Method) -> Measured<'_> {
        Measured {
            metrics: self,
            side,
            method,
            started: Instant::now(),
            code: "cancelled",
        }
    }

    pub(crate) fn repeated(&self, method: Method) {
        self.repeats.get_or_create(&ByMethod { method }).inc();
    }

    pub(crate) fn replicas(&self, service: Service, ready: usize, all: usize) {
        for (state, count) in [(ReplicaState::Ready, ready), (ReplicaState::Away, all - ready)] {
            let gauge = self.replicas.get_or_create(&ByService { service, state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// A call under way. Dropped before it has an outcome, it was cancelled.
pub(crate) struct Measured<'a> {
    metrics: &'a Metrics,
    side: Side,
    method: Method,
    started: Instant,
    code: &'static str,
}

impl Measured<'_> {
    pub(crate) fn end<T>(mut self, result: &Result<T, RpcError>) {
        self.code = match result {
            Ok(_) => "ok",
            Err(error) => error.kind.code(),
        };
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        let (metrics, method) = (self.metrics, self.method);
        let (count, duration) = match self.side {
            Side::Caller => (&metrics.calls, &metrics.call_duration),
            Side::Called => (&metrics.served, &metrics.serve_duration),
        };
        let code = Code(self.code);
        count.get_or_create(&Outcome { method, code }).inc();
        let duration = duration.get_or_create(&ByMethod { method });
        duration.observe(self.started.elapsed().as_secs_f64());
    }
}
