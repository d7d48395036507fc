//! Launches as others write them: every parameter, every type, what is refused and in which words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by panicking")]
#![allow(missing_docs)]

use std::path::PathBuf;

use millrace_template::{
    Given, Input, Launch, LaunchError, Mode, PARAMETERS, PipelineText, Schema, Service, WriteMethod,
};
use proptest::prelude::*;

const SUBSCRIPTION: &str = "inputSubscription=projects/p/subscriptions/gemini-logs-sub";
const TABLE: &str = "outputTableSpec=p:telemetry.gemini_raw_logs";

fn check(parameters: &[&str]) -> Result<Launch, LaunchError> {
    check_as(None, parameters, Mode::Strict)
}

fn check_as(template: Option<&str>, parameters: &[&str], mode: Mode) -> Result<Launch, LaunchError> {
    let mut given = Given::from_list(&parameters.join(",")).unwrap();
    given.template = template.map(str::to_owned);
    Launch::check(&given, mode)
}

fn problems(result: Result<Launch, LaunchError>) -> Vec<String> {
    result.unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn the_least_launch_and_its_defaults() {
    let launch = check(&[SUBSCRIPTION, TABLE]).unwrap();
    assert!(matches!(&launch.input, Input::Subscription(name) if name.name == "gemini-logs-sub"));
    assert_eq!(launch.dead_letters.to_string(), "p:telemetry.gemini_raw_logs_error_records");
    assert_eq!(launch.udf, None);
    assert_eq!(launch.write, WriteMethod::StreamingInserts);
    assert!(launch.notes.is_empty(), "{:?}", launch.notes);
}

#[test]
fn every_parameter_of_the_flex_template() {
    let launch = check(&[
        "inputTopic=projects/p/topics/gemini-telemetry-logs",
        "outputTableSpec=telemetry.gemini_raw_logs",
        "outputDeadletterTable=q.telemetry.errors",
        "javascriptTextTransformGcsPath=gs://b/udf/*.js",
        "javascriptTextTransformFunctionName=transform",
        "javascriptTextTransformReloadIntervalMinutes=5",
        "useStorageWriteApi=true",
        "useStorageWriteApiAtLeastOnce=false",
        "numStorageWriteApiStreams=2",
        "storageWriteApiTriggeringFrequencySec=10",
        "maxNumWorkers=3",
    ])
    .unwrap();
    assert_eq!(launch.output.to_string(), "p:telemetry.gemini_raw_logs");
    assert_eq!(launch.dead_letters.to_string(), "q:telemetry.errors");
    assert_eq!(launch.write, WriteMethod::StorageExactlyOnce);
    let udf = launch.udf.unwrap();
    assert_eq!((udf.path.as_str(), udf.reload_minutes), ("gs://b/udf/*.js", 5));
    assert!(
        launch.notes.iter().any(|note| note.starts_with("maxNumWorkers: accepted")),
        "{:?}",
        launch.notes
    );
    assert_eq!(PARAMETERS.len(), 11);
}

#[test]
fn exclusive_pairs_are_refused_in_the_words_of_the_template() {
    let topic = "inputTopic=projects/p/topics/logs";
    let either = "Either input topic or input subscription must be provided, but not both.";
    assert_eq!(problems(check(&[TABLE])), [either]);
    assert_eq!(problems(check(&[TABLE, SUBSCRIPTION, topic])), [either]);
    // An empty text is none, as for the template.
    assert!(check(&[TABLE, SUBSCRIPTION, "inputTopic="]).is_ok());
    let both = problems(check(&[
        TABLE,
        SUBSCRIPTION,
        "javascriptTextTransformGcsPath=gs://b/a.js",
        "javascriptTextTransformFunctionName=f",
        "pythonExternalTextTransformGcsPath=gs://b/a.py",
    ]));
    assert!(
        both.iter()
            .any(|text| text == "Either javascript or Python gcs path must be provided, but not both.")
    );
    assert!(both.iter().any(|text| text.contains("JavaScript only")), "{both:?}");
}

#[test]
fn storage_write_api_rules() {
    let with = |more: &[&str]| check(&[&[TABLE, SUBSCRIPTION], more].concat());
    let streams = problems(with(&["useStorageWriteApi=true"]));
    assert!(
        streams[0].starts_with("When streaming with STORAGE_WRITE_API, the number of streams"),
        "{streams:?}"
    );
    let alone = problems(with(&["useStorageWriteApiAtLeastOnce=true"]));
    assert!(
        alone[0].starts_with("When at-least-once semantics (useStorageWriteApiAtLeastOnce)"),
        "{alone:?}"
    );
    let relaxed = with(&["useStorageWriteApi=true", "useStorageWriteApiAtLeastOnce=true"]).unwrap();
    assert_eq!(relaxed.write, WriteMethod::StorageAtLeastOnce);
    let exact = ["useStorageWriteApi=true", "storageWriteApiTriggeringFrequencySec=5"];
    let by_mode = with(&[&exact[..], &["experiments=streaming_mode_at_least_once"]].concat()).unwrap();
    assert_eq!(by_mode.write, WriteMethod::StorageAtLeastOnce);
    let exact = with(&exact).unwrap();
    assert_eq!(exact.write, WriteMethod::StorageExactlyOnce);
    assert!(exact.notes.iter().any(|note| note.starts_with("numStorageWriteApiStreams: missing")));
}

#[test]
fn a_path_without_a_function_is_refused_unless_compatible() {
    let parameters = [TABLE, SUBSCRIPTION, "javascriptTextTransformGcsPath=gs://b/a.js"];
    let strict = problems(check(&parameters));
    assert!(strict[0].contains("pass every message through untransformed, silently"), "{strict:?}");
    let launch = check_as(None, &parameters, Mode::Compatible).unwrap();
    assert_eq!(launch.udf.unwrap().function, None);
    let launch = check(&[TABLE, SUBSCRIPTION, "javascriptTextTransformFunctionName=f"]).unwrap();
    assert!(launch.udf.is_none() && launch.notes[0].contains("without effect"));
}

#[test]
fn each_wrong_type_is_named() {
    let base = [TABLE, SUBSCRIPTION];
    for (wrong, part) in [
        ("useStorageWriteApi=yes", "\"yes\" is not true or false"),
        ("useStorageWriteApi=TRUE", "is not true or false"),
        ("numStorageWriteApiStreams=two", "is not a whole number"),
        ("numStorageWriteApiStreams=-1", "is not a whole number"),
        ("numStorageWriteApiStreams=1.5", "is not a whole number"),
        ("storageWriteApiTriggeringFrequencySec=2147483648", "is not a whole number"),
        ("javascriptTextTransformReloadIntervalMinutes=+5", "is not a whole number"),
        ("javascriptTextTransformFunctionName=a.b", "is not letters, digits and _ only"),
        ("outputDeadletterTable=errors", "Table specification [errors] is not in one of"),
        ("outputDeadletterTable=p:telemetry.gemini_raw_logs", "is outputTableSpec itself"),
    ] {
        let found = problems(check(&[&base[..], &[wrong]].concat()));
        let name = wrong.split_once('=').unwrap().0;
        assert!(found[0].starts_with(name) && found[0].contains(part), "{wrong}: {found:?}");
    }
    let found = problems(check(&["inputSubscription=gemini-logs-sub", "outputTableSpec=t"]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("Pubsub subscription is not in projects/<project_id>/subscriptions/"));
    let found = problems(check(&[SUBSCRIPTION]));
    assert_eq!(found, ["outputTableSpec: Missing required parameter"]);
}

#[test]
fn unknown_names_get_a_suggestion_and_siblings_a_reason() {
    let found =
        problems(check(&[TABLE, SUBSCRIPTION, "outputTabelSpec=x", "frobnicate=1", "inputsubscription=x"]));
    assert_eq!(
        found,
        [
            "frobnicate: Unrecognized parameter",
            "inputsubscription: Unrecognized parameter (perhaps you meant \"inputSubscription\")",
            "outputTabelSpec: Unrecognized parameter (perhaps you meant \"outputTableSpec\")",
        ]
    );
    for (name, part) in [
        ("pythonExternalTextTransformFunctionName", "JavaScript only"),
        ("schemaPath", "PubSub_Avro_to_BigQuery"),
        ("fullMessageName", "PubSub_Proto_to_BigQuery"),
        ("udfOutputTopic", "outputDeadletterTable"),
        ("windowDuration", "PubSub_CDC_to_BigQuery"),
        ("createDisposition", "PubSub_to_BigQuery_Auto"),
    ] {
        let found = problems(check(&[TABLE, SUBSCRIPTION, &format!("{name}=x")]));
        assert!(found[0].starts_with(name) && found[0].contains(part), "{found:?}");
    }
}

#[test]
fn classic_templates_take_fewer_names() {
    let subscription = Some("gs://dataflow-templates/latest/PubSub_Subscription_to_BigQuery");
    assert!(check_as(subscription, &[TABLE, SUBSCRIPTION], Mode::Strict).is_ok());
    let found =
        problems(check_as(subscription, &[TABLE, SUBSCRIPTION, "useStorageWriteApi=true"], Mode::Strict));
    assert!(found[0].contains("PubSub_Subscription_to_BigQuery has no such parameter"), "{found:?}");
    let found = problems(check_as(subscription, &[TABLE, "inputTopic=projects/p/topics/logs"], Mode::Strict));
    assert!(found.contains(&"inputSubscription: Missing required parameter".to_owned()), "{found:?}");
    let found = problems(check_as(Some("PubSub_to_BigQuery"), &[TABLE, SUBSCRIPTION], Mode::Strict));
    assert!(found.contains(&"inputTopic: Missing required parameter".to_owned()), "{found:?}");
    let found = problems(check_as(Some("PubSub_to_BigQuery_Xlang"), &[TABLE, SUBSCRIPTION], Mode::Strict));
    assert!(found[0].contains("cannot be run"), "{found:?}");
}

#[test]
fn the_text_of_a_pipeline_is_toml_whatever_is_in_it() {
    let launch = check(&[
        TABLE,
        SUBSCRIPTION,
        "javascriptTextTransformGcsPath=gs://b/a'\"\\#.js",
        "javascriptTextTransformFunctionName=f",
        "outputDeadletterTable=p:telemetry.errors",
    ])
    .unwrap();
    let pipeline = PipelineText {
        topic: "logs".to_owned(),
        service: None,
        declare_topic: true,
        schema: Schema::Text("[\n  {\"name\": \"a\", \"type\": \"STRING\"}\n]".to_owned()),
        partition: Some("a".to_owned()),
        clustering: vec!["a".to_owned(), "b".to_owned()],
        script: Some(PathBuf::from("/gs/b/a'\"\\#.js")),
    };
    let text = PipelineText::comment(&launch) + &pipeline.write(&launch);
    let read: toml::Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let section = &read["pipeline"][0];
    assert_eq!(section["name"].as_str(), Some("gemini-logs-sub"));
    assert_eq!(section["table"].as_str(), Some("telemetry.gemini_raw_logs"));
    assert_eq!(section["dead_letter_table"].as_str(), Some("telemetry.errors"));
    assert_eq!(section["udf"]["path"].as_str(), Some("/gs/b/a'\"\\#.js"));
    assert_eq!(section["udf"]["reload_interval_minutes"].as_integer(), Some(0), "never, as in the template");
    assert_eq!(section["schema_text"].as_str(), Some("[\n  {\"name\": \"a\", \"type\": \"STRING\"}\n]"));
    assert_eq!(read["topic"][0]["name"].as_str(), Some("logs"));
}

proptest! {
    /// Whatever is given, the answer is a launch or a list of problems.
    #[test]
    fn nothing_given_makes_a_panic(
        values in proptest::collection::vec("[ -~]{0,30}|projects/.{0,9}/.{0,9}|.{0,20}", PARAMETERS.len()),
        extra in "[a-zA-Z]{1,40}",
    ) {
        let mut given = Given::default();
        let text: serde_json::Map<String, serde_json::Value> = PARAMETERS
            .iter()
            .map(|parameter| parameter.name.to_owned())
            .chain([extra])
            .zip(values.into_iter().chain(["1".to_owned()]))
            .map(|(name, value)| (name, serde_json::Value::String(value)))
            .collect();
        given = given.and(Given::from_launch_body(&serde_json::to_string(&text).unwrap()).unwrap());
        for mode in [Mode::Strict, Mode::Compatible] {
            if let Err(error) = Launch::check(&given, mode) {
                prop_assert!(!error.0.is_empty());
            }
        }
    }
}

/// Scenario: launches whose subscription or topic is one of the real service.
/// Guarantees: the pipeline's text has a source that fills its topic, and says how the service is reached.
#[test]
fn the_real_service_becomes_a_source() {
    let text = |parameters: &[&str], service: Service| {
        let launch = check(parameters).unwrap().with_service_input();
        let pipeline = PipelineText {
            topic: "local-topic".to_owned(),
            service: Some(service),
            declare_topic: true,
            schema: Schema::Embedded,
            partition: None,
            clustering: Vec::new(),
            script: None,
        };
        let text = PipelineText::comment(&launch) + &pipeline.write(&launch);
        let read = toml::from_str::<toml::Table>(&text);
        (read.unwrap_or_else(|error| panic!("{error}\n{text}")), text)
    };
    let service = Service {
        endpoint: Some("localhost:8085".to_owned()),
        impersonate: Some("reader@p.iam.gserviceaccount.com".to_owned()),
    };
    let (read, _) = text(&[SUBSCRIPTION, TABLE], service);
    let source = &read["source"][0];
    assert_eq!(source["name"].as_str(), Some("gemini-logs-sub"));
    assert_eq!(source["subscription"].as_str(), Some("projects/p/subscriptions/gemini-logs-sub"));
    assert_eq!(source["into"].as_str(), Some("local-topic"));
    assert_eq!(source["endpoint"].as_str(), Some("localhost:8085"));
    assert_eq!(source["impersonate"].as_str(), Some("reader@p.iam.gserviceaccount.com"));
    assert_eq!(read["pipeline"][0]["topic"].as_str(), Some("local-topic"));
    assert!(read.get("topic").is_none() && source.get("topic").is_none());

    let public = "inputTopic=projects/pubsub-public-data/topics/taxirides-realtime";
    let (read, written) = text(&[public, TABLE], Service::default());
    let source = &read["source"][0];
    assert_eq!(source["topic"].as_str(), Some("projects/pubsub-public-data/topics/taxirides-realtime"));
    assert_eq!(source["project"].as_str(), Some("p"), "where the template would make its subscription");
    assert!(source.get("endpoint").is_none());
    assert!(written.contains("deleted when the pipeline is drained"), "{written}");
    assert!(!written.contains("every message that the topic still holds"), "{written}");
}
