//! Log records as Cloud Logging `LogEntry` JSON, in the shape that the Gemini CLI's own Cloud Logging
//! exporter writes: `jsonPayload` is flat, the record's attributes, then the resource's (which win on a
//! clash), then `message`, the body. Keys keep their dots, values without content are left out.
//!
//! Decided here, where that exporter gives no rule: a body that is not a string is written as the JSON
//! that it is (an object for key/value pairs, base64 for bytes) under `message`; an OTLP 1.5
//! `eventName` is written as `event.name` unless an attribute is; a record without any time has its
//! receive time as `timestamp`.

use super::attributes::{Attribute, KeySet, mark_superseded};
use super::batch::Mapped;
use super::identity::{EntryTime, Identity, Twins};
use super::severity::severity_name;
use super::value::{Any, ValueError, canonical_bytes, canonical_value, write_value};
use super::{MapContext, MapError};
use crate::filter::{Entry, Scalar, routes_of};
use crate::json::writer;
use crate::limits::LOG_NAME_BYTES_MAX;
use crate::wire::{Fields, WireError};

mod view;

/// The key that the body goes under.
const MESSAGE: &[u8] = b"message";

/// Maps an `ExportLogsServiceRequest`.
pub(super) fn map_logs(request: &[u8], context: &MapContext<'_>) -> Result<Mapped, MapError> {
    let mut mapper = Mapper {
        context,
        mapped: Mapped::default(),
        twins: Twins::default(),
        attributes: Vec::new(),
        canonical: Vec::new(),
        scratch: Vec::new(),
        constants: Constants::new(context),
    };
    // Attributes of the resource come again in every message: room for the request and half as much.
    mapper.mapped.buffer.reserve(request.len() + request.len() / 2);
    for field in Fields::new(request) {
        let field = field?;
        if field.number == 1 {
            mapper.resource_logs(field.bytes()?)?;
        }
    }
    Ok(mapper.mapped)
}

/// What is the same in every entry of the request.
struct Constants {
    /// `"resource":{...},"receiveTimestamp":"..."`
    resource: Vec<u8>,
    /// `"trace":"projects/P/traces/`
    trace: Vec<u8>,
    /// `projects/P/logs/`
    log_name: Vec<u8>,
}

impl Constants {
    fn new(context: &MapContext<'_>) -> Self {
        let mut resource = b"\"resource\":{\"type\":\"global\",\"labels\":{\"project_id\":".to_vec();
        writer::text(&mut resource, context.project);
        resource.extend_from_slice(b"}},\"receiveTimestamp\":\"");
        writer::timestamp(&mut resource, context.received_nanos);
        resource.push(b'"');
        let mut trace = b"\"trace\":".to_vec();
        writer::text(&mut trace, &format!("projects/{}/traces/", context.project));
        trace.pop();
        Self { resource, trace, log_name: format!("projects/{}/logs/", context.project).into_bytes() }
    }
}

/// A resource, prepared for its records.
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
    keys: KeySet<'a>,
    /// `"key":value,...` of what goes into every payload.
    fragment: Vec<u8>,
    canonical: Vec<u8>,
    /// Set when the resource itself cannot be written, so that none of its records can.
    failed: Option<ValueError>,
    repaired: u64,
}

/// A scope, prepared for its records.
struct Scope<'a> {
    /// As filters see it.
    log_name: String,
    /// The entry up to its own fields: `{"logName":...,"resource":...,"receiveTimestamp":"..."`.
    prefix: Vec<u8>,
    digest: [u8; 16],
    resource: &'a Resource<'a>,
    failed: Option<ValueError>,
}

/// One record's own fields.
#[derive(Clone, Copy)]
struct LogRecord<'a> {
    time: u64,
    observed: u64,
    severity_number: u32,
    severity_text: &'a [u8],
    body: Any<'a>,
    flags: u32,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
}

