//! A Dataflow job as the service describes it: `gcloud dataflow jobs describe JOB --full --format json`, or
//! `projects.locations.jobs.get` with `view=JOB_VIEW_ALL`. Any part may be missing; what is not there is said.

use serde_json::{Map, Value};

use crate::given::{Given, Origin};
use crate::parameters::{PARAMETERS, SIBLING_PARAMETERS, Template};

/// What a description tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// The job's name.
    pub name: Option<String>,
    /// The job's id.
    pub id: Option<String>,
    /// Its state, for instance `JOB_STATE_RUNNING`.
    pub state: Option<String>,
    /// The template as the labels name it, and its version.
    pub template_label: Option<String>,
    /// The template's release, from the labels.
    pub template_version: Option<String>,
    /// The version of Apache Beam.
    pub sdk_version: Option<String>,
    /// The template, when it is one of those that can be run; else why not.
    pub template: Option<Result<Template, String>>,
    /// Its parameters, streaming mode and experiments.
    pub given: Given,
    /// What the description does not tell, a line each.
    pub missing: Vec<String>,
}

/// Why a description cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// It is no JSON.
    #[error("the job description is no JSON: {0}; describe the job with --format json")]
    Json(String),
    /// It is JSON of something else.
    #[error("this is no Dataflow job description: {0}")]
    NotAJob(&'static str),
}

impl Job {
    /// Reads a description: a job, or a list of one job.
    ///
    /// # Errors
    /// When the text is no JSON or describes no job.
    pub fn read(json: &str) -> Result<Self, JobError> {
        let value: Value = serde_json::from_str(json).map_err(|error| JobError::Json(error.to_string()))?;
        let value = match value {
            Value::Array(mut jobs) if jobs.len() == 1 => jobs.remove(0),
            Value::Array(_) => return Err(JobError::NotAJob("it is a list; describe one job")),
            other => other,
        };
        let job = value.as_object().ok_or(JobError::NotAJob("it is no object"))?;
        let known = ["id", "environment", "labels", "jobMetadata", "pipelineDescription", "currentState"];
        if !known.iter().any(|key| job.contains_key(*key)) {
            return Err(JobError::NotAJob("it has neither id nor environment nor labels"));
        }
        let mut read = Self {
            name: text_at(&value, "/name"),
            id: text_at(&value, "/id"),
            state: text_at(&value, "/currentState"),
            template_label: text_at(&value, "/labels/goog-dataflow-provided-template-name"),
            template_version: text_at(&value, "/labels/goog-dataflow-provided-template-version"),
            sdk_version: text_at(&value, "/jobMetadata/sdkVersion/version")
                .or_else(|| text_at(&value, "/environment/userAgent/version")),
            ..Self::default()
        };
        read.options(&value);
        read.details(&value);
        read.modes(&value);
        read.find_template(&value);
        read.say_what_is_missing();
        Ok(read)
    }

    /// The pipeline's options, and the same as display data. Of several the first counts.
    fn options(&mut self, job: &Value) {
        let options = job.pointer("/environment/sdkPipelineOptions/options");
        let options = options.or_else(|| job.pointer("/environment/sdkPipelineOptions"));
        if let Some(options) = options.and_then(Value::as_object) {
            for (name, value) in options {
                self.option(name, value);
            }
        }
        for at in ["/environment/sdkPipelineOptions/display_data", "/pipelineDescription/displayData"] {
            for item in items(job, at) {
                let Some(item) = item.as_object() else { continue };
                if let (Some(name), Some(value)) = (item.get("key").and_then(Value::as_str), shown(item)) {
                    self.option(name, value);
                }
            }
        }
    }

