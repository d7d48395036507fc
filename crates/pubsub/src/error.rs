//! Errors as callers see them: a code of gRPC, what is wrong with which resource, and what to do.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::limits::ERROR_BYTES_MAX;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PubsubError {
    code: Code,
    message: String,
    /// Of an exactly-once subscription: what is wrong with which ack id.
    ack_ids: Vec<(String, &'static str)>,
}

/// What the service says of an ack id that is not good any more, and never will be.
pub(crate) const INVALID_ACK_ID: &str = "PERMANENT_FAILURE_INVALID_ACK_ID";
/// What the service gives as the reason then. Clients look for it: without it, Google's PHP client takes the
/// error for one of the whole request.
const ACK_ID_FAILURE: &str = "EXACTLY_ONCE_ACKID_FAILURE";
/// What the service says of an ack that may be tried again.
pub(crate) const TRY_AGAIN: &str = "TRANSIENT_FAILURE_SERVICE_UNAVAILABLE";

/// Room for saying how much is left out.
const LEFT_OUT_BYTES_MAX: usize = 64;

impl PubsubError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: shortened(message.into()), ack_ids: Vec::new() }
    }

    /// The request makes no sense; says by which rule.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// There is no such resource.
    pub(crate) fn not_found(name: &str) -> Self {
        Self::new(Code::NotFound, format!("Resource not found (resource={name})."))
    }

    /// What a resource names is not there.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// What a resource names must not be used.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, message)
    }

    /// There is such a resource.
    pub(crate) fn exists(name: &str) -> Self {
        Self::new(Code::AlreadyExists, format!("Resource already exists in the project (resource={name})."))
    }

    /// The resource is not in a state for that.
    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// A limit is reached.
    pub(crate) fn exhausted(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceExhausted, message)
    }

    /// Not now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// Not here; says what to do instead.
    pub(crate) fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, message)
    }

    /// Our fault.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Ack ids that are not good, with what the service says of each.
    pub(crate) fn ack_ids(code: Code, ack_ids: Vec<(String, &'static str)>) -> Self {
        let message = "Some acknowledgement ids in the request were invalid. This could be because the \
                       acknowledgement ids have expired or the acknowledgement ids were malformed.";
        Self { ack_ids, ..Self::new(code, message) }
    }

    /// gRPC's code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

/// A text of at most [`ERROR_BYTES_MAX`]; says how much is left out.
fn shortened(mut text: String) -> String {
    let bytes = text.len();
    if bytes > ERROR_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX - LEFT_OUT_BYTES_MAX));
        let left_out = format!("... ({} bytes left out)", bytes - text.len());
        text.push_str(&left_out);
    }
    text
}

impl From<PubsubError> for Status {
    fn from(error: PubsubError) -> Self {
        if error.ack_ids.is_empty() {
            return Self::new(error.code, error.message);
        }
        let metadata: HashMap<String, String> =
            error.ack_ids.into_iter().map(|(id, reason)| (id, reason.to_owned())).collect();
        let details = ErrorDetails::with_error_info(ACK_ID_FAILURE, "pubsub.googleapis.com", metadata);
        Self::with_error_details(error.code, error.message, details)
    }
}

impl From<millrace_log::LogError> for PubsubError {
    fn from(error: millrace_log::LogError) -> Self {
        match error {
            millrace_log::LogError::Unavailable { .. } => Self::unavailable(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<crate::acklog::NotDurable> for PubsubError {
    fn from(error: crate::acklog::NotDurable) -> Self {
        Self::unavailable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_letters_and_says_so() {
        let error = PubsubError::invalid("é".repeat(1_000_000));
        let text = error.to_string();
        assert!(text.len() <= ERROR_BYTES_MAX && text.ends_with("bytes left out)"), "{text}");
        assert_eq!(PubsubError::invalid("x".repeat(ERROR_BYTES_MAX)).to_string().len(), ERROR_BYTES_MAX);
    }
}
