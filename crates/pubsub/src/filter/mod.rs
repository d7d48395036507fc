//! Subscription filters: an expression over a message's attributes
//! (<https://cloud.google.com/pubsub/docs/subscription-message-filter#filtering_syntax>).
//!
//! ```text
//! attributes:key                        has the attribute
//! attributes.key = "value"   != "value"
//! hasPrefix(attributes.key, "prefix")
//! NOT x   -x   x AND y   x OR y   (x)
//! ```
//!
//! As there: NOT binds tightest; AND and OR do not mix without parentheses; operators are in capitals; a
//! key that is no plain name stands in double quotes. `!=` holds for a message without the attribute.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lexer;
mod parser;

use std::collections::HashMap;

use millrace_model::AttributeIter;

/// Longest filter in bytes (a quota of the service).
const FILTER_BYTES_MAX: usize = 256;

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter is not valid at byte {position}: {reason}")]
pub struct FilterError {
    /// Where, in bytes from the start.
    pub position: usize,
    /// What.
    pub reason: String,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Has { key: String },
    Equals { key: String, value: String },
    HasPrefix { key: String, prefix: String },
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// When it is none; says where and why.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > FILTER_BYTES_MAX {
            let reason = format!("it has {} bytes, at most {FILTER_BYTES_MAX} are allowed", text.len());
            return Err(FilterError { position: FILTER_BYTES_MAX, reason });
        }
        parser::parse(text).map(Self)
    }

    /// Whether a message of these attributes passes.
    #[must_use]
    pub fn passes(&self, attributes: AttributeIter<'_>) -> bool {
        // Attributes are few; a filter may ask for the same key many times.
        let attributes: HashMap<&str, &str> = attributes.collect();
        self.0.holds(&attributes)
    }
}

impl Node {
    fn holds(&self, attributes: &HashMap<&str, &str>) -> bool {
        match self {
            Self::Has { key } => attributes.contains_key(key.as_str()),
            Self::Equals { key, value } => attributes.get(key.as_str()) == Some(&value.as_str()),
            Self::HasPrefix { key, prefix } => {
                attributes.get(key.as_str()).is_some_and(|value| value.starts_with(prefix.as_str()))
            }
            Self::Not(node) => !node.holds(attributes),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(attributes)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(attributes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::AttributeBlock;
    use proptest::prelude::*;

    fn passes(filter: &str, attributes: &[(&str, &str)]) -> bool {
        let block = AttributeBlock::pack(attributes.iter().copied()).unwrap();
        Filter::parse(filter).unwrap_or_else(|error| panic!("{filter}: {error}")).passes(block.iter())
    }

    #[test]
    fn filters_mean_what_the_documentation_says() {
        let message = [("event_type", "logs"), ("name", "com"), ("iana.org/language_tag", "en")];
        for (filter, passed) in [
            ("attributes:event_type", true),
            ("attributes:other", false),
            (r#"attributes.event_type = "logs""#, true),
            (r#"attributes.event_type="log""#, false),
            (r#"attributes.event_type != "logs""#, false),
            (r#"attributes.other != "logs""#, true),
            (r#"attributes:"iana.org/language_tag""#, true),
            (r#"attributes."iana.org/language_tag" = "en""#, true),
            (r#"hasPrefix(attributes.name, "co")"#, true),
            (r#"hasPrefix(attributes.other, "")"#, false),
            (r#"NOT attributes:name"#, false),
            (r#"-attributes:name"#, false),
            (r#"-attributes:other AND attributes:name"#, true),
            (r#"attributes:other OR attributes:name"#, true),
            (r#"NOT (attributes:name AND (attributes:other OR attributes:event_type))"#, false),
            ("attributes:name\nAND NOT hasPrefix(attributes.event_type, \"x\")", true),
            (r#"attributes.name = "c\"om""#, false),
            (r#"attributes.name = "\u0063om""#, true),
        ] {
            assert_eq!(passes(filter, &message), passed, "{filter}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_place() {
        for (filter, position) in [
            ("", 0),
            ("attributes", 10),
            ("attributes.a", 12),
            ("attributes.a = b", 15),
            (r#"attributes.a = "b"#, 15),
            (r#"attributes:a AND attributes:b OR attributes:c"#, 30),
            (r#"attributes:a and attributes:b"#, 13),
            (r#"(attributes:a"#, 13),
            (r#"data = "x""#, 0),
            (r#"hasPrefix(attributes.a)"#, 22),
            (r#"attributes:a attributes:b"#, 13),
            (r#"attributes.a < "b""#, 13),
        ] {
            let error = Filter::parse(filter).unwrap_err();
            assert_eq!(error.position, position, "{filter}: {error}");
        }
        assert!(Filter::parse(&format!("attributes:{}", "a".repeat(256))).is_err());
        let deep = format!("{}attributes:a", "-(".repeat(120));
        assert!(Filter::parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(
            text in prop_oneof![
                "\\PC{0,80}",
                "(attributes|:|\\.|a|\"b\"|=|!=|AND|OR|NOT|-|\\(|\\)|hasPrefix|,| ){0,30}",
            ],
        ) {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.passes(AttributeBlock::default().iter());
            }
        }
    }
}
