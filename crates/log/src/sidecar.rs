//! A sealed segment's index file: what a start needs to know of the segment without reading it. It can
//! always be made again from the segment, so it is not synced; a checksum tells whether it is whole. Only
//! when the segment goes while its keys are still remembered does it become durable and stay behind.

use std::io;
use std::path::Path;

use millrace_disk::{Disk, DiskFile, OpenMode, TEMPORARY_SUFFIX, write_atomically};
use millrace_model::{DedupKey, Micros, Offset, TopicId};

use crate::bytes_le::{array_at, i64_at, u16_at, u32_at, u64_at};
use crate::dedup::KeyEntry;
use crate::index::{ENTRY_BYTES, SparseIndex};
use crate::segment::{SealedFacts, index_path};

const HEADER_BYTES: usize = 128;
const KEY_ENTRY_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"MRindex\0";
const VERSION: u16 = 1;
const CRC_POSITION: usize = 124;

/// The header of an index file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SidecarHeader {
    pub(crate) topic: TopicId,
    pub(crate) facts: SealedFacts,
    entries: u32,
    keys: u32,
    entries_crc: u32,
    keys_crc: u32,
}

/// Writes the index file of a sealed segment. Not durable: a lost or torn one is made again.
pub(crate) fn write(
    disk: &dyn Disk,
    directory: &Path,
    topic: TopicId,
    facts: &SealedFacts,
    index: &SparseIndex,
    keys: &[KeyEntry],
) -> io::Result<()> {
    let bytes = encode(topic, facts, index, keys);
    let path = index_path(directory, facts.base);
    let mut temporary = path.clone().into_os_string();
    temporary.push(TEMPORARY_SUFFIX);
    let temporary = Path::new(&temporary);
    if disk.entry(temporary)?.is_some() {
        disk.remove_file(temporary)?;
    }
    disk.open(temporary, OpenMode::CreateNew)?.write_all_at(&bytes, 0)?;
    disk.rename(temporary, &path)
}

