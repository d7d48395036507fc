//! Writing. A nested message's length is not known when it begins, so five bytes are kept for it and
//! filled in at its end as a padded integer, which readers must take (an integer may have more bytes
//! than it needs).

/// Bytes kept for a nested message's length: 35 bits.
const LENGTH_BYTES: usize = 5;

/// A protocol buffer under construction.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

/// Where a nested message began.
#[derive(Debug)]
#[must_use]
pub(crate) struct Nested(usize);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    fn raw_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.out.push(number.to_le_bytes()[0]);
    }

    fn key(&mut self, number: u32, wire_type: u32) {
        self.raw_varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    pub(crate) fn varint(&mut self, number: u32, value: u64) {
        self.key(number, 0);
        self.raw_varint(value);
    }

    pub(crate) fn fixed64(&mut self, number: u32, value: u64) {
        self.key(number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn fixed32(&mut self, number: u32, value: u32) {
        self.key(number, 5);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, number: u32, value: &[u8]) {
        self.key(number, 2);
        self.raw_varint(value.len() as u64);
        self.out.extend_from_slice(value);
    }

    pub(crate) fn begin(&mut self, number: u32) -> Nested {
        self.key(number, 2);
        self.out.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0]);
        Nested(self.out.len())
    }

    pub(crate) fn end(&mut self, nested: &Nested) {
        let mut length = (self.out.len() - nested.0) as u64;
        let slot = &mut self.out[nested.0 - LENGTH_BYTES..nested.0];
        for (index, byte) in slot.iter_mut().enumerate() {
            *byte = (length.to_le_bytes()[0] & 0x7f) | if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            length >>= 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Fields, Value};

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.varint(1, u64::MAX);
        let nested = writer.begin(2);
        writer.bytes(3, &[7; 300]);
        writer.fixed32(5, 9);
        writer.end(&nested);
        writer.fixed64(4, 8);
        let bytes = writer.into_bytes();
        let fields: Vec<_> = Fields::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields[0].varint(), Ok(u64::MAX));
        let inner: Vec<_> = Fields::new(fields[1].bytes().unwrap()).map(Result::unwrap).collect();
        assert_eq!((inner[0].bytes(), inner[1].fixed32()), (Ok([7; 300].as_slice()), Ok(9)));
        assert_eq!(fields[2].value, Value::Fixed64(8));
    }
}
