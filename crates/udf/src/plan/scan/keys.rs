//! Names of the properties of objects whose text is written: none may come twice, because of two the last
//! value counts in the first place; and none may look like an integer, because those come first.

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
    length: u32,
}

/// The names of one object: where they begin among all, and which hashes there were.
pub(super) struct Names {
    first: usize,
    seen: [u64; 4],
}

impl Keys {
    pub fn clear(&mut self) {
        self.names.clear();
    }

    pub fn begin(&self) -> Names {
        Names { first: self.names.len(), seen: [0; 4] }
    }

    pub fn end(&mut self, names: &Names) {
        self.names.truncate(names.first);
    }

    /// Adds a name, which is at `start` of `text`, in the spelling that every name has one of; `None`
    /// refuses it.
    #[inline]
    pub fn add(&mut self, names: &mut Names, text: &[u8], start: usize, key: &[u8]) -> Option<()> {
        if key.first().is_some_and(u8::is_ascii_digit) && key.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let hash = hash(key);
        let name = Name { hash, start: u32::try_from(start).ok()?, length: u32::try_from(key.len()).ok()? };
        let (word, bit) = ((hash >> 6 & 3) as usize, hash & 63);
        if names.seen[word] >> bit & 1 == 1 {
            let same = |other: &Name| {
                let range = other.start as usize..other.start as usize + other.length as usize;
                other.hash == hash && text.get(range) == Some(key)
            };
            if self.names.get(names.first..)?.iter().any(same) {
                return None;
            }
        }
        names.seen[word] |= 1 << bit;
        if self.names.len() - names.first == NAMES_MAX {
            return None;
        }
        self.names.push(name);
        Some(())
    }
}

/// A hash of the first and last eight bytes and the length: names differ in these, mostly.
#[inline]
fn hash(key: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (first, last) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => {
            let short = key.iter().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
            (short, 0)
        }
    };
    let mixed = (first ^ last.rotate_left(29) ^ (key.len() as u64) << 57).wrapping_mul(ODD);
    ((mixed ^ mixed >> 29) >> 24) as u32
}
