//! Real servers and scripted clients for tests.
