//! `millrace rerun`: messages of the log again, with another UDF, into a table of their own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use millrace_model::Micros;
use millrace_server::{RerunReport, RerunRequest};
use serde_json::json;

use crate::cli::Rerun;
use crate::client::Client;
use crate::command::udf_versions;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::moment;
use crate::node::Node;
use crate::pipelines;

/// Time between two looks at a rerun that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long a rerun may make no progress before it is given up waiting for.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Runs messages again: in the server of this data directory when one runs, else in this process. Given
/// again, it goes on where it was; when it is done, it says so again.
///
/// # Errors
/// What is wrong with the request, or why it stopped.
pub fn rerun(config: &Config, arguments: &Rerun) -> Result<()> {
    let udf = arguments.udf.as_deref().map(|file| udf_versions::source(file, arguments.function.clone()));
    let now = Micros::now();
    let request = RerunRequest {
        pipeline: arguments.pipeline.clone(),
        from_micros: moment::parse(&arguments.from, now).context("in --from")?.0,
        to_micros: moment::parse(&arguments.to, now).context("in --to")?.0,
        from_relative: moment::is_relative(&arguments.from).then(|| arguments.from.clone()),
        to_relative: moment::is_relative(&arguments.to).then(|| arguments.to.clone()),
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
    let mut stall = Stall::begin();
    while report.state == "running" {
        std::thread::park_timeout(LOOK_INTERVAL);
        let reports: Vec<RerunReport> = client.get("/api/rerun")?;
        let found = reports.into_iter().find(|found| found.name == report.name);
        report = found.context("the server does not know it any more")?;
        stall.look(&report).context("the server goes on trying")?;
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
        let mut stall = Stall::begin();
        while report.state == "running" {
            node.reruns().wait(&report.name, LOOK_INTERVAL);
            let found = node.reruns().reports().into_iter().find(|found| found.name == report.name);
            report = found.context("it is gone; this is a bug, please report it")?;
            stall.look(&report).context("the next start goes on with it, or this command given again")?;
        }
        Ok(report)
    };
    let report = run();
    node.drain(Duration::from_secs(config.server.drain_timeout_seconds));
    report
}

/// Since when a rerun has stood where it stands.
struct Stall {
    at: Option<u64>,
    since: Instant,
}

impl Stall {
    fn begin() -> Self {
        Self { at: None, since: Instant::now() }
    }

    fn look(&mut self, report: &RerunReport) -> Result<()> {
        if self.at.replace(report.next_offset) != Some(report.next_offset) {
            self.since = Instant::now();
        }
        if report.state == "running" && self.since.elapsed() > STALL_MAX {
            let reason = report.error.as_deref().unwrap_or("no window was committed");
            bail!("{} makes no progress at offset {}: {reason}", report.name, report.next_offset);
        }
        Ok(())
    }
}
