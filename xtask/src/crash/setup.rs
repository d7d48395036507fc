//! The files of a run: configuration, schema, the script in its revisions, and a file to load.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::oracle::Oracle;
use super::request::{Epoch, log_entry};
use crate::server::{Launch, free_port_offset};

/// The table of the run.
pub const TABLE: &str = "telemetry.crash_rows";
/// The table as a folder of the data directory.
pub const TABLE_DIRECTORY: &str = "lake/telemetry/crash_rows";

const SCHEMA: &str = r#"[
  {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
  {"name": "kind", "type": "STRING", "mode": "REQUIRED"},
  {"name": "payload", "type": "STRING"},
  {"name": "sent_at", "type": "TIMESTAMP"}
]
"#;

/// Tiny windows, segments and compaction thresholds: everything that happens once an hour in earnest
/// happens several times a second here.
const CONFIG: &str = r#"
[log]
segment_bytes_max = 2097152

[[sink]]
name = "everything"
topic = "gemini-telemetry-logs"

[[pipeline]]
name = "crash"
topic = "gemini-telemetry-logs"
table = "telemetry.crash_rows"
schema = "schema.json"
partition = "sent_at"
clustering = ["id"]

[pipeline.udf]
path = "transform.js"
function = "transform"
reload_interval_seconds = 1
# Odd revisions of the script fail on more records, which is not held against them here.
trial = { error_rate_rise_max = 1.0 }

[pipeline.window]
age_ms_max = 50
rows_max = 500

[replay]
batch_messages_max = 20

[lake]
compaction_files_min = 3
compaction_interval_seconds = 1
checkpoint_commits = 10
"#;

/// Writes the run's files and says how its server is started.
pub fn prepare(directory: &Path, binary: PathBuf) -> Result<Launch> {
    put_config(directory, 0)?;
    put(&directory.join("schema.json"), SCHEMA)?;
    put_script(directory, 0)?;
    Ok(Launch {
        binary,
        config: Some(directory.join("millrace.toml")),
        data_dir: directory.join("data"),
        port_offset: free_port_offset()?,
        log_file: Some(directory.join("server.log")),
    })
}

/// Puts a revision of the configuration in place: they differ in what a running server can take up.
pub fn put_config(directory: &Path, revision: u32) -> Result<()> {
    let (rows, workers) = (500 - revision % 7 * 50, revision % 3);
    let text = CONFIG.replace("rows_max = 500", &format!("rows_max = {rows}"));
    let text = text.replace("partition =", &format!("workers = {workers}\npartition ="));
    put(&directory.join("millrace.toml"), &text)
}

/// Puts a revision of the script in place. All revisions differ in content, odd ones also in what
/// becomes of records of the flipping kind.
pub fn put_script(directory: &Path, revision: u32) -> Result<()> {
    put_script_at(&directory.join("transform.js"), revision)
}

/// Writes a revision of the script to a file.
pub fn put_script_at(path: &Path, revision: u32) -> Result<()> {
    let flips = if revision % 2 == 1 { r#" || kind === "flips""# } else { "" };
    put(
        path,
        &format!(
            r#"// Revision {revision}.
function transform(line) {{
  const entry = JSON.parse(line);
  const record = entry.jsonPayload;
  const kind = record["crash.kind"];
  if (kind === "filtered") return null;
  if (kind === "throws"{flips}) throw new Error("planned failure of record " + record["crash.id"]);
  return JSON.stringify({{
    id: record["crash.id"],
    kind: kind,
    payload: record.message,
    sent_at: entry.timestamp,
  }});
}}
"#
        ),
    )
}

/// Writes a file of LogEntry lines for `millrace load`.
pub fn put_load_file(path: &Path, oracle: &Oracle, ids: Range<u64>, epoch: Epoch) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for record in ids.map(|id| oracle.record(id)) {
        for copy in 0..record.copies {
            serde_json::to_writer(&mut file, &log_entry(&record, copy, epoch))?;
            file.write_all(b"\n")?;
        }
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file of the test itself; nothing here has to survive a power loss.
fn put(path: &Path, text: &str) -> Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