struct Mapper<'a, 'c> {
    context: &'c MapContext<'c>,
    mapped: Mapped,
    twins: Twins,
    /// The current record's attributes.
    attributes: Vec<Attribute<'a>>,
    canonical: Vec<u8>,
    scratch: Vec<u8>,
    constants: Constants,
}

impl<'a> Mapper<'a, '_> {
    fn resource_logs(&mut self, message: &'a [u8]) -> Result<(), MapError> {
        let mut resource = &[][..];
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                resource = field.bytes()?;
            }
        }
        let resource = Resource::read(resource)?;
        self.mapped.repaired += resource.repaired;
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 2 {
                self.scope_logs(field.bytes()?, &resource)?;
            }
        }
        Ok(())
    }

    fn scope_logs(&mut self, message: &'a [u8], resource: &Resource<'a>) -> Result<(), MapError> {
        let mut scope = &[][..];
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                scope = field.bytes()?;
            }
        }
        let scope = self.scope(scope, resource)?;
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 2 {
                self.record(field.bytes()?, &scope)?;
            }
        }
        Ok(())
    }

    fn scope<'r>(&self, message: &[u8], resource: &'r Resource<'a>) -> Result<Scope<'r>, MapError>
    where
        'a: 'r,
    {
        let mut canonical = resource.canonical.clone();
        let (mut name, mut version, mut failed) = (&[][..], &[][..], resource.failed);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => name = field.bytes()?,
                2 => version = field.bytes()?,
                3 => match Attribute::read(field.bytes()?)?.canonical(&mut canonical, 0) {
                    Err(ValueError::Wire(error)) => return Err(error.into()),
                    Err(error) => failed = Some(error),
                    Ok(()) => {}
                },
                _ => {}
            }
        }
        canonical_bytes(&mut canonical, 9, name);
        canonical_bytes(&mut canonical, 9, version);
        let log_name = log_name(&self.constants.log_name, resource.service_name(), name);
        let mut prefix = b"{\"logName\":".to_vec();
        writer::text(&mut prefix, &log_name);
        prefix.push(b',');
        prefix.extend_from_slice(&self.constants.resource);
        Ok(Scope { log_name, prefix, digest: self.context.identity.record(&canonical), resource, failed })
    }

    fn record(&mut self, message: &'a [u8], scope: &Scope<'_>) -> Result<(), MapError> {
        let record = LogRecord::read(message, &mut self.attributes)?;
        let Self { context, mapped, twins, attributes, canonical, scratch, constants } = self;
        mapped.put(message.len(), context.mapped_bytes_max, |out, repaired| {
            if let Some(failed) = scope.failed {
                return Err(failed);
            }
            canonical.clear();
            canonical.extend_from_slice(&scope.digest);
            record.canonical(canonical, attributes)?;
            let digest = context.identity.record(canonical);
            let insert_id = InsertId::new(digest, twins.ordinal(digest));
            mark_superseded(attributes);
            for attribute in attributes.iter_mut() {
                attribute.hidden |= scope.resource.keys.contains(attribute.key);
                attribute.hidden |= attribute.key == MESSAGE && !record.body.is_empty();
            }
            record.write(out, &insert_id, scope, attributes, constants, context.received_nanos, repaired)?;
            let time = EntryTime::from_nanos(if record.time == 0 { record.observed } else { record.time });
            let identity: &Identity = context.identity;
            let dedup_key = identity.entry(scratch, scope.log_name.as_bytes(), time, insert_id.as_bytes());
            let view =
                view::RecordView { record: &record, attributes, scope, insert_id: &insert_id, context };
            Ok((dedup_key, routes_of(context.routes, &view)))
        })
    }
}

