//! Connections that do nothing, and connections that come all at once.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::pairs::forget;
use super::{Bench, OPENING, name, subscriber};
use crate::error::{Error, Result};
use crate::link::Target;
use crate::mqtt::Client;
use crate::packet::Connect;
use crate::process;
use crate::report::Outcome;
use crate::run::{Meter, Run, add, each};
use crate::track::Verdict;

/// How long clients are away before they come back.
const AWAY: Duration = Duration::from_secs(3);

/// What is varied while idle.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Idle {
    /// Connections on each transport, each with a persistent session and one subscription.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) connections: u64,
}

/// Opens the connections on each target in turn, keeps them all, and gives an outcome each: memory is told by
/// growth, so nothing may be freed and used again in between.
pub(crate) async fn idle(bench: &Bench, targets: &[Target], options: &Idle) -> Result<Vec<Outcome>> {
    let wanted = options.connections * targets.len() as u64 + 100;
    if process::open_files_limit()? < wanted {
        return Err(Error::Usage(format!(
            "{wanted} open files are needed: raise `ulimit -n`"
        )));
    }
    let (mut outcomes, mut held, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let run = Run::start();
        let before = bench.processes.rss_kib()?;
        let meter = Meter::start(&bench.processes)?;
        let connects: Vec<_> = (0..options.connections as usize)
            .map(|index| bench.connect(&format!("idle-{}", target.transport()), index, false))
            .collect();
        let jobs = connects.iter().enumerate().map(|(index, connect)| {
            subscriber(
                target.clone(),
                connect.clone(),
                format!("load/idle/{}", connect.client_id),
                1,
                index,
            )
        });
        let clients = each(OPENING, jobs).await?;
        let opening = meter.read()?;
        sleep(Duration::from_secs(1)).await;
        let resting = Meter::start(&bench.processes)?;
        sleep(bench.seconds).await;
        let rest = resting.read()?;
        let count = clients.len() as u64;
        run.sent.set(count);
        let verdict = Verdict {
            delivered: count,
            ..Verdict::default()
        };
        let outcome = bench.finish(
            name("idle", target, &[]),
            &run,
            Outcome::new("connection", verdict, opening),
        )?;
        outcomes.push(with_rest(outcome, before, rest.server, rest.elapsed));
        held.push((target.clone(), clients));
        kept.push((target.clone(), connects));
    }
    for (_, clients) in held {
        each(OPENING, clients.into_iter().map(Client::disconnect)).await?;
    }
    for (target, connects) in kept {
        forget(&target, connects).await?;
    }
    Ok(outcomes)
}

fn with_rest(mut outcome: Outcome, before: Option<u64>, cpu: Option<Duration>, over: Duration) -> Outcome {
    if let (Some(before), Some(after)) = (before, outcome.rss_kib) {
        let grown = after.saturating_sub(before) as f64 / outcome.delivered.max(1) as f64;
        outcome.figures.insert("KiB_each".to_owned(), grown);
    }
    if let Some(cpu) = cpu {
        outcome.figures.insert(
            "idle_cpu_percent".to_owned(),
            100.0 * cpu.as_secs_f64() / over.as_secs_f64(),
        );
    }
    outcome
}

/// What is varied in a storm.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Storm {
    /// Connects under way at a time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) concurrency: u64,
    /// Clients that come back again and again, each to its persistent session; 0 means clean sessions.
    #[arg(long, default_value_t = 0)]
    pub(crate) sessions: u64,
}

/// CONNECT, CONNACK, DISCONNECT, over and over.
pub(crate) async fn storm(bench: &Bench, target: &Target, options: &Storm) -> Result<Outcome> {
    let persistent = options.sessions > 0;
    let kind = if persistent { "back" } else { "storm" };
    let ids: Rc<Vec<Connect>> = Rc::new(match options.sessions as usize {
        0 => Vec::new(),
        // Every worker needs clients of its own: two that shared one would take it over from each other.
        count => (0..count.max(options.concurrency as usize))
            .map(|id| bench.connect(kind, id, false))
            .collect(),
    });
    let run = Run::start();
    let meter = Meter::start(&bench.processes)?;
    let mut workers = JoinSet::new();
    for worker in 0..options.concurrency as usize {
        let (run, ids, target) = (Rc::clone(&run), Rc::clone(&ids), target.clone());
        let (template, step) = (bench.connect(kind, worker, true), options.concurrency as usize);
        workers.spawn_local(async move {
            let mut own = ids.iter().skip(worker).step_by(step).cycle();
            let mut round = 0;
            while !run.stopped() {
                let fresh = || Connect {
                    client_id: format!("{}-{round}", template.client_id),
                    ..template.clone()
                };
                let connect = own.next().cloned().unwrap_or_else(fresh);
                if let Err(error) = once(&run, &target, &connect, worker + round * step).await {
                    run.fail(error);
                }
                round += 1;
            }
        });
    }
    run.supervise(bench.seconds, bench.patience, |run| {
        run.sent.get() == run.acked.get()
    })
    .await?;
    let reading = meter.read_until_last(&run)?;
    while workers.join_next().await.is_some() {}
    forget(target, ids.to_vec()).await?;
    let verdict = Verdict {
        delivered: run.acked.get(),
        ..Verdict::default()
    };
    let of = if persistent { "persistent" } else { "clean" };
    bench.finish(
        name("connect-storm", target, &[of]),
        &run,
        Outcome::new("connection", verdict, reading),
    )
}

async fn once(run: &Run, target: &Target, connect: &Connect, spread: usize) -> Result<()> {
    let began = run.now();
    add(&run.sent, 1);
    let client = Client::connect(target, connect, spread).await?;
    run.record(run.now() - began);
    run.ack();
    client.disconnect().await
}

/// What is varied when all come back.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Reconnect {
    /// Clients with a persistent session and one subscription each.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) clients: u64,
}

/// Breaks the connections of all sessions, then brings all back at the same moment.
pub(crate) async fn reconnect(bench: &Bench, target: &Target, options: &Reconnect) -> Result<Outcome> {
    let connects: Vec<_> = (0..options.clients as usize)
        .map(|index| bench.connect("again", index, false))
        .collect();
    let opening = connects.iter().enumerate().map(|(index, connect)| {
        let topic = bench.topic("again", index);
        subscriber(target.clone(), connect.clone(), topic, 1, index)
    });
    drop(each(OPENING, opening).await?);
    // The server has noticed and saved by then what there is to save.
    sleep(AWAY).await;

    let meter = Meter::start(&bench.processes)?;
    let run = Run::start();
    let jobs = connects.iter().enumerate().map(|(index, connect)| {
        let (run, target, connect) = (Rc::clone(&run), target.clone(), connect.clone());
        async move {
            let began = run.now();
            add(&run.sent, 1);
            let client = Client::connect(&target, &connect, index).await?;
            run.record(run.now() - began);
            run.ack();
            Ok(client)
        }
    });
    let clients = each(connects.len(), jobs).await?;
    let reading = meter.read_until_last(&run)?;
    let kept = clients.iter().filter(|client| client.session_present).count() as u64;
    each(OPENING, clients.into_iter().map(Client::disconnect)).await?;
    forget(target, connects).await?;
    let verdict = Verdict {
        delivered: run.acked.get(),
        lost: options.clients - kept,
        ..Verdict::default()
    };
    bench.finish(
        name("reconnect", target, &[]),
        &run,
        Outcome::new("connection", verdict, reading),
    )
}
