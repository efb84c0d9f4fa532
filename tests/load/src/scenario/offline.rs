//! Messages for sessions that are away: how fast they are stored, how fast they come when the session is back.

use std::rc::Rc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pairs::{forget, validate_size};
use super::{Bench, OPENING, PUBLISHER, name, spawn, subscriber};
use crate::endpoint::{self, Inbox, Lane, Pace, Payload, Sender};
use crate::error::{Error, Result};
use crate::link::Target;
use crate::mqtt::Client;
use crate::packet::Connect;
use crate::report::Outcome;
use crate::run::{Meter, Reading, Run, each};
use crate::track::Verdict;

/// What is varied.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Offline {
    /// Sessions that are away, each subscribed to a topic of its own.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=50_000))]
    pub(crate) sessions: u64,
    /// Messages for each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) messages: u64,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

/// What is varied when one session is away.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct One {
    /// Messages for the one session.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(50..=10_000_000))]
    pub(crate) messages: u64,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

/// How the messages are published.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Sending {
    /// Publishers.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) publishers: u64,
    /// Unacknowledged PUBLISHes of each.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) window: u64,
    /// Bytes of payload.
    #[arg(long, default_value_t = 200)]
    pub(crate) size: usize,
}

/// A session that is away: how it connects, what it is subscribed to, which lanes that is.
struct Away {
    connect: Connect,
    filter: String,
    lanes: usize,
}

/// What is stored for whom.
struct Load<'a> {
    scenario: String,
    /// Names the topics and the clients.
    kind: &'static str,
    sessions: Vec<Away>,
    lanes: usize,
    /// On each lane.
    messages: u64,
    sending: &'a Sending,
}

/// Many sessions with a few messages each.
pub(crate) async fn many(bench: &Bench, target: &Target, options: &Offline) -> Result<Outcome> {
    let sessions = (0..options.sessions as usize).map(|index| Away {
        connect: bench.connect("away", index, false),
        filter: bench.topic("away", index),
        lanes: 1,
    });
    let load = Load {
        scenario: format!("offline {}×{}", options.sessions, options.messages),
        kind: "away",
        sessions: sessions.collect(),
        lanes: options.sessions as usize,
        messages: options.messages,
        sending: &options.sending,
    };
    measure(bench, target, load).await
}

/// One session with many messages, over as many topics as there are publishers.
pub(crate) async fn one(bench: &Bench, target: &Target, options: &One) -> Result<Outcome> {
    let publishers = options.sending.publishers;
    let lanes = publishers as usize;
    let filter = format!("load/{}/one/+", bench.run_id);
    let messages = (options.messages / publishers).max(1);
    let load = Load {
        scenario: format!("drain-one {}", messages * publishers),
        kind: "one",
        sessions: vec![Away {
            connect: bench.connect("one", 0, false),
            filter,
            lanes,
        }],
        lanes,
        messages,
        sending: &options.sending,
    };
    measure(bench, target, load).await
}

async fn measure(bench: &Bench, target: &Target, load: Load<'_>) -> Result<Outcome> {
    validate_size(load.sending.size)?;
    let jobs = load.sessions.iter().enumerate().map(|(index, away)| {
        let (target, connect, filter) = (target.clone(), away.connect.clone(), away.filter.clone());
        async move {
            subscriber(target, connect, filter, 1, index)
                .await?
                .disconnect()
                .await
        }
    });
    each(OPENING, jobs).await.map(|_: Vec<()>| ())?;

    let run = Run::start();
    let storing = store(bench, target, &run, &load).await?;
    let unacknowledged = run.unacknowledged();
    let rss = bench.processes.rss_kib()?;
    let (inboxes, draining) = drain(bench, target, &run, &load).await?;
    let mut verdict = Verdict::default();
    for (inbox, away) in inboxes.iter().zip(&load.sessions) {
        for lane in 0..away.lanes {
            verdict += inbox.verdict(lane, load.messages);
        }
    }
    let mut outcome = Outcome::new("message", verdict, storing.clone().then(draining.clone()));
    let total = (load.lanes as u64 * load.messages) as f64;
    put_phase(&mut outcome, "puback", &storing, total);
    put_phase(&mut outcome, "drain", &draining, total);
    outcome
        .figures
        .extend(rss.map(|kib| ("stored_rss_MiB".to_owned(), kib as f64 / 1024.0)));
    forget(
        target,
        load.sessions.into_iter().map(|away| away.connect).collect(),
    )
    .await?;
    let outcome = bench.finish(name(&load.scenario, target, &[]), &run, outcome)?;
    // The time a message spent waiting for its session says nothing about the server.
    Ok(Outcome {
        latency_ms: None,
        unacknowledged,
        ..outcome
    })
}

