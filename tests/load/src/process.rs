//! What the server's processes used: CPU time and memory, from /proc.

use std::fs;
use std::time::Duration;

use crate::error::{Error, Result};

/// What Linux counts `utime` and `stime` in, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// The server's processes; none when the server is not on this machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(pub(crate) Vec<u32>);

impl Processes {
    /// User and system time of all threads of all processes so far.
    pub(crate) fn cpu(&self) -> Result<Option<Duration>> {
        self.sum(|pid| cpu_ticks(&pid.to_string()))
            .map(|ticks| ticks.map(|ticks| TICK * ticks as u32))
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
        let total: u64 = self.0.iter().map(|&pid| of(pid)).sum::<Result<_>>()?;
        Ok((!self.0.is_empty()).then_some(total))
    }
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Result<Duration> {
    Ok(TICK * cpu_ticks("self")? as u32)
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
    ticks_in(&read(pid, "stat")?).ok_or(Error::Protocol("/proc/PID/stat has another form"))
}

/// Fields 14 and 15; the name in field 2 may hold anything, so counting starts behind its parenthesis.
fn ticks_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
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
        assert_eq!(ticks_in(stat), Some(42));
    }

    #[test]
    fn this_process_has_memory_and_no_process_has_none() {
        let own = Processes(vec![std::process::id()]);
        assert!(own.rss_kib().unwrap().unwrap() > 0);
        assert!(own.cpu().unwrap().is_some());
        assert_eq!(Processes::default().rss_kib().unwrap(), None);
        assert!(Processes(vec![u32::MAX]).cpu().is_err());
    }
}
