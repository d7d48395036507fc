//! `millrace audit`: the ledger, rebuilt from the log and the tables alone.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use millrace_model::{Micros, Offset};
use millrace_pipeline::{AuditInput, AuditReport, Since, SourceFacts};
use serde_json::json;

use crate::cli::Format;
use crate::config::Config;
use crate::moment;
use crate::reader::{self, OpenPipeline, Reader};

/// Audits every pipeline. Exit code 1 when one does not balance.
///
/// # Errors
/// When log or tables cannot be opened.
pub fn audit(config: &Config, since: Option<&str>, format: Format) -> Result<ExitCode> {
    let since = since.map(|since| moment::parse(since, Micros::now())).transpose()?;
    // Tables before the log: what the log accepted since then is pending, while the other way round
    // committed rows would seem to lie beyond the log's end.
    let tables = Reader::open(config)?;
    if tables.pipelines.is_empty() {
        bail!("no pipeline of this configuration has tables in {}", config.data_dir.display());
    }
    let reports: Vec<_> = tables
        .pipelines
        .iter()
        .map(|pipeline| {
            audit_pipeline(config, pipeline, since)
                .with_context(|| format!("in pipeline {}", pipeline.plan.pipeline))
        })
        .collect::<Result<_>>()?;
    let balanced = reports.iter().all(|report| report.balanced);
    match format {
        Format::Json | Format::Ndjson => {
            println!("{:#}", json!({ "balanced": balanced, "pipelines": reports }));
        }
        Format::Table | Format::Csv => reports.iter().for_each(|report| println!("{report}")),
    }
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn audit_pipeline(config: &Config, pipeline: &OpenPipeline, since: Option<Micros>) -> Result<AuditReport> {
    let survey = || -> Result<SourceFacts> {
        // Opened again at each look: a server may be appending, and what the tables have by then must
        // be in the log that they are compared with.
        let log = reader::log(config)?;
        let topic = log.topic(&pipeline.plan.topic);
        let topic = topic.with_context(|| format!("its topic {} is not in the log", pipeline.plan.topic))?;
        let source = pipeline.source(Arc::clone(&topic));
        let mut facts = SourceFacts::survey(source.as_ref(), Offset::ZERO);
        let stats = topic.stats();
        facts.duplicates = Some(stats.duplicates_total);
        facts.damage.extend(stats.failure);
        Ok(facts)
    };
    let first = survey()?;
    let find = |moment| -> Result<Since> {
        let log = reader::log(config)?;
        let topic = log.topic(&pipeline.plan.topic).context("its topic is not in the log")?;
        Ok(Since::find(pipeline.source(topic).as_ref(), moment))
    };
    let since = since.map(find).transpose()?;
    Ok(millrace_pipeline::audit(&AuditInput {
        pipeline: &pipeline.plan.pipeline,
        source: &|| survey().unwrap_or_else(|error| damaged(&first, &error)),
        rows: pipeline.rows.as_ref(),
        dead_letters: pipeline.dead_letters.as_ref(),
        adopts_new_topic: pipeline.plan.adopt_new_topic,
        since,
    }))
}

/// The facts of a topic that could be read a moment ago and cannot any more.
fn damaged(earlier: &SourceFacts, error: &anyhow::Error) -> SourceFacts {
    let mut facts = earlier.clone();
    facts.damage.push(format!("{error:#}"));
    facts
}
