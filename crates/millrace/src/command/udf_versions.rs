//! `millrace udf history|reload|rollback|shadow|promote`: versions of a UDF, in the running server.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use millrace_model::Micros;
use millrace_pipeline::{Comparison, ShadowReport, TrialReport, VersionAct, VersionStore as _};
use millrace_server::{UdfChange, UdfHistory, UdfScript, UdfShadow, UdfSource};
use serde_json::{Value, json};

use crate::cli::{Format, UdfVersions};
use crate::client::Client;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::udf_files::UdfFiles;
use crate::{control, output, plan, udf};

/// Asks the running server. Exit code 1 when a version was refused.
///
/// # Errors
/// When no server runs, or it cannot do what is asked.
pub fn udf(config: &Config, command: UdfVersions) -> Result<ExitCode> {
    let is_running = DataDir::new(&config.data_dir).running_server()?.is_some();
    match command {
        UdfVersions::History { of, format } => {
            let history = if is_running {
                Client::of_running(config)?
                    .get(&format!("/api/udf/history{}", query(of.pipeline.as_deref())))?
            } else {
                files(config, of.pipeline.as_deref())?.history()?
            };
            print_history(format, &history)?;
        }
        UdfVersions::Rollback { of, to } if !is_running => {
            let udf_hash = files(config, of.pipeline.as_deref())?.roll_back(config, to.as_deref())?;
            println!("version {udf_hash} runs at the next start");
        }
        UdfVersions::Rollback { of, to } => {
            return changed(config, "/api/udf/rollback", &json!({ "pipeline": of.pipeline, "to": to }));
        }
        UdfVersions::Reload { of } => {
            return changed(config, "/api/udf/reload", &json!({ "pipeline": of.pipeline }));
        }
        UdfVersions::Promote { of, force } => {
            return changed(config, "/api/udf/promote", &json!({ "pipeline": of.pipeline, "force": force }));
        }
        UdfVersions::Shadow { file, function, stop, of, format } => {
            let client = Client::of_running(config)?;
            let path = format!("/api/udf/shadow{}", query(of.pipeline.as_deref()));
            let shadow: UdfShadow = match (file, stop) {
                (Some(file), _) => {
                    let body = json!({ "pipeline": of.pipeline, "udf": source(&file, function)? });
                    client.post_json("/api/udf/shadow", &body)?
                }
                (None, true) => client.delete_json(&path)?,
                (None, false) => client.get(&path)?,
            };
            print_shadow(format, shadow)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The scripts of a new version, as they are sent to the server.
///
/// # Errors
/// When they cannot be read.
pub fn source(file: &Path, function: Option<String>) -> Result<UdfSource> {
    let scripts = udf::scripts(Some(file))?;
    let script = |script: millrace_udf::Script| UdfScript { name: script.name, source: script.source };
    Ok(UdfSource { function, scripts: scripts.into_iter().map(script).collect() })
}

/// A pipeline's name as the query of a path.
fn query(pipeline: Option<&str>) -> String {
    let Some(pipeline) = pipeline else { return String::new() };
    let mut query = "?pipeline=".to_owned();
    for byte in pipeline.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(char::from(byte))
            }
            // Writing to a string cannot fail.
            other => drop(write!(query, "%{other:02X}")),
        }
    }
    query
}

