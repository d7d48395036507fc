//! Blocks of bytes as bit masks, the first byte lowest.

use wide::u8x16;

/// Bytes looked at for the end of a string that is likely short.
pub(crate) const WINDOW: usize = 32;

/// Bytes looked at in one go where a string is long.
pub(crate) const BLOCK: usize = 64;

/// A bit for each byte that is a quote, a backslash or a control character.
#[inline(always)]
pub(crate) fn specials(window: &[u8; WINDOW]) -> u32 {
    let mut mask = 0;
    for (index, lane) in window.as_chunks::<16>().0.iter().enumerate() {
        let lane = u8x16::new(*lane);
        let found = lane.simd_eq(u8x16::splat(b'"')) | lane.simd_eq(u8x16::splat(b'\\')) | controls(lane);
        mask |= found.to_bitmask() << (16 * index);
    }
    mask
}

/// What is in a block of a string.
pub(crate) struct Masks {
    pub quotes: u64,
    pub slashes: u64,
    pub controls: u64,
}

impl Masks {
    #[inline(always)]
    pub fn of(block: &[u8; BLOCK]) -> Self {
        Self {
            quotes: mask(block, |lane| lane.simd_eq(u8x16::splat(b'"'))),
            slashes: mask(block, |lane| lane.simd_eq(u8x16::splat(b'\\'))),
            controls: mask(block, controls),
        }
    }
}

/// A bit for each byte that, behind a backslash, is the spelling that JavaScript has for a character.
#[inline(always)]
pub(crate) fn kept(block: &[u8; BLOCK]) -> u64 {
    mask(block, |lane| {
        let mut found = u8x16::splat(0);
        for byte in *b"\"\\ntrbf" {
            found |= lane.simd_eq(u8x16::splat(byte));
        }
        found
    })
}

/// How many of sixteen bytes, from the first on, are digits.
#[inline(always)]
pub(crate) fn digits(block: &[u8; 16]) -> usize {
    let offsets = u8x16::new(*block) - u8x16::splat(b'0');
    let digits = offsets.min(u8x16::splat(9)).simd_eq(offsets);
    digits.to_bitmask().trailing_ones() as usize
}

/// How many of sixteen bytes, from the first on, are white space.
#[inline(always)]
pub(crate) fn spaces(block: &[u8; 16]) -> usize {
    let lane = u8x16::new(*block);
    let mut spaces = u8x16::splat(0);
    for byte in *b" \n\r\t" {
        spaces |= lane.simd_eq(u8x16::splat(byte));
    }
    spaces.to_bitmask().trailing_ones() as usize
}

#[inline(always)]
fn controls(lane: u8x16) -> u8x16 {
    lane.min(u8x16::splat(0x1f)).simd_eq(lane)
}

#[inline(always)]
fn mask(block: &[u8; BLOCK], test: impl Fn(u8x16) -> u8x16) -> u64 {
    let mut mask = 0;
    for (index, lane) in block.as_chunks::<16>().0.iter().enumerate() {
        mask |= u64::from(test(u8x16::new(*lane)).to_bitmask()) << (16 * index);
    }
    mask
}

/// Which bytes of a string are escaped, from where its backslashes are: of each run of backslashes every
/// second one, and the byte behind a run of odd length. After simdjson's `json_escape_scanner`.
#[derive(Default)]
pub(crate) struct Escapes {
    /// 1 when the first byte of the next block is escaped.
    carry: u64,
}

impl Escapes {
    #[inline(always)]
    pub fn next(&mut self, slashes: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        if slashes == 0 {
            return std::mem::take(&mut self.carry);
        }
        let starts = slashes & !self.carry;
        // A subtraction borrows through each run of backslashes, which leaves the ends of odd ones.
        let series = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = series ^ (slashes | self.carry);
        self.carry = (series & slashes) >> 63;
        escaped
    }

    /// Whether the block before ended in a backslash that escapes what comes next.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.carry != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The masks against one byte after the other, over the borders of blocks.
        #[test]
        fn masks_say_what_each_byte_is(text in "[\\\\\\\\\\\\\"/ntux1\\x00\\x1f\\x20\\x80]{256}") {
            let bytes = text.as_bytes();
            let (mut escapes, mut is_escaped) = (Escapes::default(), false);
            for block in bytes.as_chunks::<BLOCK>().0 {
                let (masks, kept) = (Masks::of(block), kept(block));
                let escaped = escapes.next(masks.slashes);
                let specials = block.as_chunks::<WINDOW>().0.iter().map(specials).collect::<Vec<_>>();
                for (index, &byte) in block.iter().enumerate() {
                    let is_set = |mask: u64| mask >> index & 1 == 1;
                    prop_assert_eq!(is_set(masks.quotes), byte == b'"');
                    prop_assert_eq!(is_set(masks.slashes), byte == b'\\');
                    prop_assert_eq!(is_set(masks.controls), byte < 0x20);
                    prop_assert_eq!(is_set(kept), b"\"\\ntrbf".contains(&byte));
                    prop_assert_eq!(is_set(escaped), is_escaped);
                    let special = specials[index / WINDOW] >> (index % WINDOW) & 1 == 1;
                    prop_assert_eq!(special, byte == b'"' || byte == b'\\' || byte < 0x20);
                    is_escaped = byte == b'\\' && !is_escaped;
                }
                prop_assert_eq!(escapes.is_open(), is_escaped);
            }
        }

        #[test]
        fn digits_are_counted(text in "[0-9]{0,16}[/:a\\xff\\x00][0-9]{16}") {
            let block = text.as_bytes().first_chunk::<16>().expect("it is longer");
            let expected = block.iter().take_while(|byte| byte.is_ascii_digit()).count();
            prop_assert_eq!(digits(block), expected);
        }
    }
}
