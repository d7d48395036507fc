//! `udf run`: one line out for each line in.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use millrace_udf::{Udf, UdfError, Verdict};

use crate::check::Check;
use crate::line::output_line;
use crate::message::{InputForm, Lines, MessageError};

/// How lines are read and what is held against the result.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// What a line is.
    pub form: InputForm,
    /// The table that rows must fit; without one, whatever the UDF returns is a row.
    pub check: Option<Check>,
}

/// How many lines of each kind were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Returned texts.
    pub rows: u64,
    /// `null`s.
    pub filtered: u64,
    /// Errors.
    pub failed: u64,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The input.
    #[error(transparent)]
    Input(#[from] MessageError),
    /// The output.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// No engine can be had.
    #[error(transparent)]
    Udf(#[from] UdfError),
}

/// Runs each line of `input` through the UDF, in order and through one engine, and writes one line for each
/// (see [`output_line`]). Memory is bounded by the largest messages, not by the length of the input.
///
/// # Errors
/// When the input cannot be read or is no message, or the output cannot be written. Lines before it have
/// been written.
pub fn run(
    udf: &Udf,
    input: impl BufRead,
    output: &mut dyn Write,
    options: &RunOptions,
) -> Result<RunReport, RunError> {
    let mut evaluator = udf.evaluator()?;
    let mut lines = Lines::new(input, options.form);
    let mut report = RunReport::default();
    loop {
        let batch = Arc::new(lines.next_batch()?);
        if batch.is_empty() {
            output.flush()?;
            return Ok(report);
        }
        let mut verdicts = evaluator.evaluate(&batch, 0..batch.len());
        if let Some(check) = &options.check {
            check.hold(&batch, 0..batch.len(), &mut verdicts);
        }
        for verdict in &verdicts {
            match verdict {
                Verdict::Row(_) => report.rows += 1,
                Verdict::Filtered => report.filtered += 1,
                Verdict::Failed(_) => report.failed += 1,
            }
            writeln!(output, "{}", output_line(verdict))?;
        }
    }
}
