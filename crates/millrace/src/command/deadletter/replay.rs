//! `millrace deadletter replay` and `purge`: through the server of this data directory when one runs, else in
//! this process.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use millrace_pipeline::replay::{PurgeReport, ReplayReport, Trial};
use millrace_server::{DeadLetterChoice, ReplayRequest, SentUdf};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{failed, replays};
use crate::cli::Format;
use crate::client::Client;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::output;
use crate::replays::{Answer, Replayed, Replays, sent_script};
use crate::udf;
use crate::writer::Writer;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The request that the arguments make.
///
/// # Errors
/// When the script cannot be read.
pub fn request(
    choice: DeadLetterChoice,
    udf: Option<&Path>,
    function: Option<String>,
    dry_run: bool,
) -> Result<ReplayRequest> {
    let scripts = match udf {
        Some(path) => udf::scripts(Some(path))?.into_iter().map(sent_script).collect(),
        None => Vec::new(),
    };
    let udf = (udf.is_some() || function.is_some()).then_some(SentUdf { scripts, function });
    Ok(ReplayRequest { choice, udf, dry_run })
}

/// Replays, or says what that would do.
///
/// # Errors
/// When it is refused or does not end.
pub fn replay(config: &Config, request: &ReplayRequest, format: Format) -> Result<ExitCode> {
    let answer: Answer<Replayed> =
        through(config, "/api/deadletters/replay", &serde_json::to_value(request)?, |replays| {
            replays.replay(request).map_err(failed)
        })?;
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else if request.dry_run {
        print_trials(&answer, format)?;
    } else {
        print_reports(&answer, format)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Purges.
///
/// # Errors
/// When it is refused or does not end, and when nothing was chosen and not all are meant.
pub fn purge(config: &Config, choice: &DeadLetterChoice, all: bool, format: Format) -> Result<()> {
    let unrestricted = choice.class.is_none() && choice.since_micros.is_none() && choice.message_id.is_none();
    if unrestricted && !all {
        bail!("a purge cannot be undone: say which dead letters (--class, --since, --message-id), or --all");
    }
    let answer: Answer<PurgeReport> =
        through(config, "/api/deadletters/purge", &serde_json::to_value(choice)?, |replays| {
            replays.purge(choice).map_err(failed)
        })?;
    let rows: Vec<Vec<Value>> = answer
        .pipelines
        .iter()
        .map(|of| vec![json!(of.pipeline), json!(of.table), json!(of.answer.purged), json!(of.answer.beyond)])
        .collect();
    output::print(format, &["pipeline", "table", "purged", "left"], &rows)
}

fn through<T: DeserializeOwned>(
    config: &Config,
    path: &str,
    body: &Value,
    here: impl FnOnce(&Replays) -> Result<T>,
) -> Result<T> {
    if let Some(server) = DataDir::new(&config.data_dir).running_server()? {
        return Client::new(config, &server.http)?.post(path, &JSON, body.to_string());
    }
    let writer = Writer::open(config)?;
    here(&replays(config, &writer.pipelines))
}

fn print_reports(answer: &Answer<Replayed>, format: Format) -> Result<()> {
    let row = |pipeline: &str, report: &ReplayReport, what: &str| -> Vec<Value> {
        vec![
            json!(pipeline),
            json!(what),
            json!(report.selected),
            json!(report.written),
            json!(report.filtered),
            json!(report.failed),
            json!(report.gone),
            json!(report.exhausted),
            json!(report.beyond),
        ]
    };
    let mut rows = Vec::new();
    for of in &answer.pipelines {
        rows.extend(of.answer.resumed.as_ref().map(|report| row(&of.pipeline, report, "unfinished one")));
        rows.extend(of.answer.report.as_ref().map(|report| row(&of.pipeline, report, "this one")));
    }
    let columns = [
        "pipeline",
        "replay",
        "selected",
        "written",
        "filtered",
        "failed",
        "gone",
        "tried_too_often",
        "left",
    ];
    output::print(format, &columns, &rows)
}

fn print_trials(answer: &Answer<Replayed>, format: Format) -> Result<()> {
    let trials = || answer.pipelines.iter().filter_map(|of| Some((&of.pipeline, of.answer.trial.as_ref()?)));
    let rows: Vec<Vec<Value>> = trials()
        .flat_map(|(pipeline, trial)| {
            trial.classes.iter().map(move |class| {
                vec![
                    json!(pipeline),
                    json!(class.id),
                    json!(class.written),
                    json!(class.filtered),
                    json!(class.failed),
                    json!(class.signature),
                ]
            })
        })
        .collect();
    output::print(format, &["pipeline", "class", "rows", "filtered", "fail_again", "error"], &rows)?;
    if format == Format::Table {
        trials().for_each(|(pipeline, trial)| print_trial(pipeline, trial));
    }
    Ok(())
}

fn print_trial(pipeline: &str, trial: &Trial) {
    println!(
        "{pipeline}: of {} dead letters {} would become rows, {} would be left out, {} would fail again",
        trial.selected, trial.written, trial.filtered, trial.failed
    );
    for (count, why) in
        [(trial.exhausted, "have been tried too often"), (trial.beyond, "wait for the next replay")]
    {
        if count > 0 {
            println!("  {count} more {why}");
        }
    }
    for class in &trial.failing {
        println!("  would fail: {} of class {}: {}", class.failed, class.id, class.signature);
    }
    for sample in &trial.samples {
        println!("\n{} -> {}", sample.message_id, sample.outcome);
        println!("  was: {}", sample.error_before);
        if let Some(error) = &sample.error {
            println!("  now: {error}");
        }
        println!("  message: {}", sample.payload);
        if let Some(output) = &sample.output {
            println!("  row:     {output}");
        }
    }
}
