//! From a launch to the text of its configuration: what the parameters do not say is found out here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use millrace_disk::{Disk, StdDisk};
use millrace_lake::Lake;
use millrace_table::TableSchema;
use millrace_template::{Given, Input, Launch, Mode, PipelineText, Schema, Service, TableName, locate};

use crate::cli::{self, Common, PubsubPlace};
use crate::config::{self, Config, Pipeline, UdfMode};
use crate::data_dir::DataDir;
use crate::threads::{self, Work};
use crate::{plan, settings};

/// What a launch comes to.
pub struct Planned {
    /// The text of the configuration.
    pub text: String,
    /// What the parameters say that has no effect or another meaning here.
    pub notes: Vec<String>,
}

/// Finds the topic, the schema and the script of a launch, and writes its configuration: that of `common`
/// with one pipeline.
///
/// # Errors
/// Everything that is wrong with the parameters; a subscription without a topic, a table that does not exist
/// and has no schema, a script in Cloud Storage without a place for that here.
pub fn plan(common: &Common, base: &Config, arguments: &cli::Launch) -> Result<Planned> {
    let given = given(arguments)?;
    let mode = match arguments.mode {
        UdfMode::Strict => Mode::Strict,
        UdfMode::Compatible => Mode::Compatible,
    };
    let mut launch = Launch::check(&given, mode)?;
    let service = service(arguments)?;
    let topic = match (configured_source(base, &launch), &service) {
        (Some(source), None) => source.into.clone(),
        (Some(source), Some(_)) => bail!(
            "source {} of the configuration reads that input already: leave out --source and --pubsub-endpoint",
            source.name
        ),
        (None, Some(_)) => fed_topic(base, &launch, arguments.topic.as_deref()),
        (None, None) => topic(base, &launch, arguments.topic.as_deref())?,
    };
    if service.is_some() || configured_source(base, &launch).is_some() {
        launch = launch.with_service_input();
    }
    let pipelines = plan::pipelines(base);
    let table = format!("{}.{}", launch.output.dataset, launch.output.table);
    let configured = pipelines.iter().find(|pipeline| pipeline.table == table);
    let partition = arguments.partition.clone();
    let schema = schema(base, &launch.output, configured, arguments.schema.as_deref())?;
    if matches!(schema, Schema::Text(_)) && configured.is_none() && partition.is_none() {
        launch.notes.push(format!(
            "outputTableSpec: the schema of {table} is read off its columns; by which column it is partitioned is \
             not to be seen there: rows are filed by the day of publishing unless --partition names one"
        ));
    }
    let pipeline = PipelineText {
        declare_topic: !config::filled_topics(base).contains(topic.as_str()),
        topic,
        service,
        schema,
        partition: partition.or_else(|| configured.and_then(|pipeline| pipeline.partition.clone())),
        clustering: match configured {
            Some(pipeline) if arguments.clustering.is_empty() => pipeline.clustering.clone(),
            _ => arguments.clustering.clone(),
        },
        script: script(base, &launch, arguments.gs_root.as_deref())?,
    };
    let text = PipelineText::comment(&launch) + &beginning(common, &launch)? + &pipeline.write(&launch);
    Ok(Planned { text, notes: launch.notes })
}

fn given(arguments: &cli::Launch) -> Result<Given> {
    // Variables that are no text are none of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut given = Given::from_environment(variables)?;
    if let Some(file) = &arguments.parameters_file {
        let body = Given::from_launch_body(&super::read(file)?);
        given = given.and(body.with_context(|| format!("in {}", file.display()))?);
    }
    for list in &arguments.parameters {
        given = given.and(Given::from_list(list).context("in --parameters")?);
    }
    given.experiments.extend(arguments.additional_experiments.iter().cloned());
    given.template = arguments.template.clone().or(given.template);
    Ok(given)
}

/// How the real service is reached, when the messages are there.
fn service(arguments: &cli::Launch) -> Result<Option<Service>> {
    let endpoint = arguments.pubsub_endpoint.clone();
    let impersonate = arguments.impersonate_service_account.clone();
    if arguments.source == PubsubPlace::Google || endpoint.is_some() {
        return Ok(Some(Service { endpoint, impersonate }));
    }
    if impersonate.is_some() {
        bail!("--impersonate-service-account is for the real Pub/Sub: add --source google");
    }
    Ok(None)
}

