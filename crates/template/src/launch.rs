//! From texts to a launch: types, what must and must not be given together, what each value means here.

use std::fmt;

use crate::given::{Given, Origin};
use crate::names::{ResourceName, TableName};
use crate::parameters::{Kind, Parameter, Recognised, Template, recognise};

/// Whether the template's silent losses are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// What the template would lose silently is refused or kept.
    #[default]
    Strict,
    /// As the template, its losses counted.
    Compatible,
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A subscription.
    Subscription(ResourceName),
    /// A topic; the template makes a temporary subscription.
    Topic(ResourceName),
}

/// The UDF as the template is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdfSource {
    /// `gs://`, a path, or a pattern of these.
    pub path: String,
    /// The function; `None` only in [`Mode::Compatible`], where messages then pass untransformed.
    pub function: Option<String>,
    /// Minutes after which the script is read again; 0: never.
    pub reload_minutes: u32,
}

/// How the template writes to BigQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMethod {
    /// `insertAll`.
    StreamingInserts,
    /// The Storage Write API's default stream.
    StorageAtLeastOnce,
    /// The Storage Write API with offsets.
    StorageExactlyOnce,
}

/// A launch that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The template.
    pub template: Template,
    /// The job's name.
    pub job_name: Option<String>,
    /// The source.
    pub input: Input,
    /// The table; its project is always there.
    pub output: TableName,
    /// The table of dead letters; its project is always there.
    pub dead_letters: TableName,
    /// The UDF.
    pub udf: Option<UdfSource>,
    /// How the template would write.
    pub write: WriteMethod,
    /// Whether the template's silent losses are kept.
    pub mode: Mode,
    /// What was accepted and has another meaning here, or none: a line each.
    pub notes: Vec<String>,
}

/// What is different when `inputTopic` is a topic of the log.
const EMBEDDED_TOPIC_NOTE: &str = "inputTopic: the pipeline reads every message that the topic still holds; the template's \
     temporary subscription begins with the job";
/// What is different when it is one of the real service.
const SERVICE_TOPIC_NOTE: &str = "inputTopic: read through a temporary subscription, as by the template; it outlives a restart \
     and is deleted when the pipeline is drained";

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The parameter; `None` when it is about several.
    pub parameter: Option<String>,
    /// What is wrong, in the template's words where they are known, and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parameter {
            Some(parameter) => write!(formatter, "{parameter}: {}", self.text),
            None => formatter.write_str(&self.text),
        }
    }
}

