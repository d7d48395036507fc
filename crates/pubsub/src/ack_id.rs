//! Ack ids: which delivery of which message of which subscription.
//!
//! 32 bytes in base64url: the subscription's id (8), the message's offset (8), delivery, epoch, seek (4
//! each), a checksum of all (4), numbers little-endian. The checksum tells a mangled id from a stale one;
//! it is no secret, since whoever may ack may also pull.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::acklog::Uid;
use crate::machine::Ticket;

const BYTES: usize = 32;
/// Their length as text.
pub(crate) const TEXT_BYTES: usize = 43;

/// An ack id as text.
pub(crate) fn write(uid: Uid, ticket: Ticket) -> String {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&uid.to_le_bytes());
    bytes[8..16].copy_from_slice(&ticket.offset.to_le_bytes());
    bytes[16..20].copy_from_slice(&ticket.delivery.to_le_bytes());
    bytes[20..24].copy_from_slice(&ticket.epoch.to_le_bytes());
    bytes[24..28].copy_from_slice(&ticket.generation.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&checksum.to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads an ack id; `None` when it is not one.
pub(crate) fn read(text: &str) -> Option<(Uid, Ticket)> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    let mut bytes = [0; BYTES];
    // The decoder wants room for whole groups of three bytes; the exact length is checked after.
    let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    let (rest, checksum) = bytes.split_last_chunk::<4>()?;
    if read != BYTES || crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (uid, rest) = rest.split_first_chunk::<8>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (delivery, rest) = rest.split_first_chunk::<4>()?;
    let (epoch, rest) = rest.split_first_chunk::<4>()?;
    let (generation, _) = rest.split_first_chunk::<4>()?;
    let ticket = Ticket {
        offset: u64::from_le_bytes(*offset),
        delivery: u32::from_le_bytes(*delivery),
        epoch: u32::from_le_bytes(*epoch),
        generation: u32::from_le_bytes(*generation),
    };
    Some((u64::from_le_bytes(*uid), ticket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_survive_and_a_changed_letter_is_found(
            uid: u64, offset: u64, delivery: u32, epoch: u32, generation: u32, at in 0usize..TEXT_BYTES, letter in "[A-Za-z0-9_-]",
        ) {
            let ticket = Ticket { offset, delivery, epoch, generation };
            let text = write(uid, ticket);
            prop_assert_eq!(text.len(), TEXT_BYTES);
            prop_assert_eq!(read(&text), Some((uid, ticket)));
            let mut other = text.clone();
            other.replace_range(at..=at, &letter);
            prop_assert!(other == text || read(&other).is_none());
        }

        #[test]
        fn any_text_is_an_id_or_none(text in "\\PC{0,60}") {
            let _ = read(&text);
        }
    }
}
