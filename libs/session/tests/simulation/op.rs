//! What can happen. An operation holds all its choices, so that a list of them runs the same way each time.

/// The kinds, with how often each is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Publish,
    PublishAgain,
    Recall,
    Grant,
    Subscribe,
    Route,
    RestartOwner,
    Frame,
    LoseFrame,
    RepeatFrame,
    Attach,
    AttachReply,
    Apply,
    Stall,
    Answer,
    FailFetch,
    Read,
    Pause,
    Ack,
    Nack,
    Arrive,
    DropLink,
    Close,
    Connect,
    Save,
    Crash,
    Throttle,
    Shed,
}

use What::*;

const WEIGHTS: &[(What, u64)] = &[
    (Publish, 30),
    (PublishAgain, 2),
    (Recall, 1),
    (Grant, 8),
    (Subscribe, 1),
    (Route, 20),
    (RestartOwner, 1),
    (Frame, 40),
    (LoseFrame, 2),
    (RepeatFrame, 3),
    (Attach, 15),
    (AttachReply, 15),
    (Apply, 15),
    (Stall, 1),
    (Answer, 25),
    (FailFetch, 3),
    (Read, 30),
    (Pause, 1),
    (Ack, 35),
    (Nack, 2),
    (Arrive, 25),
    (DropLink, 4),
    (Close, 3),
    (Connect, 8),
    (Save, 10),
    (Crash, 2),
    (Throttle, 3),
    (Shed, 1),
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
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678);
    let weights: Vec<_> = (WEIGHTS.iter())
        .map(|(what, w)| {
            (
                *what,
                w * [u64::from(*w > 4), 1, 2, 2, 2, 4][rng.below(6) as usize],
            )
        })
        .collect();
    let total: u64 = weights.iter().map(|w| w.1).sum::<u64>().max(1);
    let length = 20 + rng.below(580);
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
                a: rng.below(1000) as usize,
                b: rng.below(1000) as usize,
            }
        })
        .collect()
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
