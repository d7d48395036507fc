//! Messages through a UDF without a table: what it returned, word for word.

use std::ops::Range;

use millrace_model::MessageBatch;

use crate::script::ScriptTransform;
use crate::verdict::Verdict;

/// One engine of a UDF that keeps what is returned, for tools that show it. Always the interpreter,
/// within the same limits and with the same globals from message to message as in a pipeline.
#[derive(Debug)]
pub struct Evaluator(ScriptTransform);

impl Evaluator {
    pub(crate) fn new(transform: ScriptTransform) -> Self {
        Self(transform)
    }

    /// The verdicts on the messages of `range`, one for each, in order.
    pub fn evaluate(&mut self, batch: &MessageBatch, range: Range<usize>) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(range.len());
        self.0.run(batch, range, &mut |_, verdict| verdicts.push(verdict));
        verdicts
    }
}
