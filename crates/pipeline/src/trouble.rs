//! What can go wrong while a pipeline runs, as far as it matters what to do about it.

use crate::SinkError;

/// A failure of a table or a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Try again after a while.
    Retry(String),
    /// Stop and say so: trying again does not help.
    Broken(String),
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Retry { .. } => Self::Retry(error.to_string()),
            SinkError::Broken { .. } | SinkError::Rejected(_) => Self::Broken(error.to_string()),
        }
    }
}
