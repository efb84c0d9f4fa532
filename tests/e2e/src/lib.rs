//! Many services, real clients, real faults.
