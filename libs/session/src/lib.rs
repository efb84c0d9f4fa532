//! The delivery state machine of a session, without I/O.
