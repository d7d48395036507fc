//! Rows a second of one core: TableRow JSON of the raw log table into Arrow columns.
//! `cargo run --release -p millrace-table --example row_bench`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark over recorded input stops at a surprise"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Instant;

use millrace_model::RowSink;
use millrace_table::RowBuilder;

/// Rows of one window.
const WINDOW_ROWS: usize = 32_768;
const ROUNDS: usize = 7;

fn main() {
    let recorded: Vec<String> = support::recorded_entries()
        .iter()
        .map(|entry| serde_json::to_string(&support::transform(entry)).unwrap())
        .collect();
    let mut by_size = recorded.clone();
    by_size.sort_by_key(String::len);
    let typical: Vec<String> =
        by_size.iter().filter(|row| (1_000..2_200).contains(&row.len())).cloned().collect();
    measure("recorded entries", &recorded);
    measure("entries of 1.0 to 2.2 kB", &typical);
}

fn measure(name: &str, samples: &[String]) {
    let rows: Vec<&str> = (0..WINDOW_ROWS).map(|index| samples[index % samples.len()].as_str()).collect();
    let bytes: usize = rows.iter().map(|row| row.len()).sum();
    let spec = support::gemini_spec();
    let batch = support::batch(WINDOW_ROWS);
    let seconds = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            let mut builder = RowBuilder::new(Arc::clone(&spec), Arc::clone(&batch));
            for (index, row) in rows.iter().enumerate() {
                builder.put_json_row(index, row).unwrap();
                builder.finish_row(index).unwrap();
            }
            let built = builder.finish().unwrap();
            assert_eq!(built.rows.num_rows(), WINDOW_ROWS);
            begin.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "{name}: {:.0} rows/s, {:.0} MB/s, {:.0} bytes a row, best of {ROUNDS} windows of {WINDOW_ROWS}",
        rows.len() as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        bytes as f64 / rows.len() as f64,
    );
}
