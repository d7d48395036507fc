//! Fills the table: `millrace generate` writes, a slice at a time goes through `millrace load`, and nothing
//! larger than a slice is ever on disk beside the table.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use millrace_disk::{StdDisk, write_atomically};
use serde::{Deserialize, Serialize};

use crate::bench::load;
use crate::children;
use crate::server::{Api, Launch};
use crate::wait;

/// Users, days, seed and last day of the fleet: the same records on every machine.
const FLEET: [&str; 8] = ["--users", "1000", "--days", "30", "--seed", "1", "--end", "2026-11-22"];
/// What is loaded at once.
const SLICE_BYTES: usize = 1 << 30;
/// What of each slice is gzipped to know the share that gzip leaves.
const SAMPLE_BYTES: usize = 8 << 20;
/// A table is at rest when nothing has been committed for so long ...
const REST: Duration = Duration::from_secs(30);
/// ... in which the server has used less than this share of a core.
const REST_CPU: f64 = 0.1;
/// How long compaction may take.
const SETTLE_LIMIT: Duration = Duration::from_secs(1_800);

/// What is in the table. Kept beside it as `warehouse.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filled {
    /// Rows.
    pub records: u64,
    /// Bytes of their lines.
    pub raw_bytes: u64,
    /// What gzip leaves of them, as a share.
    pub gzip_share: f64,
    /// Time of all loads.
    pub load_seconds: f64,
    /// Live files of the table.
    pub table_files: u64,
    /// Their bytes.
    pub table_bytes: u64,
    /// How long compaction went on afterwards; unknown of a table that was kept.
    #[serde(skip)]
    pub settle_seconds: Option<f64>,
}

/// Writes the configuration: time for queries that a user would not wait for, and a log that gives back what
/// is folded, since the disk holds one copy of the records only.
pub fn write_config(home: &Path, query_limit: Duration) -> Result<PathBuf> {
    let path = home.join("warehouse.toml");
    let text = format!(
        "[sql]\ntimeout_seconds = {}\n\n[log]\nfolded_retention_minutes = 1\nfolded_bytes_max = 1073741824\n",
        query_limit.as_secs()
    );
    write_atomically(&StdDisk, &path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Fills the table unless a kept one has these records.
pub fn fill(launch: &Launch, home: &Path, records: u64) -> Result<Filled> {
    let note = home.join("warehouse.json");
    if let Ok(text) = std::fs::read(&note) {
        let filled: Filled =
            serde_json::from_slice(&text).with_context(|| format!("cannot read {}", note.display()))?;
        if filled.records != records {
            bail!(
                "{} holds {} records, not {records}; choose another folder",
                home.display(),
                filled.records
            );
        }
        return Ok(filled);
    }
    let mut filled = generate_and_load(launch, home, records)?;
    let mut server = launch.start_ready()?;
    let start = Instant::now();
    let (files, bytes) = settle(server.api(), server.pid())?;
    filled.settle_seconds = Some((start.elapsed() - REST).as_secs_f64());
    (filled.table_files, filled.table_bytes) = (files, bytes);
    let rows = server.api().query_number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs")?;
    if rows != records {
        bail!("{records} records were loaded, the table has {rows} rows");
    }
    server.stop()?;
    write_atomically(&StdDisk, &note, &serde_json::to_vec_pretty(&filled)?)?;
    Ok(filled)
}

fn generate_and_load(launch: &Launch, home: &Path, records: u64) -> Result<Filled> {
    let count = records.to_string();
    let mut arguments = vec!["generate", "--records", &count];
    arguments.extend(FLEET);
    let mut generator =
        launch.command(&arguments)?.stdout(Stdio::piped()).spawn().context("cannot start generate")?;
    let output = generator.stdout.take().context("generate has no output")?;
    let input = BufReader::with_capacity(1 << 20, output);
    let (slice_bytes, sample_bytes) = (SLICE_BYTES, SAMPLE_BYTES);
    let mut lines = Slices { input, slice_bytes, sample_bytes, rest: Vec::new() };
    let slice = home.join("slice.ndjson");
    let name = slice.to_str().context("the folder's name is not UTF-8")?;
    let (mut raw_bytes, mut sampled, mut packed, mut load_seconds) = (0, 0, 0, 0.0);
    while let Some(sample) = lines.next_into(&slice)? {
        raw_bytes += slice.metadata()?.len();
        sampled += sample.len() as u64;
        packed += gzipped_bytes(&sample)?;
        load_seconds += load::load(launch, name)?.seconds;
        println!("warehouse: {:.1} GB loaded in {load_seconds:.0} s", raw_bytes as f64 / 1e9);
    }
    std::fs::remove_file(&slice).context("cannot remove the last slice")?;
    let status = generator.wait().context("cannot wait for generate")?;
    if !status.success() {
        bail!("millrace generate ended with {status}");
    }
    let gzip_share = packed as f64 / f64::max(sampled as f64, 1.0);
    Ok(Filled {
        records,
        raw_bytes,
        gzip_share,
        load_seconds,
        table_files: 0,
        table_bytes: 0,
        settle_seconds: None,
    })
}

/// A stream cut at line ends.
struct Slices<R> {
    input: R,
    /// A slice ends at its last line end once it has so many.
    slice_bytes: usize,
    /// What is read at once, and given as a sample.
    sample_bytes: usize,
    /// The line that the last slice would have cut.
    rest: Vec<u8>,
}

impl<R: Read> Slices<R> {
    /// Writes the next slice to a file and gives its first bytes; `None` when there is none.
    fn next_into(&mut self, path: &Path) -> Result<Option<Vec<u8>>> {
        let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut chunk = std::mem::take(&mut self.rest);
        let (mut written, mut sample) = (0, Vec::new());
        loop {
            let ended = (&mut self.input).take(self.sample_bytes as u64).read_to_end(&mut chunk)? == 0;
            if sample.is_empty() {
                sample.clone_from(&chunk);
            }
            written += chunk.len();
            if written >= self.slice_bytes && !ended {
                let end = chunk.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
                self.rest = chunk.split_off(end);
            }
            file.write_all(&chunk)?;
            chunk.clear();
            if ended || written >= self.slice_bytes {
                return Ok((written > 0).then_some(sample));
            }
        }
    }
}

fn gzipped_bytes(bytes: &[u8]) -> Result<u64> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len() as u64)
}

