//! Parquet files back into rows, straight from the disk.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, new_null_array};
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use bytes::Bytes;
use millrace_disk::{Disk, DiskFile, OpenMode};
use millrace_model::Offset;
use millrace_model::names::{COLUMN_OFFSET, COLUMN_TOPIC};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::{ChunkReader, Length};

use crate::error::LakeError;
use crate::files;
use crate::state::DataFile;

/// Rows read at once where only narrow columns are read.
const NARROW_ROWS: usize = 8192;

/// Where data files are read from.
#[derive(Clone)]
pub(crate) struct DataReader {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) table_dir: std::path::PathBuf,
    /// `{dataset}.{table}`, for messages.
    pub(crate) table: String,
}

impl DataReader {
    /// The offsets of the rows of `topic` in `range` that `file` holds, appended to `found`.
    pub(crate) fn offsets(
        &self,
        file: &DataFile,
        topic: &str,
        range: &std::ops::Range<Offset>,
        found: &mut Vec<Offset>,
    ) -> Result<(), LakeError> {
        let builder = self.open(file)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), [COLUMN_TOPIC, COLUMN_OFFSET]);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(NARROW_ROWS)
            .build()
            .map_err(LakeError::parquet("read", &file.path))?;
        for batch in reader {
            let batch = batch.map_err(|error| self.damaged(file, &error))?;
            let columns =
                batch.column_by_name(COLUMN_TOPIC).and_then(|column| column.as_string_opt::<i32>()).zip(
                    batch
                        .column_by_name(COLUMN_OFFSET)
                        .and_then(|column| column.as_primitive_opt::<Int64Type>()),
                );
            let Some((topics, offsets)) = columns else {
                return Err(self.damaged(file, &"it has no topic and offset columns"));
            };
            for (found_topic, offset) in topics.iter().zip(offsets.values()) {
                let Ok(offset) = u64::try_from(*offset) else { continue };
                if found_topic == Some(topic) && range.contains(&Offset(offset)) {
                    found.push(Offset(offset));
                }
            }
        }
        Ok(())
    }

    /// All rows of a file, a few at a time, with the columns of `schema` in that order.
    pub(crate) fn rows(
        &self,
        file: &DataFile,
        schema: &SchemaRef,
        rows_max: usize,
    ) -> Result<FileRows, LakeError> {
        let reader = self
            .open(file)?
            .with_batch_size(rows_max)
            .build()
            .map_err(LakeError::parquet("read", &file.path))?;
        Ok(FileRows {
            reader,
            schema: Arc::clone(schema),
            path: file.path.clone(),
            table: self.table.clone(),
        })
    }

    /// The same with some columns only, those of topic and offset always among them; none named means all.
    pub(crate) fn columns(
        &self,
        file: &DataFile,
        schema: &SchemaRef,
        names: &[&str],
        rows_max: usize,
    ) -> Result<FileRows, LakeError> {
        if names.is_empty() {
            return self.rows(file, schema, rows_max);
        }
        let names: Vec<&str> = names.iter().copied().chain([COLUMN_TOPIC, COLUMN_OFFSET]).collect();
        let fields = schema.fields().iter().filter(|field| names.contains(&field.name().as_str()));
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let builder = self.open(file)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(rows_max)
            .build()
            .map_err(LakeError::parquet("read", &file.path))?;
        Ok(FileRows { reader, schema, path: file.path.clone(), table: self.table.clone() })
    }

    fn open(&self, file: &DataFile) -> Result<ParquetRecordBatchReaderBuilder<Chunks>, LakeError> {
        let path = self.table_dir.join(&file.path);
        let chunks = Chunks::open(self.disk.as_ref(), &path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.damaged(file, &"it is missing"),
            _ => LakeError::io("open", &path)(error),
        })?;
        if chunks.len != file.size {
            let reason = format!("it has {} bytes where the log says {}", chunks.len, file.size);
            return Err(self.damaged(file, &reason));
        }
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(chunks).map_err(|error| self.damaged(file, &error))?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        match file.rows() {
            Some(said) if said != rows => {
                Err(self.damaged(file, &format!("it has {rows} rows where the log says {said}")))
            }
            _ => Ok(builder),
        }
    }

    fn damaged(&self, file: &DataFile, reason: &dyn std::fmt::Display) -> LakeError {
        LakeError::Damaged { table: self.table.clone(), reason: format!("data file {}: {reason}", file.path) }
    }
}

/// The rows of one file, see [`DataReader::rows`].
pub(crate) struct FileRows {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    path: String,
    table: String,
}

impl Iterator for FileRows {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.and_then(|batch| conform(&batch, &self.schema)).map_err(|error| LakeError::Damaged {
            table: self.table.clone(),
            reason: format!("data file {}: {error}", self.path),
        }))
    }
}

/// Gives rows of an older file the columns that the table has by now; new ones are null.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => arrow::compute::cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// A file as the parquet reader wants it.
struct Chunks {
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Chunks {
    fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::Read)?;
        let len = file.len()?;
        Ok(Self { file, len })
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Chunks {
    type T = io::BufReader<ReadFrom>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(io::BufReader::new(ReadFrom { file: Arc::clone(&self.file), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        Ok(files::read_range(self.file.as_ref(), start, length as u64)?)
    }
}

/// Reads a file from a position on.
struct ReadFrom {
    file: Arc<dyn DiskFile>,
    position: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
