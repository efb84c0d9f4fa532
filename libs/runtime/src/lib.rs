//! The shell of a service: what every process needs before it does anything of its own.
//!
//! - [`config`]: defaults < file < environment < flags, with errors that say what to change;
//! - [`telemetry`]: logs to stderr, once per process;
//! - [`metrics`]: a registry that services register into;
//! - [`health`]: what a service depends on and whether it may get traffic;
//! - [`ops`]: the listener with `/livez`, `/readyz` and `/metrics`;
//! - [`lifecycle`]: tasks with an on-error policy, soft and hard stop, the exit code;
//! - [`clock`]: the time, real or made by a test.
//!
//! Nothing here is process-wide but the log (and the panic hook that writes to it), so a test may hold a whole cluster.

pub mod clock;
pub mod config;
pub mod health;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod ops;
pub mod telemetry;
