//! What became of one message inside the engine, before the table's schema has its say.

use millrace_model::{ErrorClass, Failure, Stage};

/// Longest error text kept of a thrown value, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Longest JavaScript stack kept, in bytes.
const STACK_TEXT_BYTES_MAX: usize = 8 * 1024;

/// What became of one message in the UDF, before a table has its say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The UDF returned a text.
    Row(Returned),
    /// The UDF left the message out.
    Filtered,
    /// The message is a dead letter.
    Failed(Failure),
}

/// What a UDF returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returned {
    /// The text, or a returned message's `data`: the row's JSON. A lone surrogate, which UTF-8 cannot
    /// hold, is in it as its escape `\udXXX`, which is the same JSON.
    pub text: String,
    /// The text as a JSON string literal, when it held a lone surrogate: what tells it from a text that
    /// held the escape.
    pub quoted: Option<String>,
    /// The attributes that a single message transform returned; `None` in the template's shape, and when
    /// it returned none.
    pub attributes: Option<Vec<(String, String)>>,
}

impl From<String> for Returned {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl Verdict {
    /// A failure of the UDF without a stack.
    pub(crate) fn failed(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::failed_at(class, message.into(), None)
    }

    /// A failure of the UDF; over-long texts are cut and say so.
    pub(crate) fn failed_at(class: ErrorClass, message: String, stack: Option<String>) -> Self {
        let message = clip(message, MESSAGE_BYTES_MAX);
        let stack = stack.map(|stack| clip(stack, STACK_TEXT_BYTES_MAX));
        Self::Failed(Failure { stage: Stage::Udf, class, message, stack })
    }

    /// Whether the call ran out of memory.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.class == ErrorClass::UdfMemory)
    }
}

/// Cuts a text to `bytes_max` bytes, at a character, with a note of how much is missing.
pub(crate) fn clip(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let missing = text.len() - text.floor_char_boundary(bytes_max);
        text.truncate(text.len() - missing);
        text.push_str(&format!("... ({missing} more bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::clip;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_says_so() {
        assert_eq!(clip("short".to_owned(), 5), "short");
        assert_eq!(clip("aé!".to_owned(), 2), "a... (3 more bytes)");
    }
}
