//! Measures how long the embedded journal takes to open: `cargo run --release -p backplane --example journal_opening -- DIR [FRAMES]`.
//! Writes so many frames of about 600 bytes (default 5 million, 3 GB) unless the directory holds a log, which is left there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement on the console"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backplane::journal::{EmbeddedJournal, FrameId, Journal, JournalConfig};
use bytes::Bytes;
use model::{EdgeId, PartitionId};

const IN_FLIGHT: u64 = 2000;

async fn fill(dir: &Path, frames: u64) {
    let journal = Arc::new(EmbeddedJournal::open(dir, JournalConfig::default()).unwrap());
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let writer = EdgeId::from(format!("routing-{}", task % 16));
                for number in (task..frames).step_by(IN_FLIGHT as usize) {
                    let id = FrameId {
                        writer: writer.clone(),
                        number,
                    };
                    let frame = Bytes::from(vec![number as u8; 500 + (number % 200) as usize]);
                    let partition = PartitionId((task % 16) as u16);
                    journal.append(partition, None, id, frame).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "journal-opening".to_owned());
    let (dir, frames) = (
        Path::new(&dir),
        args.next().map_or(5_000_000, |n| n.parse().unwrap()),
    );
    if !dir.exists() {
        fill(dir, frames).await;
    }
    for _ in 0..5 {
        let begin = Instant::now();
        let journal = EmbeddedJournal::open(dir, JournalConfig::default()).unwrap();
        let opened = begin.elapsed();
        let mut count = 0;
        for partition in 0..16 {
            count += journal.head(PartitionId(partition)).await.unwrap().0;
        }
        println!("{count} frames: {opened:?}");
    }
}
