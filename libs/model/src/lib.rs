//! Names, positions, messages and rules of Longwire, without I/O.
