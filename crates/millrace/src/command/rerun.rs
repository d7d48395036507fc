//! `millrace rerun`: messages of the log again, with another UDF, into a table of their own.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, NaiveDate, NaiveTime};
use millrace_server::{RerunReport, RerunRequest};
use serde_json::json;

use crate::cli::Rerun;
use crate::client::Client;
use crate::command::udf_versions;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::node::Node;
use crate::pipelines;

/// Time between two looks at a rerun that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs messages again: in the server of this data directory when one runs, else in this process. Given
/// again, it goes on where it was; when it is done, it says so again.
///
/// # Errors
/// What is wrong with the request, or why it stopped.
pub fn rerun(config: &Config, arguments: &Rerun) -> Result<()> {
    let udf = arguments.udf.as_deref().map(|file| udf_versions::source(file, arguments.function.clone()));
    let request = RerunRequest {
        pipeline: arguments.pipeline.clone(),
        from_micros: moment(&arguments.from).context("in --from")?,
        to_micros: moment(&arguments.to).context("in --to")?,
        into: arguments.into.clone(),
        udf: udf.transpose()?,
    };
    let data = DataDir::new(&config.data_dir);
    let report = match data.running_server()? {
        Some(server) => through(&Client::new(config, &server.http)?, &request)?,
        None => here(config, &data, request)?,
    };
    println!(
        "{}: offsets {} to {} into {}: {} rows, {} filtered, {} dead letters",
        report.name,
        report.start,
        report.end,
        report.into,
        report.written,
        report.filtered,
        report.dead_lettered
    );
    if report.expired > 0 {
        bail!("{} messages had expired before they were run", report.expired);
    }
    match report.state.as_str() {
        "done" => Ok(()),
        state => bail!("it is {state}: {}", report.error.unwrap_or_default()),
    }
}

fn through(client: &Client, request: &RerunRequest) -> Result<RerunReport> {
    let mut report: RerunReport = client.post_json("/api/rerun", &json!(request))?;
    while report.state == "running" {
        std::thread::park_timeout(LOOK_INTERVAL);
        let reports: Vec<RerunReport> = client.get("/api/rerun")?;
        let found = reports.into_iter().find(|found| found.name == report.name);
        report = found.context("the server does not know it any more")?;
    }
    Ok(report)
}

fn here(config: &Config, data: &DataDir, request: RerunRequest) -> Result<RerunReport> {
    data.must_exist()?;
    let _lock = data.lock()?;
    let plans = pipelines::plan_to_start(config, data)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let node = Node::start(config, data, plans, runtime.handle())?;
    let run = || -> Result<RerunReport> {
        let mut report = node.reruns().start(config, data, request)?;
        while report.state == "running" {
            node.reruns().wait(&report.name, LOOK_INTERVAL);
            let found = node.reruns().reports().into_iter().find(|found| found.name == report.name);
            report = found.context("it is gone; this is a bug, please report it")?;
        }
        Ok(report)
    };
    let report = run();
    node.drain(Duration::from_secs(config.server.drain_timeout_seconds));
    report
}

/// A day, or a moment with its zone, in microseconds since 1970 UTC.
fn moment(text: &str) -> Result<i64> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let moment = DateTime::parse_from_rfc3339(text);
    let moment =
        moment.with_context(|| format!("{text:?} is neither 2026-11-22 nor 2026-11-22T10:00:00Z"))?;
    Ok(moment.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_days_or_have_a_zone() {
        assert_eq!(moment("1970-01-02").unwrap(), 86_400_000_000);
        assert_eq!(moment("1970-01-01T01:00:00.5+01:00").unwrap(), 500_000);
        for bad in ["", "yesterday", "2026-02-30", "2026-11-22T10:00:00"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
