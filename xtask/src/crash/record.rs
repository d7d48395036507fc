//! Records, each derived wholly from the run's seed and its id: what was sent need not be remembered to be
//! compared.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// What becomes of a record on its way to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row.
    Row,
    /// As many rows as it was sent in equal copies inside one request.
    Twin,
    /// Nothing: every version of the script returns null for it.
    Filtered,
    /// A dead letter: every version of the script throws.
    Throws,
    /// A row or a dead letter: odd revisions of the script throw, even ones do not.
    Flips,
}

impl Kind {
    /// The name the script knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Twin => "twin",
            Self::Filtered => "filtered",
            Self::Throws => "throws",
            Self::Flips => "flips",
        }
    }
}

/// A record, derived wholly from the run's seed and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id, dense from 0.
    pub id: u64,
    /// What becomes of it.
    pub kind: Kind,
    /// How often it is in its request.
    pub copies: u8,
    /// Its text.
    pub payload: String,
}

impl Record {
    /// The record of an id.
    pub fn of(seed: u64, id: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let kind = match random.random_range(0..100_u8) {
            0..84 => Kind::Row,
            84..88 => Kind::Twin,
            88..92 => Kind::Filtered,
            92..96 => Kind::Throws,
            _ => Kind::Flips,
        };
        let copies = if kind == Kind::Twin { random.random_range(2..=3) } else { 1 };
        let length_bytes = match random.random_range(0..1000_u16) {
            0..600 => random.random_range(0..400),
            600..970 => random.random_range(400..4_000),
            970..999 => random.random_range(4_000..30_000),
            _ => random.random_range(300_000..700_000),
        };
        Self { id, kind, copies, payload: payload(&mut random, id, length_bytes) }
    }
}

/// Pieces of text that have gone wrong somewhere before: escapes, several bytes per character, joined
/// emoji, line separators that JavaScript once took for line ends, controls, things that look like JSON.
const PIECES: [&str; 16] = [
    "plain ",
    "words and more words, ",
    "0123456789",
    "\"quoted\" ",
    "back\\slash ",
    "line\nbreak\r\n\t",
    "naïve café ",
    "日本語のテキスト",
    "한국어 ",
    "🦀🚀",
    "👩‍👩‍👧‍👦",
    "\u{2028}\u{2029}",
    "\u{1}\u{7f}",
    "{\"a\":[1,null]}",
    "</script>${x}`",
    "e\u{301}\u{feff}",
];

fn payload(random: &mut StdRng, id: u64, length_bytes: usize) -> String {
    let mut text = format!("{id}:");
    while text.len() < length_bytes {
        text.push_str(PIECES[random.random_range(0..PIECES.len())]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_same_every_time() {
        assert_eq!(Record::of(7, 11), Record::of(7, 11));
        assert_ne!(Record::of(7, 11).payload, Record::of(8, 11).payload);
    }
}