fn encode(topic: TopicId, facts: &SealedFacts, index: &SparseIndex, keys: &[KeyEntry]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    index.encode(&mut bytes);
    let keys_at = bytes.len();
    for entry in keys {
        bytes.extend_from_slice(&entry.key.0);
        bytes.extend_from_slice(&entry.offset.0.to_le_bytes());
        bytes.extend_from_slice(&entry.time.0.to_le_bytes());
    }
    let (entries_crc, keys_crc) =
        (crc32c::crc32c(&bytes[HEADER_BYTES..keys_at]), crc32c::crc32c(&bytes[keys_at..]));
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    bytes[16..32].copy_from_slice(&topic.0);
    let numbers = [
        facts.base.0,
        facts.end.0,
        facts.bytes,
        facts.first_time.0.cast_unsigned(),
        facts.last_time.0.cast_unsigned(),
        facts.duplicates_total,
        facts.payload_before,
        facts.payload_total,
    ];
    for (place, number) in numbers.iter().enumerate() {
        bytes[32 + place * 8..40 + place * 8].copy_from_slice(&number.to_le_bytes());
    }
    for (place, number) in [index.len() as u32, keys.len() as u32, entries_crc, keys_crc].iter().enumerate() {
        bytes[96 + place * 4..100 + place * 4].copy_from_slice(&number.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..CRC_POSITION]);
    bytes[CRC_POSITION..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Writes a good index file again, this time durably: its segment is about to go, and keys in it are
/// still wanted. The inner error says why the file is not good.
pub(crate) fn make_durable(
    disk: &dyn Disk,
    directory: &Path,
    topic: TopicId,
    base: Offset,
) -> io::Result<Result<(), String>> {
    let sidecar = match Sidecar::open(disk, directory, topic, base)? {
        Ok(sidecar) => sidecar,
        Err(reason) => return Ok(Err(reason)),
    };
    let (index, keys) = match (sidecar.index()?, sidecar.keys()?) {
        (Ok(index), Ok(keys)) => (index, keys),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
    };
    let bytes = encode(topic, &sidecar.header.facts, &index, &keys);
    write_atomically(disk, &index_path(directory, base), &bytes).map(Ok)
}

/// An index file that was opened and whose header is good.
pub(crate) struct Sidecar {
    file: std::sync::Arc<dyn DiskFile>,
    pub(crate) header: SidecarHeader,
}

impl Sidecar {
    /// Opens the index file of the segment at `base`; the inner error says why it cannot be used.
    pub(crate) fn open(
        disk: &dyn Disk,
        directory: &Path,
        topic: TopicId,
        base: Offset,
    ) -> io::Result<Result<Self, String>> {
        let file = match disk.open(&index_path(directory, base), OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err("it is missing".to_owned()));
            }
            Err(error) => return Err(error),
        };
        let mut bytes = [0; HEADER_BYTES];
        let count = file.read_at(&mut bytes, 0)?;
        Ok(decode_header(&bytes[..count])
            .and_then(|header| {
                if header.topic == topic && header.facts.base == base {
                    Ok(header)
                } else {
                    Err("it is another segment's".to_owned())
                }
            })
            .map(|header| Self { file, header }))
    }

    /// Reads the sparse index.
    pub(crate) fn index(&self) -> io::Result<Result<SparseIndex, String>> {
        let section =
            self.section(HEADER_BYTES as u64, self.header.entries, ENTRY_BYTES, self.header.entries_crc)?;
        Ok(section.map(|bytes| SparseIndex::decode(&bytes)))
    }

    /// Reads the dedup keys, oldest first.
    pub(crate) fn keys(&self) -> io::Result<Result<Vec<KeyEntry>, String>> {
        let position = HEADER_BYTES as u64 + u64::from(self.header.entries) * ENTRY_BYTES as u64;
        let section = self.section(position, self.header.keys, KEY_ENTRY_BYTES, self.header.keys_crc)?;
        let entry = |bytes: &[u8]| KeyEntry {
            key: DedupKey(array_at(bytes, 0)),
            offset: Offset(u64_at(bytes, 16)),
            time: Micros(i64_at(bytes, 24)),
        };
        Ok(section.map(|bytes| bytes.chunks_exact(KEY_ENTRY_BYTES).map(entry).collect()))
    }

    fn section(
        &self,
        position: u64,
        count: u32,
        each: usize,
        crc: u32,
    ) -> io::Result<Result<Vec<u8>, String>> {
        let length = u64::from(count) * each as u64;
        if position.saturating_add(length) > self.file.len()? {
            return Ok(Err("it is cut short".to_owned()));
        }
        let mut bytes = vec![0; count as usize * each];
        let read = self.file.read_at(&mut bytes, position)?;
        if read < bytes.len() || crc32c::crc32c(&bytes) != crc {
            return Ok(Err("its checksum does not match".to_owned()));
        }
        Ok(Ok(bytes))
    }
}

fn decode_header(bytes: &[u8]) -> Result<SidecarHeader, String> {
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err("it is not an index".to_owned());
    }
    if u32_at(bytes, CRC_POSITION) != crc32c::crc32c(&bytes[..CRC_POSITION]) {
        return Err("its header's checksum does not match".to_owned());
    }
    if u16_at(bytes, 8) != VERSION {
        return Err(format!("it has format version {}, this program knows {VERSION}", u16_at(bytes, 8)));
    }
    Ok(SidecarHeader {
        topic: TopicId(array_at(bytes, 16)),
        facts: SealedFacts {
            base: Offset(u64_at(bytes, 32)),
            end: Offset(u64_at(bytes, 40)),
            bytes: u64_at(bytes, 48),
            first_time: Micros(i64_at(bytes, 56)),
            last_time: Micros(i64_at(bytes, 64)),
            duplicates_total: u64_at(bytes, 72),
            payload_before: u64_at(bytes, 80),
            payload_total: u64_at(bytes, 88),
        },
        entries: u32_at(bytes, 96),
        keys: u32_at(bytes, 100),
        entries_crc: u32_at(bytes, 104),
        keys_crc: u32_at(bytes, 108),
    })
}