fn put_phase(outcome: &mut Outcome, phase: &str, reading: &Reading, total: f64) {
    let seconds = reading.elapsed.as_secs_f64();
    let cpu = reading
        .server
        .map(|cpu| (format!("{phase}_cpu_us"), cpu.as_secs_f64() * 1e6 / total));
    outcome.figures.extend([
        (format!("{phase}_per_s"), total / seconds),
        (format!("{phase}_s"), seconds),
    ]);
    outcome.figures.extend(cpu);
}

/// Publishes the messages on each of the lanes, shared out among the publishers.
async fn store(bench: &Bench, target: &Target, run: &Rc<Run>, load: &Load<'_>) -> Result<Reading> {
    let &Load {
        kind,
        lanes,
        messages,
        sending,
        ..
    } = load;
    let publishers = (sending.publishers as usize).min(lanes);
    let jobs = (0..publishers).map(|index| {
        let (target, connect) = (target.clone(), bench.connect(&format!("{kind}-pub"), index, true));
        async move { Client::connect(&target, &connect, index).await }
    });
    let clients = each(OPENING, jobs).await?;
    let inbox = Rc::new(Inbox::new(run, Payload::Opaque, Some(PUBLISHER), 1));
    let mut tasks = JoinSet::new();
    let meter = Meter::start(&bench.processes)?;
    for (index, client) in clients.into_iter().enumerate() {
        let own = (index..lanes).step_by(publishers);
        let own: Vec<Lane> = own
            .map(|lane| bench.lane(kind, lane, 1, sending.size))
            .collect::<Result<_>>()?;
        let quota = own.len() as u64 * messages;
        let pace = Pace::Acks {
            window: sending.window,
        };
        spawn(
            &mut tasks,
            run,
            client,
            Some(Sender::new(run, own, pace, quota, 1)),
            &inbox,
        );
    }
    run.wait_for(bench.patience, |run| run.acked.get() == lanes as u64 * messages)
        .await?;
    meter.read_until_last(run)
}

/// Brings every session back at once; each leaves when it has all that was sent to it.
async fn drain(
    bench: &Bench,
    target: &Target,
    run: &Rc<Run>,
    load: &Load<'_>,
) -> Result<(Vec<Rc<Inbox>>, Reading)> {
    let &Load {
        ref sessions,
        messages,
        ..
    } = load;
    let inboxes: Vec<_> = sessions
        .iter()
        .map(|away| Rc::new(Inbox::new(run, Payload::Opaque, None, away.lanes)))
        .collect();
    let meter = Meter::start(&bench.processes)?;
    let jobs = sessions
        .iter()
        .zip(&inboxes)
        .enumerate()
        .map(|(index, (away, inbox))| {
            let (target, connect, inbox) = (target.clone(), away.connect.clone(), Rc::clone(inbox));
            let (patience, wanted) = (bench.patience, away.lanes as u64 * messages);
            async move {
                let mut client = Client::connect(&target, &connect, index).await?;
                if !client.session_present {
                    return Err(Error::Refused {
                        what: "to keep a session",
                        answer: connect.client_id,
                    });
                }
                while inbox.received() < wanted {
                    let before = inbox.received();
                    let enough = || inbox.received() > before;
                    match timeout(patience, endpoint::serve(&mut client, None, &inbox, enough)).await {
                        Ok(served) => served?,
                        Err(_) => break,
                    }
                }
                client.disconnect().await
            }
        });
    each(sessions.len(), jobs).await.map(|_: Vec<()>| ())?;
    Ok((inboxes, meter.read_until_last(run)?))
}
