//! Why a value or row is refused, with the field's path, and words for it.

use std::fmt::Write;

use millrace_model::{CellError, ErrorClass};

use crate::json::{JSON_LEVELS_MAX, JsonError};

/// Most bytes of a user's value or name that a message repeats.
pub(crate) const QUOTED_BYTES_MAX: usize = 200;

/// A refusal on its way from the value out to the row. Boxed: the good path carries one word.
#[derive(Debug)]
pub(crate) struct Fault(Box<Body>);

#[derive(Debug)]
struct Body {
    class: ErrorClass,
    reason: String,
    /// From the inside out.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Element(usize),
}

impl Fault {
    pub(crate) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Self(Box::new(Body { class, reason: reason.into(), path: Vec::new() }))
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorClass::InvalidValue, reason)
    }

    pub(crate) fn unknown_field(name: &str) -> Self {
        Self::new(ErrorClass::UnknownField, "the table has no such field").in_field(name)
    }

    /// A JSON error inside the text of a row: the whole text is bad, whatever field it is met in.
    pub(crate) fn in_row(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(..) => Self::new(ErrorClass::InvalidJson, describe(error)),
            JsonError::LoneSurrogate(_) | JsonError::TooDeep => Self::invalid(describe(error)),
        }
    }

    /// The same refusal of a single cell: broken text is a bad value there, not a bad row.
    pub(crate) fn in_cell(mut self) -> Self {
        if self.is_broken_text() {
            self.0.class = ErrorClass::InvalidValue;
            self.0.reason = format!("as JSON, {}", self.0.reason);
        }
        self
    }

    /// Whether the text that was being read is not JSON, so that nothing in it can be trusted.
    pub(crate) fn is_broken_text(&self) -> bool {
        self.0.class == ErrorClass::InvalidJson
    }

    /// Adds words to the end of the message.
    pub(crate) fn saying(mut self, words: &str) -> Self {
        self.0.reason.push_str(words);
        self
    }

    pub(crate) fn in_field(mut self, name: &str) -> Self {
        self.0.path.push(Step::Field(shorten(name)));
        self
    }

    pub(crate) fn in_element(mut self, index: usize) -> Self {
        self.0.path.push(Step::Element(index));
        self
    }

    pub(crate) fn into_cell_error(self) -> CellError {
        let body = *self.0;
        let message = if body.class == ErrorClass::InvalidJson {
            format!("the row is not a JSON object: {}", body.reason)
        } else if body.path.is_empty() {
            body.reason
        } else {
            format!("field {}: {}", join(&body.path), body.reason)
        };
        CellError { class: body.class, message }
    }
}

/// What is wrong with JSON text.
pub(crate) fn describe(error: JsonError) -> String {
    match error {
        JsonError::Syntax(what, at) => format!("{what} at byte {at}"),
        JsonError::LoneSurrogate(at) => format!(
            "the escape at byte {at} is one half of a surrogate pair, which no text in UTF-8 can hold: \
             cut strings between characters, or call toWellFormed() in the UDF"
        ),
        JsonError::TooDeep => format!("the value nests deeper than {JSON_LEVELS_MAX} levels"),
    }
}

fn join(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path.iter().rev() {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Element(index) => {
                // Writing to a String does not fail.
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// A user's text as a message may repeat it: control characters escaped, at most
/// [`QUOTED_BYTES_MAX`] bytes, the rest told by its size.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = String::new();
    for (at, character) in text.char_indices() {
        let before = out.len();
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
        if out.len() > QUOTED_BYTES_MAX {
            out.truncate(before);
            let _ = write!(out, "... ({} more bytes)", text.len() - at);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_from_the_outside_in() {
        let fault = Fault::invalid("no").in_field("c").in_element(3).in_field("b").in_field("a");
        assert_eq!(fault.into_cell_error().message, "field a.b[3].c: no");
        assert_eq!(
            Fault::unknown_field("x\ny").into_cell_error().message,
            "field x\\ny: the table has no such field"
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let cut = shorten(&"é".repeat(1000));
        assert_eq!(cut, format!("{}... (1800 more bytes)", "é".repeat(100)));
        assert_eq!(shorten("\u{0}\u{1b}[31m"), "\\u{0}\\u{1b}[31m");
    }
}