impl<'a> Resource<'a> {
    fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut resource = Self {
            attributes: Vec::new(),
            keys: KeySet::default(),
            fragment: Vec::new(),
            canonical: Vec::new(),
            failed: None,
            repaired: 0,
        };
        for field in Fields::new(message) {
            let field = field?;
            if field.number == 1 {
                resource.attributes.push(Attribute::read(field.bytes()?)?);
            }
        }
        match resource.prepare() {
            Err(ValueError::Wire(error)) => return Err(error),
            Err(error) => resource.failed = Some(error),
            Ok(()) => {}
        }
        Ok(resource)
    }

    fn prepare(&mut self) -> Result<(), ValueError> {
        for attribute in &self.attributes {
            attribute.canonical(&mut self.canonical, 0)?;
        }
        mark_superseded(&mut self.attributes);
        let mut first = true;
        for attribute in self.attributes.iter().filter(|attribute| attribute.is_shown()) {
            // A body takes the place of a resource's `message`, so that one is decided record by record.
            if attribute.key != MESSAGE {
                attribute.write(&mut self.fragment, &mut first, 0, &mut self.repaired)?;
                self.keys.insert(attribute.key);
            }
        }
        Ok(())
    }

    fn shown(&self, key: &[u8]) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.key == key && attribute.is_shown())
    }

    fn service_name(&self) -> &'a [u8] {
        match self.shown(b"service.name").map(|attribute| attribute.value) {
            Some(Any::Text(name)) => name,
            _ => &[],
        }
    }
}

