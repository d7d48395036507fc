//! Runs the files of `tests/cases`: GoogleSQL and what it gives. A file is read when the test runs, so a
//! new case needs no compiling. A case is
//!
//! ```text
//! # what it shows; a line "# source: ..." says where the expected value is from, for this case and all
//! # after it in the file
//! SELECT 1 AS x
//! ----
//! x INT64            the columns; left out when the line begins with =
//! 1                  rows, cells between " | "
//!
//! SELECT 1/0
//! ----
//! error invalid_query: division by zero      a code and a part of the message, then a part of the hint
//! hint: SAFE_DIVIDE
//! ```
//!
//! and ends at a blank line. A row of only `=VALUE` stands for a result of one column, whatever its name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::path::Path;

use common::{catalog, engine, lines};
use millrace_sql::{Engine, EngineConfig};

struct Case {
    place: String,
    sql: String,
    expected: Vec<String>,
}

fn read_cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut cases = Vec::new();
    let mut sourced = false;
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (number, line) in text.lines().chain([""]).enumerate() {
        if line.starts_with('#') && block.is_empty() {
            sourced |= line.contains("source:");
        } else if !line.is_empty() {
            block.push((number + 1, line));
        } else if !block.is_empty() {
            let place = format!("{file}:{}", block[0].0);
            assert!(sourced, "{place}: no source of the expected value");
            let cut = block
                .iter()
                .position(|(_, line)| *line == "----")
                .unwrap_or_else(|| panic!("{place}: no ----"));
            let join = |lines: &[(usize, &str)]| {
                lines.iter().map(|(_, line)| (*line).to_owned()).collect::<Vec<_>>()
            };
            cases.push(Case {
                place,
                sql: join(&block[..cut]).join("\n"),
                expected: join(&block[cut + 1..]),
            });
            block.clear();
        }
    }
    cases
}

/// What is wrong, if anything.
async fn run(engine: &Engine, case: &Case) -> Option<String> {
    let outcome = lines(engine, &case.sql).await;
    let first = case.expected.first().map(String::as_str).unwrap_or_default();
    if let Some((code, part)) = first.strip_prefix("error ").and_then(|rest| rest.split_once(": ")) {
        let error = match outcome {
            Ok(lines) => return Some(format!("expected an error, got {lines:?}")),
            Err(error) => error,
        };
        let hint = case.expected.get(1).and_then(|line| line.strip_prefix("hint: ")).unwrap_or_default();
        let given = error.hint.clone().unwrap_or_default();
        let fits = error.code.as_str() == code && error.message.contains(part) && given.contains(hint);
        return (!fits).then(|| format!("got {}: {} (hint: {given})", error.code.as_str(), error.message));
    }
    let lines = match outcome {
        Ok(lines) => lines,
        Err(error) => return Some(format!("failed: {error:?}")),
    };
    let fits = if first.starts_with('=') {
        case.expected.iter().map(|line| &line[1..]).eq(lines[1..].iter().map(String::as_str))
    } else {
        case.expected == lines
    };
    (!fits).then(|| format!("got\n  {}", lines.join("\n  ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_gives_what_it_says() {
    let folder = Path::new("tests/cases");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let engine = engine(EngineConfig::default(), catalog());
    let (mut failures, mut count) = (Vec::new(), 0);
    for case in paths.iter().flat_map(|path| read_cases(path)) {
        count += 1;
        if let Some(failure) = run(&engine, &case).await {
            failures.push(format!("{}: {}\n  {failure}", case.place, case.sql));
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases failed\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(count > 200, "only {count} cases were found");
}
