//! `millrace drain`, `cancel`, `resume` and `update`: the running server's pipelines, steered.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use millrace_server::{PipelineStatus, Status, UpdateReport};
use serde_json::json;

use crate::client::Client;
use crate::config::Config;

/// Time between two looks at a pipeline that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How long a drain may make no progress before it is given up waiting for; it goes on in the server.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Lets pipelines fold what there is, and waits until they have ended.
///
/// # Errors
/// When no server runs, there is no such pipeline, or one fails or stands still.
pub fn drain(config: &Config, pipeline: Option<&str>) -> Result<()> {
    let client = Client::of_running(config)?;
    let names: Vec<String> = client.post_json("/api/pipelines/drain", &json!({ "pipeline": pipeline }))?;
    wait_for_end(&client, &names)
}

/// Ends pipelines where they are, and waits for that.
///
/// # Errors
/// As [`drain`].
pub fn cancel(config: &Config, pipeline: Option<&str>) -> Result<()> {
    let client = Client::of_running(config)?;
    let names: Vec<String> = client.post_json("/api/pipelines/cancel", &json!({ "pipeline": pipeline }))?;
    wait_for_end(&client, &names)
}

/// Lets pipelines go on.
///
/// # Errors
/// When no server runs, there is no such pipeline, or one cannot be started.
pub fn resume(config: &Config, pipeline: Option<&str>) -> Result<()> {
    let client = Client::of_running(config)?;
    let names: Vec<String> = client.post_json("/api/pipelines/resume", &json!({ "pipeline": pipeline }))?;
    names.iter().for_each(|name| println!("pipeline {name} runs"));
    Ok(())
}

/// Lets the server read its configuration anew.
///
/// # Errors
/// What cannot be changed while it runs; then nothing was.
pub fn update(config: &Config) -> Result<()> {
    let report: UpdateReport = Client::of_running(config)?.post_json("/api/update", &json!({}))?;
    report.changes.iter().for_each(|change| println!("{change}"));
    if report.changes.is_empty() {
        println!("nothing has changed");
    }
    Ok(())
}

fn wait_for_end(client: &Client, names: &[String]) -> Result<()> {
    for name in names {
        let (mut at, mut since) = (None, Instant::now());
        loop {
            let status = status(client, name)?;
            match status.state.as_str() {
                "stopped" => {
                    println!("pipeline {name} has ended, {} messages wait in its topic", status.pending);
                    break;
                }
                "failed" => bail!("pipeline {name} failed: {}", status.error.unwrap_or_default()),
                _ => {}
            }
            if at.replace(status.next_offset) != Some(status.next_offset) {
                since = Instant::now();
            }
            if since.elapsed() > STALL_MAX {
                let reason = status.error.unwrap_or_else(|| "it makes no progress".to_owned());
                bail!("pipeline {name} has not ended: {reason}; it goes on trying");
            }
            // The server has no way to tell us: a pause is all there is.
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
    Ok(())
}

fn status(client: &Client, name: &str) -> Result<PipelineStatus> {
    let status: Status = client.get("/api/status")?;
    match status.pipelines.into_iter().find(|pipeline| pipeline.name == name) {
        Some(pipeline) => Ok(pipeline),
        None => bail!("pipeline {name} is gone"),
    }
}