impl<'a> LogRecord<'a> {
    /// Reads a `LogRecord` message, its attributes into `attributes`.
    fn read(message: &'a [u8], attributes: &mut Vec<Attribute<'a>>) -> Result<Self, WireError> {
        attributes.clear();
        let mut record = Self {
            time: 0,
            observed: 0,
            severity_number: 0,
            severity_text: &[],
            body: Any::Empty,
            flags: 0,
            trace_id: &[],
            span_id: &[],
            event_name: &[],
        };
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => record.time = field.fixed64()?,
                2 => record.severity_number = field.varint32()?,
                3 => record.severity_text = field.bytes()?,
                5 => record.body = Any::read(field.bytes()?)?,
                6 => attributes.push(Attribute::read(field.bytes()?)?),
                8 => record.flags = field.fixed32()?,
                9 => record.trace_id = field.bytes()?,
                10 => record.span_id = field.bytes()?,
                11 => record.observed = field.fixed64()?,
                12 => record.event_name = field.bytes()?,
                _ => {}
            }
        }
        Ok(record)
    }

    fn canonical(&self, out: &mut Vec<u8>, attributes: &[Attribute<'_>]) -> Result<(), ValueError> {
        for number in [self.time, self.observed, u64::from(self.severity_number), u64::from(self.flags)] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for text in [self.severity_text, self.trace_id, self.span_id, self.event_name] {
            canonical_bytes(out, 9, text);
        }
        for attribute in attributes {
            attribute.canonical(out, 0)?;
        }
        canonical_value(out, self.body, 0)
    }

    fn severity(&self) -> Option<&'static str> {
        severity_name(self.severity_number, self.severity_text)
    }

    /// The trace id when it is one: 16 bytes, not all zero (as W3C Trace Context has it).
    fn trace(&self) -> Option<&'a [u8]> {
        (self.trace_id.len() == 16 && self.trace_id.iter().any(|&byte| byte != 0)).then_some(self.trace_id)
    }

    /// The span id when it is one: 8 bytes, not all zero.
    fn span(&self) -> Option<&'a [u8]> {
        (self.span_id.len() == 8 && self.span_id.iter().any(|&byte| byte != 0)).then_some(self.span_id)
    }

    fn is_sampled(&self) -> bool {
        self.flags & 1 != 0 && self.trace().is_some()
    }

    /// The entry's timestamp in nanoseconds since 1970.
    fn timestamp(&self, received_nanos: u64) -> u64 {
        match (self.time, self.observed) {
            (0, 0) => received_nanos,
            (0, observed) => observed,
            (time, _) => time,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn write(
        &self,
        out: &mut Vec<u8>,
        insert_id: &InsertId,
        scope: &Scope<'_>,
        attributes: &[Attribute<'_>],
        constants: &Constants,
        received_nanos: u64,
        repaired: &mut u64,
    ) -> Result<(), ValueError> {
        out.extend_from_slice(&scope.prefix);
        out.extend_from_slice(b",\"timestamp\":\"");
        writer::timestamp(out, self.timestamp(received_nanos));
        out.extend_from_slice(b"\",\"insertId\":\"");
        out.extend_from_slice(insert_id.as_bytes());
        out.push(b'"');
        if let Some(severity) = self.severity() {
            out.extend_from_slice(b",\"severity\":\"");
            out.extend_from_slice(severity.as_bytes());
            out.push(b'"');
        }
        if let Some(trace) = self.trace() {
            out.push(b',');
            out.extend_from_slice(&constants.trace);
            writer::hex(out, trace);
            out.push(b'"');
        }
        if let Some(span) = self.span() {
            out.extend_from_slice(b",\"spanId\":\"");
            writer::hex(out, span);
            out.push(b'"');
        }
        if self.is_sampled() {
            out.extend_from_slice(b",\"traceSampled\":true");
        }
        out.extend_from_slice(b",\"jsonPayload\":{");
        self.write_payload(out, scope.resource, attributes, repaired)?;
        out.extend_from_slice(b"}}");
        Ok(())
    }

    fn write_payload(
        &self,
        out: &mut Vec<u8>,
        resource: &Resource<'_>,
        attributes: &[Attribute<'_>],
        repaired: &mut u64,
    ) -> Result<(), ValueError> {
        let mut first = true;
        let mut named = resource.keys.contains(b"event.name");
        let resource_message = resource.shown(MESSAGE).filter(|_| self.body.is_empty());
        for attribute in attributes.iter().filter(|attribute| attribute.is_shown()) {
            if resource_message.is_some() && attribute.key == MESSAGE {
                continue;
            }
            named |= attribute.key == b"event.name";
            attribute.write(out, &mut first, 0, repaired)?;
        }
        if !named && !self.event_name.is_empty() {
            let event = Attribute { key: b"event.name", value: Any::Text(self.event_name), hidden: false };
            event.write(out, &mut first, 0, repaired)?;
        }
        if !resource.fragment.is_empty() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(&resource.fragment);
        }
        let message = if self.body.is_empty() {
            resource_message.map(|attribute| attribute.value)
        } else {
            Some(self.body)
        };
        if let Some(message) = message {
            if !first {
                out.push(b',');
            }
            out.extend_from_slice(b"\"message\":");
            write_value(out, message, 0, repaired)?;
        }
        Ok(())
    }
}

/// `projects/P/logs/NAME`, the name from the service, else the scope, else `otlp`; letters, digits and
/// underscores only.
fn log_name(prefix: &[u8], service: &[u8], scope: &[u8]) -> String {
    let name = [service, scope, b"otlp"].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let mut log_name = String::from_utf8_lossy(prefix).into_owned();
    let name = String::from_utf8_lossy(name);
    let letters = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    log_name.extend(letters.take(LOG_NAME_BYTES_MAX));
    log_name
}

/// 32 hexadecimal digits of the record's digest; `-N` for the Nth twin of the same request.
struct InsertId {
    text: [u8; 48],
    length: usize,
}

impl InsertId {
    fn new(digest: [u8; 16], ordinal: u32) -> Self {
        let mut text = [0; 48];
        // The room is exact.
        let _ = hex::encode_to_slice(digest, &mut text[..32]);
        let mut length = 32;
        if ordinal > 0 {
            let mut number = itoa::Buffer::new();
            let digits = number.format(ordinal).as_bytes();
            text[32] = b'-';
            text[33..33 + digits.len()].copy_from_slice(digits);
            length += 1 + digits.len();
        }
        Self { text, length }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}
