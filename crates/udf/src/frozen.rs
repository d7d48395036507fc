//! `Math.random` and the clock as a message's own, so that running it again gives the same. What a script
//! keeps in its globals from message to message is its own affair.

use rquickjs::{Ctx, Function, Result};

use crate::envelope::Envelope;

/// Evaluates to the function that sets time and seeds.
const PRELUDE: &str = include_str!("frozen.js");

/// Replaces them in an engine that has not loaded any script yet.
pub(crate) fn install<'js>(ctx: &Ctx<'js>) -> Result<Function<'js>> {
    ctx.eval(PRELUDE)
}

/// Sets them to those of a message.
pub(crate) fn set(set: &Function<'_>, envelope: &Envelope) -> Result<()> {
    let [a, b, c, d] = seeds(envelope);
    // Floored, as the time of a clock that has ticked so many milliseconds.
    let milliseconds = envelope.publish_time.0.div_euclid(1000);
    #[expect(clippy::cast_precision_loss, reason = "a Date is a double; exact up to the year 287396")]
    set.call((milliseconds as f64, a, b, c, d))
}

fn seeds(envelope: &Envelope) -> [i32; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&envelope.id.topic.0);
    hasher.update(&envelope.id.offset.0.to_le_bytes());
    let hash = hasher.finalize();
    std::array::from_fn(|index| {
        let bytes = &hash.as_bytes()[index * 4..index * 4 + 4];
        bytes.iter().rev().fold(0, |number, byte| number << 8 | i32::from(*byte))
    })
}
