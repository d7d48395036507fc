//! What the lake counts, through the `metrics` facade, labelled by table.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::state::TableState;

/// The table's size after a commit.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn state(table: &str, state: &TableState) {
    gauge!("millrace_lake_files", "table" => table.to_owned()).set(state.files.len() as f64);
    gauge!("millrace_lake_bytes", "table" => table.to_owned()).set(state.bytes() as f64);
}

/// A log entry was written and synced.
pub(crate) fn commit(table: &str, took: Duration) {
    histogram!("millrace_lake_commit_seconds", "table" => table.to_owned()).record(took.as_secs_f64());
}

/// Small files were put together in one commit.
pub(crate) fn compaction(table: &str) {
    counter!("millrace_lake_compactions_total", "table" => table.to_owned()).increment(1);
}

/// Files were removed from the disk.
pub(crate) fn vacuumed(table: &str, files: usize) {
    counter!("millrace_lake_vacuumed_files_total", "table" => table.to_owned()).increment(files as u64);
}

/// A step of maintenance failed and will be tried again.
pub(crate) fn maintenance_failed(table: &str) {
    counter!("millrace_lake_maintenance_failures_total", "table" => table.to_owned()).increment(1);
}
