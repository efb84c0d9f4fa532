//! Chat 1:1: pairs of a publisher and a subscriber with a topic each, in closed or open loop.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Bench, OPENING, PUBLISHER, name, spawn, subscriber};
use crate::endpoint::{Arrivals, Inbox, Lane, Pace, Payload, Sender};
use crate::envelope::{AGENT, Chat, VISITOR};
use crate::error::{Error, Result};
use crate::link::Target;
use crate::mqtt::{self, Client};
use crate::packet::Connect;
use crate::report::Outcome;
use crate::run::{Meter, Run, each};
use crate::template::Template;
use crate::track::Verdict;

/// What is varied.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Pairs of a publisher and a subscriber.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) pairs: u64,
    /// Messages under way in each pair: unacknowledged (QoS 1) or undelivered (QoS 0). Closed loop only.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) window: u64,
    /// Bytes of payload, or of content in a chat message.
    #[arg(long, default_value_t = 200)]
    pub(crate) size: usize,
    /// QoS of publishing and subscribing.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
    /// Ordinary topics and bytes, or chat threads between a visitor and an agent, both on MQTT.
    #[arg(long, value_enum, default_value_t = Content::Opaque)]
    pub(crate) payload: Content,
}

/// What the messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Content {
    /// Bytes on an ordinary topic; any broker can be measured.
    Opaque,
    /// The protobuf chat envelope on a thread's topic; needs Longwire and its secret.
    Chat,
}

/// One pair, ready to be served.
struct Pair {
    publisher: Client,
    subscriber: Client,
    lane: Lane,
    /// Whom to forget afterwards.
    kept: Option<Connect>,
}

/// Measures; `rate` in messages a second over all pairs makes it an open loop.
pub(crate) async fn measure(
    bench: &Bench,
    target: &Target,
    options: &Options,
    rate: Option<u64>,
) -> Result<Outcome> {
    let pairs = open(bench, target, options).await?;
    let run = Run::start();
    let chat = options.payload == Content::Chat;
    let mut tasks = JoinSet::new();
    let (mut books, mut kept) = (Vec::new(), Vec::new());
    let meter = Meter::start(&bench.processes)?;
    for (index, pair) in pairs.into_iter().enumerate() {
        let (arrived, inboxes) = (Rc::<Arrivals>::default(), inboxes(&run, chat));
        let [receiving, own] = inboxes.map(|inbox| Rc::new(inbox.announce(&arrived)));
        let pace = pace(options, rate, index, &arrived);
        books.push((Rc::clone(&pair.lane.sent), Rc::clone(&receiving), Rc::clone(&own)));
        let sender = Sender::new(&run, vec![pair.lane], pace, u64::MAX, options.qos);
        spawn(&mut tasks, &run, pair.subscriber, None, &receiving);
        spawn(&mut tasks, &run, pair.publisher, Some(sender), &own);
        kept.extend(pair.kept);
    }
    let qos = options.qos;
    let complete = move |run: &Run| {
        let sent = run.sent.get();
        sent == run.delivered.get()
            && (qos == 0 || sent == run.acked.get())
            && (!chat || sent == run.echoed.get())
    };
    run.supervise(bench.seconds, bench.patience, complete).await?;
    let reading = meter.read_until_last(&run)?;
    drop(tasks);
    forget(target, kept).await?;

    let mut verdict = Verdict::default();
    for (sent, receiving, own) in &books {
        let sent: u64 = Cell::get(sent);
        verdict += receiving.verdict(0, sent);
        if chat {
            verdict += Verdict {
                delivered: 0,
                ..own.echo_verdict(sent)
            };
        }
    }
    let loop_name = if rate.is_some() { "pairs-rate" } else { "pairs-max" };
    let of = if chat { "chat" } else { "" };
    let mut outcome = Outcome::new("message", verdict, reading);
    outcome.unacknowledged = if qos == 0 { 0 } else { run.unacknowledged() };
    bench.finish(
        name(loop_name, target, &[&format!("qos{qos}"), of]),
        &run,
        outcome,
    )
}

/// What the subscriber and the publisher listen with.
fn inboxes(run: &Rc<Run>, chat: bool) -> [Inbox; 2] {
    let sides = if chat { [AGENT, VISITOR] } else { [b's', PUBLISHER] };
    let payload = if chat { Payload::Protobuf } else { Payload::Opaque };
    sides.map(|side| Inbox::new(run, payload, Some(side), 1))
}

fn pace(options: &Options, rate: Option<u64>, index: usize, arrived: &Rc<Arrivals>) -> Pace {
    match rate {
        Some(rate) => clock(rate, options.pairs, index),
        None if options.qos > 0 => Pace::Acks {
            window: options.window,
        },
        None => Pace::Arrivals {
            window: options.window,
            arrived: Rc::clone(arrived),
            per_message: 1,
        },
    }
}

