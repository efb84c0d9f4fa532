//! The stomp-edge service.
