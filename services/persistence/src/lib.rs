//! The persistence service.
