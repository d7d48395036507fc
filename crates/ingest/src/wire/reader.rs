//! Reading: <https://protobuf.dev/programming-guides/encoding/>. Groups (deprecated since proto2) are an
//! error; OTLP has none.

/// Why bytes are not a protocol buffer of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the message ends inside a field")]
    Truncated,
    /// A variable-length integer has more than ten bytes.
    #[error("an integer has more than ten bytes")]
    Varint,
    /// A field has a wire type that does not exist or is not supported.
    #[error("field {0} has the unsupported wire type {1}")]
    WireType(u32, u8),
    /// A field number is zero or too large.
    #[error("field number {0} is out of range")]
    FieldNumber(u64),
    /// A known field is not of its schema's wire type.
    #[error("field {0} has the wrong wire type")]
    Mismatch(u32),
}

/// One field's value as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    pub(crate) fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    pub(crate) fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(number) => Ok(number),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    pub(crate) fn fixed32(&self) -> Result<u32, WireError> {
        match self.value {
            Value::Fixed32(number) => Ok(number),
            _ => Err(WireError::Mismatch(self.number)),
        }
    }

    /// An `int32`, `uint32` or enum: the low 32 bits, as every implementation reads them.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn varint32(&self) -> Result<u32, WireError> {
        Ok(self.varint()? as u32)
    }
}

/// The fields of a message, in the order they lie there. Ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let key = take_varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|&number| number != 0 && number < 1 << 29);
        let number = number.ok_or(WireError::FieldNumber(key >> 3))?;
        let value = match key & 7 {
            0 => Value::Varint(take_varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(take_array(&mut self.rest)?)),
            2 => {
                let length = take_varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(take_array(&mut self.rest)?)),
            wire_type => return Err(WireError::WireType(number, wire_type.to_le_bytes()[0])),
        };
        Ok(Field { number, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Takes one integer off the front of `rest`, for packed fields too.
#[inline]
pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    if let Some((&byte, after)) = rest.split_first()
        && byte < 0x80
    {
        *rest = after;
        return Ok(u64::from(byte));
    }
    let mut number = 0_u64;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        // Bits beyond the 64th of the tenth byte are dropped, as every implementation does.
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Ok(number);
        }
    }
    Err(if rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
}

/// Takes a fixed-size number's bytes off the front of `rest`.
#[inline]
pub(crate) fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let mut fields = Fields::new(&bytes);
            let read = fields.by_ref().take(bytes.len() + 1).count();
            prop_assert!(read <= bytes.len() && fields.next().is_none());
        }
    }

    #[test]
    fn bad_wires_have_a_reason() {
        let cases: [(&[u8], WireError); 6] = [
            (&[0x0a, 5, 1], WireError::Truncated),
            (&[0x09, 1, 2], WireError::Truncated),
            (&[0x80], WireError::Truncated),
            (&[0xff; 11], WireError::Varint),
            (&[0x00], WireError::FieldNumber(0)),
            (&[0x0b], WireError::WireType(1, 3)),
        ];
        for (bytes, error) in cases {
            assert_eq!(Fields::new(bytes).last(), Some(Err(error)), "{bytes:?}");
        }
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Fields::new(&huge).last(), Some(Err(WireError::Truncated)));
    }
}
