//! Names of the properties of objects whose text is written: none may come twice, because of two the last
//! value counts in the first place; and none may look like an integer, because those come first.

use std::ops::Range;

/// Most names of one object: each may have to be compared with all before it.
const NAMES_MAX: usize = 256;

/// The names of the objects that are open, innermost last.
#[derive(Debug, Default)]
pub(super) struct Keys {
    names: Vec<Name>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    hash: u32,
    start: u32,
    end: u32,
}

/// The names of one object: where they begin among all, and which hashes there were.
pub(super) struct Names {
    first: usize,
    seen: [u64; SEEN_WORDS],
}

/// Words of bits, one for each hash. Enough that few names meet a bit of another, at the usual dozens.
const SEEN_WORDS: usize = 16;

impl Keys {
    pub fn clear(&mut self) {
        self.names.clear();
    }

    pub fn begin(&self) -> Names {
        Names { first: self.names.len(), seen: [0; SEEN_WORDS] }
    }

    pub fn end(&mut self, names: &Names) {
        self.names.truncate(names.first);
    }

    /// Adds a name with its [`hash`], which is at a range of `text`, in the spelling that every name has
    /// one of; `None` refuses it.
    #[inline(always)]
    pub fn add(&mut self, names: &mut Names, hash: u32, text: &[u8], range: Range<usize>) -> Option<()> {
        // Behind an empty name is its quote.
        if text.get(range.start)?.is_ascii_digit() && text.get(range.clone())?.iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        let name =
            Name { hash, start: u32::try_from(range.start).ok()?, end: u32::try_from(range.end).ok()? };
        let (word, bit) = ((hash >> 6) as usize % SEEN_WORDS, hash & 63);
        if names.seen[word] >> bit & 1 == 1 && self.is_known(names, name, text) {
            return None;
        }
        names.seen[word] |= 1 << bit;
        if self.names.len() - names.first == NAMES_MAX {
            return None;
        }
        self.names.push(name);
        Some(())
    }

    #[cold]
    fn is_known(&self, names: &Names, name: Name, text: &[u8]) -> bool {
        let text = |name: &Name| text.get(name.start as usize..name.end as usize);
        let is_same = |other: &Name| other.hash == name.hash && text(other) == text(&name);
        self.names.iter().skip(names.first).any(is_same)
    }
}

/// A hash of a name at a range of a text, from its first and last eight bytes and the length: names differ
/// in these, mostly.
#[inline(always)]
pub(in crate::plan) fn hash(text: &[u8], range: Range<usize>) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |at: usize| text.get(at..).and_then(<[u8]>::first_chunk).map(|word| u64::from_le_bytes(*word));
    let length = range.len();
    let (first, last) = match (word(range.start), length) {
        (Some(first), 8..) => (first, word(range.end - 8).unwrap_or_default()),
        (Some(first), 1..8) => (first << (64 - 8 * length) >> (64 - 8 * length), 0),
        _ => {
            let bytes = text.get(range).unwrap_or_default();
            (bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
        }
    };
    let mixed = (first ^ last.rotate_left(29) ^ (length as u64) << 57).wrapping_mul(ODD);
    ((mixed ^ mixed >> 29) >> 24) as u32
}

#[cfg(test)]
mod tests {
    use super::hash;
    use proptest::prelude::*;

    proptest! {
        /// A name has one hash, whatever stands around it.
        #[test]
        fn a_hash_is_of_the_name_alone(
            name in "[a-c]{0,20}", before in "[x\"]{0,9}", after in "[y\"]{0,9}",
        ) {
            let text = format!("{before}{name}{after}");
            let range = before.len()..before.len() + name.len();
            prop_assert_eq!(hash(text.as_bytes(), range), hash(name.as_bytes(), 0..name.len()));
        }
    }
}
