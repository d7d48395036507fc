//! The transforms of pipelines whose UDF is not called: because there is none, or because it cannot be.

use std::ops::Range;
use std::sync::Arc;

use millrace_model::{
    ErrorClass, Failure, MessageBatch, RowSink, Stage, Transform, TransformFactory, UdfHash,
};

use crate::config::Mode;
use crate::script::put_row;
use crate::stats::{Counters, UdfStats, add};
use crate::verdict::Verdict;

/// The transform of a pipeline without a UDF: each payload is the row's JSON. An empty payload (a message
/// of attributes only) is a dead letter like anything else that is not a row; in the template's mode it
/// is left out, as the template does, and counted.
#[derive(Debug, Clone, Default)]
pub struct PassThrough {
    mode: Mode,
    counters: Arc<Counters>,
}

impl PassThrough {
    /// A transform of that mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, counters: Arc::default() }
    }

    /// The counters of all its transforms together.
    #[must_use]
    pub fn stats(&self) -> UdfStats {
        self.counters.snapshot()
    }

    fn put(&self, message: usize, data: &[u8], rows: &mut dyn RowSink) -> Result<(), Failure> {
        let repaired;
        let text = match std::str::from_utf8(data) {
            Ok("") => return Err(refused(ErrorClass::InvalidJson, "the payload is empty".to_owned())),
            Ok(text) => text,
            Err(_) if self.mode == Mode::Compatible => {
                add(&self.counters.payloads_repaired, 1);
                repaired = String::from_utf8_lossy(data);
                &repaired
            }
            Err(error) => {
                let from = error.valid_up_to();
                let message = format!("the payload is not UTF-8: invalid from byte {from} on");
                return Err(refused(ErrorClass::InvalidUtf8, message));
            }
        };
        put_row(message, text, rows)
    }
}

impl TransformFactory for PassThrough {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new(self.clone()))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        None
    }
}

impl Transform for PassThrough {
    fn transform(&mut self, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
        for message in range {
            let data = batch.get(message).data;
            if data.is_empty() && self.mode == Mode::Compatible {
                add(&self.counters.filtered, 1);
                add(&self.counters.empty_payloads_filtered, 1);
                rows.filtered(message);
                continue;
            }
            match self.put(message, data, rows) {
                Ok(()) => add(&self.counters.rows, 1),
                Err(failure) => {
                    self.counters.failed(failure.class);
                    rows.dead_letter(message, failure);
                }
            }
        }
    }
}

fn refused(class: ErrorClass, message: String) -> Failure {
    Failure { stage: Stage::Row, class, message, stack: None }
}

/// The transform of a UDF that does not load, in the template's mode: every message is a dead letter
/// that says why, as it is there.
#[derive(Debug, Clone)]
pub struct Unloadable {
    reason: String,
    counters: Arc<Counters>,
}

impl Unloadable {
    /// A transform that fails for this reason.
    #[must_use]
    pub fn new(reason: String) -> Self {
        Self { reason, counters: Arc::default() }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The counters of all its transforms together.
    #[must_use]
    pub fn stats(&self) -> UdfStats {
        self.counters.snapshot()
    }
}

impl TransformFactory for Unloadable {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new(self.clone()))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        None
    }
}

impl Transform for Unloadable {
    fn transform(&mut self, _: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
        add(&self.counters.calls, range.len() as u64);
        for message in range {
            if let Verdict::Failed(failure) = Verdict::failed(ErrorClass::UdfThrew, self.reason.clone()) {
                self.counters.failed(failure.class);
                rows.dead_letter(message, failure);
            }
        }
    }
}