/// Everything that is wrong with a launch, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("The template parameters are invalid. Details:{}", lines(.0))]
pub struct LaunchError(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl Launch {
    /// Checks what was given.
    ///
    /// # Errors
    /// Everything that is wrong: unknown names with the nearest one, names of sibling templates with the
    /// reason, values of a wrong type, what is missing, and what the template refuses together.
    pub fn check(given: &Given, mode: Mode) -> Result<Self, LaunchError> {
        let mut checker = Checker { given, problems: Vec::new(), notes: Vec::new() };
        let template = checker.template();
        checker.names(template);
        let input = checker.input(template);
        let output = checker.table("outputTableSpec");
        if output.is_none() && !checker.is_given("outputTableSpec") {
            checker.problem(Some("outputTableSpec"), "Missing required parameter".to_owned());
        }
        let dead_letters = checker.table("outputDeadletterTable");
        let udf = checker.udf(mode);
        let write = checker.write_method();
        checker.machines();
        let project = match &input {
            Some(Input::Subscription(name) | Input::Topic(name)) => name.project.clone(),
            None => String::new(),
        };
        match (input, output) {
            (Some(input), Some(output)) if checker.problems.is_empty() => {
                // Beam fills in the job's project; the source's is the nearest to it that is known here.
                let with_project = |table: TableName| TableName {
                    project: Some(table.project.clone().unwrap_or_else(|| project.clone())),
                    ..table
                };
                let output = with_project(output);
                let dead_letters = dead_letters.map_or_else(|| output.dead_letters(), with_project);
                if dead_letters == output {
                    checker.problem(
                        Some("outputDeadletterTable"),
                        "is outputTableSpec itself: dead letters have columns of their own".to_owned(),
                    );
                    return Err(LaunchError(checker.problems));
                }
                let job_name = given.job_name.clone();
                let notes = checker.notes;
                Ok(Self { template, job_name, input, output, dead_letters, udf, write, mode, notes })
            }
            _ => Err(LaunchError(checker.problems)),
        }
    }
}

impl Launch {
    /// The same launch, whose input is that of the real Pub/Sub rather than the log's own.
    #[must_use]
    pub fn with_service_input(mut self) -> Self {
        for note in self.notes.iter_mut().filter(|note| *note == EMBEDDED_TOPIC_NOTE) {
            SERVICE_TOPIC_NOTE.clone_into(note);
        }
        self
    }
}

struct Checker<'a> {
    given: &'a Given,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Checker<'_> {
    fn problem(&mut self, parameter: Option<&str>, text: String) {
        self.problems.push(Problem { parameter: parameter.map(str::to_owned), text });
    }

    /// The value of a parameter; an empty text is none, as for the template.
    fn value(&self, name: &str) -> Option<&str> {
        self.given.parameters.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn is_given(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn template(&mut self) -> Template {
        match self.given.template.as_deref().map(Template::named) {
            None => Template::Flex,
            Some(Ok(template)) => template,
            Some(Err(reason)) => {
                self.problem(None, reason);
                Template::Flex
            }
        }
    }

    /// Every name is known, of this template, and its value of its kind.
    fn names(&mut self, template: Template) {
        let given = self.given;
        for (name, (value, origin)) in &given.parameters {
            let from = match origin {
                Origin::CommandLine => String::new(),
                other => format!(" (from {other})"),
            };
            match recognise(name) {
                Recognised::Parameter(parameter) if !belongs(parameter, template) => {
                    let text = format!("{} has no such parameter{from}", template.name());
                    self.problem(Some(name), text);
                }
                Recognised::Parameter(parameter) => {
                    if let Some(text) = violation(parameter.kind, value) {
                        self.problem(Some(name), format!("{text}{from}"));
                    }
                }
                Recognised::WorkerOption => {
                    let note = format!("{name}: accepted and without effect: there are no workers to set up");
                    self.notes.push(note);
                }
                Recognised::Sibling(reason) => self.problem(Some(name), format!("{reason}{from}")),
                Recognised::Unknown(near) => {
                    let hint = near.map_or(String::new(), |near| format!(" (perhaps you meant {near:?})"));
                    self.problem(Some(name), format!("Unrecognized parameter{hint}{from}"));
                }
            }
        }
        if self.is_given("javascriptTextTransformGcsPath")
            && self.is_given("pythonExternalTextTransformGcsPath")
        {
            self.problem(
                None,
                "Either javascript or Python gcs path must be provided, but not both.".to_owned(),
            );
        }
    }

    fn input(&mut self, template: Template) -> Option<Input> {
        let required = match template {
            Template::ClassicSubscription => Some("inputSubscription"),
            Template::ClassicTopic => Some("inputTopic"),
            Template::Flex => None,
        };
        if let Some(required) = required
            && !self.is_given(required)
        {
            self.problem(Some(required), "Missing required parameter".to_owned());
            return None;
        }
        let subscription = self.value("inputSubscription").map(ResourceName::subscription);
        let topic = self.value("inputTopic").map(ResourceName::topic);
        match (subscription, topic) {
            (Some(name), None) => name.ok().map(Input::Subscription),
            (None, Some(name)) => {
                self.notes.push(EMBEDDED_TOPIC_NOTE.to_owned());
                name.ok().map(Input::Topic)
            }
            _ if required.is_some() => None,
            _ => {
                let text = "Either input topic or input subscription must be provided, but not both.";
                self.problem(None, text.to_owned());
                None
            }
        }
    }

    fn table(&self, name: &str) -> Option<TableName> {
        self.value(name).and_then(|value| TableName::parse(value).ok())
    }

    fn udf(&mut self, mode: Mode) -> Option<UdfSource> {
        let function = self.value("javascriptTextTransformFunctionName").map(str::to_owned);
        let reload_minutes = self.number("javascriptTextTransformReloadIntervalMinutes");
        let Some(path) = self.value("javascriptTextTransformGcsPath").map(str::to_owned) else {
            if function.is_some() {
                self.notes.push(
                    "javascriptTextTransformFunctionName: without effect: there is no \
                     javascriptTextTransformGcsPath, messages are rows already"
                        .to_owned(),
                );
            }
            return None;
        };
        if function.is_none() {
            let silent = "there is javascriptTextTransformGcsPath but no javascriptTextTransformFunctionName: \
                 the template would pass every message through untransformed, silently";
            match mode {
                Mode::Strict => {
                    self.problem(None, format!("{silent}; name the function, or leave the path out"))
                }
                Mode::Compatible => self.notes.push(format!("{silent}; so does this pipeline")),
            }
        }
        Some(UdfSource { path, function, reload_minutes })
    }

    fn write_method(&mut self) -> WriteMethod {
        let storage = self.value("useStorageWriteApi") == Some("true");
        let asked = self.value("useStorageWriteApiAtLeastOnce") == Some("true");
        let mode = |mode: &str| self.experiments().any(|experiment| experiment == mode);
        let at_least_once = mode("streaming_mode_at_least_once") && !mode("streaming_mode_exactly_once");
        let frequency = self.is_given("storageWriteApiTriggeringFrequencySec");
        if storage && !asked && !frequency {
            // Checked before the streaming mode is looked at, as the template does.
            self.problem(
                None,
                "When streaming with STORAGE_WRITE_API, the number of streams (numStorageWriteApiStreams) and \
                 triggering frequency (storageWriteApiTriggeringFrequencySec) must also be specified."
                    .to_owned(),
            );
        }
        if asked && !storage {
            self.problem(
                None,
                "When at-least-once semantics (useStorageWriteApiAtLeastOnce) are enabled Storage Write API \
                 (useStorageWriteApi) must also be enabled."
                    .to_owned(),
            );
        }
        if storage || at_least_once {
            self.notes.push(
                "useStorageWriteApi and the streaming mode: accepted; rows and position are one commit, \
                 exactly once, in every mode"
                    .to_owned(),
            );
        }
        if storage && !asked && self.number("numStorageWriteApiStreams") == 0 {
            self.notes.push(
                "numStorageWriteApiStreams: missing; some versions of the template refuse that".to_owned(),
            );
        }
        match (storage, asked || at_least_once) {
            (false, _) => WriteMethod::StreamingInserts,
            (true, true) => WriteMethod::StorageAtLeastOnce,
            (true, false) => WriteMethod::StorageExactlyOnce,
        }
    }

    /// A whole number, 0 when it is missing or (said elsewhere) wrong.
    fn number(&self, name: &str) -> u32 {
        self.value(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Experiments and service options: of the body's environment, and of the parameters of that name.
    fn experiments(&self) -> impl Iterator<Item = &str> {
        let lists = ["additionalExperiments", "experiments", "dataflowServiceOptions"];
        let listed = lists.into_iter().filter_map(|name| self.value(name));
        self.given.experiments.iter().map(String::as_str).chain(listed.flat_map(|list| list.split(',')))
    }

    fn machines(&mut self) {
        if !self.given.machines.is_empty() {
            let names = self.given.machines.join(", ");
            self.notes.push(format!("{names}: accepted and without effect: there are no workers to set up"));
        }
    }
}

fn belongs(parameter: &Parameter, template: Template) -> bool {
    match template {
        Template::Flex => true,
        Template::ClassicSubscription => !parameter.flex_only && parameter.name != "inputTopic",
        Template::ClassicTopic => !parameter.flex_only && parameter.name != "inputSubscription",
    }
}

/// What is wrong with a value, if anything.
fn violation(kind: Kind, value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let takes = |good: bool| (!good).then(|| format!("{value:?} is not {}", kind.takes()));
    match kind {
        Kind::Topic => ResourceName::topic(value).err().map(|error| error.to_string()),
        Kind::Subscription => ResourceName::subscription(value).err().map(|error| error.to_string()),
        Kind::Table => TableName::parse(value).err().map(|error| error.to_string()),
        Kind::ScriptPath => takes(!value.contains(['\n', '\r', '\0'])),
        Kind::FunctionName => takes(value.bytes().all(word)),
        Kind::Boolean => takes(matches!(value, "true" | "false")),
        Kind::Integer => takes(
            value.bytes().all(|byte| byte.is_ascii_digit())
                && value.parse::<u32>().is_ok_and(|number| i32::try_from(number).is_ok()),
        ),
    }
}
