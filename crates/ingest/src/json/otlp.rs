//! OTLP JSON to OTLP protobuf, by the tables of [`crate::wire::schema`]
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): ids are hexadecimal, 64-bit
//! integers numbers or strings, enums numbers, unknown fields are skipped, `null` means absent. Of a
//! field that comes twice the last counts, and both parts of a list.

use base64::Engine;

use super::reader::{Kind as JsonKind, Reader, SyntaxError};
use crate::limits::{JSON_DEPTH_MAX, VALUE_DEPTH_MAX};
use crate::wire::Writer;
use crate::wire::schema::{ANY_VALUE, FieldSchema, KEY_VALUE, Kind, Message, any};

/// Why a JSON text is not an OTLP request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The body is not UTF-8, so it is not JSON.
    #[error("the body is not UTF-8: first bad byte at {0}")]
    Utf8(usize),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Syntax(#[from] SyntaxError),
    /// A field does not hold what OTLP says.
    #[error("field {field} before byte {at} must be {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it must hold.
        expected: &'static str,
        /// Where its value ends, in bytes.
        at: usize,
    },
    /// The protobuf form passes the limit on decompressed size.
    #[error("the request passes {0} bytes, send smaller batches or raise decompressed_bytes_max")]
    TooLarge(usize),
}

/// Turns the JSON text of `message` into its protobuf form of at most `bytes_max`.
pub(crate) fn otlp_to_wire(
    body: &[u8],
    message: &'static Message,
    bytes_max: usize,
) -> Result<Vec<u8>, JsonError> {
    let text = std::str::from_utf8(body).map_err(|error| JsonError::Utf8(error.valid_up_to()))?;
    let mut transcoder = Transcoder {
        reader: Reader::new(text.strip_prefix('\u{feff}').unwrap_or(text)),
        out: Writer::with_capacity(body.len()),
        bytes_max,
    };
    transcoder.message(message, 0)?;
    transcoder.reader.finish()?;
    Ok(transcoder.out.into_bytes())
}

struct Transcoder<'a> {
    reader: Reader<'a>,
    out: Writer,
    bytes_max: usize,
}

