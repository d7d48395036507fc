//! `millrace log`: the log's files.

use std::process::ExitCode;

use anyhow::{Context, Result};
use millrace_disk::StdDisk;
use serde_json::{Value, json};

use crate::cli::{Format, Log};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::{node, output, reader};

/// Verifies the files, or lists the topics. Exit code 1 when a file is damaged.
///
/// # Errors
/// When they cannot be read.
pub fn log(config: &Config, command: &Log) -> Result<ExitCode> {
    match command {
        Log::Verify { format } => verify(config, *format),
        Log::Stats { format } => stats(config, *format).map(|()| ExitCode::SUCCESS),
    }
}

fn stats(config: &Config, format: Format) -> Result<()> {
    let log = reader::log(config)?;
    let rows: Vec<Vec<Value>> = node::topic_statuses(&log)
        .into_iter()
        .map(|topic| {
            vec![
                json!(topic.name),
                json!(topic.id),
                json!(topic.start),
                json!(topic.end),
                json!(topic.bytes),
                json!(topic.segments),
                json!(topic.duplicates),
                json!(topic.expired),
                json!(topic.error),
            ]
        })
        .collect();
    let columns = ["topic", "id", "start", "end", "bytes", "segments", "duplicates", "expired", "error"];
    output::print(format, &columns, &rows)
}

fn verify(config: &Config, format: Format) -> Result<ExitCode> {
    let data = DataDir::new(&config.data_dir);
    data.must_exist()?;
    let report = millrace_log::verify(&StdDisk, &data.log()).context("cannot read the log")?;
    let rows: Vec<Vec<Value>> = report
        .topics
        .iter()
        .flat_map(|topic| topic.segments.iter().map(move |segment| (topic, segment)))
        .map(|(topic, segment)| {
            vec![
                json!(topic.name),
                json!(segment.path.display().to_string()),
                json!(segment.intact_messages),
                json!(segment.intact_frames),
                json!(segment.bytes),
                json!(problem(segment)),
            ]
        })
        .collect();
    output::print(format, &["topic", "segment", "messages", "frames", "bytes", "problem"], &rows)?;
    for problem in report.topics.iter().flat_map(|topic| &topic.problems) {
        eprintln!("{problem}");
    }
    Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with a segment, and what is lost with it.
fn problem(segment: &millrace_log::SegmentReport) -> Option<String> {
    let bad = segment.first_bad.as_ref().map(|bad| {
        let kind = if bad.is_torn_tail { "torn tail, cut at the next start" } else { "corrupt" };
        format!("{kind} at byte {} ({} bytes): {}", bad.position, bad.bytes, bad.reason)
    });
    let lost = (segment.lost_messages > 0).then(|| format!("{} messages lost", segment.lost_messages));
    let faults: Vec<_> = [bad, lost, segment.index_fault.clone()].into_iter().flatten().collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}
