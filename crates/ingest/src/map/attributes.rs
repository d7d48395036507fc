//! Lists of key/value pairs that become one JSON object: which pair counts when keys clash.

use std::collections::HashSet;

use super::value::{Any, ValueError, canonical_bytes, canonical_value, write_value};
use crate::json::writer;
use crate::limits::ATTRIBUTES_MAX;
use crate::wire::{Fields, WireError};

/// Above this many attributes keys are compared through a hash set instead of with each other.
const COMPARED_MAX: usize = 64;

/// One key/value pair, still on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Any<'a>,
    /// Another attribute of the same key counts instead.
    pub(crate) hidden: bool,
}

impl<'a> Attribute<'a> {
    /// Reads a `KeyValue` message.
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, WireError> {
        let (mut key, mut value) = (&[][..], Any::Empty);
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => key = field.bytes()?,
                2 => value = Any::read(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(Self { key, value, hidden: false })
    }

    /// Puts it into a list of at most [`ATTRIBUTES_MAX`].
    pub(super) fn push_to(self, list: &mut Vec<Self>) -> Result<(), ValueError> {
        if list.len() == ATTRIBUTES_MAX {
            return Err(ValueError::TooMany);
        }
        list.push(self);
        Ok(())
    }

    /// Whether it has a place in the object: a value, and no other attribute that counts instead.
    pub(crate) fn is_shown(&self) -> bool {
        !self.hidden && !self.value.is_empty()
    }

    /// Writes `"key":value`, a comma before it unless it is the `first`.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        first: &mut bool,
        depth: usize,
        repaired: &mut u64,
    ) -> Result<(), ValueError> {
        if !std::mem::take(first) {
            out.push(b',');
        }
        *repaired += u64::from(writer::text_bytes(out, self.key));
        out.push(b':');
        write_value(out, self.value, depth, repaired)
    }

    pub(super) fn canonical(&self, out: &mut Vec<u8>, depth: usize) -> Result<(), ValueError> {
        canonical_bytes(out, 8, self.key);
        canonical_value(out, self.value, depth)
    }
}

/// Hides all but the last of the attributes that have a value under each key. (An empty value says
/// nothing, so it does not take the place of one that does.)
pub(super) fn mark_superseded(attributes: &mut [Attribute<'_>]) {
    if attributes.len() > COMPARED_MAX {
        let mut seen = HashSet::with_capacity(attributes.len());
        for attribute in attributes.iter_mut().rev().filter(|attribute| !attribute.value.is_empty()) {
            attribute.hidden |= !seen.insert(attribute.key);
        }
        return;
    }
    let mut seen = KeyBits::default();
    for index in (0..attributes.len()).rev() {
        let key = attributes[index].key;
        if attributes[index].value.is_empty() {
            continue;
        }
        if seen.insert(key) {
            let later = &attributes[index + 1..];
            attributes[index].hidden |= later.iter().any(|other| other.key == key && !other.value.is_empty());
        }
    }
}

/// The keys of a resource, asked for every attribute of every record.
#[derive(Debug, Default)]
pub(super) struct KeySet<'a> {
    bits: KeyBits,
    keys: HashSet<&'a [u8]>,
}

impl<'a> KeySet<'a> {
    pub(super) fn insert(&mut self, key: &'a [u8]) {
        self.bits.insert(key);
        self.keys.insert(key);
    }

    #[inline]
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.bits.may_contain(key) && self.keys.contains(key)
    }
}

/// A set of keys that may say yes wrongly, never no: spares the exact comparison for nearly all keys.
#[derive(Debug, Default)]
struct KeyBits([u64; 16]);

impl KeyBits {
    /// A cheap hash; a client that makes keys collide costs only the exact comparisons, which are bounded.
    #[inline]
    fn place(key: &[u8]) -> (usize, u64) {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let (chunks, rest) = key.as_chunks::<8>();
        let mut hash = key.len() as u64;
        for chunk in chunks {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*chunk)).wrapping_mul(FACTOR);
        }
        for &byte in rest {
            hash = (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(FACTOR);
        }
        let [.., word, bit] = (hash >> 48).to_be_bytes();
        (usize::from(word & 15), 1 << (bit & 63))
    }

    /// Adds a key; whether it may have been there.
    #[inline]
    fn insert(&mut self, key: &[u8]) -> bool {
        let (word, bit) = Self::place(key);
        let found = self.0[word] & bit != 0;
        self.0[word] |= bit;
        found
    }

    #[inline]
    fn may_contain(&self, key: &[u8]) -> bool {
        let (word, bit) = Self::place(key);
        self.0[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_value_counts(keys in prop::collection::vec(("[a-c]{0,9}", any::<bool>()), 0..150)) {
            let mut attributes: Vec<_> = keys
                .iter()
                .enumerate()
                .map(|(index, (key, empty))| Attribute {
                    key: key.as_bytes(),
                    value: if *empty { Any::Empty } else { Any::Int(i64::try_from(index).unwrap()) },
                    hidden: false,
                })
                .collect();
            mark_superseded(&mut attributes);
            let mut expected = std::collections::BTreeMap::new();
            for (index, (key, empty)) in keys.iter().enumerate() {
                if !empty {
                    expected.insert(key.as_bytes(), index);
                }
            }
            let shown: std::collections::BTreeMap<_, _> = attributes
                .iter()
                .enumerate()
                .filter(|(_, attribute)| attribute.is_shown())
                .map(|(index, attribute)| (attribute.key, index))
                .collect();
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn a_key_set_holds_its_keys(keys: Vec<String>, others: Vec<String>) {
            let mut set = KeySet::default();
            keys.iter().for_each(|key| set.insert(key.as_bytes()));
            for key in keys.iter().chain(&others) {
                prop_assert_eq!(set.contains(key.as_bytes()), keys.contains(key));
            }
        }
    }
}
