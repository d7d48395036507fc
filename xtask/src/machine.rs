//! What a figure was measured on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The machine, as far as it decides figures.
#[derive(Debug, serde::Serialize)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
    /// The CPU's name.
    pub cpu: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Median time of a 4 KiB append with `fdatasync`, in microseconds.
    pub sync_4k_micros_p50: u64,
    /// 99th percentile of the same.
    pub sync_4k_micros_p99: u64,
    /// Median time of a 1 MiB append with `fdatasync`, in microseconds.
    pub sync_1m_micros_p50: u64,
}

impl Machine {
    /// Looks at this machine; the disk is the one under `directory`.
    pub fn probe(directory: &Path) -> Result<Self> {
        let small = sync_times(directory, 4 << 10, 200)?;
        let large = sync_times(directory, 1 << 20, 40)?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            cpu: field_of("/proc/cpuinfo", "model name"),
            memory_bytes: memory_bytes(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            sync_4k_micros_p50: percentile(&small, 0.5).as_micros() as u64,
            sync_4k_micros_p99: percentile(&small, 0.99).as_micros() as u64,
            sync_1m_micros_p50: percentile(&large, 0.5).as_micros() as u64,
        })
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        format!(
            "{} cores ({}), {:.0} GiB memory, Linux {}; append + fdatasync: 4 KiB p50 {:.1} ms, p99 {:.1} ms; 1 MiB p50 {:.1} ms",
            self.cores,
            self.cpu,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.sync_4k_micros_p50 as f64 / 1e3,
            self.sync_4k_micros_p99 as f64 / 1e3,
            self.sync_1m_micros_p50 as f64 / 1e3,
        )
    }
}

fn field_of(path: &str, field: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.trim_start().strip_prefix(':'));
    line.unwrap_or("unknown").trim().to_owned()
}

fn memory_bytes() -> u64 {
    let total = field_of("/proc/meminfo", "MemTotal");
    total.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn sync_times(directory: &Path, bytes: usize, count: usize) -> Result<Vec<Duration>> {
    let path = directory.join("sync-probe");
    let mut file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let block = vec![0x5a_u8; bytes];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort();
    Ok(times)
}

/// The value below which a share of ascending values lies (nearest rank); zero of none.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&times, 1.0), Duration::from_millis(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }
}
