//! Entries of a frame: a subscription's id, a kind, and numbers in LEB128.
//!
//! ```text
//! entry    uid u64  kind u8  body
//! reset    0  floor, generation, ranges, then each as gap and length; failures, then each as gap and count
//! acked    1  start, length
//! failed   2  offset, count
//! expired  3  start
//! removed  4
//! ```

use std::collections::BTreeMap;

use super::Uid;
use crate::progress::{Change, Progress};
use crate::ranges::RangeSet;

const RESET: u8 = 0;
const ACKED: u8 = 1;
const FAILED: u8 = 2;
const EXPIRED: u8 = 3;
const REMOVED: u8 = 4;

/// Appends one entry.
pub(super) fn write(out: &mut Vec<u8>, uid: Uid, change: &Change) {
    out.extend_from_slice(&uid.to_le_bytes());
    match change {
        Change::Reset(progress) => {
            out.push(RESET);
            write_progress(out, progress);
        }
        Change::Acked { start, end } => {
            out.push(ACKED);
            put(out, *start);
            put(out, end - start);
        }
        Change::Failed { offset, failures } => {
            out.push(FAILED);
            put(out, *offset);
            put(out, u64::from(*failures));
        }
        Change::Expired { start } => {
            out.push(EXPIRED);
            put(out, *start);
        }
        Change::Removed => out.push(REMOVED),
    }
}

/// Reads one entry off the front; `None` when there is none that makes sense.
pub(super) fn read(rest: &mut &[u8]) -> Option<(Uid, Change)> {
    let (uid, after) = rest.split_first_chunk::<8>()?;
    let (kind, after) = after.split_first()?;
    *rest = after;
    let change = match *kind {
        RESET => Change::Reset(read_progress(rest)?),
        ACKED => {
            let start = take(rest)?;
            Change::Acked { start, end: start.checked_add(take(rest)?)? }
        }
        FAILED => Change::Failed { offset: take(rest)?, failures: take_u32(rest)? },
        EXPIRED => Change::Expired { start: take(rest)? },
        REMOVED => Change::Removed,
        _ => return None,
    };
    Some((u64::from_le_bytes(*uid), change))
}

/// Appends a whole progress.
pub(crate) fn write_progress(out: &mut Vec<u8>, progress: &Progress) {
    put(out, progress.floor());
    put(out, u64::from(progress.generation()));
    put(out, progress.acked().iter().len() as u64);
    let mut before = progress.floor();
    for (start, end) in progress.acked().iter() {
        put(out, start - before);
        put(out, end - start);
        before = end;
    }
    put(out, progress.failures().len() as u64);
    let mut before = progress.floor();
    for (offset, failures) in progress.failures() {
        put(out, offset - before);
        put(out, u64::from(*failures));
        before = *offset;
    }
}

/// Reads a whole progress off the front.
pub(crate) fn read_progress(rest: &mut &[u8]) -> Option<Progress> {
    let (floor, generation) = (take(rest)?, take_u32(rest)?);
    let mut acked = RangeSet::default();
    let mut at = floor;
    for _ in 0..take(rest)? {
        let start = at.checked_add(take(rest)?)?;
        at = start.checked_add(take(rest)?)?;
        acked.insert(start, at);
    }
    let mut failures = BTreeMap::new();
    let mut at = floor;
    for _ in 0..take(rest)? {
        at = at.checked_add(take(rest)?)?;
        failures.insert(at, take_u32(rest)?);
    }
    Some(Progress::from_parts(floor, generation, acked, failures))
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(number: u64, tail in prop::collection::vec(any::<u8>(), 0..4)) {
            let mut out = Vec::new();
            put(&mut out, number);
            out.extend_from_slice(&tail);
            let mut rest = out.as_slice();
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert_eq!(rest, tail.as_slice());
        }

        #[test]
        fn any_bytes_are_entries_or_none(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() && read(&mut rest).is_some() {}
        }
    }
}
