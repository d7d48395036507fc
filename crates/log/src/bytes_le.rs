//! Numbers in files: little-endian, at fixed places. Callers have checked that the bytes are there.

pub(crate) fn u16_at(bytes: &[u8], position: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, position))
}

pub(crate) fn u32_at(bytes: &[u8], position: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, position))
}

pub(crate) fn u64_at(bytes: &[u8], position: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, position))
}

pub(crate) fn i64_at(bytes: &[u8], position: usize) -> i64 {
    i64::from_le_bytes(array_at(bytes, position))
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], position: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[position..position + N]);
    array
}
