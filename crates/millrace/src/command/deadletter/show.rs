//! `millrace deadletter show`: one dead letter with its message, what the UDF makes of it now, and the lines of
//! the script that its error names.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use millrace_model::{MessageId, TransformFactory};
use millrace_pipeline::replay::{ClassId, Tried, TriedOutcome, class_of, try_message};
use millrace_server::DeadLetterChoice;
use millrace_sql::format;
use millrace_table::LetterMessage;
use millrace_udf::Script;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{failed, reading};
use crate::cli::Format;
use crate::config::{self, Config};
use crate::output;
use crate::plan;
use crate::reader::{OpenPipeline, Reader, format_error};
use crate::udf;

/// Lines of the script shown around the one that an error names.
const LINES_AROUND: usize = 2;

/// Most places of the script that are shown.
const PLACES_MAX: usize = 5;

/// Shows it.
///
/// # Errors
/// When the tables cannot be read, or there is no such dead letter.
pub fn show(config: &Config, message_id: &str, format: Format) -> Result<()> {
    // Parsed, so that what goes into the query is an id and nothing else.
    let id: MessageId = message_id.parse().context("`millrace deadletter list --each` shows the ids")?;
    let reader = Reader::open(config)?;
    let Some(found) = find(config, &reader, id)? else {
        bail!("no dead letter {id}: `millrace deadletter list --each` shows the ids");
    };
    let pipeline = reader.pipelines.iter().find(|open| open.plan.pipeline == found.pipeline);
    let pipeline = pipeline.context("its pipeline is not configured")?;
    let now = Now::of(config, pipeline, &found);
    let mut columns = columns(&reader, pipeline, id)?;
    columns.push(("class".to_owned(), json!(found.class)));
    columns.push(("now".to_owned(), now.json()));
    columns.push(("script".to_owned(), json!(now.places)));
    if format == Format::Table {
        print(&columns, &now);
        return Ok(());
    }
    let (names, row): (Vec<_>, Vec<_>) =
        columns.iter().map(|(name, value)| (name.as_str(), value.clone())).unzip();
    output::print(format, &names, &[row])
}

/// A dead letter as it was found.
struct Found {
    pipeline: String,
    class: ClassId,
    udf_hash: Option<String>,
    stack: Option<String>,
    message: LetterMessage,
    id: MessageId,
}

fn find(config: &Config, reader: &Reader, id: MessageId) -> Result<Option<Found>> {
    let choice = DeadLetterChoice { message_id: Some(id.to_string()), ..DeadLetterChoice::default() };
    let mut found = None;
    let looked = reading(config, reader).each_of(&choice, |replayer, topic, selection| {
        replayer.each(topic, selection, &mut |letter| {
            if let Ok(Some(message)) = LetterMessage::of(letter) {
                found = Some(Found {
                    pipeline: replayer.pipeline().to_owned(),
                    class: class_of(letter).0,
                    udf_hash: letter.udf_hash().map(str::to_owned),
                    stack: letter.stack().map(str::to_owned),
                    message,
                    id,
                });
            }
            false
        })
    });
    looked.map_err(failed)?;
    Ok(found)
}

/// All columns of its row.
fn columns(reader: &Reader, pipeline: &OpenPipeline, id: MessageId) -> Result<Vec<(String, Value)>> {
    let table = format!("{}.{}", pipeline.plan.dead_letter_dataset, pipeline.plan.dead_letters.name);
    let sql = format!("SELECT * FROM `{table}` WHERE message_id = '{id}' LIMIT 1");
    let started = Instant::now();
    let fetched: Fetched = reader.query(&sql, async |result| {
        let mut text = Vec::new();
        format::write_json(result, started, &mut text).await.map_err(format_error)?;
        serde_json::from_slice(&text).context("the engine's answer is not JSON")
    })?;
    let row = fetched.rows.into_iter().next().context("it was replayed or purged meanwhile")?;
    Ok(fetched.columns.into_iter().map(|column| column.name).zip(row).collect())
}

#[derive(Deserialize)]
struct Fetched {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

/// What the configured UDF makes of the message now.
struct Now {
    /// Whether it is the version that the message failed with.
    same_udf: bool,
    tried: Result<Tried, String>,
    /// The lines of its scripts that the error's stack names.
    places: Vec<String>,
}

impl Now {
    fn of(config: &Config, pipeline: &OpenPipeline, found: &Found) -> Self {
        let configured = plan::pipelines(config);
        let configured = configured.iter().find(|configured| configured.name == pipeline.plan.pipeline);
        let udf: Option<&config::Udf> = configured.and_then(|configured| configured.udf.as_ref());
        let scripts = udf.and_then(|udf| udf::scripts(udf.path.as_deref()).ok()).unwrap_or_default();
        let places = found.stack.as_deref().map(|stack| places(stack, &scripts)).unwrap_or_default();
        match udf::open(udf).map(|opened| opened.factory()) {
            Ok(transforms) => {
                let hash = transforms.udf_hash().map(|hash| hash.to_string());
                let tried = attempt(transforms.as_ref(), pipeline, found);
                Self { same_udf: hash == found.udf_hash, tried, places }
            }
            Err(error) => Self { same_udf: false, tried: Err(format!("{error:#}")), places },
        }
    }

