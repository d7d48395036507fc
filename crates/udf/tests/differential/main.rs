//! The native plan against QuickJS and, where it is installed, Node: random scripts over random messages,
//! and the default scripts too. No difference is allowed, in what is returned and in what gets into a table.
//!
//! `PLAN_MESSAGES=1000000 cargo test --release -p millrace-udf --test differential` looks further;
//! `PLAN_SEED` chooses another set of cases. A difference prints the script, the message and the seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../common/mod.rs"]
mod common;
mod documents;
mod node;
mod random;
mod scripts;

use std::sync::Arc;

use millrace_model::{Cell, CellError, ColumnId, Failure, MessageBatch, RowSink, TransformFactory};
use millrace_table::{RowBuilder, TableSchema, TableSpec};
use millrace_udf::{Script, Udf, UdfConfig};
use node::Node;
use random::Random;

const SEED: u64 = 20_261_127;
const MESSAGES: usize = 6_000;
const MESSAGES_PER_SCRIPT: usize = 200;

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Answer {
    Row(String),
    Filtered,
    Failed(String),
}

/// Takes any text for a row.
#[derive(Default)]
struct Answers(Vec<Answer>);

impl RowSink for Answers {
    fn column(&self, _: &str) -> Option<ColumnId> {
        None
    }

    fn put(&mut self, _: usize, _: ColumnId, _: Cell<'_>) -> Result<(), CellError> {
        unreachable!("there are no columns")
    }

    fn put_json_row(&mut self, _: usize, row: &str) -> Result<(), CellError> {
        self.0.push(Answer::Row(row.to_owned()));
        Ok(())
    }

    fn finish_row(&mut self, _: usize) -> Result<(), CellError> {
        Ok(())
    }

    fn filtered(&mut self, _: usize) {
        self.0.push(Answer::Filtered);
    }

    fn dead_letter(&mut self, _: usize, failure: Failure) {
        self.0.push(Answer::Failed(format!("{failure:?}")));
    }
}

