//! The pipeline of a launch as the text of a `millrace.toml`.

use std::fmt::Write as _;
use std::path::PathBuf;

use toml::Value;

use crate::launch::{Input, Launch, Mode};
use crate::parameters::Template;

/// The table's schema, which no template parameter tells: BigQuery's table must exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// That of `gemini_raw_logs`, which is part of the program.
    Embedded,
    /// A file, as `bq show --schema` prints it.
    File(PathBuf),
    /// The same as text: what a table that exists was found to have.
    Text(String),
}

/// How the real Pub/Sub is reached, when messages come from there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// An address other than Google's: an emulator's `HOST:PORT`, or a regional one.
    pub endpoint: Option<String>,
    /// The service account to act as.
    pub impersonate: Option<String>,
}

/// What of a pipeline the parameters do not say, found out by whoever can look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineText {
    /// The topic that messages come from.
    pub topic: String,
    /// Where the topic is filled from; `None` when that is the embedded Pub/Sub.
    pub service: Option<Service>,
    /// Whether the topic has to be declared, as nothing else in the configuration fills it.
    pub declare_topic: bool,
    /// The schema of the table.
    pub schema: Schema,
    /// The column whose day partitions the table.
    pub partition: Option<String>,
    /// The columns that it is clustered by.
    pub clustering: Vec<String>,
    /// The script on this machine: a file, a folder or a pattern; `None` without a UDF.
    pub script: Option<PathBuf>,
}

impl PipelineText {
    /// The name of the launch's pipeline: that of its subscription or topic. It is part of the position kept
    /// in the table, so a new job of the same source goes on where the last one ended.
    #[must_use]
    pub fn name(launch: &Launch) -> &str {
        match &launch.input {
            Input::Subscription(name) | Input::Topic(name) => &name.name,
        }
    }

    /// The sections `[[source]]` (when messages come from the real service) or `[[topic]]` (when it has to be
    /// declared), and `[[pipeline]]`, with a comment of where each line is from.
    #[must_use]
    pub fn write(&self, launch: &Launch) -> String {
        let mut text = String::new();
        match &self.service {
            Some(service) => self.write_source(launch, service, &mut text),
            None if self.declare_topic => {
                let _ = write!(text, "[[topic]]\nname = {}\n\n", quoted(&self.topic));
            }
            None => {}
        }
        let (source, project) = match &launch.input {
            Input::Subscription(name) => ("inputSubscription", &name.project),
            Input::Topic(name) => ("inputTopic", &name.project),
        };
        let output = &launch.output;
        let _ = writeln!(text, "[[pipeline]]");
        let _ = writeln!(text, "name = {}  # {source}, of project {project}", quoted(Self::name(launch)));
        let _ = writeln!(text, "topic = {}", quoted(&self.topic));
        let table = format!("{}.{}", output.dataset, output.table);
        let _ = writeln!(text, "table = {}  # outputTableSpec", quoted(&table));
        if launch.dead_letters != output.dead_letters() {
            let table = format!("{}.{}", launch.dead_letters.dataset, launch.dead_letters.table);
            let _ = writeln!(text, "dead_letter_table = {}  # outputDeadletterTable", quoted(&table));
        }
        match &self.schema {
            Schema::Embedded => {}
            Schema::File(path) => {
                let _ = writeln!(text, "schema = {}", quoted(&path.to_string_lossy()));
            }
            Schema::Text(schema) => {
                let _ = writeln!(text, "schema_text = {}", quoted(schema));
            }
        }
        if let Some(partition) = &self.partition {
            let _ = writeln!(text, "partition = {}", quoted(partition));
        }
        if !self.clustering.is_empty() {
            let list: Vec<String> = self.clustering.iter().map(|column| quoted(column)).collect();
            let _ = writeln!(text, "clustering = [{}]", list.join(", "));
        }
        self.write_udf(launch, &mut text);
        text
    }

    fn write_source(&self, launch: &Launch, service: &Service, text: &mut String) {
        let _ = writeln!(text, "[[source]]\nname = {}", quoted(Self::name(launch)));
        match &launch.input {
            Input::Subscription(name) => {
                let full = format!("projects/{}/subscriptions/{}", name.project, name.name);
                let _ = writeln!(text, "subscription = {}  # inputSubscription", quoted(&full));
            }
            Input::Topic(name) => {
                let full = format!("projects/{}/topics/{}", name.project, name.name);
                let _ = writeln!(text, "topic = {}  # inputTopic", quoted(&full));
                // The template makes its subscription in the job's project, which may not be the topic's.
                if let Some(project) =
                    launch.output.project.as_ref().filter(|project| **project != name.project)
                {
                    let _ = writeln!(text, "project = {}  # outputTableSpec", quoted(project));
                }
            }
        }
        let _ = writeln!(text, "into = {}", quoted(&self.topic));
        for (key, value) in [("endpoint", &service.endpoint), ("impersonate", &service.impersonate)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {}", quoted(value));
            }
        }
        text.push('\n');
    }

    fn write_udf(&self, launch: &Launch, text: &mut String) {
        let compatible = launch.mode == Mode::Compatible;
        if self.script.is_none() && !compatible {
            return;
        }
        let _ = writeln!(text, "\n[pipeline.udf]");
        if let (Some(udf), Some(script)) = (&launch.udf, &self.script) {
            let _ = writeln!(text, "path = {}  # {}", quoted(&script.to_string_lossy()), one_line(&udf.path));
            if let Some(function) = &udf.function {
                let _ = writeln!(text, "function = {}", quoted(function));
            }
            // 0 is the template's default and means never, which is not the default here.
            let _ = writeln!(text, "reload_interval_minutes = {}", udf.reload_minutes);
        }
        if compatible {
            let _ = writeln!(text, "mode = \"compatible\"");
        }
    }

    /// What the text begins with: what it was made of, and what is different here.
    #[must_use]
    pub fn comment(launch: &Launch) -> String {
        let kind = if launch.template == Template::Flex { "flex" } else { "classic" };
        let mut text = format!("# From the parameters of {} ({kind}).\n", launch.template.name());
        for note in &launch.notes {
            let _ = writeln!(text, "# - {}", one_line(note));
        }
        text
    }
}

/// A TOML string. One in several lines stays readable where TOML allows it.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// No text gets out of its comment.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
