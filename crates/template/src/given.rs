//! What somebody has given: from the command line, a launch body and the environment, as texts.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::parameters::{PARAMETERS, nearest};

/// What an environment variable begins with that is a parameter.
const PREFIX: &str = "MILLRACE_TEMPLATE_";

/// Where a value is from. A later one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `MILLRACE_TEMPLATE_outputTableSpec` or `MILLRACE_TEMPLATE_OUTPUT_TABLE_SPEC`.
    Environment,
    /// `--parameters-file`.
    File,
    /// `--parameters`.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Environment => "environment",
            Self::File => "--parameters-file",
            Self::CommandLine => "--parameters",
        })
    }
}

/// Texts by parameter name, and what else a launch says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The parameters.
    pub parameters: BTreeMap<String, (String, Origin)>,
    /// The job's name.
    pub job_name: Option<String>,
    /// The template's name or path: `containerSpecGcsPath`.
    pub template: Option<String>,
    /// Experiments and service options, of which `streaming_mode_*` say something here.
    pub experiments: Vec<String>,
    /// Other settings of the job's machines, by name: they mean nothing here.
    pub machines: Vec<String>,
}

/// Why what was given cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// An item without `=`; gcloud's wording.
    #[error(
        "Bad syntax for dict arg: [{0}]: parameters are name=value,name=value; for values with commas choose another delimiter, as in ^;^name=value;name=value"
    )]
    Syntax(String),
    /// `^^...`.
    #[error("Invalid delimiter: ^DELIMITER^ needs at least one character between the two ^")]
    Delimiter,
    /// The same name again.
    #[error("{0:?} cannot be specified multiple times")]
    Twice(String),
    /// Two environment variables for one parameter.
    #[error("{0} and {1} set the same parameter: keep one of them")]
    TwoVariables(String, String),
    /// The file is no JSON.
    #[error("the launch body is no JSON: {0}")]
    Json(String),
    /// The file is JSON of another shape.
    #[error("{at}: {problem}")]
    Body {
        /// The path to the value.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Given {
    /// Reads gcloud's `--parameters`: `k=v,k=v`, or `^DELIM^k=vDELIMk=v` for values with commas
    /// (`gcloud topic escaping`). The first `=` of an item divides; a delimiter at the end is ignored.
    ///
    /// # Errors
    /// When an item has no `=`, a name is there twice, or the delimiter is empty.
    pub fn from_list(text: &str) -> Result<Self, GivenError> {
        let (delimiter, list) = match text.strip_prefix('^').and_then(|rest| rest.split_once('^')) {
            Some(("", _)) => return Err(GivenError::Delimiter),
            Some(other) => other,
            None => (",", text),
        };
        let mut given = Self::default();
        for item in list.strip_suffix(delimiter).unwrap_or(list).split(delimiter) {
            if item.is_empty() && list.is_empty() {
                break;
            }
            let (name, value) = item
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| GivenError::Syntax(item.to_owned()))?;
            given.set(name, value, Origin::CommandLine)?;
        }
        Ok(given)
    }

    /// Reads the body of a launch request: flex (`{"launchParameter": {...}}`), classic (`{"jobName",
    /// "parameters", "environment"}`), or the parameters alone.
    ///
    /// # Errors
    /// When the text is no JSON, or a key is not one of a launch body; names the nearest.
    pub fn from_launch_body(json: &str) -> Result<Self, GivenError> {
        let body: Value = serde_json::from_str(json).map_err(|error| GivenError::Json(error.to_string()))?;
        let body = object("the launch body", &body)?;
        let flex =
            body.iter().find(|(key, _)| matches!(key.as_str(), "launchParameter" | "launch_parameter"));
        if let Some((key, inner)) = flex {
            check_keys("the launch body", body, &["launchParameter", "launch_parameter", "validateOnly"])?;
            return Self::from_launch(key, object(key, inner)?);
        }
        let launch = ["jobName", "parameters", "environment", "containerSpecGcsPath"];
        if launch.iter().any(|key| body.contains_key(*key)) {
            return Self::from_launch("the launch body", body);
        }
        let mut given = Self::default();
        given.take_parameters("the launch body", body)?;
        Ok(given)
    }

    fn from_launch(at: &str, launch: &Map<String, Value>) -> Result<Self, GivenError> {
        check_keys(at, launch, &LAUNCH_KEYS)?;
        let mut given = Self::default();
        for (key, value) in launch {
            let path = format!("{at}.{key}");
            match key.as_str() {
                "parameters" => given.take_parameters(&path, object(&path, value)?)?,
                "environment" => given.take_environment(&path, object(&path, value)?)?,
                "jobName" => given.job_name = Some(text(&path, value)?),
                "containerSpecGcsPath" | "gcsPath" => given.template = Some(text(&path, value)?),
                "launchOptions"
                | "transformNameMapping"
                | "transformNameMappings"
                | "containerSpec"
                | "update" => {
                    given.machines.push(key.clone());
                }
                _ => {}
            }
        }
        Ok(given)
    }

    fn take_parameters(&mut self, at: &str, parameters: &Map<String, Value>) -> Result<(), GivenError> {
        for (name, value) in parameters {
            let value = text(&format!("{at}.{name}"), value)?;
            self.set(name, &value, Origin::File)?;
        }
        Ok(())
    }

    fn take_environment(&mut self, at: &str, environment: &Map<String, Value>) -> Result<(), GivenError> {
        check_keys(at, environment, &ENVIRONMENT_KEYS)?;
        for (key, value) in environment {
            let path = format!("{at}.{key}");
            match key.as_str() {
                "additionalExperiments" => {
                    let list = value.as_array().ok_or_else(|| wrong(&path, "takes a list of texts"))?;
                    for (index, item) in list.iter().enumerate() {
                        self.experiments.push(text(&format!("{path}[{index}]"), item)?);
                    }
                }
                // STREAMING_MODE_AT_LEAST_ONCE, STREAMING_MODE_EXACTLY_ONCE, STREAMING_MODE_UNSPECIFIED.
                "streamingMode" => self.experiments.push(text(&path, value)?.to_lowercase()),
                _ => self.machines.push(key.clone()),
            }
        }
        Ok(())
    }

    /// Picks the parameters out of environment variables: `MILLRACE_TEMPLATE_` and the parameter's name, as
    /// it is or in capitals with underscores. An empty variable is none.
    ///
    /// # Errors
    /// When two variables mean the same parameter.
    pub fn from_environment(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, GivenError> {
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        let mut given = Self::default();
        let mut seen = BTreeMap::<String, String>::new();
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            if value.is_empty() {
                continue;
            }
            let known = PARAMETERS.iter().find(|parameter| plain(parameter.name) == plain(name));
            let name = known.map_or(name, |parameter| parameter.name).to_owned();
            if let Some(other) = seen.insert(name.clone(), variable.clone()) {
                return Err(GivenError::TwoVariables(other, variable));
            }
            given.parameters.insert(name, (value, Origin::Environment));
        }
        Ok(given)
    }

    /// The two together; where both give a parameter, the later origin wins.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (name, (value, origin)) in other.parameters {
            let held = self.parameters.get(&name).map(|(_, origin)| *origin);
            if held.is_none_or(|held| held <= origin) {
                self.parameters.insert(name, (value, origin));
            }
        }
        self.job_name = other.job_name.or(self.job_name);
        self.template = other.template.or(self.template);
        self.experiments.extend(other.experiments);
        self.machines.extend(other.machines);
        self
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), GivenError> {
        match self.parameters.insert(name.to_owned(), (value.to_owned(), origin)) {
            Some(_) => Err(GivenError::Twice(name.to_owned())),
            None => Ok(()),
        }
    }
}

