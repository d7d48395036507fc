//! Who a record is: its insert id and its deduplication key, both keyed hashes, so that nobody who sees
//! them can confirm a guess of a record's content.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use millrace_model::DedupKey;

/// 128 bits of a keyed hash.
pub(crate) type Digest = [u8; 16];

/// The keys of all hashes, from one secret.
#[derive(Clone)]
pub(crate) struct Identity {
    record_key: [u8; 32],
    entry_key: [u8; 32],
    load_key: [u8; 32],
}

/// An entry's time as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryTime<'a> {
    /// It has none (the receive time that it gets does not count: a retry gets another).
    None,
    /// Seconds and nanoseconds since 1970.
    Instant(i64, u32),
    /// A text that is no RFC 3339 time.
    Text(&'a [u8]),
}

impl EntryTime<'_> {
    /// The time `nanos` since 1970; 0 is none, as in OTLP.
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        let fraction = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
        if nanos == 0 { Self::None } else { Self::Instant(seconds, fraction) }
    }
}

impl Identity {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let derive = |purpose: &[u8]| *blake3::keyed_hash(secret, purpose).as_bytes();
        Self { record_key: derive(b"record"), entry_key: derive(b"entry"), load_key: derive(b"load") }
    }

    /// The digest of a record's canonical form.
    pub(crate) fn record(&self, canonical: &[u8]) -> Digest {
        digest(&self.record_key, canonical)
    }

    /// Takes the first part of a canonical form; [`finished`] gives the digest of all parts.
    pub(crate) fn record_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.record_key)
    }

    /// The deduplication key of (logName, timestamp, insertId). `scratch` is reused room.
    pub(crate) fn entry(
        &self,
        scratch: &mut Vec<u8>,
        log_name: &[u8],
        time: EntryTime<'_>,
        insert_id: &[u8],
    ) -> DedupKey {
        scratch.clear();
        for part in [log_name, insert_id] {
            scratch.extend_from_slice(&(part.len() as u64).to_le_bytes());
            scratch.extend_from_slice(part);
        }
        match time {
            EntryTime::None => scratch.push(0),
            EntryTime::Instant(seconds, nanos) => {
                scratch.push(1);
                scratch.extend_from_slice(&seconds.to_le_bytes());
                scratch.extend_from_slice(&nanos.to_le_bytes());
            }
            EntryTime::Text(text) => {
                scratch.push(2);
                scratch.extend_from_slice(text);
            }
        }
        DedupKey(digest(&self.entry_key, scratch))
    }

    /// The deduplication key of the `ordinal`th twin of a digest.
    pub(crate) fn twin(&self, digest: Digest, ordinal: u32) -> DedupKey {
        if ordinal == 0 {
            return DedupKey(digest);
        }
        let mut place = digest.to_vec();
        place.extend_from_slice(&ordinal.to_le_bytes());
        DedupKey(self::digest(&self.record_key, &place))
    }

    /// Takes a file's content, for the file's id.
    pub(crate) fn file_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.load_key)
    }

    /// The digest of a place in a loaded file.
    pub(crate) fn loaded(&self, file: &[u8], ordinal: u64) -> Digest {
        let mut place = file.to_vec();
        place.extend_from_slice(&ordinal.to_le_bytes());
        digest(&self.load_key, &place)
    }
}

fn digest(key: &[u8; 32], bytes: &[u8]) -> Digest {
    finished(blake3::Hasher::new_keyed(key).update(bytes))
}

/// What a hasher has taken, as a digest.
pub(super) fn finished(hasher: &blake3::Hasher) -> Digest {
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// Tells identical records of one request apart by counting them.
#[derive(Debug, Default)]
pub(super) struct Twins {
    seen: HashMap<Digest, u32, BuildHasherDefault<DigestHasher>>,
}

impl Twins {
    /// How many records of that digest came before.
    pub(super) fn ordinal(&mut self, digest: Digest) -> u32 {
        let count = self.seen.entry(digest).or_insert(0);
        let ordinal = *count;
        *count += 1;
        ordinal
    }
}

/// Takes a digest's own bits: they are evenly spread, and the key keeps clients from choosing them.
#[derive(Debug, Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(bits) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*bits);
        }
    }

    // The length prefix of an array; all keys have the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