fn changed(config: &Config, path: &str, body: &Value) -> Result<ExitCode> {
    let change: UdfChange = Client::of_running(config)?.post_json(path, body)?;
    if let Some(trial) =
        change.trial.clone().and_then(|trial| serde_json::from_value::<TrialReport>(trial).ok())
    {
        print_comparison(&trial.comparison)?;
    }
    match &change.refused {
        None => println!("pipeline {}: version {} runs", change.pipeline, change.udf_hash),
        Some(reason) => {
            eprintln!("pipeline {}: version {} is refused: {reason}", change.pipeline, change.udf_hash)
        }
    }
    Ok(if change.adopted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The versions of a pipeline while no server runs.
struct Files {
    pipeline: String,
    files: UdfFiles,
}

fn files(config: &Config, pipeline: Option<&str>) -> Result<Files> {
    let data = DataDir::new(&config.data_dir);
    data.must_exist()?;
    let mut with: Vec<_> = plan::pipelines(config)
        .into_iter()
        .filter(|known| pipeline.is_none_or(|name| known.name == name))
        .filter_map(|known| Some((known.name, known.udf?)))
        .collect();
    match (with.pop(), with.is_empty()) {
        (Some((name, udf)), true) => Ok(Files { files: UdfFiles::new(&data, &name, &udf), pipeline: name }),
        (Some(_), false) => bail!("several pipelines have a UDF: name one with --pipeline"),
        (None, _) => bail!("there is no such pipeline with a UDF"),
    }
}

impl Files {
    fn history(&self) -> Result<UdfHistory> {
        let history = self.files.history().map_err(anyhow::Error::msg)?;
        let kept = self.files.kept().map_err(anyhow::Error::msg)?;
        Ok(control::history(&self.pipeline, &history, kept, None))
    }

    fn roll_back(&self, config: &Config, to: Option<&str>) -> Result<String> {
        let _lock = DataDir::new(&config.data_dir).lock()?;
        let roll_back = || -> Result<String, String> {
            let mut history = self.files.history()?;
            let target =
                history.rollback_target(to, &self.files.kept()?).map_err(|error| error.to_string())?;
            if history.running.as_ref() == Some(&target) {
                return Err(format!("version {target} ran last already"));
            }
            self.files.load(&self.files.fetch(&target)?)?;
            let on_disk = self.files.on_disk().ok().map(|on_disk| on_disk.udf_hash);
            let reason = Some("while no server ran".to_owned());
            history.adopt(VersionAct::Rollback, &target, on_disk.as_deref(), reason, Micros::now());
            self.files.write_history(&history)?;
            Ok(target)
        };
        roll_back().map_err(anyhow::Error::msg)
    }
}

fn print_history(format: Format, history: &UdfHistory) -> Result<()> {
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(history)?);
        return Ok(());
    }
    let columns = ["at", "act", "version", "previous", "kept", "reason"];
    let rows: Vec<Vec<Value>> = history
        .events
        .iter()
        .map(|event| {
            vec![
                json!(event.at),
                json!(event.act),
                json!(event.udf_hash),
                json!(event.previous),
                json!(history.kept.contains(&event.udf_hash)),
                json!(event.reason),
            ]
        })
        .collect();
    output::print(format, &columns, &rows)?;
    if format == Format::Table {
        if history.events_forgotten > 0 {
            println!("{} older events are kept no more", history.events_forgotten);
        }
        println!("pipeline {}: version {} runs", history.pipeline, history.running.as_deref().unwrap_or("-"));
        if let Some(note) = &history.note {
            println!("{note}");
        }
    }
    Ok(())
}

fn print_shadow(format: Format, shadow: UdfShadow) -> Result<()> {
    if format != Format::Table {
        println!("{}", serde_json::to_string_pretty(&shadow)?);
        return Ok(());
    }
    let report: ShadowReport = serde_json::from_value(shadow.report)?;
    let (pipeline, udf_hash) = (&shadow.pipeline, &shadow.udf_hash);
    println!("pipeline {pipeline}: version {udf_hash} in the shadow for {:.0} seconds", report.seconds);
    print_comparison(&report.comparison)?;
    if report.skipped > 0 {
        println!("{} messages were passed over to keep up", report.skipped);
    }
    if let Some(reason) = &report.ended {
        println!("it runs no more: {reason}");
    }
    Ok(())
}

/// What differs between two versions, for a person: counts, then samples as a diff.
fn print_comparison(found: &Comparison) -> Result<()> {
    let (old, new) = (found.old, found.new);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} messages: {} the same, {} changed rows",
        found.messages, found.same, found.changed_rows
    )?;
    writeln!(out, "  running: {} rows, {} filtered, {} failed", old.rows, old.filtered, old.failed)?;
    writeln!(out, "  new:     {} rows, {} filtered, {} failed", new.rows, new.filtered, new.failed)?;
    for (change, count) in &found.changes {
        writeln!(out, "  {change}: {count}")?;
    }
    for (column, count) in &found.columns {
        writeln!(out, "  column {column} differs in {count} rows")?;
    }
    for sample in &found.samples {
        writeln!(out, "offset {}: {} -> {}", sample.offset, sample.old, sample.new)?;
        for (sign, error) in [("-", &sample.old_error), ("+", &sample.new_error)] {
            if let Some(error) = error {
                writeln!(out, "{sign} {error}")?;
            }
        }
        for change in &sample.columns {
            for (sign, text) in [("-", &change.old), ("+", &change.new)] {
                writeln!(out, "{sign} {}: {}", change.column, text.as_deref().unwrap_or("NULL"))?;
            }
        }
    }
    if found.samples_left_out > 0 {
        writeln!(out, "and {} further differences", found.samples_left_out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipelines_name_survives_its_way_into_a_path() {
        assert_eq!(query(None), "");
        assert_eq!(query(Some("a.b~c+d%20")), "?pipeline=a.b~c%2Bd%2520");
    }
}
