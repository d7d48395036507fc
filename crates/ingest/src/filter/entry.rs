//! A `LogEntry` as JSON text, as a filter sees it: the text is searched for the field in question, no
//! tree is built.

use super::eval::{Entry, Scalar};
use super::parse::{Path, parse_instant};
use crate::json::{Kind, Reader, SyntaxError};

/// A checked JSON object.
pub(crate) struct JsonEntry<'a>(pub(crate) &'a str);

impl Entry for JsonEntry<'_> {
    fn visit(&self, path: &Path, found: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
        let is_time = matches!(path, Path::Timestamp | Path::ReceiveTimestamp);
        let mut present = false;
        let mut visit = |value: Scalar<'_>| {
            present = true;
            match value {
                Scalar::Text(text) if is_time => {
                    parse_instant(text).is_some_and(|(seconds, nanos)| found(Scalar::Instant(seconds, nanos)))
                }
                value => found(value),
            }
        };
        // The text was checked before, so an error here only means that nothing was found.
        let matched = search(&mut Reader::new(self.0), &keys(path), &mut visit).unwrap_or(false);
        matched
            || !present
                && match path {
                    Path::Severity => found(Scalar::Text("DEFAULT")),
                    Path::TraceSampled => found(Scalar::Bool(false)),
                    _ => false,
                }
    }
}

fn keys(path: &Path) -> Vec<&str> {
    match path {
        Path::Severity => vec!["severity"],
        Path::LogName => vec!["logName"],
        Path::InsertId => vec!["insertId"],
        Path::Timestamp => vec!["timestamp"],
        Path::ReceiveTimestamp => vec!["receiveTimestamp"],
        Path::Trace => vec!["trace"],
        Path::SpanId => vec!["spanId"],
        Path::TraceSampled => vec!["traceSampled"],
        Path::TextPayload => vec!["textPayload"],
        Path::ResourceType => vec!["resource", "type"],
        Path::ResourceLabel(label) => vec!["resource", "labels", label],
        Path::Label(label) => vec!["labels", label],
        Path::Payload(keys) => {
            std::iter::once("jsonPayload").chain(keys.iter().map(String::as_str)).collect()
        }
    }
}