fn answers(udf: &Udf, batch: &MessageBatch) -> Vec<Answer> {
    let mut answers = Answers::default();
    udf.create().unwrap().transform(batch, 0..batch.len(), &mut answers);
    answers.0
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What was compared.
#[derive(Debug, Default)]
struct Totals {
    scripts: usize,
    without_plan: usize,
    messages: usize,
    planned: usize,
    rows: usize,
}

/// Compares everything about one script.
fn compare(script: &str, function: &str, messages: &[String], node: &mut Option<Node>, totals: &mut Totals) {
    let source = Script { name: "script.js".to_owned(), source: script.to_owned() };
    let config = UdfConfig::new(vec![source], function);
    let udf = Udf::load(config.clone()).unwrap_or_else(|error| panic!("{error}\n{script}"));
    totals.scripts += 1;
    let Some(mut plan) = udf.native_plan() else {
        totals.without_plan += 1;
        if std::env::var_os("PLAN_SHOW").is_some() {
            println!("{}{script}", udf.explanation());
        }
        return;
    };
    let interpreted = Udf::load(UdfConfig { native_plan: false, ..config }).unwrap();
    let batch = common::batch(messages);
    let expected = answers(&interpreted, &batch);
    let others =
        node.as_mut().map(|node| node.run(&script.replace("function transform", "function f"), messages));
    for (index, message) in messages.iter().enumerate() {
        let shown = || format!("seed {}\n{script}\nmessage {message:?}", setting("PLAN_SEED", SEED));
        let Some(planned) = plan.call(message) else { continue };
        totals.planned += 1;
        let planned = planned.map_or(Answer::Filtered, |text| Answer::Row(text.to_owned()));
        totals.rows += usize::from(planned != Answer::Filtered);
        // Where the plan does not answer, an error may have been caught, and its text is each engine's own.
        if let Some(others) = &others {
            assert!(planned == others[index], "plan {planned:?}\nNode {:?}\n{}", others[index], shown());
        }
        assert!(planned == expected[index], "plan {planned:?}\nQuickJS {:?}\n{}", expected[index], shown());
    }
    totals.messages += messages.len();
    // The transform as a whole, with what is left to the engine.
    for (index, (ours, theirs)) in answers(&udf, &batch).iter().zip(&expected).enumerate() {
        assert!(ours == theirs, "plan {ours:?}\nQuickJS {theirs:?}\n{script}\nmessage {:?}", messages[index]);
    }
    compare_tables(&udf, &interpreted, &Arc::new(batch), script);
}

/// Compares what gets into the columns of a table that takes some of it.
fn compare_tables(udf: &Udf, interpreted: &Udf, batch: &Arc<MessageBatch>, script: &str) {
    let schema = if script.contains("function transform") {
        include_str!("../../../../examples/gemini/gemini_raw_logs.schema.json")
    } else {
        include_str!("schema.json")
    };
    let schema = TableSchema::parse(schema).unwrap();
    let spec = Arc::new(TableSpec::new("rows", schema, None, &[]).unwrap());
    for limit in [spec.row_bytes_max, 300] {
        let spec = Arc::new(spec.as_ref().clone().with_row_bytes_max(limit));
        let built = |udf: &Udf| {
            let mut rows = RowBuilder::new(Arc::clone(&spec), Arc::clone(batch));
            udf.create().unwrap().transform(batch, 0..batch.len(), &mut rows);
            rows.finish().unwrap()
        };
        let (planned, expected) = (built(udf), built(interpreted));
        for (index, (ours, theirs)) in planned.failures.iter().zip(&expected.failures).enumerate() {
            let message = String::from_utf8_lossy(batch.get(theirs.0).data).into_owned();
            assert!(
                ours == theirs,
                "failure {index}: {ours:?}\nwithout a plan {theirs:?}\n{script}\n{message:?}"
            );
        }
        assert_eq!(planned.failures, expected.failures, "{script}");
        assert_eq!(planned.outcomes, expected.outcomes, "{script}");
        assert!(planned.rows == expected.rows, "{script}\n{:?}\n{:?}", planned.rows, expected.rows);
    }
}

#[test]
fn plans_do_what_javascript_does() {
    let mut random = Random::new(setting("PLAN_SEED", SEED));
    let wanted = usize::try_from(setting("PLAN_MESSAGES", MESSAGES as u64)).unwrap();
    let mut node = Node::start();
    let mut totals = Totals::default();
    while totals.messages < wanted {
        let script = scripts::script(&mut random);
        let messages: Vec<String> =
            (0..MESSAGES_PER_SCRIPT).map(|_| documents::message(&mut random)).collect();
        compare(&script, "f", &messages, &mut node, &mut totals);
    }
    println!("{totals:?}, Node {}", if node.is_some() { "too" } else { "is not installed" });
    assert!(totals.without_plan * 3 < totals.scripts, "too few scripts have a plan: {totals:?}");
    assert!(totals.planned * 3 > totals.messages, "too few messages are planned: {totals:?}");
    assert!(totals.rows * 4 > totals.messages, "too few rows: {totals:?}");
}

#[test]
fn the_default_scripts_do_what_javascript_does() {
    let mut random = Random::new(setting("PLAN_SEED", SEED) + 1);
    let wanted = usize::try_from(setting("PLAN_MESSAGES", MESSAGES as u64)).unwrap() / 10;
    let recorded = include_str!("../../../../testdata/gemini-cli/cloud_logging_entries.jsonl");
    let mut node = Node::start();
    for name in ["transform.js", "transform_small.js"] {
        let script = std::fs::read_to_string(format!("../../examples/gemini/{name}")).unwrap();
        let mut totals = Totals::default();
        let recorded: Vec<String> = recorded.lines().map(str::to_owned).collect();
        compare(&script, "transform", &recorded, &mut node, &mut totals);
        assert_eq!((totals.planned, totals.without_plan), (recorded.len(), 0), "{name}");
        while totals.messages < wanted {
            let messages: Vec<String> =
                (0..2 * MESSAGES_PER_SCRIPT).map(|_| documents::message(&mut random)).collect();
            compare(&script, "transform", &messages, &mut node, &mut totals);
        }
    }
}
