//! All scenarios in a row on one server.

use std::time::Duration;

use crate::error::Result;
use crate::link::Target;
use crate::report::Outcome;
use crate::scenario::pairs::Content;
use crate::scenario::{Bench, connect, fanout, offline, pairs, stomp};

/// Where the server listens. What is not given is not measured.
pub(crate) struct Targets {
    pub(crate) mqtt: Target,
    pub(crate) ws: Option<Target>,
    pub(crate) stomp: Option<Target>,
}

/// Options as the command line gives them when nothing is said.
fn defaults<T: clap::FromArgMatches + clap::Args>() -> T {
    let command = T::augment_args(clap::Command::new("defaults"));
    let matches = command.get_matches_from(["defaults"]);
    T::from_arg_matches(&matches).expect("every option of a scenario has a default")
}

/// Runs everything. A scenario that fails is an outcome too: the others go on.
pub(crate) async fn run(
    bench: &mut Bench,
    targets: &Targets,
    quick: bool,
    seconds: Option<Duration>,
    tell: impl Fn(&str),
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let timed = seconds.unwrap_or(Duration::from_secs(if quick { 1 } else { 10 }));
    bench.seconds = seconds.unwrap_or(Duration::from_secs(if quick { 1 } else { 5 }));
    // First, on a fresh server: memory once used is not given back, and would hide what a connection takes.
    tell("idle");
    let everywhere: Vec<_> = std::iter::once(&targets.mqtt)
        .chain(&targets.ws)
        .cloned()
        .collect();
    let idle = connect::Idle {
        connections: if quick { 200 } else { 5_000 },
    };
    match connect::idle(bench, &everywhere, &idle).await {
        Ok(found) => outcomes.extend(found),
        Err(error) => outcomes.push(failed(bench, "idle", &error)),
    }
    bench.seconds = timed;
    let run_id = bench.run_id.clone();
    for (number, step) in steps(bench, targets).into_iter().enumerate() {
        tell(step.name());
        // A uid is one message of its topic: no scenario may repeat those of another.
        bench.run_id = format!("{run_id}-{number}");
        let outcome = step.measure(bench, targets, quick).await;
        outcomes.push(outcome.unwrap_or_else(|error| failed(bench, step.name(), &error)));
    }
    outcomes
}

fn failed(bench: &Bench, name: &str, error: &crate::error::Error) -> Outcome {
    Outcome {
        server: bench.label.clone(),
        ..Outcome::failed(name, crate::chain(error))
    }
}

/// One scenario of the suite.
#[derive(Debug, Clone, Copy)]
enum Step {
    Max { qos: u8 },
    Rate { qos: u8 },
    WebSocket,
    Fanout,
    Storm { persistent: bool },
    Offline,
    DrainOne,
    Chat,
    ChatRate,
    Stomp { rate: Option<u64> },
}

/// What this server can be measured with.
fn steps(bench: &Bench, targets: &Targets) -> Vec<Step> {
    let mut steps = vec![Step::Max { qos: 1 }, Step::Max { qos: 0 }, Step::Rate { qos: 1 }];
    if targets.ws.is_some() {
        steps.push(Step::WebSocket);
    }
    steps.extend([
        Step::Fanout,
        Step::Storm { persistent: false },
        Step::Storm { persistent: true },
    ]);
    steps.extend([Step::Offline, Step::DrainOne]);
    if bench.signer.is_some() {
        steps.extend([Step::Chat, Step::ChatRate]);
        if targets.stomp.is_some() {
            steps.extend([Step::Stomp { rate: None }, Step::Stomp { rate: Some(RATE) }]);
        }
    }
    steps
}

