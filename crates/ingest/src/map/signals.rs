//! Metric data points and spans as self-contained JSON messages.
//!
//! The form is OTLP JSON (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids in
//! hexadecimal, 64-bit fields as strings, enums as numbers) with two differences: attributes are one
//! object instead of a list of pairs, and what a point or span stands under comes with it:
//! `{"receiveTimestamp","resource","resourceSchemaUrl","scope","scopeSchemaUrl","metric","point"}` with
//! the metric's name, unit, `type` and so on, or `"span"` in place of the last two.

use millrace_model::limits::MESSAGE_BYTES_MAX;

use super::attributes::{Attribute, mark_superseded};
use super::batch::Mapped;
use super::identity::Twins;
use super::value::{Any, ValueError, write_value};
use super::{MapContext, MapError};
use crate::json::writer;
use crate::wire::schema::{
    self, EXPONENTIAL_POINT, FieldSchema, HISTOGRAM_POINT, Kind, Message, NUMBER_POINT, RESOURCE, SCOPE,
    SPAN, SUMMARY_POINT,
};
use crate::wire::{Field, Fields, Value, WireError, take_array, take_varint};

/// Maps an `ExportMetricsServiceRequest`.
pub(super) fn map_metrics(request: &[u8], context: &MapContext<'_>) -> Result<Mapped, MapError> {
    map(request, context, &mut |mapper, parts, metric| mapper.metric(parts, metric))
}

/// Maps an `ExportTraceServiceRequest`.
pub(super) fn map_traces(request: &[u8], context: &MapContext<'_>) -> Result<Mapped, MapError> {
    map(request, context, &mut |mapper, parts, span| mapper.message(parts, "span", &SPAN, span))
}

/// What a message begins with, part by part, or why it cannot be written. The parts are put together in each
/// message only: there may be many scopes and metrics with nothing in them.
type Parts<'p> = Result<&'p [&'p [u8]], ValueError>;
type Item<'i> = &'i mut dyn FnMut(&mut Mapper<'_>, Parts<'_>, &[u8]) -> Result<(), MapError>;

struct Mapper<'c> {
    context: &'c MapContext<'c>,
    mapped: Mapped,
    twins: Twins,
    /// `{"receiveTimestamp":"..."`, the same in every message and not part of its identity.
    received: Vec<u8>,
}

/// All three signals nest alike: field 1 of the request holds resources, their field 2 scopes, and
/// field 2 of those the items.
fn map(request: &[u8], context: &MapContext<'_>, item: Item<'_>) -> Result<Mapped, MapError> {
    let mut received = b"{\"receiveTimestamp\":\"".to_vec();
    writer::timestamp(&mut received, context.received_nanos);
    received.push(b'"');
    let mut mapper = Mapper { context, mapped: Mapped::default(), twins: Twins::default(), received };
    for resource in fields(request, 1) {
        let resource = resource?;
        let resource_prefix = mapper.prefix(resource, "resource", &RESOURCE)?;
        for scope in fields(resource, 2) {
            let scope = scope?;
            let scope_prefix = mapper.prefix(scope, "scope", &SCOPE)?;
            let parts = both(&resource_prefix, &scope_prefix);
            for message in fields(scope, 2) {
                item(&mut mapper, parts.as_ref().map(<[_; 2]>::as_slice).map_err(|error| *error), message?)?;
            }
        }
    }
    Ok(mapper.mapped)
}

fn both<'p>(
    one: &'p Result<Vec<u8>, ValueError>,
    other: &'p Result<Vec<u8>, ValueError>,
) -> Result<[&'p [u8]; 2], ValueError> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok([one, other]),
        (Err(error), _) | (_, Err(error)) => Err(*error),
    }
}

