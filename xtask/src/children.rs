//! Processes that a chore starts, and what the kernel says about them. Each is ended by its own id.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A child process that does not outlive its handle.
pub struct OwnedChild {
    child: Child,
}

impl OwnedChild {
    /// Takes charge of a child.
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask for the child's state")
    }

    /// `kill -9`, then reaps it. `true` when it was still running.
    pub fn kill(&mut self) -> Result<bool> {
        if self.ended()?.is_some() {
            return Ok(false);
        }
        self.child.kill().context("cannot kill the child")?;
        self.child.wait().context("cannot reap the child")?;
        Ok(true)
    }

    /// Asks it to end with SIGTERM and waits for it.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no such process id")?;
        kill_process(pid, Signal::TERM).context("cannot send SIGTERM")?;
        self.wait_for_end(limit)
    }

    /// Waits for it to end by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let status = wait::until(limit, Duration::from_millis(5), || self.child.try_wait().ok().flatten());
        status.with_context(|| format!("the process did not end within {limit:?}"))
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // Best effort on the way out of a failing chore.
        let _ = self.kill();
    }
}

/// CPU time a process has used, all its threads, user and system, in seconds (clock ticks of 10 ms).
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    cpu_seconds_in(&text).with_context(|| format!("cannot make sense of {path}"))
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, counted behind the command name, which may hold anything.
fn cpu_seconds_in(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// `sysconf(_SC_CLK_TCK)`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A memory figure of `/proc/PID/status`, in bytes: `VmRSS` (now) or `VmHWM` (peak).
pub fn memory_bytes(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("no {field} in {path}"))? * 1024)
}

/// CPU seconds of each thread by name, most first; threads of one name are added up.
pub fn cpu_seconds_by_thread(pid: u32) -> Result<Vec<(String, f64)>> {
    let mut sums = std::collections::BTreeMap::<String, f64>::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let directory = entry?.path();
        // A thread may end between the listing and the read.
        let (Ok(name), Ok(stat)) =
            (fs::read_to_string(directory.join("comm")), fs::read_to_string(directory.join("stat")))
        else {
            continue;
        };
        *sums.entry(name.trim().to_owned()).or_default() += cpu_seconds_in(&stat).unwrap_or(0.0);
    }
    let mut threads: Vec<_> = sums.into_iter().collect();
    threads.sort_by(|left, right| right.1.total_cmp(&left.1));
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_command_name() {
        let stat = "7 (a) b (c)) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1 1";
        assert_eq!(cpu_seconds_in(stat), Some(3.0));
        assert_eq!(cpu_seconds_in("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let pid = std::process::id();
        assert!(memory_bytes(pid, "VmRSS").unwrap() > 1024);
        assert!(memory_bytes(pid, "VmNone").is_err());
        assert!(!cpu_seconds_by_thread(pid).unwrap().is_empty());
    }
}
