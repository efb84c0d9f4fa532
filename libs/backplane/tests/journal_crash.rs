//! What the journal acknowledged is there after `kill -9`, and a full disk costs nothing that was acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use backplane::journal::suite::{id, take};
use backplane::journal::{EmbeddedJournal, Journal, JournalConfig, JournalError};
use model::{FrameSeq, PartitionId};

const CHILD_DIR: &str = "JOURNAL_CRASH_CHILD_DIR";

fn config() -> JournalConfig {
    JournalConfig {
        partitions: 4,
        segment_size: 256 << 10,
        reserve: 0,
        ..JournalConfig::default()
    }
}

/// The frame with that number: its size varies.
fn frame(number: u64) -> String {
    format!("{number} {}", "x".repeat((number * 31 % 700) as usize))
}

/// Runs in a process of its own until it is killed: appends from several tasks, and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the test below kills"]
async fn child_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else {
        return;
    };
    let journal = Arc::new(EmbeddedJournal::open(&dir, config()).unwrap());
    // Numbers of this life that no other has used.
    let mut base = 0;
    for p in 0..4 {
        base += journal.head(PartitionId(p)).await.unwrap().0 * 1000;
    }
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let p = PartitionId((task % 4) as u16);
                for number in (base + task..).step_by(8) {
                    let stored = journal
                        .append(p, None, id("child", number), frame(number).into())
                        .await;
                    let line = format!("\nacked {} {} {number}\n", p.0, stored.unwrap().0);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn spawn_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_appends_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements, kills the child after so many, and reads those that were still on their way.
fn run_and_kill(dir: &Path, after: usize) -> Vec<(u16, u64, u64)> {
    let mut child = spawn_child(dir);
    let mut acked = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        let mut words = line.split(' ');
        let (Some("acked"), Some(p), Some(seq), Some(number)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        // A line is written at once and shorter than what a pipe takes at once: the kill cuts none off.
        acked.push((p.parse().unwrap(), seq.parse().unwrap(), number.parse().unwrap()));
        if acked.len() == after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acked.len() >= after, "the child ended by itself");
    acked
}

#[tokio::test]
async fn everything_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked = Vec::new();
    for after in [1, 50, 400, 1500] {
        acked.extend(run_and_kill(dir.path(), after));
        let journal = EmbeddedJournal::open(dir.path(), config()).unwrap();
        let mut stored = Vec::new();
        for p in 0..4 {
            let partition = PartitionId(p);
            let head = journal.head(partition).await.unwrap().0 as usize;
            let mut reader = journal.read(partition, FrameSeq(0)).await.unwrap();
            stored.push(take(&mut reader, head).await);
        }
        for (p, seq, number) in &acked {
            let found = &stored[usize::from(*p)][*seq as usize - 1];
            assert_eq!((found.seq.0, &found.bytes[..]), (*seq, frame(*number).as_bytes()));
        }
    }
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir);
        let done = command.stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
            .then(|| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_appends_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 300 << 10]).unwrap();
    let log = disk.0.join("log");
    let journal = EmbeddedJournal::open(&log, config()).unwrap();
    let p = PartitionId(0);
    let mut number = 0;
    let reason = loop {
        match journal
            .append(p, None, id("w", number), frame(number).into())
            .await
        {
            Ok(_) => number += 1,
            Err(JournalError::Unavailable { reason }) => break reason,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(
        number > 100 && (reason.contains("No space") || reason.contains("are free")),
        "{reason}"
    );
    assert_eq!(journal.health(), Err(reason));
    assert_eq!(journal.head(p).await.unwrap(), FrameSeq(number));
    std::fs::remove_file(&ballast).unwrap();
    let stored = journal
        .append(p, None, id("w", number), frame(number).into())
        .await;
    assert_eq!(stored.unwrap(), FrameSeq(number + 1));
    assert_eq!(journal.health(), Ok(()));
    drop(journal);
    let journal = EmbeddedJournal::open(&log, config()).unwrap();
    let mut reader = journal.read(p, FrameSeq(0)).await.unwrap();
    let frames = take(&mut reader, number as usize + 1).await;
    for (i, stored) in frames.iter().enumerate() {
        assert_eq!(stored.bytes, frame(i as u64));
    }
}
