//! The native plan: which scripts have one, and that it does what JavaScript does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{Outcome, config, run};
use millrace_udf::{Explanation, Script, Udf, UdfConfig, explain};

const ENTRIES: &str = include_str!("../../../testdata/gemini-cli/cloud_logging_entries.jsonl");

fn example(name: &str) -> UdfConfig {
    let path = format!("../../examples/gemini/{name}");
    let script = Script { name: name.to_owned(), source: std::fs::read_to_string(path).unwrap() };
    UdfConfig::new(vec![script], "transform")
}

#[test]
fn the_default_scripts_have_plans() {
    for name in ["transform.js", "transform_small.js"] {
        let explanation = explain(&example(name));
        assert!(explanation.is_native, "{explanation}");
        println!("{explanation}");
        let udf = Udf::load(example(name)).unwrap();
        let entries: Vec<&str> = ENTRIES.lines().collect();
        let planned = run(&udf, &entries);
        assert_eq!(udf.stats().planned, entries.len() as u64, "{:?}", udf.stats());
        let interpreted = run(&Udf::load(UdfConfig { native_plan: false, ..example(name) }).unwrap(), &entries);
        assert!(planned == interpreted);
    }
}
