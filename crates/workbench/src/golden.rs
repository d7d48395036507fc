//! `udf test`: golden cases in a folder.
//!
//! A case is a few files of one name:
//!
//! | file | what |
//! |---|---|
//! | `NAME.input.json` | the payload; one line feed at its end is not part of it |
//! | `NAME.message.json` | or instead the whole message, as [`Message::from_json`] takes it |
//! | `NAME.expected.json` | the row, compared as JSON: order and white space do not matter; or `null` for a message that is left out |
//! | `NAME.error.txt` | or instead: it is a dead letter; the first line names the error class, each further line is a text that the error message holds |
//! | `NAME.attributes.json` | the attributes that a single message transform returns, when they matter |

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_udf::{Returned, Udf, UdfError, Verdict};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::check::Check;
use crate::message::{Message, batch_of_one};

const INPUT: &str = ".input.json";
const MESSAGE: &str = ".message.json";
const EXPECTED: &str = ".expected.json";
const ERROR: &str = ".error.txt";
const ATTRIBUTES: &str = ".attributes.json";

/// Lines around a difference that are shown with it.
const CONTEXT_LINES: usize = 3;

/// Most cases in a folder.
const CASES_MAX: usize = 100_000;

/// How cases are tested.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// The table that rows must fit; without one, whatever the UDF returns is a row.
    pub check: Option<Check>,
    /// Write what came out as what is expected, in place of comparing.
    pub update: bool,
}

/// What came of a folder of cases, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestReport {
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its files' common name.
    pub name: String,
    /// What came of it.
    pub outcome: CaseOutcome,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseOutcome {
    /// As expected.
    Passed,
    /// Its expectation was written.
    Updated,
    /// Not as expected: the difference, over several lines, `-` expected and `+` what came out.
    Failed(String),
}

/// Why a folder cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// There is nothing to test, which must not pass for a success.
    #[error("no case in {}: a case is NAME{INPUT} or NAME{MESSAGE} with NAME{EXPECTED} or NAME{ERROR}", .0.display())]
    Empty(PathBuf),
    /// There are too many.
    #[error("more than {CASES_MAX} cases in {}", .0.display())]
    TooMany(PathBuf),
    /// No engine can be had.
    #[error(transparent)]
    Udf(#[from] UdfError),
}

impl TestReport {
    /// Whether no case failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        !self.cases.iter().any(|case| matches!(case.outcome, CaseOutcome::Failed(_)))
    }

    /// How many cases passed, were updated, and failed.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for case in &self.cases {
            counts[match case.outcome {
                CaseOutcome::Passed => 0,
                CaseOutcome::Updated => 1,
                CaseOutcome::Failed(_) => 2,
            }] += 1;
        }
        counts
    }
}

/// Tests every case in `folder` (not in folders below), each on an engine of its own.
///
/// # Errors
/// When a file cannot be read or written, or there is no case. A case whose own files are not right fails.
pub fn test(udf: &Udf, folder: &Path, options: &TestOptions) -> Result<TestReport, TestError> {
    let mut report = TestReport::default();
    for (name, files) in find(folder)? {
        let outcome = match test_case(udf, &files, options) {
            Ok(outcome) => outcome,
            Err(Trouble::Stops(error)) => return Err(error),
            Err(Trouble::Fails(reason)) => CaseOutcome::Failed(reason),
        };
        report.cases.push(Case { name, outcome });
    }
    Ok(report)
}

/// Where a case's files are or would be.
struct Files {
    stem: PathBuf,
    present: Vec<&'static str>,
}

enum Trouble {
    Stops(TestError),
    Fails(String),
}

impl From<TestError> for Trouble {
    fn from(error: TestError) -> Self {
        Self::Stops(error)
    }
}

impl Files {
    fn path(&self, suffix: &str) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn read(&self, suffix: &'static str) -> Result<Option<Vec<u8>>, TestError> {
        if !self.present.contains(&suffix) {
            return Ok(None);
        }
        let path = self.path(suffix);
        fs::read(&path).map(Some).map_err(|error| TestError::File { path, error })
    }

    fn write(&self, suffix: &'static str, text: &str) -> Result<(), TestError> {
        let path = self.path(suffix);
        write(&path, text).map_err(|error| TestError::File { path, error })
    }

    fn remove(&self, suffix: &'static str) -> Result<(), TestError> {
        if !self.present.contains(&suffix) {
            return Ok(());
        }
        let path = self.path(suffix);
        fs::remove_file(&path).map_err(|error| TestError::File { path, error })
    }
}

/// Expectations are working files of a person, kept by version control: nothing here must outlive a crash.
#[expect(clippy::disallowed_methods, reason = "a file in the user's own folder, not in the data directory")]
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)
}

fn find(folder: &Path) -> Result<BTreeMap<String, Files>, TestError> {
    let error = |error| TestError::File { path: folder.to_owned(), error };
    let mut cases = BTreeMap::<String, Files>::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let name = entry.map_err(error)?.file_name().to_string_lossy().into_owned();
        let suffixes = [INPUT, MESSAGE, EXPECTED, ERROR, ATTRIBUTES];
        let Some(suffix) = suffixes.into_iter().find(|suffix| name.ends_with(suffix)) else { continue };
        let case = &name[..name.len() - suffix.len()];
        let files = cases
            .entry(case.to_owned())
            .or_insert_with(|| Files { stem: folder.join(case), present: Vec::new() });
        files.present.push(suffix);
        if cases.len() > CASES_MAX {
            return Err(TestError::TooMany(folder.to_owned()));
        }
    }
    if cases.is_empty() { Err(TestError::Empty(folder.to_owned())) } else { Ok(cases) }
}