impl Transcoder<'_> {
    /// One object. Recursion is bounded: only `AnyValue`s nest without end, and `depth` counts those.
    fn message(&mut self, message: &'static Message, depth: usize) -> Result<(), JsonError> {
        self.reader.enter_object()?;
        let mut first = true;
        while let Some(key) = self.reader.next_key(&mut first)? {
            let Some(field) = message.by_name(&key) else {
                self.reader.skip(JSON_DEPTH_MAX)?;
                continue;
            };
            if self.reader.peek()? == JsonKind::Null {
                self.reader.skip(1)?;
            } else if field.repeated {
                self.list(field, depth)?;
            } else {
                self.value(field, depth)?;
            }
        }
        if self.out.len() > self.bytes_max {
            return Err(JsonError::TooLarge(self.bytes_max));
        }
        Ok(())
    }

    fn list(&mut self, field: &'static FieldSchema, depth: usize) -> Result<(), JsonError> {
        if self.reader.peek()? != JsonKind::Array {
            return Err(self.wrong(field, "an array"));
        }
        self.reader.enter_array()?;
        let mut first = true;
        while self.reader.next_element(&mut first)? {
            self.value(field, depth)?;
        }
        Ok(())
    }

    fn wrong(&self, field: &'static FieldSchema, expected: &'static str) -> JsonError {
        JsonError::Field { field: field.name, expected, at: self.reader.at() }
    }

    fn value(&mut self, field: &'static FieldSchema, depth: usize) -> Result<(), JsonError> {
        let number = field.number;
        match field.kind {
            Kind::Message(message) => self.nested(field, message, depth)?,
            Kind::Attributes => self.nested(field, &KEY_VALUE, depth)?,
            Kind::AnyValue if depth == VALUE_DEPTH_MAX => {
                self.reader.skip(usize::MAX)?;
                let nested = self.out.begin(number);
                self.out.varint(any::TOO_DEEP, 1);
                self.out.end(&nested);
            }
            // An empty value may also be written as null inside a list.
            Kind::AnyValue if self.reader.peek()? == JsonKind::Null => {
                self.reader.skip(1)?;
                self.out.bytes(number, &[]);
            }
            Kind::AnyValue => self.nested(field, &ANY_VALUE, depth + 1)?,
            Kind::Text | Kind::Bytes | Kind::Id => self.text_value(field)?,
            Kind::Bool if self.reader.peek()? == JsonKind::Bool => {
                let value = self.reader.boolean()?;
                self.out.varint(number, u64::from(value));
            }
            Kind::Bool => return Err(self.wrong(field, "true or false")),
            _ => self.number_value(field)?,
        }
        Ok(())
    }

    fn nested(
        &mut self,
        field: &'static FieldSchema,
        message: &'static Message,
        depth: usize,
    ) -> Result<(), JsonError> {
        if self.reader.peek()? != JsonKind::Object {
            return Err(self.wrong(field, "an object"));
        }
        let nested = self.out.begin(field.number);
        self.message(message, depth)?;
        self.out.end(&nested);
        Ok(())
    }

    fn text_value(&mut self, field: &'static FieldSchema) -> Result<(), JsonError> {
        if self.reader.peek()? != JsonKind::Text {
            return Err(self.wrong(field, "a string"));
        }
        let text = self.reader.text()?;
        match field.kind {
            Kind::Id => {
                let id = hex::decode(text.as_bytes());
                self.out.bytes(field.number, &id.map_err(|_| self.wrong(field, "hexadecimal digits"))?);
            }
            Kind::Bytes => {
                let bytes = decode_base64(&text).ok_or_else(|| self.wrong(field, "base64"))?;
                self.out.bytes(field.number, &bytes);
            }
            _ => self.out.bytes(field.number, text.as_bytes()),
        }
        Ok(())
    }

    fn number_value(&mut self, field: &'static FieldSchema) -> Result<(), JsonError> {
        let text = match self.reader.peek()? {
            JsonKind::Number => std::borrow::Cow::Borrowed(self.reader.number()?),
            JsonKind::Text => self.reader.text()?,
            _ => return Err(self.wrong(field, "a number")),
        };
        self.put_number(field, &text).ok_or_else(|| self.wrong(field, "a number in its range"))
    }

    /// Writes a number in its field's form; `None` when it does not fit.
    #[allow(clippy::cast_sign_loss)]
    fn put_number(&mut self, field: &'static FieldSchema, text: &str) -> Option<()> {
        let (number, out) = (field.number, &mut self.out);
        match field.kind {
            Kind::Double => out.fixed64(number, parse_double(text)?.to_bits()),
            // JavaScript writes 1e20 as an integer because it is one; the double is what it had.
            Kind::AnyInt => match integer::<i64>(text) {
                Some(value) => out.varint(number, value as u64),
                None => out.fixed64(any::DOUBLE, parse_double(text)?.to_bits()),
            },
            Kind::Int32 => out.varint(number, i64::from(integer::<i32>(text)?) as u64),
            Kind::Sint32 => {
                let value = integer::<i32>(text)?;
                out.varint(number, u64::from(((value << 1) ^ (value >> 31)) as u32));
            }
            Kind::Uint32 => out.varint(number, u64::from(integer::<u32>(text)?)),
            Kind::Fixed32 => out.fixed32(number, integer(text)?),
            Kind::Sfixed64 => out.fixed64(number, integer::<i64>(text)? as u64),
            Kind::Fixed64 => out.fixed64(number, integer(text)?),
            Kind::Uint64 => out.varint(number, integer(text)?),
            Kind::Text
            | Kind::Bytes
            | Kind::Id
            | Kind::Bool
            | Kind::Message(_)
            | Kind::Attributes
            | Kind::AnyValue => return None,
        }
        Some(())
    }
}

/// A whole number in the range of its type.
fn integer<T: TryFrom<i128>>(text: &str) -> Option<T> {
    T::try_from(parse_integer(text)?).ok()
}

/// A whole number, also as JavaScript may print one (`1e21`, `5.0`).
#[allow(clippy::cast_possible_truncation)]
fn parse_integer(text: &str) -> Option<i128> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number = parse_double(text)?;
    (number.fract() == 0.0 && number.abs() < 1e30).then_some(number as i128)
}

/// A number as JSON or protobuf's JSON mapping spells it. (`f64::from_str` alone also takes `inf`.)
fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.bytes().any(|byte| byte.is_ascii_alphabetic() && !byte.eq_ignore_ascii_case(&b'e')) => None,
        _ => text.parse().ok(),
    }
}

