//! Fan-out: one publisher, many subscribers of one topic.

use std::rc::Rc;

use tokio::task::JoinSet;

use super::pairs::validate_size;
use super::{Bench, OPENING, PUBLISHER, name, spawn, subscriber};
use crate::endpoint::{Arrivals, Inbox, Pace, Payload, Sender};
use crate::error::Result;
use crate::link::Target;
use crate::mqtt::Client;
use crate::report::Outcome;
use crate::run::{Meter, Run, each};
use crate::track::Verdict;

/// What is varied.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Subscribers of the one topic.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=50_000))]
    pub(crate) subscribers: u64,
    /// Messages that have not reached everybody.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) window: u64,
    /// Bytes of payload.
    #[arg(long, default_value_t = 200)]
    pub(crate) size: usize,
    /// QoS of publishing and subscribing.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub(crate) qos: u8,
}

/// Measures; what is counted is deliveries.
pub(crate) async fn measure(bench: &Bench, target: &Target, options: &Options) -> Result<Outcome> {
    validate_size(options.size)?;
    let topic = bench.topic("fanout", 0);
    let jobs = (0..options.subscribers as usize).map(|index| {
        let connect = bench.connect("fan", index, true);
        subscriber(target.clone(), connect, topic.clone(), options.qos, index)
    });
    let subscribers = each(OPENING, jobs).await?;
    let publisher = Client::connect(target, &bench.connect("fan-pub", 0, true), 0).await?;

    let run = Run::start();
    let lane = bench.lane("fanout", 0, options.qos, options.size)?;
    let sent = Rc::clone(&lane.sent);
    let (arrived, mut tasks, mut inboxes) = (Rc::<Arrivals>::default(), JoinSet::new(), Vec::new());
    let pace = Pace::Arrivals {
        window: options.window,
        arrived: Rc::clone(&arrived),
        per_message: options.subscribers,
    };
    let meter = Meter::start(&bench.processes)?;
    for client in subscribers {
        let inbox = Rc::new(Inbox::new(&run, Payload::Opaque, None, 1).announce(&arrived));
        inboxes.push(Rc::clone(&inbox));
        spawn(&mut tasks, &run, client, None, &inbox);
    }
    let own = Rc::new(Inbox::new(&run, Payload::Opaque, Some(PUBLISHER), 1));
    let sender = Sender::new(&run, vec![lane], pace, u64::MAX, options.qos);
    spawn(&mut tasks, &run, publisher, Some(sender), &own);
    let (each, qos) = (options.subscribers, options.qos);
    let complete = move |run: &Run| {
        run.sent.get() * each == run.delivered.get() && (qos == 0 || run.sent.get() == run.acked.get())
    };
    run.supervise(bench.seconds, bench.patience, complete).await?;
    let reading = meter.read_until_last(&run)?;
    drop(tasks);

    let mut verdict = Verdict::default();
    for inbox in &inboxes {
        verdict += inbox.verdict(0, sent.get());
    }
    let scenario = format!("fan-out 1→{}", options.subscribers);
    let mut outcome = Outcome::new("delivery", verdict, reading);
    outcome.unacknowledged = if qos == 0 { 0 } else { run.unacknowledged() };
    bench.finish(name(&scenario, target, &[&format!("qos{qos}")]), &run, outcome)
}
