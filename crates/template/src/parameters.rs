//! Every parameter of the template and of its siblings, by name.

use strsim::damerau_levenshtein;

/// A template: which parameters there are, and what it does with failures, depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// `PubSub_Subscription_to_BigQuery`, classic.
    ClassicSubscription,
    /// `PubSub_to_BigQuery`, classic.
    ClassicTopic,
    /// `PubSub_to_BigQuery_Flex`: all that the classic ones take, and more.
    Flex,
}

impl Template {
    /// The template of that name, or of a `gs://` path that ends with it.
    ///
    /// # Errors
    /// For a sibling, why it cannot be run; for an unknown name, the nearest one.
    pub fn named(text: &str) -> Result<Self, String> {
        let name = text.rsplit('/').next().unwrap_or(text);
        let known = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if known("PubSub_Subscription_to_BigQuery") || known("Cloud_PubSub_Subscription_to_BigQuery") {
            return Ok(Self::ClassicSubscription);
        }
        if known("PubSub_to_BigQuery") || known("Cloud_PubSub_to_BigQuery") {
            return Ok(Self::ClassicTopic);
        }
        if known("PubSub_to_BigQuery_Flex") {
            return Ok(Self::Flex);
        }
        if let Some((name, reason)) = SIBLINGS.iter().find(|(sibling, _)| known(sibling)) {
            return Err(format!("template {name} cannot be run: {reason}"));
        }
        let names = [Self::ClassicSubscription, Self::ClassicTopic, Self::Flex].map(Self::name);
        let hint = nearest(name, names).map_or(String::new(), |near| format!(", did you mean {near}?"));
        Err(format!("there is no template {name:?}{hint} (known: {})", names.join(", ")))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClassicSubscription => "PubSub_Subscription_to_BigQuery",
            Self::ClassicTopic => "PubSub_to_BigQuery",
            Self::Flex => "PubSub_to_BigQuery_Flex",
        }
    }

    /// Whether it is a classic one.
    #[must_use]
    pub fn is_classic(self) -> bool {
        self != Self::Flex
    }
}

const PYTHON: &str = "a Python UDF runs in a Python worker beside Java; Millrace runs JavaScript only: \
     write the function in JavaScript and use javascriptTextTransformGcsPath";
const BLOCKS: &str = "it belongs to the generated template PubSub_to_BigQuery_Auto, which may create and \
     overwrite tables; here the table is declared by a schema and rows are appended";
const AVRO: &str = "it belongs to PubSub_Avro_to_BigQuery; Avro messages are not supported, JSON is";
const PROTO: &str = "it belongs to PubSub_Proto_to_BigQuery; Protobuf messages are not supported, JSON is";
const CDC: &str = "it belongs to PubSub_CDC_to_BigQuery, which makes tables and columns from messages; \
     here one message stream fills one declared table";
const DEAD_LETTER_TOPIC: &str = "it belongs to the Avro and Protobuf templates, whose dead letters go to a \
     topic; here they go to a table: outputDeadletterTable";

/// Templates that share the name and are something else.
const SIBLINGS: [(&str, &str); 7] = [
    ("PubSub_to_BigQuery_Xlang", PYTHON),
    ("PubSub_to_BigQuery_Auto", BLOCKS),
    ("PubSub_Avro_to_BigQuery", AVRO),
    ("PubSub_Proto_to_BigQuery", PROTO),
    ("PubSub_Proto_to_BigQuery_Flex", PROTO),
    ("PubSub_Proto_to_BigQuery_Xlang", PROTO),
    ("PubSub_CDC_to_BigQuery", CDC),
];

/// What a parameter's text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `projects/P/topics/T`.
    Topic,
    /// `projects/P/subscriptions/S`.
    Subscription,
    /// `project:dataset.table`, `project.dataset.table` or `dataset.table`.
    Table,
    /// `gs://bucket/object`, a path or a pattern of these.
    ScriptPath,
    /// `[a-zA-Z0-9_]+`.
    FunctionName,
    /// `true` or `false`.
    Boolean,
    /// A whole number, 0 to 2147483647 (Java's `Integer`).
    Integer,
}

impl Kind {
    /// What it takes, in a few words.
    #[must_use]
    pub fn takes(self) -> &'static str {
        match self {
            Self::Topic => "projects/<project>/topics/<topic>",
            Self::Subscription => "projects/<project>/subscriptions/<subscription>",
            Self::Table => "<project>:<dataset>.<table>",
            Self::ScriptPath => "gs://<bucket>/<object>, a path, or a pattern of these",
            Self::FunctionName => "letters, digits and _ only",
            Self::Boolean => "true or false",
            Self::Integer => "a whole number from 0 to 2147483647",
        }
    }
}

/// A parameter that is taken.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name: the contract.
    pub name: &'static str,
    /// What its text must be.
    pub kind: Kind,
    /// What it is when it is not given; `None`: nothing.
    pub default: Option<&'static str>,
    /// Whether only the flex template has it.
    pub flex_only: bool,
    /// What it means here.
    pub meaning: &'static str,
}

const fn classic(name: &'static str, kind: Kind, meaning: &'static str) -> Parameter {
    Parameter { name, kind, default: None, flex_only: false, meaning }
}

