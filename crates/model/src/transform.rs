//! The middle of the seam: what turns messages into rows.

use std::fmt;
use std::ops::Range;

use crate::{MessageBatch, RowSink};

/// Which version of a UDF made an outcome: the first 128 bits of a hash of all its source text,
/// written as 32 hexadecimal digits. Kept on every dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdfHash(pub [u8; 16]);

impl fmt::Display for UdfHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Turns messages into rows, one worker's worth: each worker thread owns one and calls it with runs of
/// messages. An input can never stop it: whatever goes wrong with one message is that message's dead
/// letter.
pub trait Transform: Send {
    /// Gives `rows` exactly one outcome for each message of `range`, in order.
    fn transform(&mut self, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink);
}

/// Makes a transform for each worker, all of the same version.
pub trait TransformFactory: Send + Sync {
    /// A new transform with nothing shared with any other.
    ///
    /// # Errors
    /// A text for the operator when the script cannot be loaded; construction of the factory has
    /// already tried it, so this means that the machine is out of something.
    fn create(&self) -> Result<Box<dyn Transform>, String>;

    /// The version of the UDF, `None` when messages pass through untransformed.
    fn udf_hash(&self) -> Option<UdfHash>;
}
