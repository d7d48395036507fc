//! The configuration in the terms of each part.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_disk::Disk;
use millrace_ingest::{Filter, IngestConfig, Route};
use millrace_lake::LakeConfig;
use millrace_log::{LogConfig, TopicConfig};
use millrace_model::names;
use millrace_postgres::{Credentials, PostgresConfig};
use millrace_pubsub::{KeptTopics, PubsubConfig};
use millrace_pubsub_source::{Endpoint, Input, SourceConfig};

use anyhow::{Context, Result, bail};

use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::udf;

const SECONDS_PER_HOUR: u64 = 3600;

/// The log's settings.
pub fn log(config: &Config) -> LogConfig {
    LogConfig { segment_bytes_max: config.log.segment_bytes_max, ..LogConfig::default() }
}

/// Every topic that something is or may be put into: those of sinks and sources, those that ingest keeps for
/// itself, and those that the configuration has settings for.
pub fn topics(config: &Config) -> BTreeSet<String> {
    let own = [names::TOPIC_UNROUTED, names::TOPIC_METRICS, names::TOPIC_TRACES].map(str::to_owned);
    let sinks = config.sink.iter().map(|sink| sink.topic.clone());
    let sources = config.source.iter().map(|source| source.into.clone());
    own.into_iter()
        .chain(sinks)
        .chain(sources)
        .chain(config.topic.iter().map(|topic| topic.name.clone()))
        .collect()
}

/// A topic's settings: its own, else those of all topics. What no sink matched is kept a day. What the real
/// Pub/Sub delivers may come again much later than what a client sends again.
pub fn topic(config: &Config, name: &str) -> TopicConfig {
    let own = config.topic.iter().find(|topic| topic.name == name);
    let retention_hours = own.and_then(|topic| topic.retention_hours).unwrap_or(match name {
        names::TOPIC_UNROUTED => 24.min(config.log.retention_hours),
        _ => config.log.retention_hours,
    });
    let fed = config.source.iter().filter(|source| source.into == name);
    let dedup_window_seconds =
        fed.map(|source| source.dedup_window_seconds).fold(config.log.dedup_window_seconds, u64::max);
    TopicConfig {
        bytes_max: own.and_then(|topic| topic.bytes_max).unwrap_or(config.log.topic_bytes_max),
        retention_age: Duration::from_secs(retention_hours.saturating_mul(SECONDS_PER_HOUR)),
        folded_retention: Duration::from_secs(config.log.folded_retention_minutes.saturating_mul(60)),
        folded_bytes_max: config.log.folded_bytes_max,
        dedup_age: Duration::from_secs(dedup_window_seconds),
        dedup_entries_max: config.log.dedup_entries_max,
    }
}

/// The lake's settings for the process that writes.
pub fn lake(
    config: &Config,
    data: &DataDir,
    disk: Arc<dyn Disk>,
    runtime: tokio::runtime::Handle,
) -> LakeConfig {
    let mut lake = LakeConfig::new(data.lake(), disk, runtime);
    lake.partition_files_max = config.lake.partition_files_max;
    lake.typed_columns = config.lake.typed_columns;
    lake.compaction.files_min = config.lake.compaction_files_min;
    lake.compaction.target_bytes = config.lake.compaction_target_bytes;
    lake.removed_file_retention =
        Duration::from_secs(config.lake.removed_file_retention_minutes.saturating_mul(60));
    lake.checkpoint_interval_commits = config.lake.checkpoint_commits;
    lake.maintenance_interval = Some(Duration::from_secs(config.lake.compaction_interval_seconds));
    lake
}

/// The Postgres port's settings; `None` when there is none.
///
/// # Errors
/// When the file of users cannot be used, or anybody on the network could log in.
pub fn postgres(config: &Config, token: Option<&str>) -> Result<Option<PostgresConfig>> {
    let server = &config.server;
    if server.postgres_port == 0 {
        return Ok(None);
    }
    Ok(Some(PostgresConfig {
        credentials: Credentials::load(server.postgres_users_file.as_deref(), token, server.bind)?,
        connections_max: server.postgres_connections_max,
        drain_timeout: Duration::from_secs(server.drain_timeout_seconds),
        ..PostgresConfig::default()
    }))
}