/// The source of the configuration that reads the launch's input.
fn configured_source<'a>(base: &'a Config, launch: &Launch) -> Option<&'a config::Source> {
    base.source.iter().find(|source| match &launch.input {
        Input::Subscription(name) => source.subscription.as_ref().is_some_and(|subscription| {
            *subscription == format!("projects/{}/subscriptions/{}", name.project, name.name)
        }),
        Input::Topic(name) => source
            .topic
            .as_ref()
            .is_some_and(|topic| *topic == format!("projects/{}/topics/{}", name.project, name.name)),
    })
}

/// The topic that is filled from the real service: the one that was named, that of the pipeline of the input's
/// name, or one of that name.
fn fed_topic(base: &Config, launch: &Launch, told: Option<&str>) -> String {
    let name = PipelineText::name(launch);
    let configured = plan::pipelines(base).into_iter().find(|pipeline| pipeline.name == name);
    told.map(str::to_owned).or(configured.map(|pipeline| pipeline.topic)).unwrap_or_else(|| name.to_owned())
}

/// The topic that the messages are in. A subscription is known here by the pipeline of its name.
fn topic(base: &Config, launch: &Launch, told: Option<&str>) -> Result<String> {
    let subscription = match (&launch.input, told) {
        (Input::Topic(_), Some(_)) => bail!("--topic is for a subscription; inputTopic names the topic"),
        (Input::Topic(name), None) => return Ok(name.name.clone()),
        (Input::Subscription(_), Some(told)) => return Ok(told.to_owned()),
        (Input::Subscription(name), None) => name,
    };
    let pipelines = plan::pipelines(base);
    if let Some(pipeline) = pipelines.iter().find(|pipeline| pipeline.name == subscription.name) {
        return Ok(pipeline.topic.clone());
    }
    let known: Vec<&str> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    bail!(
        "inputSubscription: there is no subscription {} here (there is {}): say with --topic which topic it is of, or \
         with --source google that it is one of the real Pub/Sub",
        subscription.name,
        known.join(", ")
    )
}

/// The table's schema: the file that was named, that of a configured pipeline, or that of the table.
fn schema(
    base: &Config,
    table: &TableName,
    configured: Option<&Pipeline>,
    file: Option<&Path>,
) -> Result<Schema> {
    if let Some(file) = file {
        return Ok(Schema::File(absolute(file)?));
    }
    if let Some(pipeline) = configured {
        return Ok(match (&pipeline.schema, &pipeline.schema_text) {
            (Some(file), _) => Schema::File(absolute(file)?),
            (None, Some(text)) => Schema::Text(text.clone()),
            (None, None) => Schema::Embedded,
        });
    }
    if let Some(text) = schema_in_lake(base, table)? {
        return Ok(Schema::Text(text));
    }
    bail!(
        "outputTableSpec: the table {table} does not exist, and the template creates none: give its schema with \
         --schema FILE (bq show --schema {table} > FILE)"
    )
}

/// The schema of a table that is in the data directory.
fn schema_in_lake(base: &Config, table: &TableName) -> Result<Option<String>> {
    let data = DataDir::new(&base.data_dir);
    if !data.lake().is_dir() {
        return Ok(None);
    }
    let runtime = threads::runtime(Work::Query)?;
    let disk: Arc<dyn Disk> = Arc::new(StdDisk);
    let lake = Lake::open(settings::lake_reader(&data, disk, runtime.handle().clone()))
        .context("cannot open the lake")?;
    let columns = lake.columns(&table.dataset, &table.table).context("in outputTableSpec")?;
    let schema = columns.map(|columns| TableSchema::from_arrow(&columns)).transpose();
    let schema = schema.with_context(|| format!("in the columns of {table}"))?;
    Ok(schema.map(|schema| schema.to_json()))
}

fn script(base: &Config, launch: &Launch, told: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(udf) = &launch.udf else { return Ok(None) };
    let root = told.or(base.gs_root.as_deref());
    let path = locate(&udf.path, root).context("in javascriptTextTransformGcsPath")?;
    absolute(&path).map(Some)
}

/// The configuration before the pipeline: what is in the file, with the launch's project and the data
/// directory of the command line.
fn beginning(common: &Common, launch: &Launch) -> Result<String> {
    let mut table = common.config.as_deref().map(config::rebased).transpose()?.unwrap_or_default();
    if let Some(project) = &launch.output.project {
        table.entry("project").or_insert_with(|| toml::Value::String(project.clone()));
    }
    if let Some(data_dir) = &common.data_dir {
        let path = absolute(data_dir)?.to_string_lossy().into_owned();
        table.insert("data_dir".to_owned(), toml::Value::String(path));
    }
    let text = toml::to_string(&table).map_err(|error| anyhow!("cannot write the configuration: {error}"))?;
    Ok(format!("{text}\n"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}