    fn option(&mut self, name: &str, value: &Value) {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Array(list)
                if matches!(plain(name).as_str(), "experiments" | "dataflowserviceoptions") =>
            {
                self.given.experiments.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                return;
            }
            Value::Null | Value::Array(_) | Value::Object(_) => return,
        };
        // How Beam shows a parameter of a classic template that is not known when the template is made.
        if value.is_empty() || value.starts_with("RuntimeValueProvider{") {
            return;
        }
        if let Some(name) = known(name) {
            self.given.parameters.entry(name.to_owned()).or_insert((value, Origin::File));
        }
    }

    /// What the service found out itself.
    fn details(&mut self, job: &Value) {
        let project = text_at(job, "/projectId");
        for detail in items(job, "/jobMetadata/pubsubDetails") {
            for (key, name, kind) in
                [("subscription", "inputSubscription", "subscriptions"), ("topic", "inputTopic", "topics")]
            {
                let Some(value) = detail.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
                else {
                    continue;
                };
                let given = |name: &str| self.given.parameters.contains_key(name);
                if given("inputSubscription") || given("inputTopic") {
                    continue;
                }
                let full = match (&project, value.contains('/')) {
                    (Some(project), false) => format!("projects/{project}/{kind}/{value}"),
                    _ => value.to_owned(),
                };
                self.given.parameters.insert(name.to_owned(), (full, Origin::File));
            }
        }
        for detail in items(job, "/jobMetadata/bigqueryDetails") {
            let part = |key: &str| detail.get(key).and_then(Value::as_str);
            let (Some(dataset), Some(table)) = (part("dataset"), part("table")) else { continue };
            let dead_letters = table.ends_with(millrace_model::names::DEAD_LETTER_SUFFIX);
            if !dead_letters && !self.given.parameters.contains_key("outputTableSpec") {
                let project = part("projectId").map_or(String::new(), |project| format!("{project}:"));
                let table = format!("{project}{dataset}.{table}");
                self.given.parameters.insert("outputTableSpec".to_owned(), (table, Origin::File));
            }
        }
    }

    fn modes(&mut self, job: &Value) {
        for at in ["/environment/experiments", "/environment/serviceOptions"] {
            let listed = items(job, at).iter().filter_map(Value::as_str).map(str::to_owned);
            self.given.experiments.extend(listed);
        }
        if let Some(mode) = text_at(job, "/environment/streamingMode") {
            self.given.experiments.push(mode.to_lowercase());
        }
        self.given.experiments.sort();
        self.given.experiments.dedup();
        self.given.job_name.clone_from(&self.name);
    }

    fn find_template(&mut self, job: &Value) {
        let location = text_at(job, "/environment/sdkPipelineOptions/options/templateLocation");
        let named = self.template_label.clone().or(location.filter(|text| text.contains("BigQuery")));
        self.template = named.map(|name| Template::named(&name)).or_else(|| {
            // The class that declares the options tells the two families apart.
            let text = job.to_string();
            let given = |name: &str| self.given.parameters.contains_key(name);
            if text.contains("teleport.v2.templates.PubSubToBigQuery") {
                Some(Ok(Template::Flex))
            } else if text.contains("teleport.templates.PubSubToBigQuery") {
                let topic = given("inputTopic") && !given("inputSubscription");
                Some(Ok(if topic { Template::ClassicTopic } else { Template::ClassicSubscription }))
            } else {
                None
            }
        });
        if let Some(Ok(template)) = self.template {
            self.given.template = Some(template.name().to_owned());
        }
    }

    fn say_what_is_missing(&mut self) {
        let mut say = |what: &str| self.missing.push(what.to_owned());
        if self.template.is_none() {
            say("the template is not named (labels, option classes): taken for PubSub_to_BigQuery_Flex");
        }
        if self.template_version.is_none() {
            say("the template's version is not in the labels: the facts are those of its newest release");
        }
        if self.given.parameters.is_empty() {
            say("there are no pipeline options: describe the job with --full (view JOB_VIEW_ALL)");
        }
        if !self.given.parameters.contains_key("javascriptTextTransformGcsPath") {
            say(
                "there is no javascriptTextTransformGcsPath: either no UDF, or the options are not all there",
            );
        }
    }
}

/// The parameter of that name; also as Beam's portable options spell it, `beam:option:input_topic:v1`.
fn known(name: &str) -> Option<&'static str> {
    let name = plain(name);
    let own = PARAMETERS.iter().map(|parameter| parameter.name);
    own.chain(SIBLING_PARAMETERS.iter().map(|(name, _)| *name)).find(|known| known.to_lowercase() == name)
}

fn plain(name: &str) -> String {
    let name = name.strip_prefix("beam:option:").unwrap_or(name);
    name.strip_suffix(":v1").unwrap_or(name).replace('_', "").to_lowercase()
}

/// The value of an item of display data: the service has a key for each type, Beam's own has one.
fn shown(item: &Map<String, Value>) -> Option<&Value> {
    ["value", "strValue", "int64Value", "boolValue"].into_iter().find_map(|key| item.get(key))
}

fn items<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text_at(value: &Value, at: &str) -> Option<String> {
    value.pointer(at).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
