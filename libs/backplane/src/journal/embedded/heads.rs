//! How far each partition is durable, and who has been told.
//!
//! The truth is there at once, for whoever asks. Readers that wait are told a little later, so that a frame whose appender
//! hands it on itself does not wake everybody else too, and one wake-up of theirs serves several frames. The thread that
//! writes is the timer: what it owes is [`Untold`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::watch;

/// Frames of which waiting readers were not told, at most.
const UNTOLD_FRAMES: usize = 64;
/// Bytes of them at most.
const UNTOLD_BYTES: usize = 256 << 10;

/// The last durable frame of each partition.
pub(super) struct Heads {
    durable: Box<[AtomicU64]>,
    /// What waiting readers were told; never above `durable`. They learn from its end that the journal is closed.
    told: RwLock<Option<Box<[watch::Sender<u64>]>>>,
}

impl Heads {
    /// Everything before `next` is durable.
    pub fn new(next: &[u64]) -> Self {
        let tell = |next: &u64| watch::Sender::new(next - 1);
        Self {
            durable: next.iter().map(|next| AtomicU64::new(next - 1)).collect(),
            told: RwLock::new(Some(next.iter().map(tell).collect())),
        }
    }

    /// The last durable frame of a partition.
    pub fn get(&self, partition: u16) -> u64 {
        self.durable[usize::from(partition)].load(Ordering::Acquire)
    }

    /// A partition is durable up to `head`: readers that ask find everything up to it.
    pub fn set(&self, partition: u16, head: u64) {
        self.durable[usize::from(partition)].store(head, Ordering::Release);
    }

    /// Tells readers that wait.
    pub fn announce(&self) {
        let told = self.told.read();
        for (told, durable) in told.iter().flatten().zip(&self.durable) {
            told.send_if_modified(|told| {
                // Read under the watch's own lock: of two that announce at once, the later one cannot take a head back.
                let durable = durable.load(Ordering::Acquire);
                std::mem::replace(told, durable) != durable
            });
        }
    }

    /// What a reader waits on; ended when the journal is closed.
    pub fn watch(&self, partition: u16) -> watch::Receiver<u64> {
        match &*self.told.read() {
            Some(told) => told[usize::from(partition)].subscribe(),
            None => watch::channel(self.get(partition)).1,
        }
    }

    /// Nothing follows: readers that wait take what there is, and end.
    pub fn close(&self) {
        self.announce();
        self.told.write().take();
    }
}

/// What waiting readers were not told of yet.
#[derive(Default)]
pub(super) struct Untold {
    since: Option<Instant>,
    frames: usize,
    bytes: usize,
}

impl Untold {
    pub fn add(&mut self, frames: usize, bytes: usize, now: Instant) {
        self.since.get_or_insert(now);
        self.frames += frames;
        self.bytes += bytes;
    }

    /// How long they may still not be told; `None` when there is nothing to tell.
    pub fn patience(&self, delay: Duration, now: Instant) -> Option<Duration> {
        let since = self.since?;
        if self.frames > UNTOLD_FRAMES || self.bytes > UNTOLD_BYTES {
            return Some(Duration::ZERO);
        }
        Some(delay.saturating_sub(now.duration_since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(50);

    #[test]
    fn readers_are_told_of_the_first_frame_within_the_delay_however_many_follow() {
        let (mut untold, start) = (Untold::default(), Instant::now());
        assert_eq!(untold.patience(DELAY, start), None);
        untold.add(1, 100, start);
        untold.add(1, 100, start + DELAY / 2);
        assert_eq!(untold.patience(DELAY, start + DELAY / 2), Some(DELAY / 2));
        assert_eq!(untold.patience(DELAY, start + DELAY * 2), Some(Duration::ZERO));
    }

    #[test]
    fn many_frames_or_bytes_are_told_at_once() {
        let start = Instant::now();
        for (frames, bytes) in [(UNTOLD_FRAMES + 1, 0), (1, UNTOLD_BYTES + 1)] {
            let mut untold = Untold::default();
            untold.add(frames, bytes, start);
            assert_eq!(untold.patience(DELAY, start), Some(Duration::ZERO));
        }
    }

    #[test]
    fn what_is_durable_is_known_before_it_is_announced() {
        let heads = Heads::new(&[1, 8]);
        let waits = heads.watch(1);
        heads.set(1, 9);
        assert_eq!((heads.get(1), *waits.borrow()), (9, 7));
        heads.announce();
        assert_eq!(*waits.borrow(), 9);
        heads.set(1, 10);
        heads.close();
        assert_eq!(*waits.borrow(), 10);
        assert!(waits.has_changed().is_err(), "it has ended");
    }
}
