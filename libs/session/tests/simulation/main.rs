//! Sessions under every fault that we could think of, from seeds.
//!
//! A model log with several partitions, an owner that routes it to two edges by numbered frames over a network that
//! loses, repeats and delays, a persistence that lags and fails, two clients that connect to either edge, read and
//! acknowledge as they please, and edges that crash, wake up as zombies and save now and then. The session under test
//! is the real one; everything else is a model. What must hold is checked at every step (`ledger.rs`, `client.rs`) and
//! when everything has come to rest (`world.rs`).
//!
//! `LONGWIRE_SIM_SEEDS=100000` runs more seeds, `LONGWIRE_SIM_SEED=7` that one. A failure prints its seed and a list of
//! operations that no single removal makes pass.

mod client;
mod edges;
mod ledger;
mod log;
mod op;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use op::Op;
use world::World;

/// Runs the operations, then brings everything to rest.
fn run(ops: &[Op]) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new();
        for (i, op) in ops.iter().enumerate() {
            world.apply(*op).map_err(|e| format!("at operation {i}: {e}"))?;
        }
        world.come_to_rest().map_err(|e| format!("at rest: {e}"))
    }));
    outcome.unwrap_or_else(|_| Err("a panic".into()))
}

/// Removes operations, in ever smaller runs, as long as it still fails.
fn shrink(mut ops: Vec<Op>) -> Vec<Op> {
    let mut size = ops.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(from..(from + size).min(ops.len()));
            if run(&fewer).is_err() {
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
        None => 0..number("LONGWIRE_SIM_SEEDS").unwrap_or(50_000),
    };
    for seed in seeds.filter(|s| s % 4 == quarter) {
        let ops = op::from_seed(seed);
        if run(&ops).is_err() {
            let ops = shrink(ops);
            let list: Vec<_> = ops.iter().map(|op| format!("  {op:?}")).collect();
            assert_eq!(run(&ops), Ok(()), "seed {seed}:\n{}", list.join("\n"));
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
