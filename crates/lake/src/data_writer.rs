//! Rows into parquet files: how columns are encoded, and the `add` action that describes the file.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use deltalake_core::kernel::Add;
use millrace_disk::Disk;
use millrace_model::Micros;
use millrace_model::names::{COLUMN_EVENT_DAY, COLUMN_OFFSET, COLUMN_TOPIC};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::LakeError;
use crate::files::{self, FileWriter};
use crate::state::partition_values;
use crate::stats;
use crate::typed::TypedColumns;

/// How other Delta writers name the directory of the null partition.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";
/// Most rows of a row group: what a reader takes up at once per column.
const ROW_GROUP_ROWS_MAX: usize = 131_072;
/// Most encoded bytes of a row group.
const ROW_GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Values looked at to see whether a text column repeats itself.
const SAMPLE_VALUES: usize = 512;
/// Bounds of texts longer than this on average pass no file by: nobody searches whole documents.
const BOUNDED_TEXT_BYTES_MAX: usize = 256;

/// Writes data files of one table.
#[derive(Clone)]
pub(crate) struct DataWriter {
    disk: Arc<dyn Disk>,
    table_dir: PathBuf,
    /// The columns in a file: the table's without the partition column.
    schema: SchemaRef,
    /// How to fill the columns that rows do not come with.
    typed: Option<TypedColumns>,
    compression: Compression,
}

impl DataWriter {
    /// Of the table at `table_dir` with all its columns in `table_schema`. `level` is Zstandard's.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        table_dir: PathBuf,
        table_schema: &Schema,
        level: i32,
    ) -> Result<Self, LakeError> {
        let level = ZstdLevel::try_new(level).map_err(LakeError::parquet("set up", "compression"))?;
        let schema = file_schema(table_schema);
        let typed = TypedColumns::of(table_schema);
        Ok(Self { disk, table_dir, schema, typed, compression: Compression::ZSTD(level) })
    }

    pub(crate) fn typed(&self) -> Option<&TypedColumns> {
        self.typed.as_ref()
    }

    /// Rows with all columns of a file.
    pub(crate) fn filled(&self, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if let Some(typed) = &self.typed {
            return typed.fill(rows, &self.schema);
        }
        let columns = self.schema.fields().iter().map(|field| {
            let column = rows.column_by_name(field.name()).cloned();
            column.ok_or_else(|| ArrowError::SchemaError(format!("rows have no column {}", field.name())))
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)
    }

    /// The columns in a file.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A path below the table's directory for a new file of that day.
    pub(crate) fn new_path(day: Option<i32>) -> std::io::Result<String> {
        let directory = day.and_then(stats::day_text).unwrap_or_else(|| NULL_PARTITION.to_owned());
        Ok(format!("{COLUMN_EVENT_DAY}={directory}/part-{}.zstd.parquet", files::random_name()?))
    }

    /// Rows of the table, partition column included, as rows of a file, in order of topic and offset.
    pub(crate) fn to_file_rows(&self, pieces: &[RecordBatch]) -> Result<Vec<RecordBatch>, LakeError> {
        let rows = pieces.iter().map(|piece| self.filled(piece)).collect::<Result<Vec<_>, _>>()?;
        if in_order(&rows) {
            return Ok(rows);
        }
        let all = concat_batches(&self.schema, &rows)?;
        Ok(vec![take_record_batch(&all, &order(&all)?)?])
    }

    /// Writes a file, durable under its name when this returns. `sample` is some of its rows, to choose
    /// encodings by; `data_change` is false when the table holds these rows already.
    pub(crate) fn write(
        &self,
        path: &str,
        day: Option<i32>,
        sample: &[RecordBatch],
        rows: impl Iterator<Item = Result<RecordBatch, LakeError>>,
        data_change: bool,
    ) -> Result<Add, LakeError> {
        let full = self.table_dir.join(path);
        let file = files::open_new(self.disk.as_ref(), &full).map_err(LakeError::io("create", &full))?;
        let written = self.fill(path, FileWriter::new(file), sample, rows);
        let (size, parquet) = match written {
            Ok(done) => done,
            Err(error) => {
                // No commit can name it, so nobody misses it.
                let _ = self.disk.remove_file(&full);
                return Err(error);
            }
        };
        self.disk.sync_dir(files::parent(&full)).map_err(LakeError::io("sync the directory of", &full))?;
        Ok(Add {
            path: path.to_owned(),
            partition_values: partition_values(day),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: Micros::now().0 / 1000,
            data_change,
            stats: Some(stats::stats_json(&self.schema, &parquet)),
            ..Add::default()
        })
    }

    fn fill(
        &self,
        path: &str,
        mut file: FileWriter,
        sample: &[RecordBatch],
        rows: impl Iterator<Item = Result<RecordBatch, LakeError>>,
    ) -> Result<(u64, parquet::file::metadata::ParquetMetaData), LakeError> {
        let properties = self.properties(sample);
        let mut writer = ArrowWriter::try_new(&mut file, Arc::clone(&self.schema), Some(properties))
            .map_err(LakeError::parquet("begin", path))?;
        for batch in rows {
            writer.write(&batch?).map_err(LakeError::parquet("write", path))?;
        }
        let parquet = writer.close().map_err(LakeError::parquet("finish", path))?;
        let full = self.table_dir.join(path);
        let size = file.finish().map_err(LakeError::io("write", &full))?;
        Ok((size, parquet))
    }

    fn properties(&self, sample: &[RecordBatch]) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            .set_compression(self.compression)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
            .set_created_by(concat!("millrace ", env!("CARGO_PKG_VERSION")).to_owned());
        for (index, field) in self.schema.fields().iter().enumerate() {
            let column = ColumnPath::from(field.name().as_str());
            match field.data_type() {
                DataType::Timestamp(_, _) => {
                    properties = properties
                        .set_column_dictionary_enabled(column.clone(), false)
                        .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
                }
                DataType::Int64 if field.name() == COLUMN_OFFSET => {
                    properties = properties
                        .set_column_dictionary_enabled(column.clone(), false)
                        .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
                }
                DataType::Utf8 | DataType::Binary => {
                    let look = look_at_text(sample, index);
                    properties = properties.set_column_dictionary_enabled(column.clone(), look.repeats);
                    if !stats::has_bounds(field) || look.bytes_mean > BOUNDED_TEXT_BYTES_MAX {
                        properties =
                            properties.set_column_statistics_enabled(column, EnabledStatistics::None);
                    }
                }
                _ => {}
            }
        }
        properties.build()
    }
}

