//! `millrace deadletter`: what could not become a row, with the original bytes; and the ways to be rid of it.

mod export;
mod list;
mod replay;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use millrace_model::Micros;
use millrace_server::{DeadLetterChoice, DeadLetterError};

use crate::cli::{Chosen, DeadLetter};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::moment;
use crate::reader::{OpenPipeline, Reader};
use crate::replays::{ReplayTables, Replays, Running};

/// Lists, shows, replays, purges or exports dead letters.
///
/// # Errors
/// When the tables cannot be read or written, or there is no such dead letter.
pub fn deadletter(config: &Config, command: &DeadLetter) -> Result<ExitCode> {
    match command {
        DeadLetter::List { chosen, each: false, limit, format } => {
            list::classes(&reading(config, &Reader::open(config)?), &choice(chosen, None)?, *limit, *format)?;
        }
        DeadLetter::List { chosen, each: true, limit, format } => {
            list::each(&Reader::open(config)?, &choice(chosen, None)?, *limit, *format)?;
        }
        DeadLetter::Show { message_id, format } => show::show(config, message_id, *format)?,
        DeadLetter::Replay { chosen, message_id, udf, function, dry_run, format } => {
            let choice = choice(chosen, message_id.as_ref())?;
            let request = replay::request(choice, udf.as_deref(), function.clone(), *dry_run)?;
            return replay::replay(config, &request, *format);
        }
        DeadLetter::Purge { chosen, message_id, all, format } => {
            replay::purge(config, &choice(chosen, message_id.as_ref())?, *all, *format)?;
        }
        DeadLetter::Export { chosen, output, payloads } => {
            export::export(config, &choice(chosen, None)?, output.as_deref(), *payloads)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was chosen, as the server takes it.
fn choice(chosen: &Chosen, message_id: Option<&String>) -> Result<DeadLetterChoice> {
    let since = chosen.since.as_deref().map(|since| moment::parse(since, Micros::now())).transpose()?;
    Ok(DeadLetterChoice {
        pipeline: chosen.pipeline.clone(),
        class: chosen.class.clone(),
        since_micros: since.map(|since| since.0),
        message_id: message_id.cloned(),
    })
}

/// The dead letters of tables that are open for reading.
fn reading(config: &Config, reader: &Reader) -> Replays {
    replays(config, &reader.pipelines)
}

fn replays(config: &Config, pipelines: &[OpenPipeline]) -> Replays {
    let tables = pipelines.iter().map(|pipeline| ReplayTables {
        pipeline: pipeline.plan.pipeline.clone(),
        spec: Arc::clone(&pipeline.plan.table),
        rows: Arc::clone(&pipeline.rows) as _,
        dead_letters: Arc::clone(&pipeline.dead_letters) as _,
        running: match &pipeline.export {
            None => Running::NoServer,
            Some(export) => Running::Fixed(Arc::clone(&export.replayed_with)),
        },
    });
    Replays::new(config, &DataDir::new(&config.data_dir), tables.collect())
}

fn failed(error: DeadLetterError) -> anyhow::Error {
    match error {
        DeadLetterError::Wrong(text) | DeadLetterError::Busy(text) | DeadLetterError::Failed(text) => {
            anyhow::anyhow!("{text}")
        }
    }
}
