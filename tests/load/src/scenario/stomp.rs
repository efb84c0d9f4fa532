//! The conversation Longwire is for: a visitor on STOMP and an agent on MQTT, both writing.

use std::rc::Rc;

use tokio::task::JoinSet;

use super::pairs::{agent, clock, conversation, forget, validate_size};
use super::{Bench, OPENING, name, spawn};
use crate::endpoint::{self, Arrivals, Inbox, Lane, Pace, Payload, Sender};
use crate::envelope::{AGENT, Chat, VISITOR};
use crate::error::Result;
use crate::link::Target;
use crate::mqtt::Client;
use crate::packet::Connect;
use crate::report::Outcome;
use crate::run::{Meter, Run, each};
use crate::stomp::Visitor;
use crate::template::Template;
use crate::track::Verdict;

/// What is varied.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Conversations.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) pairs: u64,
    /// Messages of each side whose echo has not come. Closed loop only.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) window: u64,
    /// Bytes of content in each message.
    #[arg(long, default_value_t = 200)]
    pub(crate) size: usize,
    /// Messages a second over all conversations: an open loop.
    #[arg(long)]
    pub(crate) rate: Option<u64>,
}

struct Pair {
    chat: Chat,
    agent: Client,
    visitor: Visitor,
    kept: Connect,
}

/// The counts of one side of one conversation.
struct Book {
    sent: Rc<std::cell::Cell<u64>>,
    /// Where its messages should arrive, and where its echoes.
    other: Rc<Inbox>,
    own: Rc<Inbox>,
}

/// Measures; what is counted is messages that reached the other side. Every one of them is echoed as well.
pub(crate) async fn measure(
    bench: &Bench,
    mqtt: &Target,
    stomp: &Target,
    options: &Options,
) -> Result<Outcome> {
    validate_size(options.size)?;
    let pairs = open(bench, mqtt, stomp, options).await?;
    let run = Run::start();
    let mut tasks = JoinSet::new();
    let (mut books, mut kept) = (Vec::new(), Vec::new());
    let meter = Meter::start(&bench.processes)?;
    for (index, pair) in pairs.into_iter().enumerate() {
        kept.push(pair.kept.clone());
        books.extend(start(&mut tasks, &run, index, pair, options)?);
    }
    let complete = |run: &Run| run.sent.get() == run.delivered.get() && run.sent.get() == run.echoed.get();
    run.supervise(bench.seconds, bench.patience, complete).await?;
    let reading = meter.read_until_last(&run)?;
    drop(tasks);
    forget(mqtt, kept).await?;

    let mut verdict = Verdict::default();
    for book in &books {
        let sent = book.sent.get();
        verdict += book.other.verdict(0, sent);
        verdict += Verdict {
            delivered: 0,
            ..book.own.echo_verdict(sent)
        };
    }
    let outcome = Outcome::new("message", verdict, reading);
    let pace = options.rate.map(|rate| format!("{rate}/s")).unwrap_or_default();
    bench.finish(name("stomp-mqtt", mqtt, &["chat", &pace]), &run, outcome)
}

/// Sets both sides of a conversation to work.
fn start(
    tasks: &mut JoinSet<()>,
    run: &Rc<Run>,
    index: usize,
    pair: Pair,
    options: &Options,
) -> Result<[Book; 2]> {
    let Pair {
        chat,
        agent,
        mut visitor,
        ..
    } = pair;
    let echoes = [Rc::<Arrivals>::default(), Rc::default()];
    let agent_inbox = Rc::new(Inbox::new(run, Payload::Protobuf, Some(AGENT), 1).announce_echoes(&echoes[0]));
    let visitor_inbox = Rc::new(Inbox::new(run, Payload::Json, Some(VISITOR), 1).announce_echoes(&echoes[1]));

    let envelope = chat.protobuf(AGENT, options.size);
    let from_agent = Lane::new(Template::publish(1, &chat.topic(), &envelope, AGENT)?);
    let from_visitor = Lane::new(Template::whole(send_frame(&chat, options.size), VISITOR)?);
    let books = [
        Book {
            sent: Rc::clone(&from_agent.sent),
            other: Rc::clone(&visitor_inbox),
            own: Rc::clone(&agent_inbox),
        },
        Book {
            sent: Rc::clone(&from_visitor.sent),
            other: Rc::clone(&agent_inbox),
            own: Rc::clone(&visitor_inbox),
        },
    ];

    let paces = echoes.map(|arrived| Pace::Arrivals {
        window: options.window,
        arrived,
        per_message: 1,
    });
    let [agent_pace, visitor_pace] = match options.rate {
        None => paces,
        Some(rate) => [2 * index, 2 * index + 1].map(|sender| clock(rate, 2 * options.pairs, sender)),
    };
    let sender = Sender::new(run, vec![from_agent], agent_pace, u64::MAX, 1);
    spawn(tasks, run, agent, Some(sender), &agent_inbox);
    let sender = Sender::new(run, vec![from_visitor], visitor_pace, u64::MAX, 0);
    let run = Rc::clone(run);
    tasks.spawn_local(async move {
        if let Err(error) = endpoint::serve_visitor(&mut visitor, sender, &visitor_inbox).await {
            run.fail(error);
        }
    });
    Ok(books)
}

/// The visitor's SEND, as its page writes it.
fn send_frame(chat: &Chat, size: usize) -> Vec<u8> {
    format!(
        "SEND\ndestination:/app/{}\n\n{}\0",
        chat.dotted(),
        chat.json(VISITOR, size)
    )
    .into_bytes()
}

async fn open(bench: &Bench, mqtt: &Target, stomp: &Target, options: &Options) -> Result<Vec<Pair>> {
    let mut jobs = Vec::new();
    for index in 0..options.pairs as usize {
        let chat = conversation(bench, "stomp", index);
        let kept = agent(bench, &chat, "stomp-mqtt")?;
        let token = bench.signer("stomp-mqtt")?.sign(&chat.visitor, "visitor", &[])?;
        let (mqtt, stomp) = (mqtt.clone(), stomp.clone());
        jobs.push(async move {
            let agent = Client::connect(&mqtt, &kept, index).await?;
            let mut visitor = Visitor::connect(&stomp, &chat.visitor, Some(&token), index).await?;
            visitor.subscribe(&chat.dotted()).await?;
            Ok(Pair {
                chat,
                agent,
                visitor,
                kept,
            })
        });
    }
    each(OPENING, jobs).await
}
