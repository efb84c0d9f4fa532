//! Proves on a live installation what the product promises.
//!
//! [`Run`] writes conversations over every protocol, from clients that behave as deployed ones do: they reconnect with
//! backoff, send again under the same uid what was not acknowledged, fall back to HTTP. Meanwhile the operator breaks what
//! he likes. [`Run::stop`] lets everything settle, reads the histories and judges what was seen ([`check`]): a
//! [`Verdict`], with the evidence.
//!
//! Seen from outside, as a customer sees it: nothing of the services is used, only the codecs and the envelope.

mod cast;
mod check;
pub mod cli;
mod client;
mod director;
mod envelope;
mod error;
mod history;
mod http;
mod key;
mod plan;
pub mod record;
mod run;
mod stretches;
mod target;
mod token;
mod verdict;

pub use cast::dev_tokens;
pub use check::check;
pub use error::Error;
pub use http::encode;
pub use key::{Key, Names};
pub use plan::{Changes, Plan};
pub use run::{Progress, Run};
pub use target::{Address, Target};
pub use token::Token;
pub use verdict::{Evidence, Figures, Finding, Invariant, Verdict};
