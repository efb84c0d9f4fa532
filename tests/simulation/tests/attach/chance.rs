//! Where everything that is left to chance comes from, and what is remembered of a run.

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// splitmix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// How often things go wrong, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A message of the bus is lost.
    pub lost: u64,
    /// A message of the bus comes twice.
    pub twice: u64,
    /// Something takes long.
    pub slow: u64,
    /// An append or a call fails, or its answer is lost.
    pub failed: u64,
}

/// One run's chance, time and trace.
pub struct Chance {
    rng: Mutex<Rng>,
    faults: Mutex<Faults>,
    trace: Mutex<(u64, u64)>,
    began: Instant,
    print: bool,
}

impl Chance {
    pub fn new(seed: u64, print: bool) -> Self {
        Self {
            rng: Mutex::new(Rng::new(seed)),
            faults: Mutex::default(),
            trace: Mutex::default(),
            began: Instant::now(),
            print,
        }
    }

    pub fn below(&self, n: u64) -> u64 {
        self.rng.lock().below(n)
    }

    /// Whether it happens that happens so many times in a thousand.
    pub fn happens(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1000) < per_mille
    }

    pub fn faults(&self) -> Faults {
        *self.faults.lock()
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    /// How long something takes: usually next to nothing.
    pub fn delay(&self) -> Duration {
        let longest = match self.faults().slow {
            slow if self.happens(slow) => 1500,
            slow if self.happens(slow * 4) => 60,
            _ => 3,
        };
        Duration::from_millis(self.below(longest))
    }

    pub async fn pause(&self) {
        let delay = self.delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// Remembers that something happened; the same seed must make the same things happen.
    pub fn note(&self, what: &str, numbers: [u64; 4]) {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.print {
            println!("{at:>7} {what} {numbers:?}");
        }
        let mut trace = self.trace.lock();
        let bytes = what.bytes().map(u64::from);
        for word in bytes.chain(numbers).chain([at]) {
            trace.0 = (trace.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        trace.1 += 1;
    }

    /// A hash of all that happened, and how many things that were.
    pub fn trace(&self) -> (u64, u64) {
        *self.trace.lock()
    }
}
