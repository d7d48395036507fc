//! What of a new configuration can be taken up while the server runs, and what cannot.

use std::fmt::Debug;

use crate::config::{Config, Pipeline, Table, Topic};
use crate::plan;

/// One thing to do, in the order in which they are done.
#[derive(Debug, Clone)]
pub enum Step {
    /// Make a topic.
    AddTopic(Topic),
    /// Make a table.
    AddTable(Table),
    /// Other settings of a pipeline's UDF.
    Udf(Pipeline),
    /// Other windows or workers of a pipeline.
    Limits(Pipeline),
    /// Start a pipeline.
    AddPipeline(Pipeline),
}

/// What lies between two configurations.
///
/// # Errors
/// The settings that cannot be changed while the server runs, by name.
pub fn steps(old: &Config, new: &Config) -> Result<Vec<Step>, Vec<String>> {
    let mut fixed = Vec::new();
    if old.project != new.project {
        fixed.push("project".to_owned());
    }
    if old.data_dir != new.data_dir {
        fixed.push("data_dir".to_owned());
    }
    if old.gs_root != new.gs_root {
        fixed.push("gs_root".to_owned());
    }
    fixed.extend(changed("server.", &old.server, &new.server));
    fixed.extend(changed("ingest.", &old.ingest, &new.ingest));
    fixed.extend(changed("log.", &old.log, &new.log));
    fixed.extend(changed("pubsub.", &old.pubsub, &new.pubsub));
    fixed.extend(changed("sql.", &old.sql, &new.sql));
    fixed.extend(changed("lake.", &old.lake, &new.lake));
    fixed.extend(changed("replay.", &old.replay, &new.replay));
    fixed.extend(changed("audit.", &old.audit, &new.audit));
    if text(&old.sink) != text(&new.sink) {
        fixed.push("[[sink]]".to_owned());
    }
    if text(&old.source) != text(&new.source) {
        fixed.push("[[source]]".to_owned());
    }
    let mut steps = topic_steps(old, new, &mut fixed);
    steps.extend(table_steps(old, new, &mut fixed));
    steps.extend(pipeline_steps(old, new, &mut fixed));
    if fixed.is_empty() { Ok(steps) } else { Err(fixed) }
}

/// Makes a configuration the one that runs once a step is done.
pub fn take(running: &mut Config, step: Step) {
    // The default pipeline is not spelt out.
    running.pipeline = plan::pipelines(running);
    match step {
        Step::AddTopic(topic) => running.topic.push(topic),
        Step::AddTable(table) => running.table.push(table),
        Step::AddPipeline(pipeline) => running.pipeline.push(pipeline),
        Step::Udf(new) => {
            if let Some(known) = running.pipeline.iter_mut().find(|known| known.name == new.name) {
                known.udf = new.udf;
            }
        }
        Step::Limits(new) => {
            if let Some(known) = running.pipeline.iter_mut().find(|known| known.name == new.name) {
                (known.window, known.workers) = (new.window, new.workers);
            }
        }
    }
}

fn topic_steps(old: &Config, new: &Config, fixed: &mut Vec<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    for topic in &new.topic {
        match old.topic.iter().find(|before| before.name == topic.name) {
            None => steps.push(Step::AddTopic(topic.clone())),
            Some(before) if text(before) != text(topic) => fixed.push(format!("[[topic]] {}", topic.name)),
            Some(_) => {}
        }
    }
    let gone = old.topic.iter().filter(|before| new.topic.iter().all(|topic| topic.name != before.name));
    fixed.extend(gone.map(|topic| format!("[[topic]] {} (left out)", topic.name)));
    steps
}

