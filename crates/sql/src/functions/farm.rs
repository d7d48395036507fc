//! FarmHash's Fingerprint64, which FARM_FINGERPRINT is
//! (<https://github.com/google/farmhash>, `farmhashna::Hash64`): a hash that never changes.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The fingerprint of these bytes.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0..=16 => short(bytes),
        17..=32 => medium(bytes),
        33..=64 => longer(bytes),
        _ => long(bytes),
    }
}

/// Eight bytes from a place on, the lowest first.
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn half_word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).and_then(|half| half.try_into().ok()).map_or(0, u32::from_le_bytes).into()
}

fn shift_mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

fn mix(left: u64, right: u64, factor: u64) -> u64 {
    let low = shift_mix((left ^ right).wrapping_mul(factor));
    shift_mix((right ^ low).wrapping_mul(factor)).wrapping_mul(factor)
}

/// What the length adds to the factor.
fn factor(bytes: &[u8]) -> u64 {
    K2.wrapping_add(2 * bytes.len() as u64)
}

fn short(bytes: &[u8]) -> u64 {
    let (length, factor) = (bytes.len(), factor(bytes));
    match (length, bytes) {
        (8.., _) => {
            let first = word(bytes, 0).wrapping_add(K2);
            let last = word(bytes, length - 8);
            let left = last.rotate_right(37).wrapping_mul(factor).wrapping_add(first);
            let right = first.rotate_right(25).wrapping_add(last).wrapping_mul(factor);
            mix(left, right, factor)
        }
        (4.., _) => {
            let first = half_word(bytes, 0) << 3;
            mix((length as u64).wrapping_add(first), half_word(bytes, length - 4), factor)
        }
        (_, [first, .., last]) => few(*first, bytes[length / 2], *last, length),
        (_, [only]) => few(*only, *only, *only, length),
        (_, []) => K2,
    }
}

fn few(first: u8, middle: u8, last: u8, length: usize) -> u64 {
    let left = u64::from(first) + (u64::from(middle) << 8);
    let right = length as u64 + (u64::from(last) << 2);
    shift_mix(left.wrapping_mul(K2) ^ right.wrapping_mul(K0)).wrapping_mul(K2)
}

fn medium(bytes: &[u8]) -> u64 {
    let (length, factor) = (bytes.len(), factor(bytes));
    let a = word(bytes, 0).wrapping_mul(K1);
    let b = word(bytes, 8);
    let c = word(bytes, length - 8).wrapping_mul(factor);
    let d = word(bytes, length - 16).wrapping_mul(K2);
    let left = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let right = a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c);
    mix(left, right, factor)
}

fn longer(bytes: &[u8]) -> u64 {
    let (length, factor) = (bytes.len(), factor(bytes));
    let a = word(bytes, 0).wrapping_mul(K2);
    let b = word(bytes, 8);
    let c = word(bytes, length - 8).wrapping_mul(factor);
    let d = word(bytes, length - 16).wrapping_mul(K2);
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = mix(y, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c), factor);
    let e = word(bytes, 16).wrapping_mul(factor);
    let f = word(bytes, 24);
    let g = y.wrapping_add(word(bytes, length - 32)).wrapping_mul(factor);
    let h = z.wrapping_add(word(bytes, length - 24)).wrapping_mul(factor);
    let left = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    let right = e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g);
    mix(left, right, factor)
}

/// What is carried from one 64 bytes to the next.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: [u64; 2],
    w: [u64; 2],
}

impl State {
    /// Takes in 64 bytes. `times` is 1, but for the last ones.
    fn absorb(&mut self, block: &[u8], factor: u64, times: u64) {
        let Self { x, y, z, v, w } = self;
        *x = x.wrapping_add(*y).wrapping_add(v[0]).wrapping_add(word(block, 8));
        *x = x.rotate_right(37).wrapping_mul(factor);
        *y = y.wrapping_add(v[1]).wrapping_add(word(block, 48)).rotate_right(42).wrapping_mul(factor);
        *x ^= w[1].wrapping_mul(times);
        *y = y.wrapping_add(v[0].wrapping_mul(times)).wrapping_add(word(block, 40));
        *z = z.wrapping_add(w[0]).rotate_right(33).wrapping_mul(factor);
        *v = weak(block, 0, v[1].wrapping_mul(factor), x.wrapping_add(w[0]));
        *w = weak(block, 32, z.wrapping_add(w[1]), y.wrapping_add(word(block, 16)));
        std::mem::swap(z, x);
    }
}

fn weak(bytes: &[u8], at: usize, a: u64, b: u64) -> [u64; 2] {
    let [w, x, y, z] = [0, 8, 16, 24].map(|step| word(bytes, at + step));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let sum = a.wrapping_add(x).wrapping_add(y);
    [sum.wrapping_add(z), b.wrapping_add(sum.rotate_right(44)).wrapping_add(a)]
}

fn long(bytes: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let y = SEED.wrapping_mul(K1).wrapping_add(113);
    let z = shift_mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    let x = SEED.wrapping_mul(K2).wrapping_add(word(bytes, 0));
    let mut state = State { x, y, z, v: [0; 2], w: [0; 2] };
    // All full blocks but the last bytes, which are taken in with the 64 that end the text.
    let rest = (bytes.len() - 1) % 64;
    for block in bytes[..bytes.len() - 1 - rest].chunks_exact(64) {
        state.absorb(block, K1, 1);
    }
    let factor = K1.wrapping_add((state.z & 0xff) << 1);
    let State { v, w, .. } = &mut state;
    w[0] = w[0].wrapping_add(rest as u64);
    v[0] = v[0].wrapping_add(w[0]);
    w[0] = w[0].wrapping_add(v[0]);
    state.absorb(&bytes[bytes.len() - 64..], factor, 9);
    let State { x, y, z, v, w } = state;
    let left = mix(v[0], w[0], factor).wrapping_add(shift_mix(y).wrapping_mul(K0)).wrapping_add(z);
    let right = mix(v[1], w[1], factor).wrapping_add(x);
    mix(left, right, factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guava's test of the same hash (`FarmHashFingerprint64Test`), and published pairs for the lengths between.
    #[test]
    fn known_fingerprints() {
        let test = |times: usize| fingerprint("test".repeat(times).as_bytes());
        assert_eq!(test(1), 8_581_389_452_482_819_506);
        assert_eq!(test(8), (-4_196_240_717_365_766_262_i64).cast_unsigned());
        assert_eq!(test(64), 3_500_507_768_004_279_527);
        assert_eq!(fingerprint(br"7.b^/n=oR_w(vLN?c?xN<5t$p8HY2!s:U"), 2_506_644_862_971_557_451);
        assert_eq!(fingerprint(b")D<l91"), 6_440_615_040_757_739_207);
        assert_eq!(fingerprint(b"/dWQW6&i7h$1@"), 11_452_602_314_494_946_942);
        assert_eq!(fingerprint(b""), K2);
    }

    #[test]
    fn every_length_is_taken() {
        let bytes: Vec<u8> = (0..400_u32).map(|index| (index * 7) as u8).collect();
        let all: std::collections::HashSet<_> = (0..400).map(|end| fingerprint(&bytes[..end])).collect();
        assert_eq!(all.len(), 400);
    }
}
