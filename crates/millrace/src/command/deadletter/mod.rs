//! `millrace deadletter`: what could not become a row, with the original bytes; and the ways to be rid of it.

mod arguments;
mod export;
mod list;
mod replay;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use millrace_server::DeadLetterError;

pub use arguments::{Choice, DeadLetter};

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::reader::{OpenPipeline, Reader};
use crate::replays::{ReplayTables, Replays};

/// Lists, shows, replays, purges or exports dead letters.
///
/// # Errors
/// When the tables cannot be read or written, or there is no such dead letter.
pub fn deadletter(config: &Config, command: &DeadLetter) -> Result<ExitCode> {
    match command {
        DeadLetter::List { choice, each: false, limit, format } => {
            list::classes(&reading(config, &Reader::open(config)?), &choice.of(None)?, *limit, *format)?;
        }
        DeadLetter::List { choice, each: true, limit, format } => {
            list::each(&Reader::open(config)?, &choice.of(None)?, *limit, *format)?;
        }
        DeadLetter::Show { message_id, format } => show::show(config, message_id, *format)?,
        DeadLetter::Replay { choice, message_id, udf, function, dry_run, format } => {
            let choice = choice.of(message_id.as_ref())?;
            let request = replay::request(choice, udf.as_deref(), function.clone(), *dry_run)?;
            return replay::replay(config, &request, *format);
        }
        DeadLetter::Purge { choice, message_id, all, format } => {
            replay::purge(config, &choice.of(message_id.as_ref())?, *all, *format)?;
        }
        DeadLetter::Export { choice, output, payloads } => {
            export::export(config, &choice.of(None)?, output.as_deref(), *payloads)?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
