//! Whether a configuration would run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use millrace_model::names;
use millrace_server::Guard;
use millrace_sql::Engine;
use millrace_udf::Opened;

use super::Config;
use crate::tables::Tables;
use crate::{auth, plan, queries, settings};

/// Checks everything that can be checked without starting, and says what would run.
///
/// # Errors
/// The first thing that is wrong: names the section and what to do.
pub fn check(config: &Config) -> Result<String> {
    let token = auth::token(config)?;
    Guard::new(config.server.bind, token.as_deref())?;
    settings::postgres(config, token.as_deref())?;
    check_ports(config)?;
    check_replay(config)?;
    check_topics(config)?;
    check_sources(config)?;
    plan::declared_tables(config)?;
    settings::routes(config)?;
    Engine::new(queries::engine(config).context("in [sql]")?, Arc::new(Tables::new())).context("in [sql]")?;
    let plans = plan::plan(config)?;
    let mut summary = String::from("the configuration is good\n");
    for plan in &plans {
        let udf = match (&plan.udf, plan.transforms.udf_hash()) {
            (Opened::Unloadable(udf), _) => {
                format!("UDF that does not load ({}): all dead letters", udf.reason())
            }
            (_, Some(hash)) => format!("UDF {hash}"),
            (_, None) => "no UDF".to_owned(),
        };
        let (topic, dataset, table) = (&plan.topic, &plan.dataset, &plan.table.name);
        let _ = writeln!(summary, "pipeline {}: {topic} -> {udf} -> {dataset}.{table}", plan.config.name);
    }
    for source in &config.source {
        let from = source.subscription.as_ref().or(source.topic.as_ref());
        let _ = writeln!(
            summary,
            "source {}: {} -> {}",
            source.name,
            from.map_or("", String::as_str),
            source.into
        );
    }
    for table in &config.table {
        let _ = writeln!(summary, "table {}: for BigQuery subscriptions", table.name);
    }
    let _ = write!(summary, "data directory: {}", config.data_dir.display());
    Ok(summary)
}

fn check_ports(config: &Config) -> Result<()> {
    let server = &config.server;
    let needed = [server.otlp_grpc_port, server.otlp_http_port, server.http_port];
    // These may be off.
    let optional = [server.pubsub_port, server.postgres_port].into_iter().filter(|port| *port != 0);
    let ports: Vec<u16> = needed.into_iter().chain(optional).collect();
    if ports.iter().collect::<BTreeSet<_>>().len() < ports.len() {
        bail!("in [server]: two ports are the same");
    }
    Ok(())
}

fn check_replay(config: &Config) -> Result<()> {
    let replay = &config.replay;
    if replay.attempts_max < 1
        || replay.messages_max == 0
        || replay.batch_messages_max == 0
        || replay.batch_bytes_max == 0
    {
        bail!("in [replay]: every limit must be at least 1");
    }
    Ok(())
}

fn check_topics(config: &Config) -> Result<()> {
    let topics = config.topic.iter().map(|topic| ("topic", &topic.name));
    let sinks = config.sink.iter().map(|sink| ("sink", &sink.topic));
    let sources = config.source.iter().map(|source| ("source", &source.into));
    let pipelines = config.pipeline.iter().map(|pipeline| ("pipeline", &pipeline.topic));
    for (section, topic) in topics.chain(sinks).chain(sources).chain(pipelines) {
        if let Some(rule) = names::resource_name_violation(topic) {
            bail!("in [[{section}]]: topic name {topic:?} is not valid: {rule}");
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = config.topic.iter().find(|topic| !seen.insert(&topic.name)) {
        bail!("in [[topic]]: {} is there twice", twice.name);
    }
    // A pipeline whose topic nothing fills would wait for ever, silently.
    let filled = filled_topics(config);
    for pipeline in &config.pipeline {
        if !filled.contains(pipeline.topic.as_str()) {
            bail!(
                "in [[pipeline]] {}: nothing writes to topic {}: name it in a [[sink]] or [[source]], or declare it in a [[topic]]",
                pipeline.name,
                pipeline.topic
            );
        }
    }
    Ok(())
}

fn check_sources(config: &Config) -> Result<()> {
    let mut seen = BTreeSet::new();
    for source in &config.source {
        if let Some(rule) = names::resource_name_violation(&source.name) {
            bail!("in [[source]]: name {:?} is not valid: {rule}", source.name);
        }
        if !seen.insert(&source.name) {
            bail!("in [[source]]: {} is there twice", source.name);
        }
        // The secret plays no part in checking.
        let settings = settings::source(source, [0; 32]);
        let checked = settings.and_then(|settings| Ok(settings.check()?));
        checked.with_context(|| format!("in [[source]] {}", source.name))?;
        // Nothing would ever be acknowledged.
        if !source.durable && !plan::pipelines(config).iter().any(|pipeline| pipeline.topic == source.into) {
            bail!(
                "in [[source]] {}: durable = false acknowledges what is committed, and no pipeline reads topic {}: \
                 add a [[pipeline]], or let durable be true",
                source.name,
                source.into
            );
        }
    }
    Ok(())
}

/// The topics that something fills, or that somebody has said that they fill.
pub fn filled_topics(config: &Config) -> BTreeSet<&str> {
    let sinks = config.sink.iter().map(|sink| sink.topic.as_str());
    sinks
        .chain(config.sink.is_empty().then_some(names::TOPIC_LOGS))
        .chain([names::TOPIC_UNROUTED, names::TOPIC_METRICS, names::TOPIC_TRACES])
        .chain(config.topic.iter().map(|topic| topic.name.as_str()))
        .chain(config.source.iter().map(|source| source.into.as_str()))
        .collect()
}