/// Waits until compaction has nothing more to do; live files of the table and their bytes.
fn settle(api: &Api, pid: u32) -> Result<(u64, u64)> {
    let mut last = (api.table()?, Instant::now(), children::cpu_seconds(pid)?);
    let settled = wait::until(SETTLE_LIMIT, Duration::from_secs(1), || {
        let (table, cpu) = (api.table().ok()?, children::cpu_seconds(pid).ok()?);
        let (before, since, cpu_before) = last;
        let rested = since.elapsed();
        if table != before || (cpu - cpu_before) > REST_CPU * f64::max(rested.as_secs_f64(), 10.0) {
            last = (table, Instant::now(), cpu);
            return None;
        }
        (rested >= REST).then_some(table)
    });
    let table = settled.with_context(|| format!("compaction went on for {SETTLE_LIMIT:?}"))?;
    Ok((table.files, table.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_end_with_lines_and_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slice");
        let text: String = (0..1_000).map(|number| format!("line {number}\n")).collect();
        for (slice_bytes, expected) in [(usize::MAX, 1), (text.len() / 3, 3), (100, 89)] {
            let input = text.as_bytes();
            let mut slices = Slices { input, slice_bytes, sample_bytes: 50, rest: Vec::new() };
            let mut found = Vec::new();
            while let Some(sample) = slices.next_into(&path).unwrap() {
                let slice = std::fs::read_to_string(&path).unwrap();
                assert!(
                    slice.ends_with('\n') && slice.as_bytes().starts_with(&sample[..sample.len().min(40)])
                );
                found.push(slice);
            }
            assert_eq!(found.concat(), text);
            assert_eq!(found.len(), expected, "{slice_bytes}");
        }
    }
}
