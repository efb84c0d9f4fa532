//! What a scenario found, as JSON lines and as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::run::Reading;
use crate::track::Verdict;

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// The quantiles of a histogram of nanoseconds.
    pub(crate) fn of(nanoseconds: &Histogram<u64>) -> Self {
        let at = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: nanoseconds.max() as f64 / 1e6,
        }
    }
}

/// The result of one scenario on one server: one JSON line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) server: String,
    pub(crate) scenario: String,
    /// What is counted: messages (deliveries, where one goes to many) or connections.
    pub(crate) unit: String,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicates: u64,
    /// QoS 1 messages that the server never acknowledged.
    pub(crate) unacknowledged: u64,
    /// From the first to the last.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// CPU time of the server's processes for each.
    pub(crate) cpu_us_each: Option<f64>,
    pub(crate) cpu_s_per_1000: Option<f64>,
    /// CPU time of the generator for each.
    pub(crate) generator_us_each: f64,
    pub(crate) latency_ms: Option<Latency>,
    /// Resident memory of the server's processes afterwards.
    pub(crate) rss_kib: Option<u64>,
    /// What only this scenario has, and what was told apart or counted.
    pub(crate) figures: BTreeMap<String, f64>,
    /// Why it could not be measured.
    pub(crate) error: Option<String>,
}

impl Outcome {
    /// The figures every scenario has.
    pub(crate) fn new(unit: &str, verdict: Verdict, reading: Reading) -> Self {
        let count = verdict.delivered.max(1) as f64;
        let cpu = reading.server.map(|cpu| cpu.as_secs_f64());
        let apart = reading.apart.iter();
        let apart = apart.map(|(name, cpu)| (format!("{name}_us_each"), cpu.as_secs_f64() * 1e6 / count));
        let counters = reading.counters.iter();
        let counters = counters.map(|(name, grown)| (format!("{name}_per_1000"), grown * 1e3 / count));
        Self {
            unit: unit.to_owned(),
            delivered: verdict.delivered,
            lost: verdict.lost,
            reordered: verdict.reordered,
            duplicates: verdict.duplicates,
            seconds: reading.elapsed.as_secs_f64(),
            per_second: verdict.delivered as f64 / reading.elapsed.as_secs_f64(),
            cpu_us_each: cpu.map(|cpu| cpu * 1e6 / count),
            cpu_s_per_1000: cpu.map(|cpu| cpu * 1e3 / count),
            generator_us_each: reading.own.as_secs_f64() * 1e6 / count,
            figures: apart.chain(counters).collect(),
            ..Self::default()
        }
    }

    /// A scenario that could not be measured.
    pub(crate) fn failed(scenario: &str, error: String) -> Self {
        Self {
            scenario: scenario.to_owned(),
            error: Some(error),
            ..Self::default()
        }
    }

    /// Whether everything was acknowledged and came, and in order.
    pub(crate) fn sound(&self) -> bool {
        self.error.is_none() && self.lost == 0 && self.reordered == 0 && self.unacknowledged == 0
    }
}

/// A Markdown table, one row for each scenario and server in order of appearance: the median of its outcomes by
/// CPU time (by rate where that is not known).
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text =
        "| scenario | server | per second | CPU µs each | CPU s per 1,000 | p50 ms | p99 | p99.9 | max \
                    | RSS MiB | lost / reordered / twice | generator µs | also |\n\
                    |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---|\n"
            .to_owned();
    for group in grouped(outcomes) {
        put_row(&mut text, &group);
    }
    text
}

/// Outcomes of the same scenario side by side, in order of the scenarios' first appearance.
fn grouped(outcomes: &[Outcome]) -> Vec<Vec<&Outcome>> {
    let mut scenarios: Vec<&str> = Vec::new();
    let mut groups: Vec<Vec<&Outcome>> = Vec::new();
    for outcome in outcomes {
        if !scenarios.contains(&outcome.scenario.as_str()) {
            scenarios.push(&outcome.scenario);
        }
        let same = |group: &&mut Vec<&Outcome>| {
            group
                .iter()
                .any(|other| other.scenario == outcome.scenario && other.server == outcome.server)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(outcome),
            None => groups.push(vec![outcome]),
        }
    }
    groups.sort_by_key(|group| {
        scenarios
            .iter()
            .position(|name| group.iter().any(|one| one.scenario == *name))
    });
    groups
}

