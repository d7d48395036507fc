//! A stored result as a file.
//!
//! ```text
//! rows      an Arrow IPC stream
//! footer    JSON, see [`Footer`]
//! tail      16 bytes: length and CRC32C of the footer, little-endian u32 each, then MAGIC
//! ```
//!
//! The footer names length and checksum of the rows, so a file that is torn, cut or another's is told
//! from a whole one. It is not an error: the result is computed again.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use millrace_disk::{Disk as _, DiskFile, OpenMode, StdDisk, TEMPORARY_SUFFIX};
use serde::{Deserialize, Serialize};

/// The last bytes of every such file; the digit is the version of this format.
const MAGIC: [u8; 8] = *b"MRESULT1";
const TAIL_BYTES: u64 = 16;
/// Longest footer that is read: names of columns, views and tables.
const FOOTER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What is read at once when a file is checked, and buffered when one is written.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes after which a long file is synced while it grows: one sync of a gigabyte would hold up every
/// other on the same disk, those that producers wait for among them.
const SYNC_BYTES: u64 = 32 * 1024 * 1024;

/// What a stored result is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The view.
    pub(crate) view: String,
    /// Digest of everything that the result depends on but rows: see [`super::definition`].
    pub(crate) definition: String,
    /// The views that it stands on, itself among them.
    pub(crate) views: Vec<String>,
    /// The tables that it stands on, `dataset.table`, with their versions before they were read.
    pub(crate) tables: BTreeMap<String, Option<u64>>,
    /// The moment that it shows, microseconds since 1970 UTC.
    pub(crate) refreshed_micros: i64,
    /// The names of its columns as results show them.
    pub(crate) columns: Vec<String>,
}

/// The footer: the facts, and what tells whole rows from torn ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Footer {
    #[serde(flatten)]
    facts: Facts,
    rows: u64,
    rows_bytes: u64,
    rows_crc32c: u32,
}

/// A stored result, open: it can be read to its end also when another takes its name.
pub(crate) struct ResultFile {
    file: Arc<dyn DiskFile>,
    footer: Footer,
    schema: SchemaRef,
}

impl std::fmt::Debug for ResultFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ResultFile").field("footer", &self.footer).finish_non_exhaustive()
    }
}

impl ResultFile {
    /// Opens a file and reads all of it once; `None` when there is none or it is not whole.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        match try_open(path) {
            Ok(found) => found,
            Err(error) => {
                metrics::counter!("millrace_stored_results_ignored_total").increment(1);
                tracing::warn!(path = %path.display(), %error, "a stored result is ignored and made anew");
                None
            }
        }
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.footer.facts
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn rows(&self) -> u64 {
        self.footer.rows
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.footer.rows_bytes
    }

    /// Its batches, only these columns of them when some are named.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn batches(
        &self,
        projection: Option<Vec<usize>>,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, ArrowError>> + use<>, ArrowError> {
        let span = Span { file: Arc::clone(&self.file), at: 0, end: self.footer.rows_bytes };
        StreamReader::try_new(BufReader::with_capacity(CHUNK_BYTES, span), projection)
    }
}

fn try_open(path: &Path) -> io::Result<Option<ResultFile>> {
    let file = match StdDisk.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let broken = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let length = file.len()?;
    let tail_at = length.checked_sub(TAIL_BYTES).ok_or_else(|| broken("it is too short"))?;
    let tail = read_span(&file, tail_at, length)?;
    let (numbers, magic) = tail.split_at(8);
    if magic != MAGIC {
        return Err(broken("it is no stored result"));
    }
    let number =
        |at: usize| u32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
    let footer_bytes = u64::from(number(0));
    let footer_at = tail_at
        .checked_sub(footer_bytes)
        .filter(|_| footer_bytes <= FOOTER_BYTES_MAX)
        .ok_or_else(|| broken("its footer is cut"))?;
    let text = read_span(&file, footer_at, tail_at)?;
    if crc32c::crc32c(&text) != number(4) {
        return Err(broken("its footer is damaged"));
    }
    let footer: Footer = serde_json::from_slice(&text)?;
    if footer.rows_bytes != footer_at || checksum(&file, footer_at)? != footer.rows_crc32c {
        return Err(broken("its rows are damaged"));
    }
    let span = Span { file: Arc::clone(&file), at: 0, end: footer_at };
    let schema = StreamReader::try_new(BufReader::new(span), None).map_err(io::Error::other)?.schema();
    if schema.fields().len() != footer.facts.columns.len() {
        return Err(broken("its columns are others than its footer says"));
    }
    Ok(Some(ResultFile { file, footer, schema }))
}

