//! The seams journal, bus, lease and presence, with their implementations.
