//! `millrace generate`: realistic log entries for tests, demonstrations and benchmarks.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use chrono::{NaiveDate, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::{ProgressBar, ProgressStyle};
use millrace_generate::{Generated, Options, generate};

use crate::cli::Generate;

/// Writes the entries to a file, gzipped when its name ends in `.gz`, or to standard output; how many and how
/// large is said on standard error.
///
/// # Errors
/// When the options ask for what cannot be, or the output cannot be written.
pub fn run(arguments: &Generate) -> Result<()> {
    let end = match arguments.end {
        Some(end) => end,
        None => yesterday(Utc::now().date_naive()),
    };
    let Generate { records, users, days, seed, .. } = *arguments;
    let options = Options { records, users, days, seed, end };
    let generated = match arguments.output.as_deref().filter(|path| *path != Path::new("-")) {
        None => generate(&options, &mut io::stdout().lock())?,
        Some(path) => into_file(&options, path)?,
    };
    let mean = generated.bytes / generated.records.max(1);
    eprintln!(
        "{} records of {} sessions, {} bytes, {mean} a record, seed {seed}, {days} days up to {end}",
        generated.records, generated.sessions, generated.bytes
    );
    Ok(())
}

fn into_file(options: &Options, path: &Path) -> Result<Generated> {
    let cannot = || format!("cannot write {}", path.display());
    let bar = ProgressBar::no_length().with_message(path.display().to_string());
    let shown = ProgressStyle::with_template("{msg} {bytes} of log entries {binary_bytes_per_sec}");
    let bar = if let Ok(style) = shown { bar.with_style(style) } else { bar };
    let mut file = File::create(path).with_context(cannot)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut packed = GzEncoder::new(file, Compression::fast());
        let generated = generate(options, &mut bar.wrap_write(&mut packed)).with_context(cannot)?;
        bar.finish_and_clear();
        packed.finish().and_then(|mut file| file.flush()).with_context(cannot)?;
        return Ok(generated);
    }
    let generated = generate(options, &mut bar.wrap_write(&mut file)).with_context(cannot)?;
    bar.finish_and_clear();
    Ok(generated)
}

/// The last day that is over: a file of whole days does not change while it is written.
fn yesterday(today: NaiveDate) -> NaiveDate {
    today.pred_opt().unwrap_or(today)
}