fn read_span(file: &Arc<dyn DiskFile>, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Span { file: Arc::clone(file), at, end }.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn checksum(file: &Arc<dyn DiskFile>, end: u64) -> io::Result<u32> {
    let mut span = Span { file: Arc::clone(file), at: 0, end };
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut sum = 0;
    loop {
        match span.read(&mut buffer)? {
            0 => return Ok(sum),
            count => sum = crc32c::crc32c_append(sum, &buffer[..count]),
        }
    }
}

/// A part of a file, read in order.
struct Span {
    file: Arc<dyn DiskFile>,
    at: u64,
    end: u64,
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A stored result on its way to the disk. Without [`Self::finish`] nothing of it stays.
pub(crate) struct ResultWriter {
    rows: Option<StreamWriter<BufWriter<Out>>>,
    row_count: u64,
    rows_max: u64,
    temporary: PathBuf,
    path: PathBuf,
}

impl ResultWriter {
    /// Begins a file that is to be at `path`.
    ///
    /// # Errors
    /// As the system reports.
    pub(crate) fn create(
        path: &Path,
        schema: &SchemaRef,
        rows_max: u64,
        bytes_max: u64,
    ) -> Result<Self, ArrowError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        // Left by a crash: one process at a time writes here, and one result at a time.
        let _ = StdDisk.remove_file(&temporary);
        let file = StdDisk.open(&temporary, OpenMode::CreateNew)?;
        let out = Out { file, at: 0, synced: 0, crc32c: 0, bytes_max };
        let out = BufWriter::with_capacity(CHUNK_BYTES, out);
        let rows = Some(StreamWriter::try_new(out, schema)?);
        Ok(Self { rows, row_count: 0, rows_max, temporary, path: path.to_owned() })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When a limit is passed, or as the system reports.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.row_count += batch.num_rows() as u64;
        if self.row_count > self.rows_max {
            return Err(over("rows", self.rows_max).into());
        }
        match &mut self.rows {
            Some(rows) => rows.write(batch),
            None => Ok(()),
        }
    }

    /// Puts the file in its place, durable when this returns.
    ///
    /// # Errors
    /// As the system reports.
    pub(crate) fn finish(mut self, facts: Facts) -> Result<(), ArrowError> {
        let Some(rows) = self.rows.take() else { return Ok(()) };
        let mut out = rows.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        let footer = Footer { facts, rows: self.row_count, rows_bytes: out.at, rows_crc32c: out.crc32c };
        let text = serde_json::to_vec(&footer).map_err(io::Error::from)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let sum = crc32c::crc32c(&text);
        out.bytes_max = u64::MAX;
        out.write_all(&text)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&sum.to_le_bytes())?;
        out.write_all(&MAGIC)?;
        out.file.sync_data()?;
        StdDisk.rename(&self.temporary, &self.path)?;
        StdDisk.sync_dir(self.path.parent().unwrap_or(Path::new("")))?;
        Ok(())
    }
}

impl Drop for ResultWriter {
    fn drop(&mut self) {
        // In its place by now, or not wanted: a name that stays is removed by the next writer.
        let _ = StdDisk.remove_file(&self.temporary);
    }
}

fn over(what: &str, limit: u64) -> io::Error {
    io::Error::other(format!("the result has more than {limit} {what}, which is the most that is stored"))
}

/// A growing file.
struct Out {
    file: Arc<dyn DiskFile>,
    at: u64,
    synced: u64,
    crc32c: u32,
    bytes_max: u64,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at + bytes.len() as u64 > self.bytes_max {
            return Err(over("bytes", self.bytes_max));
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        if self.at - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
