//! `millrace load` of a file of LogEntry lines.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use super::bodies::answer;
use super::end_to_end;
use super::report::Figure;
use crate::children;
use crate::server::Launch;
use crate::wait;

/// How long a load may take.
const LOAD_LIMIT: Duration = Duration::from_secs(900);

/// Loads so many entries of ~1 kB into an empty data directory, then once more.
pub fn measure(launch: &Launch, directory: &Path, entries: u64) -> Result<Vec<Figure>> {
    let file = directory.join("entries.ndjson");
    let bytes = write_entries(&file, entries)?;
    let file = file.to_str().context("the temporary directory's name is not UTF-8")?;
    let first = load(launch, file)?;
    let again = load(launch, file)?;
    let mut server = launch.start_ready()?;
    end_to_end::check_rows(launch, entries)?;
    server.stop()?;
    Ok(vec![
        Figure::new("load", "NDJSON file to committed rows", entries as f64 / first.seconds, "events/s"),
        Figure::new("load", "the same in file bytes", bytes as f64 / 1e6 / first.seconds, "MB/s"),
        Figure::new("load", "CPU per million events", first.cpu_seconds * 1e6 / entries as f64, "CPU s"),
        Figure::new("load", "peak RSS", first.peak_bytes as f64 / 1e6, "MB"),
        Figure::new("load", "the same file again (adds nothing)", again.seconds, "s"),
    ])
}

/// What a load took.
pub(super) struct Loaded {
    pub(super) seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

/// Runs `millrace load` on a file.
pub(super) fn load(launch: &Launch, file: &str) -> Result<Loaded> {
    let start = Instant::now();
    let mut child = launch.spawn(&["load", file])?;
    let mut loaded = Loaded { seconds: 0.0, cpu_seconds: 0.0, peak_bytes: 0 };
    let status = wait::until(LOAD_LIMIT, Duration::from_millis(5), || {
        // Read while it still runs: an ended process has no figures any more.
        loaded.cpu_seconds = children::cpu_seconds(child.pid()).unwrap_or(loaded.cpu_seconds);
        loaded.peak_bytes = children::memory_bytes(child.pid(), "VmHWM").unwrap_or(loaded.peak_bytes);
        child.ended().ok().flatten()
    });
    loaded.seconds = start.elapsed().as_secs_f64();
    match status {
        Some(status) if status.success() => Ok(loaded),
        Some(status) => bail!("millrace load ended with {status}"),
        None => bail!("millrace load did not end within {LOAD_LIMIT:?}"),
    }
}

/// Writes distinct entries shaped as Cloud Logging exports them; gives the file's size.
fn write_entries(path: &Path, entries: u64) -> Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut random = StdRng::seed_from_u64(1);
    for number in 0..entries {
        serde_json::to_writer(&mut file, &entry(&mut random, number))?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(path.metadata()?.len())
}

fn entry(random: &mut StdRng, number: u64) -> serde_json::Value {
    json!({
        "insertId": format!("bench-{number:012}"),
        "logName": "projects/local/logs/gemini_cli",
        "timestamp": format!("2026-01-{:02}T12:{:02}:{:02}.{:06}Z",
            1 + number % 3, number / 60 % 60, number % 60, number % 1_000_000),
        "resource": { "type": "global", "labels": { "project_id": "local" } },
        "jsonPayload": {
            "event.name": "gemini_cli.api_response",
            "session.id": "d9b8a535-453f-4d7b-9b10-f43be2ad3707",
            "installation.id": "96622f8e-3b0c-4c15-a8eb-b702460317ab",
            "user.email": "dev@example.com",
            "model": "gemini-2.5-pro",
            "duration_ms": random.random_range(200..9_000),
            "status_code": 200,
            "input_token_count": random.random_range(2_000..90_000),
            "output_token_count": random.random_range(10..4_000),
            "total_token_count": 13_023,
            "prompt_id": format!("prompt-{number}"),
            "response_text": answer(random, 423),
            "message": "API response from gemini-2.5-pro. Status: 200. Duration: 340ms.",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_weighs_a_kilobyte() {
        let weight = serde_json::to_vec(&entry(&mut StdRng::seed_from_u64(1), 123_456)).unwrap().len();
        assert!((950..=1_100).contains(&weight), "{weight}");
    }
}