/// The table's columns without the partition column, which Delta keeps out of the files.
pub(crate) fn file_schema(table_schema: &Schema) -> SchemaRef {
    let fields = table_schema.fields().iter().filter(|field| field.name() != COLUMN_EVENT_DAY).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What a text column is like.
#[derive(Debug, PartialEq, Eq)]
struct TextLook {
    bytes_mean: usize,
    /// Whether at most half of the values are different, so that a dictionary pays.
    repeats: bool,
}

fn look_at_text(sample: &[RecordBatch], column: usize) -> TextLook {
    let rows: usize = sample.iter().map(RecordBatch::num_rows).sum();
    let step = (rows / SAMPLE_VALUES).max(1);
    let (mut values, mut bytes, mut different) = (0, 0, HashSet::new());
    for batch in sample {
        let array = batch.column(column);
        let (text, binary) = (array.as_string_opt::<i32>(), array.as_binary_opt::<i32>());
        for row in (0..batch.num_rows()).step_by(step).filter(|row| array.is_valid(*row)) {
            let value = match (text, binary) {
                (Some(text), _) => text.value(row).as_bytes(),
                (_, Some(binary)) => binary.value(row),
                _ => &[],
            };
            values += 1;
            bytes += value.len();
            different.insert(value);
        }
    }
    TextLook { bytes_mean: bytes / values.max(1), repeats: different.len() * 2 <= values }
}

/// The key that rows are kept in order by: topic, then offset.
pub(crate) fn row_key(rows: &RecordBatch, row: usize) -> (&str, i64) {
    let topic = rows
        .column_by_name(COLUMN_TOPIC)
        .and_then(|column| column.as_string_opt::<i32>())
        .map_or("", |topics| topics.value(row));
    let offset = rows
        .column_by_name(COLUMN_OFFSET)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .map_or(i64::MIN, |offsets| offsets.value(row));
    (topic, offset)
}

fn in_order(batches: &[RecordBatch]) -> bool {
    let mut last: Option<(&str, i64)> = None;
    for batch in batches {
        for row in 0..batch.num_rows() {
            let key = row_key(batch, row);
            if last.is_some_and(|last| last > key) {
                return false;
            }
            last = Some(key);
        }
    }
    true
}

fn order(rows: &RecordBatch) -> Result<UInt32Array, ArrowError> {
    let columns: Vec<SortColumn> = [COLUMN_TOPIC, COLUMN_OFFSET]
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(|values| SortColumn { values: Arc::clone(values), options: None })
        .collect();
    lexsort_to_indices(&columns, None)
}
