//! The same messages through the same script in Node, for comparison.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use millrace_udf::Script;
use serde_json::{Value, json};

/// The program that is looked for on the PATH.
pub const NODE: &str = "node";

const HARNESS: &str = include_str!("node.js");

/// How Node fared.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeOutcome {
    /// There is no `node`.
    Absent,
    /// It did not get through, and why.
    Failed(String),
    /// It ran.
    Ran {
        /// Its version.
        version: String,
        /// Messages run while it was measured.
        messages: u64,
        /// How long that took.
        elapsed: Duration,
        /// Processor time of the process, its compiler and collector threads included.
        processor: Duration,
        /// SHA-256 over all outcomes of one pass, in hexadecimal.
        digest: String,
    },
}

/// Runs `function` of `scripts` over `messages` for `time`, in a process of its own.
pub(crate) fn measure(
    scripts: &[Script],
    function: &str,
    messages: &[Vec<u8>],
    time: Duration,
) -> Result<NodeOutcome, io::Error> {
    let folder = tempfile::tempdir()?;
    let job = json!({
        "scripts": scripts.iter().map(|script| json!({ "name": script.name, "source": script.source })).collect::<Vec<_>>(),
        "function": function,
        "seconds": time.as_secs_f64(),
    });
    write(&folder.path().join("harness.js"), HARNESS.as_bytes())?;
    write(&folder.path().join("job.json"), job.to_string().as_bytes())?;
    write(&folder.path().join("messages.ndjson"), &messages.join(&b'\n'))?;
    let ran = Command::new(NODE).arg("harness.js").current_dir(folder.path()).stdin(Stdio::null()).output();
    let output = match ran {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(NodeOutcome::Absent),
        Err(error) => return Err(error),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.contains("Error")).unwrap_or("no reason given");
        return Ok(NodeOutcome::Failed(format!("{}: {line}", output.status)));
    }
    Ok(parse(&output.stdout)
        .unwrap_or_else(|| NodeOutcome::Failed("its answer is not understood".to_owned())))
}

/// A file of a folder that goes when this is over.
#[expect(clippy::disallowed_methods, reason = "nothing here must outlive a crash")]
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::write(path, bytes)
}

fn parse(answer: &[u8]) -> Option<NodeOutcome> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let seconds = |name: &str| Duration::try_from_secs_f64(answer.get(name)?.as_f64()?).ok();
    Some(NodeOutcome::Ran {
        version: answer.get("version")?.as_str()?.to_owned(),
        messages: answer.get("messages")?.as_u64()?,
        elapsed: seconds("elapsed")?,
        processor: seconds("processor")?,
        digest: answer.get("digest")?.as_str()?.to_owned(),
    })
}
