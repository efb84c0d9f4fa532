//! What the server's processes used: CPU time and memory, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

/// What Linux counts `utime` and `stime` in, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// The server's processes; none when the server is not on this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes {
    /// Those that are the server.
    pub(crate) server: Vec<u32>,
    /// Those it stands on, by name: told apart.
    pub(crate) apart: Vec<Apart>,
    /// A shell command that prints counters, `name value` a line.
    pub(crate) counters: Option<String>,
}

/// A process beside the server, with those it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Apart {
    /// What it is counted under; several may share a name.
    pub(crate) name: String,
    pub(crate) pid: u32,
}

impl FromStr for Apart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=');
        let apart = parts.and_then(|(name, pid)| Some((name.to_owned(), pid.parse().ok()?)));
        let (name, pid) = apart.ok_or_else(|| Error::Usage(format!("{text} is not NAME=PID")))?;
        Ok(Self { name, pid })
    }
}

impl Processes {
    /// User and system time of all threads of all processes so far.
    pub(crate) fn cpu(&self) -> Result<Option<Duration>> {
        self.sum(|pid| cpu_ticks(&pid.to_string()))
            .map(|ticks| ticks.map(ticks_to_time))
    }

    /// The same of those the server stands on, with their children, those that ended too.
    pub(crate) fn cpu_apart(&self) -> Result<BTreeMap<String, Duration>> {
        let mut sums = BTreeMap::new();
        if self.apart.is_empty() {
            return Ok(sums);
        }
        let family = family()?;
        for Apart { name, pid } in &self.apart {
            *sums.entry(name.clone()).or_default() += ticks_to_time(family_ticks(*pid, &family));
        }
        Ok(sums)
    }

    /// What the counters say now.
    pub(crate) fn counters(&self) -> Result<BTreeMap<String, f64>> {
        let Some(command) = &self.counters else {
            return Ok(BTreeMap::new());
        };
        let output = Command::new("sh").args(["-c", command]).output();
        let output = output.map_err(Error::io(format!("running {command}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        match text.lines().map(line).collect::<Option<_>>() {
            Some(counters) if output.status.success() => Ok(counters),
            _ => Err(Error::Usage(format!("{command} did not print counters"))),
        }
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> Result<Option<u64>> {
        self.sum(|pid| {
            let status = read(&pid.to_string(), "status")?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let digits = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            digits.ok_or(Error::Protocol("no VmRSS in /proc/PID/status"))
        })
    }

    fn sum(&self, of: impl Fn(u32) -> Result<u64>) -> Result<Option<u64>> {
        let total: u64 = self.server.iter().map(|&pid| of(pid)).sum::<Result<_>>()?;
        Ok((!self.server.is_empty()).then_some(total))
    }
}

/// Every process with its parent and the ticks it and its ended children used.
fn family() -> Result<Vec<(u32, u32, u64)>> {
    let entries = fs::read_dir("/proc").map_err(Error::io("reading /proc"))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // One that has ended meanwhile is counted by its parent.
    let member = |pid: u32| {
        let stat = read(&pid.to_string(), "stat").ok()?;
        Some((pid, fields(&stat)?.nth(1)?.parse().ok()?, ticks_in(&stat, 4)?))
    };
    Ok(pids.filter_map(member).collect())
}

fn family_ticks(pid: u32, family: &[(u32, u32, u64)]) -> u64 {
    let own = family.iter().find(|(other, ..)| *other == pid);
    let children = family.iter().filter(|(_, parent, _)| *parent == pid);
    let theirs: u64 = children.map(|(child, ..)| family_ticks(*child, family)).sum();
    own.map_or(0, |(.., ticks)| *ticks) + theirs
}

fn ticks_to_time(ticks: u64) -> Duration {
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_ticks("self").map(ticks_to_time)
}

/// How many files this process may open.
pub(crate) fn open_files_limit() -> Result<u64> {
    let limits = read("self", "limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    Ok(line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(u64::MAX))
}

fn cpu_ticks(pid: &str) -> Result<u64> {
    ticks_in(&read(pid, "stat")?, 2).ok_or(Error::Protocol("/proc/PID/stat has another form"))
}

/// Fields 14 and 15, and with a `count` of 4 those of ended children, 16 and 17.
fn ticks_in(stat: &str, count: usize) -> Option<u64> {
    let ticks: Option<Vec<u64>> = fields(stat)?
        .skip(11)
        .take(count)
        .map(|ticks| ticks.parse().ok())
        .collect();
    ticks
        .filter(|ticks| ticks.len() == count)
        .map(|ticks| ticks.iter().sum())
}

/// The fields from the third on: the name in the second may hold anything, so counting starts behind its parenthesis.
fn fields(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn read(pid: &str, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_shift_its_times() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0";
        assert_eq!((ticks_in(stat, 2), ticks_in(stat, 4)), (Some(42), Some(42)));
    }

    #[test]
    fn this_process_has_memory_and_no_process_has_none() {
        let own = Processes {
            server: vec![std::process::id()],
            ..Processes::default()
        };
        assert!(own.rss_kib().unwrap().unwrap() > 0);
        assert!(own.cpu().unwrap().is_some());
        assert_eq!(Processes::default().rss_kib().unwrap(), None);
        let gone = Processes {
            server: vec![u32::MAX],
            ..Processes::default()
        };
        assert!(gone.cpu().is_err());
    }

    #[test]
    fn a_family_is_counted_whole_and_by_name() {
        let family = [(1, 0, 5), (2, 1, 7), (3, 2, 11), (4, 0, 100)];
        assert_eq!((family_ticks(1, &family), family_ticks(3, &family)), (23, 11));
        let apart: Apart = "nats=17".parse().unwrap();
        assert_eq!((apart.name.as_str(), apart.pid), ("nats", 17));
        assert!("nats".parse::<Apart>().is_err());
    }

    #[test]
    fn counters_are_what_a_command_prints() {
        let processes = |command: &str| Processes {
            counters: Some(command.to_owned()),
            ..Processes::default()
        };
        let counters = processes("echo frames 7; echo statements 2.5")
            .counters()
            .unwrap();
        assert_eq!((counters["frames"], counters["statements"]), (7.0, 2.5));
        assert!(processes("echo frames").counters().is_err());
        assert!(processes("false").counters().is_err());
    }
}