/// The schedule of the sender with that index of `senders` that share `rate` messages a second evenly.
pub(super) fn clock(rate: u64, senders: u64, index: usize) -> Pace {
    let between = Duration::from_secs(1).div_f64(rate.max(1) as f64);
    let due = Instant::now() + between * index as u32;
    Pace::Clock {
        period: between * senders as u32,
        due,
    }
}

async fn open(bench: &Bench, target: &Target, options: &Options) -> Result<Vec<Pair>> {
    let mut jobs = Vec::new();
    let qos = options.qos;
    for index in 0..options.pairs as usize {
        let target = target.clone();
        let plan = match options.payload {
            Content::Opaque => opaque(bench, options, index)?,
            Content::Chat => chat(bench, options, index)?,
        };
        jobs.push(async move {
            let publisher = match plan.echo {
                None => Client::connect(&target, &plan.publisher, index).await?,
                Some(topic) => subscriber(target.clone(), plan.publisher, topic, 1, index).await?,
            };
            let subscriber = match plan.filter {
                None => Client::connect(&target, &plan.subscriber, index).await?,
                Some(filter) => {
                    subscriber(target.clone(), plan.subscriber.clone(), filter, qos, index).await?
                }
            };
            let kept = (!plan.subscriber.clean_session).then_some(plan.subscriber);
            Ok(Pair {
                publisher,
                subscriber,
                lane: plan.lane,
                kept,
            })
        });
    }
    each(OPENING, jobs).await
}

/// What a pair connects and subscribes with.
struct Plan {
    publisher: Connect,
    /// The topic on which the publisher hears itself.
    echo: Option<String>,
    subscriber: Connect,
    filter: Option<String>,
    lane: Lane,
}

fn opaque(bench: &Bench, options: &Options, index: usize) -> Result<Plan> {
    Ok(Plan {
        publisher: bench.connect("pub", index, true),
        echo: None,
        subscriber: bench.connect("sub", index, true),
        filter: Some(bench.topic("pair", index)),
        lane: bench.lane("pair", index, options.qos, options.size)?,
    })
}

/// A visitor who writes and an agent who, like deployed ones, keeps a session and subscribes to nothing.
fn chat(bench: &Bench, options: &Options, index: usize) -> Result<Plan> {
    let signer = bench.signer("--payload chat")?;
    let chat = conversation(bench, "pair", index);
    let topic = chat.topic();
    let payload = chat.protobuf(VISITOR, options.size);
    let token = signer.sign(&chat.visitor, "visitor", &[])?;
    let client_id = format!("{}/WEB/load", chat.visitor);
    Ok(Plan {
        publisher: Connect {
            client_id,
            clean_session: true,
            token: Some(token),
        },
        lane: Lane::new(Template::publish(options.qos, &topic, &payload, VISITOR)?),
        echo: Some(topic),
        subscriber: agent(bench, &chat, "--payload chat")?,
        filter: None,
    })
}

/// The conversation of a pair.
pub(super) fn conversation(bench: &Bench, kind: &str, index: usize) -> Chat {
    let run = bench.run_id.clone();
    let alias = format!("load_ag_{run}_{kind}_{index}");
    let visitor = format!("load_vi_{run}_{kind}_{index}");
    Chat {
        run: format!("{run}-{kind}"),
        index,
        alias,
        visitor,
    }
}

/// How the agent of a conversation connects.
pub(super) fn agent(bench: &Bench, chat: &Chat, scenario: &'static str) -> Result<Connect> {
    let user = chat.alias.replace("_ag_", "_user_");
    let token = bench.signer(scenario)?.sign(&user, "agent", &[&chat.alias])?;
    Ok(Connect {
        client_id: format!("{user}/WEB/load"),
        clean_session: false,
        token: Some(token),
    })
}

/// Removes sessions that would otherwise stay.
pub(super) async fn forget(target: &Target, kept: Vec<Connect>) -> Result<()> {
    let jobs = kept.into_iter().enumerate().map(|(index, connect)| {
        let target = target.clone();
        async move { mqtt::forget(&target, &connect, index).await }
    });
    each(OPENING, jobs).await.map(|_: Vec<()>| ())
}

impl Options {
    /// Refuses what could not be measured.
    pub(crate) fn validate(&self) -> Result<()> {
        validate_size(self.size)
    }
}

/// A payload must hold its stamp and fit the server's default limit.
pub(super) fn validate_size(size: usize) -> Result<()> {
    let smallest = crate::stamp::MIN_PAYLOAD;
    if (smallest..=200_000).contains(&size) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "--size must be {smallest} to 200000 bytes: every message carries a stamp"
    )))
}
