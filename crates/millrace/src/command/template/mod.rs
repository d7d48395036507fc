//! `millrace template run|plan|check`: the Dataflow template's parameters as they are.

mod launch;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use millrace_template::{Job, Origin, Report, ScriptText, Scripts};

use crate::cli::{Common, Format, ReportFormat, Template};
use crate::command::run;
use crate::config::{self, Config};
use crate::{output, sources, udf};

/// Something must be changed before the job can run here.
const EXIT_MUST_CHANGE: u8 = 3;

/// Runs a `template` command.
///
/// # Errors
/// When a parameter, the job or a script is not right, and as `run` does.
pub fn template(common: &Common, base: &Config, command: &Template) -> Result<ExitCode> {
    match command {
        Template::Plan(launch) => print!("{}", launch::plan(common, base, launch)?.text),
        Template::Run(arguments) => {
            let planned = launch::plan(common, base, arguments)?;
            for note in &planned.notes {
                tracing::warn!("{note}");
            }
            // What runs is what `plan` prints, read as a configuration is read.
            let config = config::from_text(&planned.text, common.data_dir.as_deref())?;
            config::check(&config)?;
            // A launch whose input is not there fails at once, as the template's does.
            sources::check(&config)?;
            run::run(&config, None, common.port_offset)?;
        }
        Template::Check { job, udf, function, format } => {
            return check(job, udf, function.as_deref(), *format);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(job: &Path, udf: &[PathBuf], function: Option<&str>, format: ReportFormat) -> Result<ExitCode> {
    let mut job = Job::read(&read(job)?)?;
    if let Some(function) = function {
        let given = (function.to_owned(), Origin::CommandLine);
        job.given.parameters.insert("javascriptTextTransformFunctionName".to_owned(), given);
    }
    let mut texts = Vec::new();
    for path in udf {
        let scripts = udf::scripts(Some(path))?;
        texts.extend(
            scripts.into_iter().map(|script| ScriptText { name: script.name, source: script.source }),
        );
    }
    let function = job.given.parameters.get("javascriptTextTransformFunctionName");
    let scripts = Scripts::read(&texts, function.map(|(name, _)| name.as_str()));
    let report = Report::of(&job, (!texts.is_empty()).then_some(&scripts));
    match format {
        ReportFormat::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        ReportFormat::Table => {
            println!("{}", report.summary());
            let rows: Vec<Vec<_>> =
                report.rows().into_iter().map(|row| row.into_iter().map(Into::into).collect()).collect();
            output::print(Format::Table, &Report::COLUMNS, &rows)?;
            print!("{}", report.remarks());
        }
    }
    let must_change = !report.must_change.is_empty();
    Ok(if must_change { ExitCode::from(EXIT_MUST_CHANGE) } else { ExitCode::SUCCESS })
}

/// A file's text; `-` is standard input.
fn read(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
