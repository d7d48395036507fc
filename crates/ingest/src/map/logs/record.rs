//! One log record: read off the wire, hashed, written as an entry.

use super::resource::Resource;
use super::{Constants, MESSAGE, Scope};
use crate::json::writer;
use crate::map::attributes::Attribute;
use crate::map::severity::severity_name;
use crate::map::value::{Any, ValueError, canonical_bytes, canonical_value, write_value};
use crate::wire::{Fields, WireError};

/// One record's own fields.
#[derive(Clone, Copy)]
pub(super) struct LogRecord<'a> {
    pub(super) time: u64,
    pub(super) observed: u64,
    pub(super) severity_number: u32,
    pub(super) severity_text: &'a [u8],
    pub(super) body: Any<'a>,
    pub(super) flags: u32,
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    pub(super) event_name: &'a [u8],
    /// Set when it has more attributes than are read.
    pub(super) failed: Option<ValueError>,
}

impl<'a> LogRecord<'a> {
    /// Reads a `LogRecord` message, its attributes into `attributes`.
    pub(super) fn read(message: &'a [u8], attributes: &mut Vec<Attribute<'a>>) -> Result<Self, WireError> {
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
            failed: None,
        };
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => record.time = field.fixed64()?,
                2 => record.severity_number = field.varint32()?,
                3 => record.severity_text = field.bytes()?,
                5 => record.body = Any::read(field.bytes()?)?,
                6 => {
                    let pushed = Attribute::read(field.bytes()?)?.push_to(attributes);
                    record.failed = pushed.err().or(record.failed);
                }
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

    pub(super) fn canonical(
        &self,
        out: &mut Vec<u8>,
        attributes: &[Attribute<'_>],
    ) -> Result<(), ValueError> {
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

    pub(super) fn severity(&self) -> Option<&'static str> {
        severity_name(self.severity_number, self.severity_text)
    }

    /// The trace id when it is one: 16 bytes, not all zero (as W3C Trace Context has it).
    pub(super) fn trace(&self) -> Option<&'a [u8]> {
        (self.trace_id.len() == 16 && self.trace_id.iter().any(|&byte| byte != 0)).then_some(self.trace_id)
    }

    /// The span id when it is one: 8 bytes, not all zero.
    pub(super) fn span(&self) -> Option<&'a [u8]> {
        (self.span_id.len() == 8 && self.span_id.iter().any(|&byte| byte != 0)).then_some(self.span_id)
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags & 1 != 0 && self.trace().is_some()
    }

    /// The entry's timestamp in nanoseconds since 1970.
    pub(super) fn timestamp(&self, received_nanos: u64) -> u64 {
        match (self.time, self.observed) {
            (0, 0) => received_nanos,
            (0, observed) => observed,
            (time, _) => time,
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn write(
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

/// 32 hexadecimal digits of the record's digest; `-N` for the Nth twin of the same request.
pub(super) struct InsertId {
    text: [u8; 48],
    length: usize,
}

impl InsertId {
    pub(super) fn new(digest: [u8; 16], ordinal: u32) -> Self {
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

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }
}
