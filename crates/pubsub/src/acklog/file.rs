//! One file of the ack log: making, appending, reading back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_disk::{Disk, DiskFile, OpenMode, TEMPORARY_SUFFIX};

use super::{AckLogError, Image, entry};
use crate::progress::Change;

const FILE_MAGIC: &[u8; 8] = b"MRACKS01";
const FRAME_MAGIC: &[u8; 4] = b"ACKF";
const HEADER_BYTES: usize = 20;
const FRAME_HEADER_BYTES: usize = 12;
/// A file larger than this is none of ours: it is replaced long before.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// The file that is being written.
pub(super) struct AckFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    /// Where the next frame goes.
    position: u64,
}

impl AckFile {
    /// Makes a file that begins with `payload`, durable and under its name when this returns.
    pub(super) fn create(
        disk: &dyn Disk,
        directory: &Path,
        number: u64,
        payload: &[u8],
    ) -> Result<Self, AckLogError> {
        let path = path_of(directory, number);
        let temporary = directory.join(format!("{}{TEMPORARY_SUFFIX}", name_of(number)));
        let mut bytes = FILE_MAGIC.to_vec();
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let frame = frame(number, bytes.len() as u64, payload);
        bytes.extend_from_slice(&frame);
        let make = || {
            if disk.entry(&temporary)?.is_some() {
                disk.remove_file(&temporary)?;
            }
            let file = disk.open(&temporary, OpenMode::CreateNew)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_data()?;
            disk.rename(&temporary, &path)?;
            disk.sync_dir(directory)?;
            Ok(file)
        };
        let file = make().map_err(AckLogError::io("make", &path))?;
        Ok(Self { file, path, number, position: bytes.len() as u64 })
    }

    /// Appends a frame and syncs it. After an error the file must not be used again.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<(), AckLogError> {
        let frame = frame(self.number, self.position, payload);
        let write = || {
            self.file.write_all_at(&frame, self.position)?;
            self.file.sync_data()
        };
        write().map_err(AckLogError::io("write", &self.path))?;
        self.position += frame.len() as u64;
        Ok(())
    }

    /// Its length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.position
    }

    /// Reads a file back. A bad frame ends it, unless a good one lies behind: then it is damaged.
    pub(super) fn read(disk: &dyn Disk, directory: &Path, number: u64) -> Result<Image, AckLogError> {
        let path = path_of(directory, number);
        let bytes = read_whole(disk, &path)?;
        let corrupt = |position: usize, reason: &str| AckLogError::Corrupt {
            path: path.clone(),
            position: position as u64,
            reason: reason.to_owned(),
        };
        if !has_header(&bytes, number) {
            return Err(corrupt(0, "it does not begin as it should"));
        }
        let mut image = Image::new();
        let mut position = HEADER_BYTES;
        while let Some(payload) = frame_at(&bytes, number, position) {
            let mut rest = payload;
            while !rest.is_empty() {
                let entry = entry::read(&mut rest);
                let (uid, change) = entry.ok_or_else(|| corrupt(position, "an entry makes no sense"))?;
                apply(&mut image, uid, &change);
            }
            position += FRAME_HEADER_BYTES + payload.len();
        }
        if position == HEADER_BYTES {
            return Err(corrupt(position, "its first frame is bad"));
        }
        let good_behind = (position + 1..bytes.len().saturating_sub(FRAME_HEADER_BYTES))
            .filter(|at| bytes[*at..].starts_with(FRAME_MAGIC))
            .any(|at| frame_at(&bytes, number, at).is_some());
        if good_behind {
            return Err(corrupt(position, "a frame is bad, and good ones follow"));
        }
        Ok(image)
    }
}

/// Makes a change in an image.
pub(super) fn apply(image: &mut Image, uid: super::Uid, change: &Change) {
    match change {
        Change::Removed => {
            image.remove(&uid);
        }
        change => image.entry(uid).or_default().apply(change),
    }
}

/// The number of the newest file in a directory; the others, and half-made ones, are removed.
pub(super) fn newest(disk: &dyn Disk, directory: &Path) -> Result<Option<u64>, AckLogError> {
    let entries = disk.read_dir(directory).map_err(AckLogError::io("list", directory))?;
    let newest = entries.iter().filter_map(|entry| number_of(&entry.name)).max();
    let ours = |name: &str| name.ends_with(TEMPORARY_SUFFIX) || number_of(name).is_some();
    for entry in entries.iter().filter(|entry| ours(&entry.name) && number_of(&entry.name) != newest) {
        remove(disk, &directory.join(&entry.name));
    }
    Ok(newest)
}

/// Removes a file that is not needed; one that stays does no harm and goes at the next start.
pub(super) fn remove_old(disk: &dyn Disk, directory: &Path, number: u64) {
    remove(disk, &path_of(directory, number));
}

fn remove(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an old file of the ack log was not removed");
    }
}

fn read_whole(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, AckLogError> {
    let file = disk.open(path, OpenMode::Read).map_err(AckLogError::io("open", path))?;
    let len = file.len().map_err(AckLogError::io("read", path))?;
    if len > FILE_BYTES_MAX {
        let reason = format!("it has {len} bytes, too many to be what it should");
        return Err(AckLogError::Corrupt { path: path.to_path_buf(), position: 0, reason });
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0).map_err(AckLogError::io("read", path))?;
    bytes.truncate(read);
    Ok(bytes)
}

fn has_header(bytes: &[u8], number: u64) -> bool {
    let Some((header, crc)) = bytes.get(..HEADER_BYTES).and_then(|header| header.split_last_chunk::<4>())
    else {
        return false;
    };
    header.starts_with(FILE_MAGIC)
        && header.ends_with(&number.to_le_bytes())
        && crc32c::crc32c(header) == u32::from_le_bytes(*crc)
}

fn frame(number: u64, position: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    frame.extend_from_slice(FRAME_MAGIC);
    // A payload beyond 4 GiB would mean an image that no memory holds.
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&checksum(number, position, payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn frame_at(bytes: &[u8], number: u64, position: usize) -> Option<&[u8]> {
    let rest = bytes.get(position..)?.strip_prefix(FRAME_MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let payload = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    (checksum(number, position as u64, payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

fn checksum(number: u64, position: u64, payload: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &position.to_le_bytes());
    crc32c::crc32c_append(seed, payload)
}

fn name_of(number: u64) -> String {
    format!("{number:020}.acks")
}

fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(name_of(number))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".acks")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}
