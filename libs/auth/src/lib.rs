//! Tokens, keys and access rules.
