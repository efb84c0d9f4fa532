//! The scenarios, and what they have in common.

pub(crate) mod connect;
pub(crate) mod fanout;
pub(crate) mod offline;
pub(crate) mod pairs;
#[cfg(test)]
mod peer;
pub(crate) mod stomp;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::endpoint::{self, Inbox, Lane, Sender};
use crate::error::{Error, Result};
use crate::link::Target;
use crate::mqtt::Client;
use crate::packet::Connect;
use crate::process::Processes;
use crate::report::Outcome;
use crate::run::Run;
use crate::stamp;
use crate::template::Template;
use crate::token::Signer;

/// The side of every publisher on ordinary topics.
const PUBLISHER: stamp::Side = b'p';

/// How many connections are opened at a time before a scenario begins.
const OPENING: usize = 64;

/// The server under test and what is known about it.
pub(crate) struct Bench {
    /// Marks the topics and ids of this run, so that nothing of an earlier one is met.
    pub(crate) run_id: String,
    pub(crate) label: String,
    pub(crate) processes: Processes,
    pub(crate) signer: Option<Signer>,
    /// How long the timed scenarios send.
    pub(crate) seconds: Duration,
    /// How long nothing may move before what is missing counts as lost.
    pub(crate) patience: Duration,
}

impl Bench {
    /// An anonymous client on ordinary topics.
    fn connect(&self, kind: &str, index: usize, clean_session: bool) -> Connect {
        let client_id = format!("load-{}-{kind}-{index}", self.run_id);
        Connect {
            client_id,
            clean_session,
            token: None,
        }
    }

    /// An ordinary topic; it ends in the lane's number.
    fn topic(&self, kind: &str, lane: usize) -> String {
        format!("load/{}/{kind}/{lane:06}", self.run_id)
    }

    fn lane(&self, kind: &str, lane: usize, qos: u8, size: usize) -> Result<Lane> {
        let content = stamp::content(PUBLISHER, size);
        Ok(Lane::new(Template::publish(
            qos,
            &self.topic(kind, lane),
            &content,
            PUBLISHER,
        )?))
    }

    fn signer(&self, scenario: &'static str) -> Result<&Signer> {
        self.signer.as_ref().ok_or(Error::Missing {
            scenario,
            option: "--secret-file",
        })
    }

    /// Fills in what every outcome has.
    fn finish(&self, scenario: String, run: &Run, outcome: Outcome) -> Result<Outcome> {
        Ok(Outcome {
            server: self.label.clone(),
            scenario,
            sent: run.sent.get(),
            latency_ms: run.latency(),
            rss_kib: self.processes.rss_kib()?,
            ..outcome
        })
    }
}

/// Connects and subscribes to one topic.
async fn subscriber(
    target: Target,
    connect: Connect,
    filter: String,
    qos: u8,
    spread: usize,
) -> Result<Client> {
    let mut client = Client::connect(&target, &connect, spread).await?;
    client.subscribe(&filter, qos).await?;
    Ok(client)
}

/// Serves a connection in the background until the set is dropped; a failure ends the run.
fn spawn(
    tasks: &mut JoinSet<()>,
    run: &Rc<Run>,
    mut client: Client,
    sender: Option<Sender>,
    inbox: &Rc<Inbox>,
) {
    let (run, inbox) = (Rc::clone(run), Rc::clone(inbox));
    tasks.spawn_local(async move {
        if let Err(error) = endpoint::serve(&mut client, sender, &inbox, || false).await {
            run.fail(error);
        }
    });
}

/// The name of a scenario with what was varied.
fn name(scenario: &str, target: &Target, more: &[&str]) -> String {
    let transport = if target.transport() == "ws" {
        Some("WebSocket")
    } else {
        None
    };
    let parts = std::iter::once(scenario)
        .chain(more.iter().copied())
        .chain(transport);
    parts
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
