//! The gateway: HTTP for whoever has no socket, and for what sockets are not for: history, threads, unread counts,
//! presence, tokens of visitors.
//!
//! Owns nothing durable. A message sent here takes the way of one that comes over a socket (`edge::ingest`, then the
//! log), so that what is said of those holds here too: 200 means stored, the sender is the token's user, a resend of a
//! `uid` gets the first one's position.
//!
//! Invariants:
//! - every answer under `/auth`, `/api` and `/visitor` is the envelope `{"message", "code", "data"}`, whatever the status;
//! - every topic that is named is judged by `edge::access::Gate`, every entry that is shown by its role filter;
//! - neither tokens nor payloads nor queries are written to the log;
//! - `/openapi.json` describes every route and no other (tested).
//!
//! One flow: a visitor's page loses its socket → `POST /visitor/api/v1/message/send` → the message is in the log and
//! routed → 200 with the stored message → the page gets everything else with `GET /visitor/api/v1/messages?after=…`.

mod agents;
mod app;
mod audit;
mod body;
mod config;
mod directory;
mod explain;
mod history;
mod identity;
mod lifecycle;
mod login;
mod metrics;
mod openapi;
mod page;
mod people;
mod rates;
mod reply;
mod routes;
mod send;
mod service;
mod threads;
mod visitor;
mod welcome;

pub use config::Config;
pub use service::{Deps, Service};
