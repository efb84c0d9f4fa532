//! The mqtt-edge service.
