//! The shell of a service: configuration, telemetry, lifecycle, health.

pub mod config;