/// Every topic that the configuration depends on, so that Pub/Sub's clients must not delete it.
pub fn kept_topics(config: &Config) -> BTreeSet<String> {
    let read = config.pipeline.iter().map(|pipeline| pipeline.topic.clone());
    topics(config).into_iter().chain(read).chain([names::TOPIC_LOGS.to_owned()]).collect()
}

/// The Pub/Sub port's settings.
///
/// # Errors
/// When this program's own file is not found.
pub fn pubsub(config: &Config, kept_topics: KeptTopics) -> Result<PubsubConfig> {
    let own = &config.pubsub;
    Ok(PubsubConfig {
        kept_topics,
        transform_child: Some(udf::child()?),
        // No topic of the configuration has this name, so it gives what holds for all.
        topic: topic(config, ""),
        backlog_bytes_max: own.backlog_bytes_max,
        outstanding_messages_max: own.outstanding_messages_max,
        in_flight_bytes_max: own.in_flight_bytes_max,
        streams_max: own.streams_max,
        ..PubsubConfig::new(config.project.clone())
    })
}

/// A source's settings; the variable that Google's clients know says where an emulator is.
///
/// # Errors
/// When it does not name one input, or its endpoint is none.
pub fn source(own: &config::Source, dedup_secret: [u8; 32]) -> Result<SourceConfig> {
    let input = match (&own.subscription, &own.topic) {
        (Some(subscription), None) => Input::Subscription(subscription.clone()),
        (None, Some(topic)) => Input::Topic(topic.clone()),
        _ => bail!("subscription and topic: give one of them"),
    };
    if own.project.is_some() && own.topic.is_none() {
        bail!("project is that of the temporary subscription of a topic: a subscription names its own");
    }
    let emulator = std::env::var("PUBSUB_EMULATOR_HOST").ok().filter(|host| !host.is_empty());
    let endpoint = match own.endpoint.as_ref().or(emulator.as_ref()) {
        Some(address) => Endpoint::parse(address)?,
        None => Endpoint::Google,
    };
    Ok(SourceConfig {
        subscription_project: own.project.clone(),
        endpoint,
        impersonate: own.impersonate.clone(),
        durable: own.durable,
        outstanding_messages_max: own.outstanding_messages_max,
        outstanding_bytes_max: own.outstanding_bytes_max,
        ack_deadline: Duration::from_secs(own.ack_deadline_seconds),
        ..SourceConfig::new(own.name.clone(), input, dedup_secret)
    })
}

/// Which entries go where.
///
/// # Errors
/// Names the sink whose filter cannot be read.
pub fn routes(config: &Config) -> Result<Vec<Route>> {
    if config.sink.is_empty() {
        return Ok(vec![Route {
            name: "default".to_owned(),
            topic: names::TOPIC_LOGS.to_owned(),
            filter: None,
        }]);
    }
    config
        .sink
        .iter()
        .map(|sink| {
            let filter = sink.filter.as_deref().map(Filter::parse).transpose();
            let filter = filter.with_context(|| format!("in the filter of sink {}", sink.name))?;
            Ok(Route { name: sink.name.clone(), topic: sink.topic.clone(), filter })
        })
        .collect()
}

/// Ingest's settings.
///
/// # Errors
/// As [`routes`], and when the secret cannot be had.
pub fn ingest(config: &Config, data: &DataDir) -> Result<IngestConfig> {
    let base = IngestConfig::new(config.project.clone(), data.dedup_secret()?, routes(config)?);
    Ok(IngestConfig {
        mapped_bytes_max: config.ingest.decompressed_bytes_max.saturating_mul(2),
        body_bytes_max: config.ingest.body_bytes_max,
        decompressed_bytes_max: config.ingest.decompressed_bytes_max,
        in_flight_bytes_max: config.ingest.in_flight_bytes_max,
        body_read_timeout: Duration::from_secs(config.ingest.body_read_timeout_seconds),
        ..base
    })
}

/// The lake's settings for a process that only reads.
pub fn lake_reader(data: &DataDir, disk: Arc<dyn Disk>, runtime: tokio::runtime::Handle) -> LakeConfig {
    LakeConfig { read_only: true, maintenance_interval: None, ..LakeConfig::new(data.lake(), disk, runtime) }
}
