//! SEND: from a client to the log, and what becomes of it.

use std::error::Error as _;

use contract::ErrorKind;
use edge::Outcome;
use edge::line::Ticket;
use edge::{Refusal, ingest};
use model::{ChatTopic, Origin, TopicName};
use stomp_codec::Frame;
use tokio::time::Instant;
use wire::envelope::{self, EnvelopeError};
use wire::{Entry, Kind, Message};

use crate::bye::Bye;
use crate::connection::Connection;
use crate::destination;

/// A SEND whose outcome is awaited.
#[derive(Debug)]
pub(crate) struct Pending {
    receipt: Option<String>,
    topic: TopicName,
    since: Instant,
}

/// A RECEIPT that waits until everything sent before it is settled.
#[derive(Debug)]
pub(crate) struct Fence {
    after: u64,
    receipt: String,
}

impl Connection {
    /// SEND.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), Bye> {
        let receipt = frame.get("receipt");
        self.edge.metrics.sent.inc();
        self.take_rate().map_err(|after| Bye::too_fast(after, receipt))?;
        let refused = |refusal| Bye::refused(refusal, receipt);
        let to = frame.get("destination").unwrap_or_default();
        let topic = destination::to_send(to).map_err(refused)?;
        match self.entry(&topic, frame).await {
            Ok(entry) if entry.known_kind() == Kind::Transient => {
                self.edge.core.send_transient(entry);
                self.answer(frame);
                Ok(())
            }
            Ok(entry) => {
                self.submit(receipt, entry);
                Ok(())
            }
            Err(refusal) => self.refuse(&topic, refusal, receipt),
        }
    }

    fn submit(&mut self, receipt: Option<&str>, entry: Entry) {
        let token = self.token();
        let pending = Pending {
            receipt: receipt.map(str::to_owned),
            topic: TopicName::trusted(&entry.topic),
            since: Instant::now(),
        };
        self.pending.insert(token, pending);
        let core = &self.edge.core;
        self.busy = Some(entry.partition(core.partitioning));
        core.submit(entry, Ticket::Mail(self.mailbox.clone(), token));
    }

    /// What is to be stored. A chat message goes where it says that it belongs, whatever it was sent to.
    async fn entry(&mut self, topic: &TopicName, frame: &Frame) -> Result<Entry, Refusal> {
        let is_chat = ChatTopic::parse(topic).is_some();
        match envelope::parse(&frame.body) {
            Ok(message) if is_chat || belongs_to_chat(&message) => self.chat(topic, message).await,
            Err(error) if is_chat => {
                self.bind(topic).await?;
                Err(explained(&error))
            }
            _ => self.ordinary(topic, frame),
        }
    }

    async fn chat(&mut self, topic: &TopicName, message: Message) -> Result<Entry, Refusal> {
        if !self.identity.is_bound() {
            let meant = message
                .thread
                .as_ref()
                .map(|t| t.topic.as_str())
                .filter(|t| !t.is_empty());
            match meant.and_then(|t| TopicName::new(t).ok()) {
                Some(meant) => self.bind(&meant).await?,
                None => self.bind(topic).await?,
            }
        }
        let core = &self.edge.core;
        let who = &self.identity.who;
        let chat = core
            .ingest
            .message(&core.gate, who, topic, message, core.now())
            .await?;
        core.gate.grant(chat.wish).await?;
        Ok(chat.entry)
    }

    fn ordinary(&self, topic: &TopicName, frame: &Frame) -> Result<Entry, Refusal> {
        let core = &self.edge.core;
        let who = &self.identity.who;
        let client = self.client.as_deref().unwrap_or_default();
        let may = who.origin == Origin::Token
            && !topic.starts_with('$')
            && core.gate.may_publish_ordinary(who, client, topic);
        if !may {
            return Err(Refusal::forbidden(format!(
                "{:?} may not send to {topic}",
                who.user.as_str()
            )));
        }
        Ok(Entry {
            kind: Kind::Generic.into(),
            org: who.org.to_string(),
            topic: topic.to_string(),
            sender: who.user.to_string(),
            sender_role: who.role.number(),
            accepted_at: core.now().0,
            payload: frame.body.clone(),
            qos: 1,
            ..Entry::default()
        })
    }

    /// The client becomes known by what it names, if it was not.
    pub async fn bind(&mut self, topic: &TopicName) -> Result<(), Refusal> {
        if !self.identity.is_bound() {
            let edge = self.edge.clone();
            self.identity.bind(&edge, topic).await?;
            self.bound();
        }
        Ok(())
    }

    /// What is no message is told as a message; everything else ends the connection.
    fn refuse(&mut self, topic: &TopicName, refusal: Refusal, receipt: Option<&str>) -> Result<(), Bye> {
        self.edge.metrics.refuse(refusal.kind.code());
        if refusal.kind == ErrorKind::InvalidPayload && self.tell(topic, &refusal, receipt) {
            return Ok(());
        }
        Err(Bye::refused(refusal, receipt))
    }

    /// The outcome of a SEND.
    pub fn settled(&mut self, token: u64, outcome: &Outcome) -> Result<(), Bye> {
        let Some(pending) = self.pending.remove(&token) else {
            return Ok(());
        };
        self.edge
            .metrics
            .commit_seconds
            .observe(pending.since.elapsed().as_secs_f64());
        match ingest::refusal(outcome) {
            None => {
                if let Some(receipt) = &pending.receipt {
                    self.receipt(receipt);
                }
                if let Outcome::Stored {
                    position,
                    duplicate: true,
                } = outcome
                {
                    self.echo_again(&pending.topic, *position);
                }
            }
            Some(refusal) => self.refuse(&pending.topic, refusal, pending.receipt.as_deref())?,
        }
        self.pass_fences();
        Ok(())
    }

    /// RECEIPT, when everything sent so far is settled.
    pub fn answer_after_all(&mut self, frame: &Frame) {
        if let Some(receipt) = frame.get("receipt") {
            self.fences.push(Fence {
                after: self.last_token(),
                receipt: receipt.to_owned(),
            });
            self.pass_fences();
        }
    }

    fn pass_fences(&mut self) {
        let oldest = self.pending.keys().next().copied().unwrap_or(u64::MAX);
        let passed = self.fences.iter().take_while(|f| f.after < oldest).count();
        for fence in self.fences.drain(..passed).collect::<Vec<_>>() {
            self.receipt(&fence.receipt);
        }
    }
}

fn belongs_to_chat(message: &Message) -> bool {
    let topic = message.thread.as_ref().map(|t| t.topic.as_str());
    topic.is_some_and(|t| ChatTopic::parse(t).is_some())
}

fn explained(error: &EnvelopeError) -> Refusal {
    Refusal::invalid(match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}