fn put_row(text: &mut String, group: &[&Outcome]) {
    let mut measured: Vec<_> = group
        .iter()
        .copied()
        .filter(|outcome| outcome.error.is_none())
        .collect();
    measured.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let Some(&middle) = measured.get(measured.len().saturating_sub(1) / 2) else {
        let [first, ..] = group else { return };
        let error = first.error.as_deref().unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | – | | | | | | | | | | {error} |",
            first.scenario, first.server
        );
        return;
    };
    let sum = |of: fn(&Outcome) -> u64| measured.iter().map(|outcome| of(outcome)).sum::<u64>();
    let latency = middle.latency_ms.map_or("| – | – | – ".to_owned(), |latency| {
        format!(
            "| {} | {} | {} ",
            ms(latency.p50),
            ms(latency.p99),
            ms(latency.p999)
        )
    });
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {} {latency}| {} | {} | {} / {} / {} | {:.1} | {} |",
        middle.scenario,
        middle.server,
        thousands(middle.per_second),
        known(middle.cpu_us_each, 1),
        known(middle.cpu_s_per_1000, 4),
        middle
            .latency_ms
            .map_or("–".to_owned(), |latency| ms(latency.max)),
        known(middle.rss_kib.map(|kib| kib as f64 / 1024.0), 1),
        sum(|outcome| outcome.lost),
        sum(|outcome| outcome.reordered),
        sum(|outcome| outcome.duplicates),
        middle.generator_us_each,
        also(&measured),
    );
}

/// What the outcomes are ordered by to find their median.
fn key(outcome: &Outcome) -> f64 {
    outcome.cpu_us_each.unwrap_or(-outcome.per_second)
}

/// The median of each figure of the scenario's own.
fn also(measured: &[&Outcome]) -> String {
    let Some(first) = measured.first() else {
        return String::new();
    };
    let mut parts = Vec::new();
    for name in first.figures.keys() {
        let mut values: Vec<_> = measured
            .iter()
            .filter_map(|outcome| outcome.figures.get(name))
            .copied()
            .collect();
        values.sort_by(f64::total_cmp);
        let median = values[(values.len() - 1) / 2];
        let digits = if median >= 1000.0 {
            thousands(median)
        } else {
            format!("{median:.2}")
        };
        parts.push(format!("{} {digits}", name.replace('_', " ")));
    }
    let unacknowledged: u64 = measured.iter().map(|outcome| outcome.unacknowledged).sum();
    if unacknowledged > 0 {
        parts.push(format!("{unacknowledged} never acknowledged"));
    }
    if measured.len() > 1 {
        parts.push(format!("median of {}", measured.len()));
    }
    parts.join(", ")
}

fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

fn ms(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(server: &str, scenario: &str, cpu: f64) -> Outcome {
        Outcome {
            server: server.into(),
            scenario: scenario.into(),
            per_second: 12_345.6,
            cpu_us_each: Some(cpu),
            figures: BTreeMap::from([("puback_per_s".to_owned(), cpu * 1000.0)]),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_table_shows_the_median_of_each_server_with_scenarios_side_by_side() {
        let outcomes = [
            outcome("a", "one", 9.0),
            outcome("a", "two", 1.0),
            outcome("b", "one", 5.0),
            outcome("a", "one", 3.0),
            outcome("a", "one", 4.0),
        ];
        let table = table(&outcomes);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(rows.len(), 3, "{table}");
        assert!(rows[0].starts_with("| one | a | 12,346 | 4.0 |"), "{table}");
        assert!(rows[0].contains("puback per s 4,000, median of 3"), "{table}");
        assert!(rows[1].starts_with("| one | b |"), "{table}");
        assert!(rows[2].starts_with("| two | a |"), "{table}");
    }

    #[test]
    fn a_scenario_that_failed_says_why() {
        let table = table(&[Outcome::failed(
            "one",
            "the server refused a connection: code 5".into(),
        )]);
        assert!(
            table.contains("| one |  | – |") && table.contains("code 5"),
            "{table}"
        );
    }

    #[test]
    fn an_outcome_survives_its_json_line() {
        let outcome = outcome("a", "one", 2.5);
        let line = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome);
        assert!(outcome.sound());
        assert!(
            !Outcome {
                lost: 1,
                ..outcome.clone()
            }
            .sound()
        );
        assert!(
            !Outcome {
                unacknowledged: 1,
                ..outcome
            }
            .sound()
        );
    }
}