/// Every parameter of the classic and flex templates.
pub const PARAMETERS: [Parameter; 11] = [
    classic("inputSubscription", Kind::Subscription, "the embedded subscription: the name of the pipeline"),
    classic("inputTopic", Kind::Topic, "the embedded topic"),
    classic("outputTableSpec", Kind::Table, "the table of the lake, by dataset and table"),
    classic("outputDeadletterTable", Kind::Table, "dead letters; absent: outputTableSpec + _error_records"),
    classic("javascriptTextTransformGcsPath", Kind::ScriptPath, "the script"),
    classic("javascriptTextTransformFunctionName", Kind::FunctionName, "the function to call"),
    Parameter {
        default: Some("0"),
        ..classic(
            "javascriptTextTransformReloadIntervalMinutes",
            Kind::Integer,
            "how often the script is looked at again; 0: never",
        )
    },
    Parameter {
        default: Some("false"),
        flex_only: true,
        ..classic("useStorageWriteApi", Kind::Boolean, "accepted; rows are committed exactly once anyway")
    },
    Parameter {
        default: Some("false"),
        flex_only: true,
        ..classic(
            "useStorageWriteApiAtLeastOnce",
            Kind::Boolean,
            "accepted; rows are committed exactly once anyway",
        )
    },
    Parameter {
        default: Some("0"),
        flex_only: true,
        ..classic("numStorageWriteApiStreams", Kind::Integer, "accepted; there are no streams to number")
    },
    Parameter {
        flex_only: true,
        ..classic(
            "storageWriteApiTriggeringFrequencySec",
            Kind::Integer,
            "accepted; a window is committed after a second",
        )
    },
];

/// Parameters of sibling templates, and why they cannot be taken.
pub(crate) const SIBLING_PARAMETERS: [(&str, &str); 22] = [
    ("pythonExternalTextTransformGcsPath", PYTHON),
    ("pythonExternalTextTransformFunctionName", PYTHON),
    ("bigQuerySchemaPath", BLOCKS),
    ("writeDisposition", BLOCKS),
    ("createDisposition", BLOCKS),
    ("schemaPath", AVRO),
    ("outputTopic", DEAD_LETTER_TOPIC),
    ("udfOutputTopic", DEAD_LETTER_TOPIC),
    ("protoSchemaPath", PROTO),
    ("fullMessageName", PROTO),
    ("preserveProtoFieldNames", PROTO),
    ("bigQueryTableSchemaPath", PROTO),
    ("autoMapTables", CDC),
    ("schemaFilePath", CDC),
    ("outputDatasetTemplate", CDC),
    ("outputTableNameTemplate", CDC),
    ("deadLetterQueueDirectory", CDC),
    ("windowDuration", CDC),
    ("threadCount", CDC),
    ("pythonTextTransformGcsPath", CDC),
    ("pythonTextTransformFunctionName", CDC),
    ("runtimeRetries", CDC),
];

/// Options of Beam and of Dataflow's workers that launchers put among the parameters. They place a job on
/// Google's machines and say nothing about rows.
const WORKER_OPTIONS: [&str; 24] = [
    "additionalExperiments",
    "autoscalingAlgorithm",
    "dataflowServiceOptions",
    "diskSizeGb",
    "enableStreamingEngine",
    "experiments",
    "jobName",
    "labels",
    "maxNumWorkers",
    "maxWorkers",
    "network",
    "numWorkers",
    "numberOfWorkerHarnessThreads",
    "project",
    "region",
    "sdkContainerImage",
    "serviceAccount",
    "stagingLocation",
    "streaming",
    "subnetwork",
    "tempLocation",
    "usePublicIps",
    "workerMachineType",
    "zone",
];

/// What a name is.
pub(crate) enum Recognised {
    /// A parameter of the template.
    Parameter(&'static Parameter),
    /// An option of the machines that Dataflow runs on: nothing here.
    WorkerOption,
    /// A parameter of a sibling template: why it is refused.
    Sibling(&'static str),
    /// None of these: the nearest name.
    Unknown(Option<&'static str>),
}

pub(crate) fn recognise(name: &str) -> Recognised {
    if let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.name == name) {
        return Recognised::Parameter(parameter);
    }
    if WORKER_OPTIONS.contains(&name) {
        return Recognised::WorkerOption;
    }
    if let Some((_, reason)) = SIBLING_PARAMETERS.iter().find(|(sibling, _)| *sibling == name) {
        return Recognised::Sibling(reason);
    }
    Recognised::Unknown(nearest(name, PARAMETERS.iter().map(|parameter| parameter.name)))
}

/// The name that is nearest to `wrong`, if any is near enough to be meant.
pub(crate) fn nearest(wrong: &str, names: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let wrong = wrong.to_lowercase();
    let distance = |name: &str| damerau_levenshtein(&wrong, &name.to_lowercase());
    let nearest = names.into_iter().min_by_key(|name| distance(name))?;
    (distance(nearest) <= nearest.len() / 3).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_known_by_name_and_by_path() {
        for (text, template) in [
            ("PubSub_to_BigQuery_Flex", Template::Flex),
            ("gs://dataflow-templates-us-central1/latest/flex/PubSub_to_BigQuery_Flex", Template::Flex),
            ("gs://dataflow-templates/latest/PubSub_Subscription_to_BigQuery", Template::ClassicSubscription),
            ("pubsub_to_bigquery", Template::ClassicTopic),
        ] {
            assert_eq!(Template::named(text), Ok(template), "{text}");
        }
        for (sibling, _) in SIBLINGS {
            let error = Template::named(sibling).unwrap_err();
            assert!(error.contains(sibling) && error.contains("cannot be run"), "{error}");
        }
        let error = Template::named("PubSub_to_BigQuery_Felx").unwrap_err();
        assert!(error.contains("did you mean PubSub_to_BigQuery_Flex?"), "{error}");
    }

    #[test]
    fn no_name_is_two_things() {
        let names = PARAMETERS.iter().map(|parameter| parameter.name);
        let mut all: Vec<&str> = names
            .chain(SIBLING_PARAMETERS.iter().map(|(name, _)| *name))
            .chain(WORKER_OPTIONS.iter().copied())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
