//! `AnyValue`: read off the wire, written as JSON, and put in canonical form for hashing.

use super::attributes::{Attribute, mark_superseded};
use crate::json::writer;
use crate::limits::VALUE_DEPTH_MAX;
use crate::wire::schema::any;
use crate::wire::{Fields, WireError};

/// Why one record cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueError {
    /// The request is malformed.
    Wire(WireError),
    /// This record is nested deeper than [`VALUE_DEPTH_MAX`].
    TooDeep,
    /// A list of this record has more than [`ATTRIBUTES_MAX`](crate::limits::ATTRIBUTES_MAX) attributes.
    TooMany,
    /// What this record stands under alone passes the limit on a message.
    TooLarge,
}

impl From<WireError> for ValueError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// An `AnyValue`, its nested parts still on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Any<'a> {
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    KvList(&'a [u8]),
    Bytes(&'a [u8]),
    TooDeep,
}

impl<'a> Any<'a> {
    /// Reads an `AnyValue` message; of several variants the last counts.
    #[allow(clippy::cast_possible_wrap)]
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let mut value = Self::Empty;
        for field in Fields::new(message) {
            let field = field?;
            value = match field.number {
                any::STRING => Self::Text(field.bytes()?),
                any::BOOL => Self::Bool(field.varint()? != 0),
                any::INT => Self::Int(field.varint()? as i64),
                any::DOUBLE => Self::Double(f64::from_bits(field.fixed64()?)),
                any::ARRAY => Self::Array(field.bytes()?),
                any::KVLIST => Self::KvList(field.bytes()?),
                any::BYTES => Self::Bytes(field.bytes()?),
                any::TOO_DEEP => Self::TooDeep,
                _ => value,
            };
        }
        Ok(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The messages inside an array or a list of key/value pairs (field 1 of both).
    pub(crate) fn items(list: &'a [u8]) -> impl Iterator<Item = Result<&'a [u8], WireError>> {
        Fields::new(list).filter_map(|field| match field {
            Ok(field) if field.number == 1 => Some(field.bytes()),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

/// Writes a value as JSON: empty values inside a list become null, so that the others keep their
/// places, and are left out of objects; of a key that comes twice the last counts. `repaired` counts
/// the texts that were not UTF-8.
pub(super) fn write_value(
    out: &mut Vec<u8>,
    value: Any<'_>,
    depth: usize,
    repaired: &mut u64,
) -> Result<(), ValueError> {
    match value {
        Any::Empty => out.extend_from_slice(b"null"),
        Any::Text(bytes) => *repaired += u64::from(writer::text_bytes(out, bytes)),
        Any::Bool(true) => out.extend_from_slice(b"true"),
        Any::Bool(false) => out.extend_from_slice(b"false"),
        Any::Int(number) => writer::integer(out, number),
        Any::Double(number) => writer::double(out, number),
        Any::Bytes(bytes) => writer::base64(out, bytes),
        Any::TooDeep => return Err(ValueError::TooDeep),
        Any::Array(_) | Any::KvList(_) if depth == VALUE_DEPTH_MAX => return Err(ValueError::TooDeep),
        Any::Array(list) => {
            out.push(b'[');
            for (index, item) in Any::items(list).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, Any::read(item?)?, depth + 1, repaired)?;
            }
            out.push(b']');
        }
        Any::KvList(list) => {
            let mut attributes = Vec::new();
            for item in Any::items(list) {
                Attribute::read(item?)?.push_to(&mut attributes)?;
            }
            mark_superseded(&mut attributes);
            out.push(b'{');
            let mut first = true;
            for attribute in attributes.iter().filter(|attribute| attribute.is_shown()) {
                attribute.write(out, &mut first, depth + 1, repaired)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Appends a value in canonical form: the same bytes for the same value whatever encoding it came in,
/// no two values with the same bytes. A tag, then a fixed size, a length, or items up to an end mark.
pub(super) fn canonical_value(out: &mut Vec<u8>, value: Any<'_>, depth: usize) -> Result<(), ValueError> {
    const END: u8 = 0xff;
    match value {
        Any::Empty => out.push(0),
        Any::Text(bytes) => canonical_bytes(out, 1, bytes),
        Any::Bool(value) => out.extend_from_slice(&[2, u8::from(value)]),
        Any::Int(number) => {
            out.push(3);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Any::Double(number) => {
            // One form for every NaN: JSON has a single spelling.
            let number = if number.is_nan() { f64::NAN } else { number };
            out.push(4);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Any::Bytes(bytes) => canonical_bytes(out, 7, bytes),
        Any::TooDeep => return Err(ValueError::TooDeep),
        Any::Array(_) | Any::KvList(_) if depth == VALUE_DEPTH_MAX => return Err(ValueError::TooDeep),
        Any::Array(list) => {
            out.push(5);
            for item in Any::items(list) {
                canonical_value(out, Any::read(item?)?, depth + 1)?;
            }
            out.push(END);
        }
        Any::KvList(list) => {
            out.push(6);
            for item in Any::items(list) {
                Attribute::read(item?)?.canonical(out, depth + 1)?;
            }
            out.push(END);
        }
    }
    Ok(())
}

/// Appends a tag, a length and bytes.
pub(super) fn canonical_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
