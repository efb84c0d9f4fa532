//! Attach, the one primitive: edges, routing owners and sessions under every fault that we could think of, from seeds.
//!
//! What runs is the real code of the edges (`edge::Core`: lines, dispatcher, mailboxes, consumers, takeovers) and
//! of routing (`routing::Service`: shares of partitions, owners, judging), each process with its own way out, over models of
//! the log, the lines, the bus, the leases and the store. Time is virtual, one thread runs everything, and whatever is left to chance
//! comes from the seed, so that a seed does the same every time. What clients see is checked at every step, and once more
//! when nothing goes wrong any more and everything must come right (`ledger.rs`, `world.rs`).
//!
//! `LONGWIRE_SIM_SEEDS=100000` runs more seeds, `LONGWIRE_SIM_SEED=7` that one, printing all
//! that happens with the fewest operations with which it fails (with `LONGWIRE_SIM_TRACE=1` with all of them, too). A failure prints its seed and a list of operations that no single removal makes pass.
#![allow(clippy::print_stdout, clippy::panic, reason = "a test that explains itself")]

mod chance;
mod connection;
mod leases;
mod ledger;
mod life;
mod log;
mod net;
mod op;
mod process;
mod road;
mod store;
mod vault;
mod world;

use op::Op;
use world::World;

/// Runs the operations, then brings everything to rest. Says what happened: a hash of it, and how much.
fn run(seed: u64, ops: &[Op], print: bool) -> Result<(u64, u64), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(async {
        let mut world = World::new(seed, print);
        world.begin().await;
        for (i, op) in ops.iter().enumerate() {
            world.apply(*op).await;
            tokio::task::yield_now().await;
            world.wrong().map_err(|e| format!("at operation {i}: {e}"))?;
        }
        world.come_to_rest().await.map_err(|e| format!("at rest: {e}"))?;
        Ok(world.chance.trace())
    })
}

/// Removes operations, in ever smaller runs, as long as it still fails.
fn shrink(seed: u64, mut ops: Vec<Op>) -> Vec<Op> {
    let mut size = ops.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(from..(from + size).min(ops.len()));
            if run(seed, &fewer, false).is_err() {
                ops = fewer;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    ops
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A quarter of the seeds.
fn run_quarter(quarter: u64) {
    let seeds = match number("LONGWIRE_SIM_SEED") {
        Some(one) if one % 4 == quarter => one..one + 1,
        Some(_) => 0..0,
        None => 0..number("LONGWIRE_SIM_SEEDS").unwrap_or(10_000),
    };
    let print = number("LONGWIRE_SIM_TRACE").is_some();
    for seed in seeds.filter(|s| s % 4 == quarter) {
        let ops = op::from_seed(seed);
        if let Err(first) = run(seed, &ops, print) {
            let ops = shrink(seed, ops);
            let list: Vec<_> = ops.iter().map(|op| format!("  {op:?}")).collect();
            println!("seed {seed}, with less:");
            let last = run(seed, &ops, number("LONGWIRE_SIM_SEED").is_some());
            panic!(
                "seed {seed}: {first}\nand with less: {last:?}\n{}",
                list.join("\n")
            );
        }
    }
}

#[test]
fn every_promise_holds_in_the_first_quarter_of_the_seeds() {
    run_quarter(0);
}

#[test]
fn every_promise_holds_in_the_second_quarter_of_the_seeds() {
    run_quarter(1);
}

#[test]
fn every_promise_holds_in_the_third_quarter_of_the_seeds() {
    run_quarter(2);
}

#[test]
fn every_promise_holds_in_the_last_quarter_of_the_seeds() {
    run_quarter(3);
}

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in (0..400).step_by(13) {
        let ops = op::from_seed(seed);
        let first = run(seed, &ops, false);
        assert_eq!(first, run(seed, &ops, false), "seed {seed}");
    }
}