    fn json(&self) -> Value {
        let mut now = Map::from_iter([("same_udf".to_owned(), json!(self.same_udf))]);
        let mut set = |key: &str, value: Value| now.insert(key.to_owned(), value);
        match &self.tried {
            Err(error) => set("error", json!(error)),
            Ok(tried) => {
                set("output", json!(tried.output));
                match &tried.outcome {
                    TriedOutcome::Written => set("outcome", json!("written")),
                    TriedOutcome::Filtered => set("outcome", json!("filtered")),
                    TriedOutcome::Failed(failure) => {
                        set("error", json!(failure.message));
                        set("outcome", json!("failed"))
                    }
                }
            }
        };
        Value::Object(now)
    }
}

fn attempt(
    transforms: &dyn TransformFactory,
    pipeline: &OpenPipeline,
    found: &Found,
) -> Result<Tried, String> {
    let mut transform = transforms.create()?;
    let batch = Arc::new(LetterMessage::batch(found.id.topic, [&found.message]));
    try_message(transform.as_mut(), &pipeline.plan.table, &batch, 0)
}

/// The lines of the scripts that a stack names, innermost first, each with those around it.
fn places(stack: &str, scripts: &[Script]) -> Vec<String> {
    let mut places = Vec::new();
    for frame in stack.lines() {
        for script in scripts {
            let Some(line) = line_in(frame, &script.name) else { continue };
            let first = line.saturating_sub(1 + LINES_AROUND);
            let lines = script.source.lines().enumerate().skip(first).take(line + LINES_AROUND - first);
            let text: Vec<_> = lines
                .map(|(index, text)| {
                    let mark = if index + 1 == line { '>' } else { ' ' };
                    format!("{mark} {:>4} | {text}", index + 1)
                })
                .collect();
            if !text.is_empty() {
                places.push(format!("{}:{line}\n{}", script.name, text.join("\n")));
            }
        }
        if places.len() >= PLACES_MAX {
            break;
        }
    }
    places
}

/// The line of `script` that one frame of a stack names, counted from 1.
fn line_in(frame: &str, script: &str) -> Option<usize> {
    let name = format!("{script}:");
    let after = &frame[frame.find(&name)? + name.len()..];
    let digits = after.find(|character: char| !character.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok().filter(|line| *line > 0)
}

fn print(columns: &[(String, Value)], now: &Now) {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_long =
        |name: &str| matches!(name, "payloadString" | "payloadBytes" | "stacktrace" | "now" | "script");
    for (name, value) in columns.iter().filter(|(name, _)| !is_long(name)) {
        println!("{name:<16}{}", text(value));
    }
    let column = |wanted: &str| columns.iter().find(|(name, _)| name == wanted).map(|(_, value)| text(value));
    println!("\nmessage\n{}", column("payloadString").unwrap_or_default());
    println!("\nstack\n{}", column("stacktrace").unwrap_or_default());
    if !now.places.is_empty() {
        let note = if now.same_udf { "" } else { " (the script has changed since: its lines may be others)" };
        println!("\nscript{note}");
        now.places.iter().for_each(|place| println!("{place}"));
    }
    let udf = if now.same_udf { "the same version of the UDF" } else { "the present version of the UDF" };
    println!("\nshown to {udf}");
    match &now.tried {
        Err(error) => println!("it cannot be tried: {error}"),
        Ok(tried) => {
            println!("{}", tried.output.as_deref().unwrap_or("(no row)"));
            match &tried.outcome {
                TriedOutcome::Written => {
                    println!("it would become a row: `millrace deadletter replay --message-id`")
                }
                TriedOutcome::Filtered => println!("it would be left out"),
                TriedOutcome::Failed(failure) => println!("it would fail: {}", failure.message),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_names_lines_of_the_script() {
        let script = Script { name: "a.js".to_owned(), source: "one\ntwo\nthree\nfour\nfive\n".to_owned() };
        let stack =
            "    at f (a.js:2:10)\n    at <anonymous> (native)\n    at g (a.js:99)\n    at h (b.js:1)";
        assert_eq!(
            places(stack, &[script]),
            ["a.js:2\n     1 | one\n>    2 | two\n     3 | three\n     4 | four"]
        );
    }
}