fn table_steps(old: &Config, new: &Config, fixed: &mut Vec<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    for table in &new.table {
        match old.table.iter().find(|before| before.name == table.name) {
            None => steps.push(Step::AddTable(table.clone())),
            Some(before) if text(before) != text(table) => fixed.push(format!("[[table]] {}", table.name)),
            Some(_) => {}
        }
    }
    let gone = old.table.iter().filter(|before| new.table.iter().all(|table| table.name != before.name));
    fixed.extend(gone.map(|table| format!("[[table]] {} (left out)", table.name)));
    steps
}

fn pipeline_steps(old: &Config, new: &Config, fixed: &mut Vec<String>) -> Vec<Step> {
    let (old, new) = (plan::pipelines(old), plan::pipelines(new));
    let (mut udfs, mut limits, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for pipeline in &new {
        let Some(before) = old.iter().find(|before| before.name == pipeline.name) else {
            added.push(Step::AddPipeline(pipeline.clone()));
            continue;
        };
        let name = &pipeline.name;
        let mut fix = |field: &str, is_changed: bool| {
            if is_changed {
                fixed.push(format!("[[pipeline]] {name}: {field}"));
            }
        };
        fix("topic", before.topic != pipeline.topic);
        fix("table", before.table != pipeline.table);
        fix("schema", before.schema != pipeline.schema);
        fix("schema_text", before.schema_text != pipeline.schema_text);
        fix("dead_letter_table", before.dead_letter_table != pipeline.dead_letter_table);
        fix("partition", before.partition != pipeline.partition);
        fix("clustering", before.clustering != pipeline.clustering);
        fix("adopt_new_topic", before.adopt_new_topic != pipeline.adopt_new_topic);
        fix("udf (with or without)", before.udf.is_some() != pipeline.udf.is_some());
        if text(&before.udf) != text(&pipeline.udf) {
            udfs.push(Step::Udf(pipeline.clone()));
        }
        if text(&before.window) != text(&pipeline.window) || before.workers != pipeline.workers {
            limits.push(Step::Limits(pipeline.clone()));
        }
    }
    let gone = old.iter().filter(|before| new.iter().all(|pipeline| pipeline.name != before.name));
    fixed.extend(gone.map(|pipeline| format!("[[pipeline]] {} (left out)", pipeline.name)));
    // What can be refused comes first.
    udfs.into_iter().chain(limits).chain(added).collect()
}

/// The settings of a section that differ: what `derive(Debug)` calls them is what they are called.
fn changed(section: &str, old: &impl Debug, new: &impl Debug) -> Vec<String> {
    let (old, new) = (format!("{old:#?}"), format!("{new:#?}"));
    let (old, new) = (fields(&old), fields(&new));
    let differ = new.iter().filter(|field| !old.contains(field));
    differ.map(|(name, _)| format!("{section}{name}")).collect()
}

/// The fields of a struct as `{:#?}` writes it: each begins on a line that is indented once.
fn fields(pretty: &str) -> Vec<(&str, Vec<&str>)> {
    let mut fields: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in pretty.lines() {
        let is_first = line
            .strip_prefix("    ")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_alphabetic() || first == '"'));
        if is_first {
            fields.push((line.trim().split(':').next().unwrap_or_default(), vec![line]));
        } else if let (true, Some(field)) = (line.starts_with("    "), fields.last_mut()) {
            field.1.push(line);
        }
    }
    fields
}

fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.pipeline = plan::pipelines(&config);
        change(&mut config);
        config
    }

    fn table(name: &str) -> Table {
        let schema_text = Some("[]".to_owned());
        Table { name: name.to_owned(), schema: None, schema_text, partition: None, clustering: Vec::new() }
    }

    #[test]
    fn a_table_may_be_added_and_not_changed() {
        let with = |table: Table| config(|config| config.table.push(table));
        let changed = Table { partition: Some("day".to_owned()), ..table("d.t") };
        assert_eq!(steps(&with(table("d.t")), &with(changed)).unwrap_err(), ["[[table]] d.t"]);
        assert_eq!(steps(&with(table("d.t")), &config(|_| {})).unwrap_err(), ["[[table]] d.t (left out)"]);
        assert_eq!(steps(&config(|_| {}), &with(table("d.t"))).unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        let base = config(|_| {});
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 11] = [
            (|config| config.project = "other".to_owned(), "project"),
            (|config| config.data_dir = "other".into(), "data_dir"),
            (|config| config.server.http_port = 1, "server.http_port"),
            (|config| config.server.auth_token_file = Some("token".into()), "server.auth_token_file"),
            (|config| config.log.segment_bytes_max = 1, "log.segment_bytes_max"),
            (|config| config.pubsub.streams_max = 1, "pubsub.streams_max"),
            (|config| config.sql.views = Some("views".into()), "sql.views"),
            (|config| config.lake.checkpoint_commits = 1, "lake.checkpoint_commits"),
            (|config| config.pipeline[0].table = "a.b".to_owned(), "[[pipeline]] gemini-logs-sub: table"),
            (|config| config.pipeline[0].udf = None, "[[pipeline]] gemini-logs-sub: udf (with or without)"),
            (
                |config| config.pipeline[0].name = "other".to_owned(),
                "[[pipeline]] gemini-logs-sub (left out)",
            ),
        ];
        for (change, name) in cases {
            assert_eq!(steps(&base, &config(change)).unwrap_err(), [name]);
        }
        assert!(steps(&base, &base).unwrap().is_empty());
        assert!(steps(&Config::default(), &base).unwrap().is_empty(), "the default pipeline, spelt out");
    }

    #[test]
    fn what_can_be_changed_becomes_steps_with_what_may_be_refused_first() {
        let new = config(|config| {
            let first = &mut config.pipeline[0];
            first.workers = 3;
            first.window.rows_max = 7;
            if let Some(udf) = &mut first.udf {
                udf.time_limit_ms = 9;
            }
            let second = Pipeline { name: "second".to_owned(), table: "a.b".to_owned(), ..first.clone() };
            config.pipeline.insert(0, second);
            config.topic.push(Topic { name: "more".to_owned(), bytes_max: None, retention_hours: None });
            config.table.push(table("d.t"));
        });
        let steps = steps(&config(|_| {}), &new).unwrap();
        let kinds: Vec<_> = steps
            .iter()
            .map(|step| match step {
                Step::AddTopic(topic) => ("topic", topic.name.as_str()),
                Step::AddTable(table) => ("table", table.name.as_str()),
                Step::Udf(pipeline) => ("udf", pipeline.name.as_str()),
                Step::Limits(pipeline) => ("limits", pipeline.name.as_str()),
                Step::AddPipeline(pipeline) => ("pipeline", pipeline.name.as_str()),
            })
            .collect();
        let sub = "gemini-logs-sub";
        assert_eq!(
            kinds,
            [("topic", "more"), ("table", "d.t"), ("udf", sub), ("limits", sub), ("pipeline", "second")]
        );
    }

    #[test]
    fn what_is_done_of_an_update_is_not_done_again() {
        let base = Config::default();
        let new = config(|config| {
            let first = &mut config.pipeline[0];
            (first.workers, first.window.rows_max) = (3, 7);
            if let Some(udf) = &mut first.udf {
                udf.time_limit_ms = 9;
            }
            let second = Pipeline { name: "second".to_owned(), table: "a.b".to_owned(), ..first.clone() };
            config.pipeline.push(second);
            config.topic.push(Topic { name: "more".to_owned(), bytes_max: None, retention_hours: None });
            config.table.push(table("d.t"));
        });
        let all = steps(&base, &new).unwrap();
        assert_eq!(all.len(), 5);
        for done in 0..=all.len() {
            let mut running = base.clone();
            all[..done].iter().cloned().for_each(|step| take(&mut running, step));
            assert_eq!(text(&steps(&running, &new).unwrap()), text(&all[done..].to_vec()), "{done} done");
        }
    }
}
