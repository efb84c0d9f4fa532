//! What can happen. An operation holds its own choices; the rest (delays, losses) comes from the seed.

use crate::chance::Rng;

/// The kinds, with how often each is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Publish,
    Burst,
    Speak,
    Change,
    PublishAgain,
    Conflict,
    Wait,
    WaitLong,
    Connect,
    Drop,
    Subscribe,
    Unsubscribe,
    Weather,
    CrashEdge,
    StopEdge,
    CutEdge,
    StartOwner,
    KillOwner,
    LeaveOwner,
    StopOwner,
    CutOwner,
    CutLog,
    LoseLease,
    LosePartition,
    StallStore,
    LoseCheckpoint,
    GoOn,
}

use What::*;

const WEIGHTS: &[(What, u64)] = &[
    (Publish, 40),
    (Burst, 8),
    (Speak, 20),
    (Change, 12),
    (PublishAgain, 5),
    (Conflict, 1),
    (Wait, 40),
    (WaitLong, 10),
    (Connect, 14),
    (Drop, 5),
    (Subscribe, 6),
    (Unsubscribe, 2),
    (Weather, 7),
    (CrashEdge, 2),
    (StopEdge, 2),
    (CutEdge, 2),
    (StartOwner, 3),
    (KillOwner, 2),
    (LeaveOwner, 1),
    (StopOwner, 2),
    (CutOwner, 1),
    (CutLog, 2),
    (LoseLease, 1),
    (LosePartition, 1),
    (StallStore, 2),
    (LoseCheckpoint, 2),
    (GoOn, 6),
];

/// One thing that happens, with numbers that say to whom and how much.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub what: What,
    pub a: usize,
    pub b: usize,
}

/// The operations of a seed. Each seed also leans its own way: some kinds come more often, the rare ones (faults, most
/// of them) may not come at all.
pub fn from_seed(seed: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed);
    let lean = [0, 1, 1, 2, 2, 4];
    let weights: Vec<_> = (WEIGHTS.iter())
        .map(|(what, w)| {
            let lean = lean[usize::try_from(rng.below(6)).unwrap_or(0)];
            (*what, w * lean.max(u64::from(*w > 6)))
        })
        .collect();
    let total: u64 = weights.iter().map(|w| w.1).sum();
    let length = 15 + rng.below(75);
    (0..length)
        .map(|_| {
            let mut at = rng.below(total);
            let drawn = weights.iter().find(|(_, w)| {
                let here = at < *w;
                at = at.saturating_sub(*w);
                here
            });
            Op {
                what: drawn.map_or(Publish, |d| d.0),
                a: usize::try_from(rng.below(1000)).unwrap_or(0),
                b: usize::try_from(rng.below(1000)).unwrap_or(0),
            }
        })
        .collect()
}