fn fields(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok(field) if field.number == number => Some(field.bytes()),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

impl Mapper<'_> {
    /// `,"NAME":{...},"NAMESchemaUrl":"..."` of a message whose field 1 is the part itself and whose
    /// field 3 is the URL.
    fn prefix(
        &mut self,
        message: &[u8],
        name: &str,
        schema: &'static Message,
    ) -> Result<Result<Vec<u8>, ValueError>, WireError> {
        let mut out = Vec::new();
        let mut part = &[][..];
        let mut url = &[][..];
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => part = field.bytes()?,
                3 => url = field.bytes()?,
                _ => {}
            }
        }
        if part.len() + url.len() > MESSAGE_BYTES_MAX {
            return Ok(Err(ValueError::TooLarge));
        }
        out.extend_from_slice(format!(",\"{name}\":").as_bytes());
        match write_message(&mut out, part, schema, &mut self.mapped.repaired) {
            Err(ValueError::Wire(error)) => return Err(error),
            Err(error) => return Ok(Err(error)),
            Ok(()) => {}
        }
        if !url.is_empty() {
            out.extend_from_slice(format!(",\"{name}SchemaUrl\":").as_bytes());
            self.mapped.repaired += u64::from(writer::text_bytes(&mut out, url));
        }
        Ok(if out.len() > MESSAGE_BYTES_MAX { Err(ValueError::TooLarge) } else { Ok(out) })
    }

    /// Each data point of a metric.
    fn metric(&mut self, parts: Parts<'_>, metric: &[u8]) -> Result<(), MapError> {
        let mut repaired = 0;
        let mut description = None;
        for field in Fields::new(metric) {
            let field = field?;
            let (kind, point_schema) = match field.number {
                5 => ("gauge", &NUMBER_POINT),
                7 => ("sum", &NUMBER_POINT),
                9 => ("histogram", &HISTOGRAM_POINT),
                10 => ("exponentialHistogram", &EXPONENTIAL_POINT),
                11 => ("summary", &SUMMARY_POINT),
                _ => continue,
            };
            let data = field.bytes()?;
            let description = description.get_or_insert_with(|| describe(metric, &mut repaired));
            let data_description = describe_data(kind, data);
            for error in [description.as_ref().err(), data_description.as_ref().err()] {
                if let Some(ValueError::Wire(error)) = error {
                    return Err((*error).into());
                }
            }
            let parts = both(description, &data_description)
                .and_then(|described| parts.map(|parts| [parts, &described].concat()));
            for point in fields(data, 1) {
                let parts = parts.as_deref().map_err(|error| *error);
                self.message(parts, "point", point_schema, point?)?;
            }
        }
        self.mapped.repaired += repaired;
        Ok(())
    }

    /// One message: the parts that it stands under, then itself as `name`.
    fn message(
        &mut self,
        parts: Parts<'_>,
        name: &str,
        schema: &'static Message,
        message: &[u8],
    ) -> Result<(), MapError> {
        let Self { context, mapped, twins, received } = self;
        mapped.put(message.len(), context.mapped_bytes_max, |out, repaired| {
            out.extend_from_slice(received);
            let start = out.len();
            for part in parts? {
                out.extend_from_slice(part);
            }
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            write_message(out, message, schema, repaired)?;
            out.push(b'}');
            // The text follows from the message alone, so it is a canonical form.
            let digest = context.identity.record(&out[start..]);
            Ok((context.identity.twin(digest, twins.ordinal(digest)), 1))
        })
    }
}

/// `,"metric":{...`: everything about a metric but its points; [`describe_data`] ends it.
fn describe(metric: &[u8], repaired: &mut u64) -> Result<Vec<u8>, ValueError> {
    let mut out = b",\"metric\":".to_vec();
    write_message(&mut out, metric, &schema::METRIC_DESCRIPTION, repaired)?;
    out.pop();
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    if out.len() > MESSAGE_BYTES_MAX { Err(ValueError::TooLarge) } else { Ok(out) }
}

/// `"type":...}`: what the points are of.
fn describe_data(kind: &str, data: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut out = format!("\"type\":\"{kind}\"").into_bytes();
    let (mut temporality, mut is_monotonic) = (0, false);
    for field in Fields::new(data) {
        let field = field?;
        match field.number {
            2 => temporality = field.varint32()?,
            3 => is_monotonic = field.varint()? != 0,
            _ => {}
        }
    }
    if temporality != 0 {
        out.extend_from_slice(b",\"aggregationTemporality\":");
        writer::integer(&mut out, temporality);
    }
    if is_monotonic {
        out.extend_from_slice(b",\"isMonotonic\":true");
    }
    out.push(b'}');
    Ok(out)
}