/// Keys of `LaunchFlexTemplateParameter` and `LaunchTemplateParameters` (Dataflow REST v1b3).
const LAUNCH_KEYS: [&str; 10] = [
    "containerSpec",
    "containerSpecGcsPath",
    "environment",
    "gcsPath",
    "jobName",
    "launchOptions",
    "parameters",
    "transformNameMapping",
    "transformNameMappings",
    "update",
];

/// Keys of `FlexTemplateRuntimeEnvironment` and `RuntimeEnvironment` (Dataflow REST v1b3).
const ENVIRONMENT_KEYS: [&str; 29] = [
    "additionalExperiments",
    "additionalPipelineOptions",
    "additionalUserLabels",
    "autoscalingAlgorithm",
    "bypassTempDirValidation",
    "diskSizeGb",
    "dumpHeapOnOom",
    "enableLauncherVmSerialPortLogging",
    "enableStreamingEngine",
    "flexrsGoal",
    "ipConfiguration",
    "kmsKeyName",
    "launcherMachineType",
    "machineType",
    "maxWorkers",
    "network",
    "numWorkers",
    "saveHeapDumpsToGcsPath",
    "sdkContainerImage",
    "serviceAccountEmail",
    "stagingLocation",
    "streamingMode",
    "subnetwork",
    "tempLocation",
    "workerDiskType",
    "workerRegion",
    "workerZone",
    "zone",
    "zones",
];