/// Messages a second in the scenarios for latency.
const RATE: u64 = 2_000;

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Max { qos: 0 } => "pairs-max qos0",
            Self::Max { .. } => "pairs-max qos1",
            Self::Rate { .. } => "pairs-rate qos1",
            Self::WebSocket => "pairs-max qos1 WebSocket",
            Self::Fanout => "fan-out",
            Self::Storm { persistent: false } => "connect-storm clean",
            Self::Storm { persistent: true } => "connect-storm persistent",
            Self::Offline => "offline",
            Self::DrainOne => "drain-one",
            Self::Chat => "pairs-max qos1 chat",
            Self::ChatRate => "pairs-rate qos1 chat",
            Self::Stomp { rate: None } => "stomp-mqtt chat",
            Self::Stomp { rate: Some(_) } => "stomp-mqtt chat at a rate",
        }
    }

    async fn measure(self, bench: &Bench, targets: &Targets, quick: bool) -> Result<Outcome> {
        let pairs = pairs::Options {
            pairs: if quick { 10 } else { 50 },
            ..defaults()
        };
        let chat = pairs::Options {
            payload: Content::Chat,
            ..pairs.clone()
        };
        let mqtt = &targets.mqtt;
        match self {
            Self::Max { qos } => pairs::measure(bench, mqtt, &pairs::Options { qos, ..pairs }, None).await,
            Self::Rate { qos } => {
                pairs::measure(bench, mqtt, &pairs::Options { qos, ..pairs }, Some(RATE)).await
            }
            Self::WebSocket => pairs::measure(bench, targets.ws.as_ref().unwrap_or(mqtt), &pairs, None).await,
            Self::Chat => pairs::measure(bench, mqtt, &chat, None).await,
            Self::ChatRate => pairs::measure(bench, mqtt, &chat, Some(RATE)).await,
            Self::Fanout => {
                let options = defaults::<fanout::Options>();
                let subscribers = if quick { 50 } else { options.subscribers };
                fanout::measure(
                    bench,
                    mqtt,
                    &fanout::Options {
                        subscribers,
                        ..options
                    },
                )
                .await
            }
            Self::Storm { persistent } => {
                let sessions = if persistent { 2_000 } else { 0 };
                connect::storm(
                    bench,
                    mqtt,
                    &connect::Storm {
                        sessions,
                        ..defaults()
                    },
                )
                .await
            }
            Self::Offline => {
                let options = defaults::<offline::Offline>();
                let sessions = if quick { 20 } else { options.sessions };
                offline::many(bench, mqtt, &offline::Offline { sessions, ..options }).await
            }
            Self::DrainOne => {
                let options = defaults::<offline::One>();
                let messages = if quick { 10_000 } else { options.messages };
                offline::one(bench, mqtt, &offline::One { messages, ..options }).await
            }
            Self::Stomp { rate } => {
                let pairs = pairs.pairs;
                let options = stomp::Options {
                    pairs,
                    rate,
                    ..defaults()
                };
                stomp::measure(bench, mqtt, targets.stomp.as_ref().unwrap_or(mqtt), &options).await
            }
        }
        .map(|outcome| at_rate(self, outcome))
    }
}

/// Says at which rate an open loop ran.
fn at_rate(step: Step, mut outcome: Outcome) -> Outcome {
    if matches!(step, Step::Rate { .. } | Step::ChatRate) {
        outcome.scenario = format!("{} {RATE}/s", outcome.scenario);
    }
    outcome
}

/// The STOMP endpoint under an HTTP address.
pub(crate) fn stomp_url(http: &str) -> String {
    format!(
        "{}/stomp",
        http.trim_end_matches('/').replacen("http://", "ws://", 1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_suite_has_defaults() {
        assert_eq!(defaults::<pairs::Options>().window, 16);
        assert_eq!(defaults::<fanout::Options>().subscribers, 500);
        assert_eq!(defaults::<connect::Storm>().sessions, 0);
        assert_eq!(defaults::<offline::Offline>().sending.publishers, 50);
        assert_eq!(defaults::<offline::One>().messages, 100_000);
        assert_eq!(defaults::<stomp::Options>().rate, None);
    }

    #[test]
    fn stomp_is_under_the_http_address() {
        assert_eq!(stomp_url("http://127.0.0.1:9003/"), "ws://127.0.0.1:9003/stomp");
    }
}
