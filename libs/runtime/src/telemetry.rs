//! Logs: structured events to stderr, once per process. Callers never log payloads, tokens or secrets.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::Invalid;

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// One line of text per event, or one JSON object.
    pub format: Format,
    /// What to log, in the syntax of `RUST_LOG`: `info`, `info,mqtt_edge=debug`.
    pub filter: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            format: Format::Text,
            filter: "info".to_owned(),
        }
    }
}

impl TelemetryConfig {
    /// Whether the filter can be understood.
    ///
    /// # Errors
    /// When it cannot.
    pub fn validate(&self) -> Result<(), Invalid> {
        parse(&self.filter).map(drop)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, Invalid> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        Invalid::new(
            "filter",
            format!("{error}; write a level, or targets with levels, like info,mqtt_edge=debug"),
        )
    })
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one object per line.
    Json,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be understood.
    #[error("starting the log")]
    Filter(#[source] Invalid),
    /// Somebody has started it before.
    #[error("starting the log a second time")]
    AlreadyStarted(#[source] TryInitError),
}

/// Starts logging to stderr, and has panics logged as errors too. Once per process, by the binary.
///
/// # Errors
/// When the filter cannot be understood, or the log has been started before.
pub fn init(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    let filter = parse(&config.filter).map_err(TelemetryError::Filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.format {
        Format::Text => builder.finish().try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .finish()
            .try_init(),
    };
    started.map_err(TelemetryError::AlreadyStarted)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// In the log's format, with the place and without the backtrace.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    tracing::error!(
        location,
        thread,
        "panic: {}",
        panic.payload_as_str().unwrap_or("without a text")
    );
}

/// For tests: logs what `RUST_LOG` asks for (without it nothing) to where the test runner captures it, however often it is
/// called.
pub fn init_for_tests() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    // A second call finds the first one's subscriber, which is the same.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .finish()
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_understood_is_named() {
        let config = TelemetryConfig {
            filter: "info,mqtt_edge=loud".to_owned(),
            ..TelemetryConfig::default()
        };
        let invalid = config.validate().unwrap_err();
        assert_eq!(invalid.key, "filter");
        assert!(invalid.reason.ends_with("like info,mqtt_edge=debug"), "{invalid}");
        assert_eq!(TelemetryConfig::default().validate(), Ok(()));
    }

    #[test]
    fn it_starts_once_and_says_so_the_second_time() {
        init(&TelemetryConfig {
            filter: "off".to_owned(),
            format: Format::Json,
        })
        .unwrap();
        let error = init(&TelemetryConfig::default()).unwrap_err();
        assert_eq!(error.to_string(), "starting the log a second time");
        init_for_tests();
    }
}