/// Writes a message as a JSON object of the fields that it has, in the schema's order. Recursion is as
/// deep as the schema; only attribute values nest further, and those have a limit.
fn write_message(
    out: &mut Vec<u8>,
    message: &[u8],
    schema: &'static Message,
    repaired: &mut u64,
) -> Result<(), ValueError> {
    // Every field is read once here, so that malformed parts are found in unknown fields too.
    for field in Fields::new(message) {
        field?;
    }
    out.push(b'{');
    let mut first = true;
    for field_schema in schema.fields {
        let matching = Fields::new(message).flatten().filter(|field| field.number == field_schema.number);
        let Some(last) = matching.clone().last() else { continue };
        if !field_schema.presence && !field_schema.repeated && is_default(last, field_schema.kind) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(field_schema.name.as_bytes());
        out.extend_from_slice(b"\":");
        if matches!(field_schema.kind, Kind::Attributes) {
            write_attributes(out, matching, repaired)?;
        } else if field_schema.repeated {
            write_list(out, matching, field_schema, repaired)?;
        } else {
            write_field(out, last, field_schema, repaired)?;
        }
    }
    out.push(b'}');
    Ok(())
}

/// Whether a field says no more than its absence would. Encoders may write such fields or not, and a
/// message's text must not depend on that.
fn is_default(field: Field<'_>, kind: Kind) -> bool {
    match field.value {
        Value::Varint(number) | Value::Fixed64(number) => number == 0,
        Value::Fixed32(number) => number == 0,
        Value::Bytes(bytes) => bytes.is_empty() && matches!(kind, Kind::Text | Kind::Bytes | Kind::Id),
    }
}

fn write_attributes<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = Field<'a>>,
    repaired: &mut u64,
) -> Result<(), ValueError> {
    let mut attributes = Vec::new();
    for field in fields {
        Attribute::read(field.bytes()?)?.push_to(&mut attributes)?;
    }
    mark_superseded(&mut attributes);
    out.push(b'{');
    let mut first = true;
    for attribute in attributes.iter().filter(|attribute| attribute.is_shown()) {
        attribute.write(out, &mut first, 0, repaired)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a repeated field; numbers may lie packed in one field or each in its own.
fn write_list<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = Field<'a>>,
    schema: &FieldSchema,
    repaired: &mut u64,
) -> Result<(), ValueError> {
    let mut separator = b'[';
    let mut put = |out: &mut Vec<u8>, field: Field<'_>| {
        out.push(separator);
        separator = b',';
        write_field(out, field, schema, repaired)
    };
    for field in fields {
        match (schema.kind, field.value) {
            (Kind::Fixed64 | Kind::Double, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    let value = Value::Fixed64(u64::from_le_bytes(take_array(&mut packed)?));
                    put(out, Field { value, ..field })?;
                }
            }
            (Kind::Uint64, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    put(out, Field { value: Value::Varint(take_varint(&mut packed)?), ..field })?;
                }
            }
            _ => put(out, field)?,
        }
    }
    // An empty packed field is an empty list.
    if separator == b'[' {
        out.push(b'[');
    }
    out.push(b']');
    Ok(())
}

#[allow(clippy::cast_possible_wrap)]
fn write_field(
    out: &mut Vec<u8>,
    field: Field<'_>,
    schema: &FieldSchema,
    repaired: &mut u64,
) -> Result<(), ValueError> {
    let quoted = |out: &mut Vec<u8>, number: i128| {
        out.push(b'"');
        writer::integer(out, number);
        out.push(b'"');
    };
    match schema.kind {
        Kind::Text => *repaired += u64::from(writer::text_bytes(out, field.bytes()?)),
        Kind::Bytes => writer::base64(out, field.bytes()?),
        Kind::Id => {
            out.push(b'"');
            writer::hex(out, field.bytes()?);
            out.push(b'"');
        }
        Kind::Bool => out.extend_from_slice(if field.varint()? == 0 { b"false" } else { b"true" }),
        Kind::Int32 => writer::integer(out, field.varint32()? as i32),
        Kind::Uint32 => writer::integer(out, field.varint32()?),
        Kind::Sint32 => {
            let zigzag = field.varint32()?;
            writer::integer(out, (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32));
        }
        Kind::Uint64 => quoted(out, i128::from(field.varint()?)),
        Kind::AnyInt => writer::integer(out, field.varint()? as i64),
        Kind::Fixed32 => writer::integer(out, field.fixed32()?),
        Kind::Fixed64 => quoted(out, i128::from(field.fixed64()?)),
        Kind::Sfixed64 => quoted(out, i128::from(field.fixed64()? as i64)),
        Kind::Double => writer::double(out, f64::from_bits(field.fixed64()?)),
        Kind::Message(message) => write_message(out, field.bytes()?, message, repaired)?,
        Kind::AnyValue => write_value(out, Any::read(field.bytes()?)?, 0, repaired)?,
        // Lists of attributes were written as one object.
        Kind::Attributes => return Err(WireError::Mismatch(field.number).into()),
    }
    Ok(())
}