/// Walks down `keys` (of a key that comes twice, each is tried) and gives the scalars there to `found`.
/// Recursion is as deep as `keys` is long, one more in a list.
fn search(
    reader: &mut Reader<'_>,
    keys: &[&str],
    found: &mut dyn FnMut(Scalar<'_>) -> bool,
) -> Result<bool, SyntaxError> {
    let Some((wanted, below)) = keys.split_first() else {
        return scalars(reader, true, found);
    };
    if reader.peek()? != Kind::Object {
        reader.skip(usize::MAX)?;
        return Ok(false);
    }
    reader.enter_object()?;
    let mut first = true;
    while let Some(key) = reader.next_key(&mut first)? {
        if key != *wanted {
            reader.skip(usize::MAX)?;
        } else if search(reader, below, found)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn scalars(
    reader: &mut Reader<'_>,
    enter_list: bool,
    found: &mut dyn FnMut(Scalar<'_>) -> bool,
) -> Result<bool, SyntaxError> {
    match reader.peek()? {
        Kind::Text => Ok(found(Scalar::Text(&reader.text()?))),
        Kind::Bool => Ok(found(Scalar::Bool(reader.boolean()?))),
        Kind::Number => {
            let text = reader.number()?;
            let integer = text.parse().map(Scalar::Int);
            let number = integer.or_else(|_| text.parse().map(Scalar::Double));
            Ok(found(number.unwrap_or(Scalar::Other)))
        }
        Kind::Array if enter_list => {
            reader.enter_array()?;
            let mut first = true;
            while reader.next_element(&mut first)? {
                if scalars(reader, false, found)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Kind::Array | Kind::Object | Kind::Null => {
            reader.skip(usize::MAX)?;
            Ok(found(Scalar::Other))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;

    const ENTRY: &str = r#"{"logName":"projects/p/logs/gemini_cli","timestamp":"2026-11-22T14:30:37.838999986Z",
        "severity":"ERROR","resource":{"type":"global","labels":{"project_id":"p"}},"labels":{"a.b":"x"},
        "jsonPayload":{"event.name":"gemini_cli.api_error","status_code":429,"big":9007199254740993,"ratio":0.5,"ok":false,
        "finish":["STOP","OTHER"],"nested":{"deep":{"x":"Ünïcode"}},"message":"Failed \"badly\"","none":null}}"#;

    fn matches(text: &str) -> bool {
        Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).matches(&JsonEntry(ENTRY))
    }

    #[test]
    fn comparisons_follow_cloud_logging() {
        for yes in [
            "",
            "severity>=ERROR",
            "severity=error AND severity<501 OR severity<400",
            "severity=(ALERT OR ERROR)",
            "resource.type=global resource.labels.project_id=p",
            r#"jsonPayload."event.name"="gemini_cli.API_error""#,
            "jsonPayload.'event.name':api_err",
            "jsonPayload.status_code=429",
            "jsonPayload.status_code>=400 jsonPayload.status_code<500",
            "jsonPayload.big=9007199254740993 AND NOT jsonPayload.big=9007199254740992",
            "jsonPayload.ratio<0.6",
            "jsonPayload.ok=false -jsonPayload.ok=true",
            "jsonPayload.finish=stop",
            "jsonPayload.nested.deep.x=ÜNÏCODE",
            "jsonPayload.nested:* AND jsonPayload.none:*",
            r#"jsonPayload.message:"\"BADLY""#,
            r#"jsonPayload.message=~"^Failed\s""#,
            r#"jsonPayload.message!~"^failed""#,
            "labels.\"a.b\"=x -- a comment\nAND logName:gemini_cli",
            r#"timestamp>="2026-11-22" timestamp<"2026-11-22T15:30:37.839+01:00""#,
            "NOT jsonPayload.missing=5",
            "traceSampled=false",
            "(severity=DEBUG OR severity=ERROR) AND (NOT (severity=DEBUG))",
            // OR binds more tightly than AND.
            "severity=ERROR OR severity=DEBUG AND logName:gemini OR logName:other",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "jsonPayload.missing!=5",
            "jsonPayload.missing!~x",
            "jsonPayload.event.name:gemini",
            "jsonPayload.status_code=\"x\"",
            "severity=ERROR severity=DEBUG",
            "severity=DEBUG AND logName:gemini OR logName:gemini",
            "jsonPayload.finish!=STOP",
            "jsonPayload.message=~\"^failed\"",
            "trace:*",
        ] {
            assert!(!matches(no), "{no}");
        }
        assert!(Filter::parse("severity=DEFAULT").unwrap().matches(&JsonEntry("{}")));
    }

    #[test]
    fn what_is_not_supported_is_named_with_its_place() {
        let deep = format!("{}severity=ERROR", "(".repeat(1000));
        for (text, line, column, what) in [
            ("hello", 1, 1, "without a field"),
            ("severity=ERROR\n  \"text\"", 2, 3, "without a field"),
            ("sample(insertId, 0.5)", 1, 1, "functions"),
            ("httpRequest.status=500", 1, 1, "not supported"),
            ("jsonPayload=5", 1, 1, "not supported"),
            ("severity=LOUD", 1, 10, "not a severity"),
            ("severity=~ERR", 1, 11, "takes ="),
            ("timestamp>yesterday", 1, 11, "not a time"),
            ("logName=~\"(\"", 1, 10, "regular expression"),
            ("logName=\"x", 1, 9, "never closed"),
            ("logName=", 1, 9, "expected a value"),
            ("(logName=x", 1, 11, "closing"),
            ("logName=x)", 1, 10, "expected AND"),
            ("logName=(a b)", 1, 12, "expected AND, OR"),
            (&deep, 1, 66, "levels deep"),
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.what.contains(what), "{text}: {error}");
            assert_eq!((error.line, error.column), (line, column), "{text:.40}: {error}");
        }
    }
}
