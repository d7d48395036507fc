//! Log records as Cloud Logging `LogEntry` JSON, in the shape that the Gemini CLI's own Cloud Logging
//! exporter writes: `jsonPayload` is flat, the record's attributes, then the resource's (which win on a
//! clash), then `message`, the body. Keys keep their dots, values without content are left out.
//!
//! Decided here, where that exporter gives no rule: a body that is not a string is written as the JSON
//! that it is (an object for key/value pairs, base64 for bytes) under `message`; an OTLP 1.5
//! `eventName` is written as `event.name` unless an attribute is; a record without any time has its
//! receive time as `timestamp`.

use self::record::{InsertId, LogRecord};
use self::resource::Resource;
use super::attributes::{Attribute, mark_superseded};
use super::batch::Mapped;
use super::identity::{EntryTime, Identity, Twins};
use super::value::{ValueError, canonical_bytes};
use super::{MapContext, MapError};
use crate::filter::routes_of;
use crate::json::writer;
use crate::limits::LOG_NAME_BYTES_MAX;
use crate::wire::Fields;

mod record;
mod resource;
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
        let resource = Resource::read(resource, self.context.identity)?;
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
        let mut canonical = Vec::new();
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
        Ok(Scope { log_name, prefix, digest: resource.digest_with(&canonical), resource, failed })
    }

    fn record(&mut self, message: &'a [u8], scope: &Scope<'_>) -> Result<(), MapError> {
        let record = LogRecord::read(message, &mut self.attributes)?;
        let Self { context, mapped, twins, attributes, canonical, scratch, constants } = self;
        mapped.put(message.len(), context.mapped_bytes_max, |out, repaired| {
            if let Some(failed) = scope.failed.or(record.failed) {
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

/// `projects/P/logs/NAME`, the name from the service, else the scope, else `otlp`; letters, digits and
/// underscores only.
fn log_name(prefix: &[u8], service: &[u8], scope: &[u8]) -> String {
    let name = [service, scope, b"otlp"].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let mut log_name = String::from_utf8_lossy(prefix).into_owned();
    // No more is read than can be needed, so that a long name costs nothing in many scopes.
    let name = String::from_utf8_lossy(&name[..name.len().min(4 * LOG_NAME_BYTES_MAX)]);
    let letters = name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    log_name.extend(letters.take(LOG_NAME_BYTES_MAX));
    log_name
}