fn check_keys(at: &str, object: &Map<String, Value>, known: &[&'static str]) -> Result<(), GivenError> {
    let Some(unknown) = object.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let near = nearest(unknown, known.iter().copied());
    let hint = near.map_or(String::new(), |near| format!(", did you mean {near:?}?"));
    Err(wrong(at, &format!("unknown key {unknown:?}{hint}")))
}

fn object<'a>(at: &str, value: &'a Value) -> Result<&'a Map<String, Value>, GivenError> {
    value.as_object().ok_or_else(|| wrong(at, "takes an object"))
}

/// A text; a number or boolean is taken as its text, as people write them.
fn text(at: &str, value: &Value) -> Result<String, GivenError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(wrong(at, "takes a text")),
    }
}

fn wrong(at: &str, problem: &str) -> GivenError {
    GivenError::Body { at: at.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(given: &Given) -> Vec<(&str, &str)> {
        given.parameters.iter().map(|(name, (value, _))| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn lists_are_read_as_gcloud_reads_them() {
        for (text, expected) in [
            ("a=1,b=2", vec![("a", "1"), ("b", "2")]),
            ("a=x=y", vec![("a", "x=y")]),
            ("a=1,", vec![("a", "1")]),
            ("a=", vec![("a", "")]),
            ("", vec![]),
            ("^;^a=1,2;b=3", vec![("a", "1,2"), ("b", "3")]),
            ("^--^a=1--b=-", vec![("a", "1"), ("b", "-")]),
            ("^,^^a=1", vec![("^a", "1")]),
            ("^a=1,b=2", vec![("^a", "1"), ("b", "2")]),
        ] {
            assert_eq!(pairs(&Given::from_list(text).unwrap()), expected, "{text}");
        }
        for (text, error) in [
            ("a", GivenError::Syntax("a".to_owned())),
            ("a=1,,b=2", GivenError::Syntax(String::new())),
            ("=1", GivenError::Syntax("=1".to_owned())),
            ("a=1,a=2", GivenError::Twice("a".to_owned())),
            ("^^a=1", GivenError::Delimiter),
        ] {
            assert_eq!(Given::from_list(text), Err(error), "{text}");
        }
    }

    #[test]
    fn bodies_of_both_kinds_of_launch() {
        let flex = r#"{"launchParameter": {"jobName": "j", "parameters": {"a": "1", "b": true, "c": 3},
            "environment": {"maxWorkers": 3, "additionalExperiments": ["streaming_mode_at_least_once"]},
            "containerSpecGcsPath": "gs://dataflow-templates/latest/flex/PubSub_to_BigQuery_Flex"}}"#;
        let given = Given::from_launch_body(flex).unwrap();
        assert_eq!(pairs(&given), [("a", "1"), ("b", "true"), ("c", "3")]);
        assert_eq!(given.job_name.as_deref(), Some("j"));
        assert_eq!(given.experiments, ["streaming_mode_at_least_once"]);
        assert_eq!(given.machines, ["maxWorkers"]);
        assert!(given.template.unwrap().ends_with("PubSub_to_BigQuery_Flex"));

        let classic = r#"{"jobName": "j", "parameters": {"a": "1"}, "environment": {"tempLocation": "gs://t", "streamingMode": "STREAMING_MODE_EXACTLY_ONCE"}}"#;
        let given = Given::from_launch_body(classic).unwrap();
        assert_eq!(pairs(&given), [("a", "1")]);
        assert_eq!(given.experiments, ["streaming_mode_exactly_once"]);
        assert_eq!(pairs(&Given::from_launch_body(r#"{"a": "1"}"#).unwrap()), [("a", "1")]);
    }

    #[test]
    fn bad_bodies_say_where() {
        for (body, part) in [
            ("{", "no JSON"),
            ("[]", "the launch body: takes an object"),
            (r#"{"launchParameter": []}"#, "launchParameter: takes an object"),
            (r#"{"launchParameter": {"parametres": {}}}"#, "did you mean \"parameters\"?"),
            (r#"{"parameters": {"a": null}}"#, "parameters.a: takes a text"),
            (r#"{"parameters": {"a": {"b": 1}}}"#, "parameters.a: takes a text"),
            (r#"{"parameters": {}, "environment": {"maxWorker": 1}}"#, "did you mean \"maxWorkers\"?"),
            (r#"{"parameters": {}, "environment": {"additionalExperiments": "x"}}"#, "takes a list"),
        ] {
            let error = Given::from_launch_body(body).unwrap_err().to_string();
            assert!(error.contains(part), "{body}: {error}");
        }
    }

    #[test]
    fn variables_in_both_spellings_and_the_order_of_origins() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = Given::from_environment([
            variable("PATH", "/bin"),
            variable("MILLRACE_TEMPLATE_OUTPUT_TABLE_SPEC", "e"),
            variable("MILLRACE_TEMPLATE_inputTopic", "e"),
            variable("MILLRACE_TEMPLATE_inputSubscription", ""),
            variable("MILLRACE_TEMPLATE_nonsense", "e"),
        ])
        .unwrap();
        assert_eq!(pairs(&environment), [("inputTopic", "e"), ("nonsense", "e"), ("outputTableSpec", "e")]);
        let twice = Given::from_environment([
            variable("MILLRACE_TEMPLATE_OUTPUT_TABLE_SPEC", "e"),
            variable("MILLRACE_TEMPLATE_outputTableSpec", "e"),
        ]);
        assert!(matches!(twice, Err(GivenError::TwoVariables(..))), "{twice:?}");

        let file = Given::from_launch_body(r#"{"inputTopic": "f", "outputTableSpec": "f"}"#).unwrap();
        let line = Given::from_list("outputTableSpec=l").unwrap();
        let expected = [("inputTopic", "f"), ("nonsense", "e"), ("outputTableSpec", "l")];
        assert_eq!(pairs(&environment.clone().and(file.clone()).and(line.clone())), expected);
        assert_eq!(pairs(&line.and(environment).and(file)), expected);
    }

    proptest! {
        #[test]
        fn nothing_given_makes_a_panic(text in ".{0,80}") {
            let _ = Given::from_list(&text);
            let _ = Given::from_launch_body(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(values in proptest::collection::vec("[^;]{0,12}", 1..6)) {
            let items: Vec<String> =
                values.iter().enumerate().map(|(index, value)| format!("k{index}={value}")).collect();
            let given = Given::from_list(&format!("^;^{}", items.join(";"))).unwrap();
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(&given.parameters[&format!("k{index}")].0, value);
            }
        }
    }
}