/// Base64 of either alphabet, padded or not, as protobuf's JSON mapping asks of parsers.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = text.bytes().any(|byte| byte == b'-' || byte == b'_');
    let alphabet = if url_safe { &base64::alphabet::URL_SAFE } else { &base64::alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::schema::LOGS_REQUEST;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use prost::Message as _;

    fn record(fields: &str) -> Result<opentelemetry_proto::tonic::logs::v1::LogRecord, JsonError> {
        let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#);
        let wire = otlp_to_wire(body.as_bytes(), &LOGS_REQUEST, 1 << 20)?;
        let mut request = ExportLogsServiceRequest::decode(wire.as_slice()).unwrap();
        Ok(request.resource_logs[0].scope_logs[0].log_records.remove(0))
    }

    fn body(value: &str) -> Option<Value> {
        record(&format!(r#""body":{value}"#)).unwrap().body.and_then(|body| body.value)
    }

    #[test]
    fn numbers_come_in_every_spelling() {
        for (value, expected) in [
            (r#"{"intValue":"-5"}"#, Value::IntValue(-5)),
            (r#"{"intValue":9223372036854775807}"#, Value::IntValue(i64::MAX)),
            (r#"{"intValue":5.0}"#, Value::IntValue(5)),
            (r#"{"intValue":9223372036854775808}"#, Value::DoubleValue(9_223_372_036_854_775_808.0)),
            (r#"{"intValue":1e+21}"#, Value::DoubleValue(1e21)),
            (r#"{"doubleValue":"-Infinity"}"#, Value::DoubleValue(f64::NEG_INFINITY)),
            (r#"{"bytesValue":"-_8"}"#, Value::BytesValue(vec![0xfb, 0xff])),
            (r#"{"bytesValue":"+/8="}"#, Value::BytesValue(vec![0xfb, 0xff])),
            (r#"{"stringValue":"a","stringValue":"b","unknown":{"x":[1]}}"#, Value::StringValue("b".into())),
        ] {
            assert_eq!(body(value), Some(expected), "{value}");
        }
        assert_eq!((body("{}"), body("null")), (None, None));
        let record = record(
            r#""timeUnixNano":"1700000000000000001","observed_time_unix_nano":5,"severityNumber":9,"flags":1,"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":null"#,
        )
        .unwrap();
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1_700_000_000_000_000_001, 5));
        assert_eq!((record.severity_number, record.flags), (9, 1));
        assert_eq!((record.trace_id.len(), record.trace_id[0], record.span_id.len()), (16, 0x5b, 0));
    }

    #[test]
    fn wrong_fields_are_named() {
        for (fields, field) in [
            (r#""timeUnixNano":-1"#, "timeUnixNano"),
            (r#""timeUnixNano":1e40"#, "timeUnixNano"),
            (r#""timeUnixNano":{}"#, "timeUnixNano"),
            (r#""severityNumber":"INFO""#, "severityNumber"),
            (r#""traceId":"xyz""#, "traceId"),
            (r#""attributes":{}"#, "attributes"),
            (r#""attributes":[5]"#, "attributes"),
            (r#""body":"text""#, "body"),
            (r#""body":{"stringValue":5}"#, "stringValue"),
            (r#""body":{"doubleValue":"inf"}"#, "doubleValue"),
            (r#""body":{"bytesValue":"*"}"#, "bytesValue"),
        ] {
            match record(fields) {
                Err(JsonError::Field { field: named, .. }) => assert_eq!(named, field, "{fields}"),
                other => panic!("{fields}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let deep = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let open = "[".repeat(100_000);
        for body in ["", "[]", "5", "null", "{", "{}x", "{\"resourceLogs\":[{]}", "\"\\x\"", &deep, &open] {
            assert!(otlp_to_wire(body.as_bytes(), &LOGS_REQUEST, 1 << 20).is_err(), "{:.40}", body);
        }
        assert_eq!(otlp_to_wire(b"{\"a\xff\"", &LOGS_REQUEST, 9), Err(JsonError::Utf8(3)));
        assert_eq!(otlp_to_wire(b"{}", &LOGS_REQUEST, 9), Ok(Vec::new()));
    }
}