fn test_case(udf: &Udf, files: &Files, options: &TestOptions) -> Result<CaseOutcome, Trouble> {
    let batch = Arc::new(batch_of_one(input(files)?));
    let mut evaluator = udf.evaluator().map_err(TestError::from)?;
    let mut verdicts = evaluator.evaluate(&batch, 0..1);
    if let Some(check) = &options.check {
        check.hold(&batch, 0..1, &mut verdicts);
    }
    let Some(verdict) = verdicts.pop() else {
        return Err(Trouble::Fails("the engine gave no verdict".to_owned()));
    };
    if options.update {
        return update(files, &verdict);
    }
    compare(files, &verdict)
}

fn input(files: &Files) -> Result<Message, Trouble> {
    match (files.read(INPUT)?, files.read(MESSAGE)?) {
        (Some(mut payload), None) => {
            if payload.last() == Some(&b'\n') {
                payload.pop();
            }
            Ok(Message::from_payload(payload))
        }
        (None, Some(text)) => Message::from_json(&text)
            .map_err(|reason| Trouble::Fails(format!("{MESSAGE} is not a Pub/Sub message: {reason}"))),
        (None, None) => Err(Trouble::Fails(format!("there is no input: neither {INPUT} nor {MESSAGE}"))),
        (Some(_), Some(_)) => Err(Trouble::Fails(format!("there are both {INPUT} and {MESSAGE}"))),
    }
}

fn compare(files: &Files, verdict: &Verdict) -> Result<CaseOutcome, Trouble> {
    let difference = match (files.read(EXPECTED)?, files.read(ERROR)?) {
        (Some(expected), None) => {
            let expected: Value = serde_json::from_slice(&expected)
                .map_err(|error| Trouble::Fails(format!("{EXPECTED} is not JSON: {error}")))?;
            compare_value(&expected, verdict)
        }
        (None, Some(expected)) => compare_error(&String::from_utf8_lossy(&expected), verdict),
        (None, None) => Some(format!(
            "there is no expectation, neither {EXPECTED} nor {ERROR}; came out:\n{}",
            shown(verdict)
        )),
        (Some(_), Some(_)) => Some(format!("there are both {EXPECTED} and {ERROR}")),
    };
    let difference = match difference {
        Some(difference) => Some(difference),
        None => compare_attributes(files, verdict)?,
    };
    Ok(difference.map_or(CaseOutcome::Passed, CaseOutcome::Failed))
}

fn compare_value(expected: &Value, verdict: &Verdict) -> Option<String> {
    let is_same = match verdict {
        Verdict::Row(returned) => parsed(returned).is_some_and(|value| value == *expected),
        Verdict::Filtered => expected.is_null(),
        Verdict::Failed(_) => false,
    };
    (!is_same).then(|| difference(&pretty(expected), &shown(verdict)))
}

fn compare_error(expected: &str, verdict: &Verdict) -> Option<String> {
    let mut lines = expected.lines().map(str::trim).filter(|line| !line.is_empty());
    let class = lines.next().unwrap_or("");
    let is_same = match verdict {
        Verdict::Failed(failure) => {
            failure.class.as_str() == class && lines.all(|text| failure.message.contains(text))
        }
        _ => false,
    };
    (!is_same).then(|| difference(&format!("dead letter: {}", expected.trim_end()), &shown(verdict)))
}

fn compare_attributes(files: &Files, verdict: &Verdict) -> Result<Option<String>, Trouble> {
    let Some(expected) = files.read(ATTRIBUTES)? else { return Ok(None) };
    let expected: Value = serde_json::from_slice(&expected)
        .map_err(|error| Trouble::Fails(format!("{ATTRIBUTES} is not JSON: {error}")))?;
    let actual = attributes(verdict);
    Ok((actual != expected).then(|| difference(&pretty(&expected), &pretty(&actual))))
}

fn attributes(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Row(Returned { attributes: Some(attributes), .. }) => {
            attributes.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
        }
        _ => Value::Null,
    }
}

fn update(files: &Files, verdict: &Verdict) -> Result<CaseOutcome, Trouble> {
    match verdict {
        Verdict::Failed(failure) => {
            files.remove(EXPECTED)?;
            files.write(ERROR, &format!("{}\n{}\n", failure.class, failure.message))?;
        }
        Verdict::Row(_) | Verdict::Filtered => {
            files.remove(ERROR)?;
            files.write(EXPECTED, &format!("{}\n", shown(verdict)))?;
        }
    }
    if files.present.contains(&ATTRIBUTES) {
        files.write(ATTRIBUTES, &format!("{}\n", pretty(&attributes(verdict))))?;
    }
    Ok(CaseOutcome::Updated)
}

fn parsed(returned: &Returned) -> Option<Value> {
    serde_json::from_str(&returned.text).ok()
}

/// What came out, as text over several lines.
fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Row(returned) => parsed(returned)
            .map_or_else(|| format!("text that is not JSON: {}", returned.text), |value| pretty(&value)),
        Verdict::Filtered => "null".to_owned(),
        Verdict::Failed(failure) => {
            let stack = failure.stack.as_deref().unwrap_or("").trim_end();
            format!("dead letter: {}\n{}\n{stack}", failure.class, failure.message).trim_end().to_owned()
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual) = (format!("{expected}\n"), format!("{actual}\n"));
    let diff = TextDiff::from_lines(expected.as_str(), actual.as_str());
    diff.unified_diff().context_radius(CONTEXT_LINES).header("expected", "came out").to_string()
}
