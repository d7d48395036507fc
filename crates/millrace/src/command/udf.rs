//! `millrace udf`: UDFs tried, tested and measured, without a server.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millrace_udf::{Udf, UdfConfig, read_scripts};
use millrace_workbench::{
    BenchOptions, BenchReport, CaseOutcome, Check, InputForm, Lines, Measured, NodeOutcome, RunOptions,
    TestOptions,
};
use serde_json::{Value, json};

use crate::cli::{Format, UdfArguments, UdfCommand};
use crate::{config, output, udf};

/// Longest measurement, in seconds.
const BENCH_SECONDS_MAX: f64 = 3600.0;

/// Runs one of the commands; the exit code is 1 when a golden case differs.
///
/// # Errors
/// When the UDF does not load, or files cannot be read or written.
pub fn udf(command: &UdfCommand) -> Result<ExitCode> {
    match command {
        UdfCommand::Run { udf, input, messages } => run(udf, input, *messages),
        UdfCommand::Test { udf, cases, update } => test(udf, cases, *update),
        UdfCommand::Explain { file, function } => explain(file, function),
        UdfCommand::Bench { udf, input, seconds, engines, no_node, format } => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            if !(*seconds > 0.0 && *seconds <= BENCH_SECONDS_MAX) {
                bail!("--seconds must be above 0 and at most {BENCH_SECONDS_MAX}");
            }
            let options = BenchOptions {
                time: Duration::from_secs_f64(*seconds),
                engines_max: engines.unwrap_or(cores).max(1),
                node: !no_node,
            };
            bench(udf, input, &options, *format)
        }
    }
}

/// Says whether a script runs as a native plan, and which line stands in the way.
fn explain(file: &Path, function: &str) -> Result<ExitCode> {
    let limits = udf::limits(&config::Udf { console: false, ..config::Udf::default() })?;
    let loaded =
        Udf::load(UdfConfig { scripts: read_scripts(file)?, function: function.to_owned(), ..limits })?;
    print!("{}", loaded.explanation());
    Ok(ExitCode::SUCCESS)
}

fn load(arguments: &UdfArguments, console: bool) -> Result<Udf> {
    let limits = udf::limits(&config::Udf {
        shape: arguments.shape,
        mode: arguments.mode,
        reproducible: arguments.reproducible,
        console,
        native_plan: !arguments.no_plan,
        time_limit_ms: arguments.time_limit_ms,
        heap_bytes_max: arguments.heap_bytes_max,
        ..config::Udf::default()
    })?;
    let scripts = read_scripts(&arguments.file)?;
    Ok(Udf::load(UdfConfig { scripts, function: arguments.function.clone(), ..limits })?)
}

fn check(arguments: &UdfArguments) -> Result<Option<Check>> {
    let Some(path) = &arguments.schema else { return Ok(None) };
    let schema = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the schema {}", path.display()))?;
    Ok(Some(Check::new(&schema).with_context(|| format!("in the schema {}", path.display()))?))
}

fn open(input: &Path) -> Result<Box<dyn BufRead>> {
    if input == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn run(arguments: &UdfArguments, input: &Path, messages: bool) -> Result<ExitCode> {
    let form = if messages { InputForm::Message } else { InputForm::Payload };
    let options = RunOptions { form, check: check(arguments)? };
    let mut out = BufWriter::new(io::stdout().lock());
    let ran = millrace_workbench::run(&load(arguments, true)?, open(input)?, &mut out, &options);
    out.flush()?;
    ran?;
    Ok(ExitCode::SUCCESS)
}

fn test(arguments: &UdfArguments, cases: &Path, update: bool) -> Result<ExitCode> {
    let options = TestOptions { check: check(arguments)?, update };
    let report = millrace_workbench::test(&load(arguments, true)?, cases, &options)?;
    let mut out = io::stdout().lock();
    for case in &report.cases {
        match &case.outcome {
            CaseOutcome::Passed => writeln!(out, "ok      {}", case.name)?,
            CaseOutcome::Updated => writeln!(out, "updated {}", case.name)?,
            CaseOutcome::Failed(difference) => {
                writeln!(out, "FAILED  {}\n{}", case.name, difference.trim_end())?
            }
        }
    }
    let [passed, updated, failed] = report.counts();
    writeln!(out, "{passed} passed, {updated} updated, {failed} failed")?;
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bench(arguments: &UdfArguments, input: &Path, options: &BenchOptions, format: Format) -> Result<ExitCode> {
    // Whoever measures wants to know the script, not the terminal.
    let udf = load(arguments, false)?;
    let mut lines = Lines::new(open(input)?, InputForm::Payload);
    let mut messages = Vec::new();
    loop {
        let batch = lines.next_batch()?;
        if batch.is_empty() {
            break;
        }
        messages.extend(batch.iter().map(|message| message.data.to_vec()));
    }
    let report = millrace_workbench::bench(&udf, &udf, &messages, options)?;
    let columns = [
        "engine",
        "threads",
        "messages_per_second",
        "messages_per_core_second",
        "ns_per_message",
        "bytes_per_message",
        "messages",
    ];
    output::print(format, &columns, &rows(&report))?;
    let [made, filtered, failed] = report.outcomes;
    eprintln!(
        "a pass over {} messages: {made} rows, {filtered} filtered, {failed} dead letters",
        messages.len()
    );
    eprintln!("ns_per_message and messages_per_core_second are by processor time, of all threads together");
    match (&report.node, report.same_as_node) {
        (Some(NodeOutcome::Absent), _) => eprintln!("there is no node on the PATH to compare with"),
        (Some(NodeOutcome::Failed(reason)), _) => eprintln!("node failed: {reason}"),
        (_, Some(true)) => eprintln!("node returned the same for every message"),
        (_, Some(false)) => eprintln!("node did NOT return the same for every message"),
        (_, None) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(report: &BenchReport) -> Vec<Vec<Value>> {
    let row = |engine: &str, measured: &Measured| {
        vec![
            json!(engine),
            json!(measured.engines),
            json!(measured.messages_per_second().round()),
            json!((1e9 / measured.nanoseconds_per_message()).round()),
            json!(measured.nanoseconds_per_message().round()),
            json!(report.message_bytes.round()),
            json!(measured.messages),
        ]
    };
    let mut rows: Vec<_> = report.measured.iter().map(|measured| row("millrace", measured)).collect();
    if let Some(NodeOutcome::Ran { version, messages, elapsed, processor, .. }) = &report.node {
        let node =
            Measured { engines: 1, messages: *messages, elapsed: *elapsed, processor: Some(*processor) };
        rows.push(row(&format!("node {version}"), &node));
    }
    rows
}
