//! Measures the embedded journal in a directory: `cargo run --release -p backplane --example journal_throughput -- DIR`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement on the console"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use backplane::journal::{EmbeddedJournal, FrameId, Journal, JournalConfig};
use bytes::Bytes;
use model::{EdgeId, FrameSeq, PartitionId};

const RUN: Duration = Duration::from_secs(3);
const ENTRY: usize = 250;

/// `tasks` append frames of `entries` entries, one at a time each, and one reader follows each partition.
async fn measure(dir: &std::path::Path, tasks: u64, entries: usize) {
    let journal = Arc::new(EmbeddedJournal::open(dir, JournalConfig::default()).unwrap());
    let frame = Bytes::from(vec![7; ENTRY * entries]);
    let before = journal.stats();
    let begin = Instant::now();
    let readers: Vec<_> = (0..tasks.min(16))
        .map(|p| follow(journal.clone(), PartitionId(p as u16)))
        .collect();
    let readers: Vec<_> = readers.into_iter().map(tokio::spawn).collect();
    let writers: Vec<_> = (0..tasks)
        .map(|task| {
            let (journal, frame) = (journal.clone(), frame.clone());
            tokio::spawn(async move {
                let writer = EdgeId::from(format!("bench-{task}-{}", std::process::id()));
                let mut waits = Vec::new();
                while begin.elapsed() < RUN {
                    let id = FrameId {
                        writer: writer.clone(),
                        number: waits.len() as u64,
                    };
                    let asked = Instant::now();
                    journal
                        .append(PartitionId((task % 16) as u16), None, id, frame.clone())
                        .await
                        .unwrap();
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for writer in writers {
        waits.extend(writer.await.unwrap());
    }
    let seconds = begin.elapsed().as_secs_f64();
    readers.iter().for_each(|reader| reader.abort());
    waits.sort_unstable();
    let stats = journal.stats();
    let frames = (stats.frames - before.frames) as f64;
    println!(
        "{tasks:4} in flight x {entries:4} entries: {:9.0} entries/s {:8.0} frames/s {:6.0} MB/s {:7.0} syncs/s  p50 {:?} p99 {:?}",
        frames * entries as f64 / seconds,
        frames / seconds,
        (stats.bytes - before.bytes) as f64 / seconds / 1e6,
        (stats.commits - before.commits) as f64 / seconds,
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
    );
}

async fn follow(journal: Arc<EmbeddedJournal>, partition: PartitionId) {
    let head: FrameSeq = journal.head(partition).await.unwrap();
    let mut reader = journal.read(partition, head).await.unwrap();
    while reader.next().await.is_ok() {}
}

#[tokio::main]
async fn main() {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "journal-throughput".to_owned());
    for (tasks, entries) in [(1, 1), (16, 1), (256, 1), (1, 100), (4, 100), (16, 50), (16, 500)] {
        let path = std::path::Path::new(&dir).join(format!("{tasks}-{entries}"));
        measure(&path, tasks, entries).await;
        std::fs::remove_dir_all(&path).unwrap();
    }
}
